//! Exports are equal to the files that the programs' own packages write: testdata/interchange.

use std::{fs, io::Read, path::Path, sync::atomic::AtomicBool};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_shards::{
    Access, Corpus, Error, ExportFormat, ExportOptions, ExportReport, LostMask, Split, export,
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
    export(&corpus, out, &all_of(format, shard_tokens), Observer::silent())
}

fn all_of(format: ExportFormat, shard_tokens: u64) -> ExportOptions {
    let lost_mask = LostMask::Refuse;
    ExportOptions { format, splits: Split::ALL.to_vec(), shard_tokens, lost_mask }
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
        let refused = run(corpus.path(), &out, format);
        let report = if format.holds_mask() {
            refused.unwrap()
        } else {
            // The golden corpus has labels, and the packages' files of these formats have none.
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
            assert!(error.to_string().contains("got 90 of 135 tokens that are none"), "{error}");
            let corpus = Corpus::open(corpus.path(), Access::Map).unwrap();
            let options = ExportOptions { lost_mask: LostMask::Drop, ..all_of(format, 1 << 20) };
            let report = export(&corpus, &out, &options, Observer::silent()).unwrap();
            assert_eq!(report.unmasked_tokens, 90);
            report
        };
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
    assert!(message.contains("or an earlier export, got something else"), "{message}");
    fs::remove_dir(&out).unwrap();
    // A person's folder has the name of the temporary folder.
    let aside = folder.path().join("out.exporting");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("theirs"), "x").unwrap();
    let message = run(folder.path(), &out, ExportFormat::Olmo).unwrap_err().to_string();
    assert!(message.contains("out.exporting: expected nothing of this name"), "{message}");
    assert!(aside.join("theirs").exists());
    // The folder is a leftover of a killed export.
    fs::write(aside.join(".mixdown-export"), "").unwrap();
    run(folder.path(), &out, ExportFormat::Olmo).unwrap();
    assert!(!aside.exists() && !out.join("theirs").exists());
    // A stop leaves nothing behind.
    fs::remove_dir_all(&out).unwrap();
    let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
    let options = all_of(ExportFormat::Olmo, 1);
    let stopped = export(&corpus, &out, &options, Observer::new(&|_| {}, &AtomicBool::new(true)));
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(!aside.exists() && !out.exists());
}

#[test]
fn the_same_export_again_is_done_and_another_is_refused() {
    let (folder, _) = small_corpus(1000);
    fs::write(folder.path().join("tokenizer_config.json"), "{\"eos_token\": \"<end>\"}").unwrap();
    let out = folder.path().join("out");
    let first = run_cut(folder.path(), &out, ExportFormat::Llmc, 50).unwrap();
    assert!(out.join("tokenizer_config.json").exists(), "which token ends a text travels");
    let again = run_cut(folder.path(), &out, ExportFormat::Llmc, 50).unwrap();
    assert_eq!(again, ExportReport { already_done: true, ..first.clone() });
    for (format, shard_tokens, expected) in [
        (ExportFormat::Olmo, 50, "expected format llmc as it was written before, got olmo"),
        (ExportFormat::Llmc, 51, "expected shard_tokens 50 as it was written before, got 51"),
    ] {
        let error = run_cut(folder.path(), &out, format, shard_tokens).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Configuration && error.to_string().contains(expected),
            "{error}"
        );
    }
    // Another corpus, and a folder from which a file is missing.
    let (other, _) = small_corpus(900);
    let error = run_cut(other.path(), &out, ExportFormat::Llmc, 50).unwrap_err();
    assert!(error.to_string().contains("expected corpus "), "{error}");
    fs::remove_file(out.join(&first.files[0].path)).unwrap();
    let error = run_cut(folder.path(), &out, ExportFormat::Llmc, 50).unwrap_err();
    assert!(error.to_string().contains("got no file; remove the folder"), "{error}");
}

/// The same call succeeds from each state that a kill can leave.
#[test]
fn a_killed_export_goes_on_from_any_state() {
    let (folder, _) = small_corpus(1000);
    let [out, aside, whole] =
        ["out", "out.exporting", "whole"].map(|name| folder.path().join(name));
    run(folder.path(), &whole, ExportFormat::Olmo).unwrap();
    let record = fs::read(whole.join(".mixdown-export")).unwrap();
    let states: [&dyn Fn(); 4] = [
        // Before the record; while it was written; while the rest was; before the rename.
        &|| (),
        &|| fs::write(aside.join(".mixdown-export.0123456789abcdef.tmp"), "{").unwrap(),
        &|| {
            fs::write(aside.join(".mixdown-export"), &record).unwrap();
            fs::create_dir(aside.join("train")).unwrap();
            fs::write(aside.join("train/00000.ds"), "half").unwrap();
        },
        &|| {
            fs::remove_dir(&aside).unwrap();
            fs::rename(&whole, &aside).unwrap();
        },
    ];
    for state in states {
        fs::create_dir(&aside).unwrap();
        state();
        let report = run(folder.path(), &out, ExportFormat::Olmo).unwrap();
        assert!(!report.already_done && !aside.exists());
        assert!(!out.join("train").exists() && out.join("train-00000.npy").exists());
        fs::remove_dir_all(&out).unwrap();
    }
}

/// Of two exports at once, one may end with an error; a result that reports success is complete.
#[test]
fn two_exports_at_once_do_not_meet() {
    let (one, _) = small_corpus(1000);
    let (other, _) = small_corpus(900);
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    for _ in 0..20 {
        let start = std::sync::Barrier::new(2);
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads = [&one, &other].map(|corpus| {
                scope.spawn(|| {
                    start.wait();
                    run(corpus.path(), &out, ExportFormat::Olmo)
                })
            });
            threads.map(|thread| thread.join().unwrap()).into()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        for (result, corpus) in results.iter().zip([&one, &other]) {
            match result {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Configuration, "{error}"),
                Ok(report) => {
                    let corpus = Corpus::open(corpus.path(), Access::Map).unwrap();
                    let tokens = report
                        .files
                        .iter()
                        .map(|file| fs::metadata(out.join(&file.path)).unwrap().len() / 2);
                    let expected = Split::ALL.map(|split| corpus.tokens(split)).iter().sum::<u64>();
                    assert_eq!(tokens.sum::<u64>(), expected);
                }
            }
        }
        assert!(!place.path().join("out.exporting").exists());
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn masks_go_to_olmo_as_its_own_package_takes_them() {
    let corpus = golden("datatrove", "two_bytes");
    adopt(corpus.path(), "two_bytes.ds", &options()).unwrap();
    let out = corpus.path().join("out");
    run(corpus.path(), &out, ExportFormat::Olmo).unwrap();
    let mask = fs::read(out.join("labels_mask_train-00000.npy")).unwrap();
    assert_eq!(mask, golden_bytes("datatrove/two_bytes.ds.loss"));
}
