//! What is exported is what the programs' own packages write: testdata/interchange.

use std::{fs, io::Read, path::Path, sync::atomic::AtomicBool};

use mixdown_shards::{
    Access, Corpus, Error, ExportFormat, ExportOptions, ExportReport, Split, export,
};

use crate::{
    interchange::{adopt, golden, options},
    support::{small_corpus, some_documents, write_corpus},
};

fn run(corpus: &Path, out: &Path, format: ExportFormat) -> Result<ExportReport, Error> {
    run_cut(corpus, out, format, 1 << 20)
}

fn run_cut(
    corpus: &Path,
    out: &Path,
    format: ExportFormat,
    shard_tokens: u64,
) -> Result<ExportReport, Error> {
    let corpus = Corpus::open(corpus, Access::Map).unwrap();
    let options = ExportOptions { format, splits: Split::ALL.to_vec(), shard_tokens };
    export(&corpus, out, &options, &|_| (), &AtomicBool::new(false))
}

fn golden_bytes(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/interchange");
    fs::read(root.join(name)).unwrap()
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn exported_files_are_those_of_the_packages() {
    let corpus = golden("datatrove", "two_bytes");
    adopt(corpus.path(), "two_bytes.ds", &options()).unwrap();
    for (format, expected) in [
        (ExportFormat::Nanogpt, &[("train.bin", "nanogpt/train.bin")][..]),
        (ExportFormat::Llmc, &[("train_000000.bin", "llmc/gpt2_train_000000.bin")]),
        (
            ExportFormat::Megatron,
            &[
                ("train-00000.bin", "megatron/uint16.bin"),
                ("train-00000.idx", "megatron/uint16.idx"),
            ],
        ),
        (ExportFormat::Olmo, &[("train-00000.npy", "olmo/part-0-00000.npy")]),
        (
            ExportFormat::Datatrove,
            &[
                ("train/00000.ds", "datatrove/two_bytes.ds"),
                ("train/00000.ds.index", "datatrove/two_bytes.ds.index"),
                ("train/00000.ds.loss", "datatrove/two_bytes.ds.loss"),
            ],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let report = run(corpus.path(), &out, format).unwrap();
        assert_eq!(report.files.iter().map(|file| file.tokens).sum::<u64>(), 135);
        for (name, golden) in expected {
            assert!(fs::read(out.join(name)).unwrap() == golden_bytes(golden), "{format}: {name}");
        }
        assert!(out.join("tokenizer.json").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        if format == ExportFormat::Olmo {
            let ours = unzipped(&fs::read(out.join("train-00000.csv.gz")).unwrap());
            let theirs = unzipped(&golden_bytes("olmo/part-0-00000.csv.gz"));
            let columns = |line: &str| line.split(',').take(2).collect::<Vec<_>>().join(",");
            let ours: Vec<String> = ours.lines().map(columns).collect();
            assert_eq!(ours, theirs.lines().collect::<Vec<_>>());
        }
        if format == ExportFormat::Datatrove {
            let metadata = fs::read_to_string(out.join("train/00000.ds.metadata")).unwrap();
            assert_eq!(metadata, "tokenizer.json|2\n135\n135 T");
        }
    }
}

#[test]
fn files_of_llmc_are_cut_anywhere_and_make_one_stream() {
    let folder = tempfile::tempdir().unwrap();
    let ended = |seed| {
        let mut documents = some_documents(seed, 5, 1000);
        documents.iter_mut().for_each(|ids| ids.push(0));
        documents
    };
    let train = vec![ended(1), ended(2)];
    write_corpus(folder.path(), 1000, &train, &Vec::new());
    let mut stream = train.concat().concat();
    stream.rotate_right(1);
    for shard_tokens in [1, 7, 100, 1 << 30] {
        let out = folder.path().join("out");
        let report = run_cut(folder.path(), &out, ExportFormat::Llmc, shard_tokens).unwrap();
        let mut read = Vec::new();
        for file in &report.files {
            let bytes = fs::read(out.join(&file.path)).unwrap();
            let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!([number(0), number(4)], [20_240_520, 1]);
            assert_eq!(u64::from(number(8)), file.tokens);
            assert_eq!(bytes.len() as u64, 1024 + 2 * file.tokens);
            let ids =
                bytes[1024..].chunks(2).map(|id| u32::from(u16::from_le_bytes([id[0], id[1]])));
            read.extend(ids);
        }
        assert_eq!(read, stream, "cut at {shard_tokens}");
        fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn wide_ids_and_both_splits() {
    let (folder, _) = small_corpus(100_000);
    let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
    let out = folder.path().join("out");
    let message = run(folder.path(), &out, ExportFormat::Nanogpt).unwrap_err().to_string();
    assert!(message.contains("at most 65536 for nanoGPT's 16-bit ids, got 100000"), "{message}");
    assert!(!out.exists() && !folder.path().join("out.exporting").exists());
    let report = run(folder.path(), &out, ExportFormat::Olmo).unwrap();
    let names: Vec<&str> = report.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["train-00000.npy", "train-00001.npy", "holdout-00000.npy"]);
    let bytes = fs::read(out.join("holdout-00000.npy")).unwrap();
    let mut ids = vec![0_u32; usize::try_from(corpus.tokens(Split::Holdout)).unwrap()];
    corpus.read_tokens(Split::Holdout, 0, &mut ids).unwrap();
    assert_eq!(bytes, ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>());
}

#[test]
fn an_output_that_exists_is_refused_and_leftovers_are_replaced() {
    let (folder, _) = small_corpus(1000);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let message = run(folder.path(), &out, ExportFormat::Olmo).unwrap_err().to_string();
    assert!(message.contains("expected no output folder yet, got one"), "{message}");
    fs::remove_dir(&out).unwrap();
    // Somebody's folder of the name that we would use.
    let aside = folder.path().join("out.exporting");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("theirs"), "x").unwrap();
    let message = run(folder.path(), &out, ExportFormat::Olmo).unwrap_err().to_string();
    assert!(message.contains("out.exporting: expected nothing of this name"), "{message}");
    assert!(aside.join("theirs").exists());
    // Our own, left by a kill.
    fs::write(aside.join(".mixdown-export"), "").unwrap();
    run(folder.path(), &out, ExportFormat::Olmo).unwrap();
    assert!(!aside.exists() && !out.join("theirs").exists());
    // A stop leaves nothing.
    fs::remove_dir_all(&out).unwrap();
    let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
    let options =
        ExportOptions { format: ExportFormat::Olmo, splits: Split::ALL.to_vec(), shard_tokens: 1 };
    let stopped = export(&corpus, &out, &options, &|_| (), &AtomicBool::new(true));
    assert!(stopped.unwrap_err().is_interrupted());
    assert!(!aside.exists() && !out.exists());
}
