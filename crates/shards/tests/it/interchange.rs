//! Token files of other programs, adopted in place. The files of testdata/interchange were made
//! with the programs' own packages (tools/make_interchange_golden.py).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use mixdown_shards::{
    Access, Corpus, Dtype, Error, Fingerprint, ImportFile, ImportOptions, Manifest, Split,
    TokenFormat, import,
};

use crate::support::{damage_of, flip, overwrite, run_verify};

const END: u32 = 7;
const VOCAB_SIZE: u64 = 1000;

/// The golden documents, each ended by END.
fn documents() -> Vec<Vec<u32>> {
    let mut state = 1_u64;
    let mut next = || {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        8 + u32::try_from((state / 65_536) % (VOCAB_SIZE - 8)).unwrap()
    };
    let ended = |number: usize| (0..2 + 3 * number).map(|_| next()).chain([END]).collect();
    (0..9).map(ended).collect()
}

/// The same, each begun by END.
fn begun() -> Vec<Vec<u32>> {
    let rotated = |mut ids: Vec<u32>| {
        ids.rotate_right(1);
        ids
    };
    documents().into_iter().map(rotated).collect()
}

/// The text of a document of the tests: three bytes an id.
fn text_of(ids: &[u32]) -> Result<(u64, u64), Box<dyn std::error::Error + Send + Sync>> {
    assert!(!ids.contains(&END));
    Ok((3 * ids.len() as u64, ids.iter().map(|id| u64::from(*id)).sum()))
}

pub fn options() -> ImportOptions<'static> {
    ImportOptions {
        tokenizer_fingerprint: Fingerprint::of(b"tokenizer"),
        vocab_size: VOCAB_SIZE,
        end_of_text: END,
        beginning_of_text: None,
        format: None,
        dtype: None,
        sample_sums: None,
        text_of: &text_of,
    }
}

/// A copy of some golden files in a folder that vanishes.
pub fn golden(folder: &str, stem: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/interchange").join(folder);
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with(stem) {
            fs::copy(&path, copy.path().join(name)).unwrap();
        }
    }
    fs::write(copy.path().join("tokenizer.json"), "{}").unwrap();
    copy
}

pub fn adopt(folder: &Path, name: &str, options: &ImportOptions<'_>) -> Result<Manifest, Error> {
    let files = [ImportFile { path: folder.join(name), split: Split::Train }];
    import(folder, &files, options, &|_| (), &AtomicBool::new(false))
}

fn names(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn assert_holds(folder: &Path, documents: &[Vec<u32>]) {
    for access in [Access::Map, Access::Read] {
        let corpus = Corpus::open(folder, access).unwrap();
        let stream = documents.concat();
        assert_eq!(corpus.tokens(Split::Train), stream.len() as u64);
        for start in 0..stream.len() {
            for end in [start, (start + 5).min(stream.len()), stream.len()] {
                let mut ids = vec![0; end - start];
                corpus.read_tokens(Split::Train, start as u64, &mut ids).unwrap();
                assert_eq!(ids, stream[start..end]);
            }
        }
        for (n, document) in (0..).zip(documents) {
            assert_eq!(&corpus.document(Split::Train, n).unwrap(), document);
        }
        let lengths = corpus.document_lengths(Split::Train).unwrap();
        assert_eq!(lengths.len(), documents.len());
    }
    assert_eq!(damage_of(folder), []);
}

#[test]
fn golden_files_are_adopted_without_touching_them() {
    for (folder, name, dtype, header_bytes, sidecars) in [
        ("megatron", "int32.bin", Dtype::I32, 0, &["hashes", "sums"][..]),
        ("megatron", "uint16.bin", Dtype::U16, 0, &["hashes", "sums"]),
        ("megatron", "sentences.bin", Dtype::U16, 0, &["hashes", "idx", "sums"]),
        ("datatrove", "two_bytes.ds", Dtype::U16, 0, &["hashes", "idx", "sums"]),
        ("datatrove", "four_bytes.ds", Dtype::I32, 0, &["hashes", "idx", "sums"]),
        ("olmo", "part-0-00000.npy", Dtype::U16, 0, &["hashes", "idx", "sums"]),
        ("llmc", "gpt2_train_000000.bin", Dtype::U16, 1024, &["hashes", "idx", "sums"]),
        ("llmc", "llama3_train_000000.bin", Dtype::I32, 1024, &["hashes", "idx", "sums"]),
        ("nanogpt", "train.bin", Dtype::U16, 0, &["hashes", "idx", "sums"]),
        ("npy", "ids.npy", Dtype::U16, 128, &["hashes", "idx", "sums"]),
        ("npy", "wide.npy", Dtype::I32, 128, &["hashes", "idx", "sums"]),
    ] {
        let copy = golden(folder, name.split('.').next().unwrap());
        let before = names(copy.path());
        let manifest = adopt(copy.path(), name, &options()).unwrap();
        assert_eq!((manifest.version, manifest.dtype), (2, dtype), "{name}");
        let record = &manifest.train.shards[0];
        let adopted = record.adopted.as_ref().unwrap();
        assert_eq!(adopted.header_bytes, header_bytes, "{name}");
        assert_eq!(record.bin_root, Fingerprint::of(&fs::read(copy.path().join(name)).unwrap()));
        let is_begun = folder == "llmc";
        assert_eq!(manifest.beginning_of_text, is_begun.then_some(END));
        let expected = if is_begun { begun() } else { documents() };
        assert_holds(copy.path(), &expected);
        // Texts are hashed without beginning and end.
        let corpus = Corpus::open(copy.path(), Access::Map).unwrap();
        let texts = documents().into_iter().map(|mut ids| {
            ids.pop();
            text_of(&ids).unwrap()
        });
        let (bytes, hashes): (Vec<u64>, Vec<u64>) = texts.unzip();
        assert_eq!(corpus.document_hashes(Split::Train).unwrap(), hashes);
        assert_eq!(corpus.text_bytes(Split::Train), bytes.iter().sum::<u64>());
        // Nothing but the manifest and the sidecars is new, and nothing has changed.
        let mut after = names(copy.path());
        after.retain(|(path, _)| !path.ends_with("manifest.json"));
        assert_eq!(after, before);
        let beside = names(&copy.path().join(".mixdown/train"));
        let beside: Vec<_> = beside.iter().map(|(path, _)| path.extension().unwrap()).collect();
        assert_eq!(beside, sidecars, "{name}");
        // A second import is refused.
        let message = adopt(copy.path(), name, &options()).unwrap_err().to_string();
        assert!(message.contains("expected no manifest yet, got one"), "{message}");
    }
}

#[test]
fn wide_ids_of_a_small_vocabulary_need_a_word() {
    let copy = golden("olmo", "wide");
    let message = adopt(copy.path(), "wide-0-00000.npy", &options()).unwrap_err().to_string();
    assert!(message.contains("--dtype uint32") && message.contains("byte 2"), "{message}");
    let options = ImportOptions { dtype: Some(Dtype::I32), ..options() };
    adopt(copy.path(), "wide-0-00000.npy", &options).unwrap();
    assert_holds(copy.path(), &documents());
}

#[test]
fn datatrove_losses_are_masks() {
    let copy = golden("datatrove", "two_bytes");
    let manifest = adopt(copy.path(), "two_bytes.ds", &options()).unwrap();
    let mask: Vec<u8> = documents()
        .iter()
        .flat_map(|ids| (0..ids.len()).map(|place| u8::from(place % 3 == 2)))
        .collect();
    let targets = mask.iter().map(|byte| u64::from(*byte)).sum();
    assert_eq!(manifest.train.loss_tokens, Some(targets));
    let corpus = Corpus::open(copy.path(), Access::Map).unwrap();
    let mut read = vec![9; mask.len()];
    corpus.read_mask(Split::Train, 0, &mut read).unwrap();
    assert_eq!(read, mask);
    // A mask that is too short, or that holds something else.
    fs::remove_file(copy.path().join("manifest.json")).unwrap();
    let loss = copy.path().join("two_bytes.ds.loss");
    overwrite(&loss, 5, &[2]);
    let message = adopt(copy.path(), "two_bytes.ds", &options()).unwrap_err().to_string();
    assert!(message.contains("byte 5: expected a mask byte of 0 or 1, got 2"), "{message}");
    fs::write(&loss, [0; 4]).unwrap();
    let message = adopt(copy.path(), "two_bytes.ds", &options()).unwrap_err().to_string();
    assert!(message.contains("a byte for each of 135 ids"), "{message}");
}

#[test]
fn several_files_make_one_stream_in_both_splits() {
    let copy = golden("nanogpt", "");
    let file = |name: &str, split| ImportFile { path: copy.path().join(name), split };
    fs::create_dir(copy.path().join("more")).unwrap();
    fs::copy(copy.path().join("train.bin"), copy.path().join("more/again.bin")).unwrap();
    let files = [
        file("more/again.bin", Split::Train),
        file("val.bin", Split::Holdout),
        file("train.bin", Split::Train),
    ];
    let manifest =
        import(copy.path(), &files, &options(), &|_| (), &AtomicBool::new(false)).unwrap();
    assert_eq!(manifest.inputs[0].path, "more/again.bin");
    assert_holds(copy.path(), &[documents(), documents()].concat());
    let corpus = Corpus::open(copy.path(), Access::Map).unwrap();
    // The last document of val.bin is cut in its middle.
    assert_eq!(corpus.tokens(Split::Holdout), 40);
    assert_eq!(corpus.document_lengths(Split::Holdout).unwrap().iter().sum::<u32>(), 40);
}

#[test]
fn a_file_of_several_blocks_with_a_header() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    let path = folder.path().join("long.bin");
    let ids: Vec<u32> =
        (0..1_500_000_u32).map(|n| if n % 1000 == 999 { END } else { n % 1000 }).collect();
    let mut bytes = Vec::new();
    for number in [20_240_520_u32, 1, 1_500_000].into_iter().chain([0; 253]) {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(ids.iter().flat_map(|id| u16::try_from(*id).unwrap().to_le_bytes()));
    fs::write(&path, &bytes).unwrap();
    let text = |_: &[u32]| Ok((1, 1));
    let whole = ImportOptions { text_of: &text, ..options() };
    let manifest = adopt(folder.path(), "long.bin", &whole).unwrap();
    assert_eq!(manifest.train.shards[0].bin_root, Fingerprint::of(&bytes));
    let corpus = Corpus::open(folder.path(), Access::Read).unwrap();
    let mut read = vec![0; ids.len()];
    corpus.read_tokens(Split::Train, 0, &mut read).unwrap();
    assert_eq!(read, ids);
    // 7 stands in the ids of every thousand as well: twice a thousand.
    assert_eq!(corpus.documents(Split::Train), 3000);
    assert_eq!(damage_of(folder.path()), []);
    // Damage in the header and in each block is named; two blocks, two places.
    for offset in [5, (1 << 20) + 4, (2 << 20) + 8] {
        flip(&path, offset, 1);
    }
    let blocks = [0, 1 << 20, 2 << 20].map(|offset| (path.clone(), Some(offset)));
    assert_eq!(damage_of(folder.path()), blocks);
    // An id beyond the vocabulary where sums are none: only the blocks of the sample have one.
    fs::write(&path, &bytes).unwrap();
    fs::remove_file(folder.path().join("manifest.json")).unwrap();
    let sampled = ImportOptions { sample_sums: Some("0.01%".parse().unwrap()), ..options() };
    let manifest = adopt(folder.path(), "long.bin", &sampled).unwrap();
    let record = &manifest.train.shards[0];
    assert_eq!(record.adopted.as_ref().unwrap().sampled_blocks, Some(2));
    assert_eq!((record.bin_root, record.text_bytes), (record.sums_root, 0));
    let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
    assert!(!corpus.has_document_hashes(Split::Train));
    assert!(corpus.document_hashes(Split::Train).unwrap().is_empty());
    let report = run_verify(folder.path()).unwrap();
    assert_eq!((report.bytes_without_sum, report.damage.len()), (1 << 20, 0));
    flip(&path, (1 << 20) + 4, 1);
    assert_eq!(damage_of(folder.path()), []);
    flip(&path, (1 << 20) + 4, 1);
    overwrite(&path, (1 << 20) + 4, &[0xff, 0xff]);
    flip(&path, 12, 1);
    let places = [(path.clone(), Some(0)), (path.clone(), Some((1 << 20) + 4))];
    assert_eq!(damage_of(folder.path()), places);
}

/// What is said of a golden file that `change` has damaged.
fn message_of(folder: &str, name: &str, change: impl FnOnce(&Path)) -> String {
    let copy = golden(folder, name.split('.').next().unwrap());
    change(copy.path());
    let error = adopt(copy.path(), name, &options()).unwrap_err();
    assert!(!copy.path().join("manifest.json").exists());
    assert!(!error.is_configuration() && !error.is_io(), "{error}");
    error.to_string().replace(&format!("{}/", copy.path().display()), "")
}

#[test]
fn bad_files_are_named_with_place_and_way_out() {
    let beyond = message_of("nanogpt", "train.bin", |folder| {
        overwrite(&folder.join("train.bin"), 20, &1000_u16.to_le_bytes());
    });
    assert_eq!(
        beyond,
        "train.bin: byte 20: expected ids of uint16 below the tokenizer's vocabulary of 1000, got \
         1000; give the tokenizer that made the file, or the right --dtype or --format"
    );
    let odd = message_of("nanogpt", "train.bin", |folder| {
        fs::write(folder.join("train.bin"), [1, 0, 2]).unwrap();
    });
    assert!(odd.contains("a whole number of ids of 2 bytes, at least one, got 3 bytes"), "{odd}");
    let empty = message_of("nanogpt", "train.bin", |folder| {
        fs::write(folder.join("train.bin"), []).unwrap();
    });
    assert!(empty.contains("got 0 bytes"), "{empty}");
    for (at, bytes, expected) in [
        (0, &b"X"[..], "int32.idx: byte 0: expected the magic"),
        (9, &[2], "int32.idx: byte 9: expected version 1, got 2"),
        (
            17,
            &[5],
            "int32.idx: byte 17: expected dtype code 4 (int32) or 8 (uint16), got 5 (int64)",
        ),
        (17, &[1], "got 1 (uint8)"),
        (
            18,
            &[8],
            "expected the size of an index of 8 sequences and 10 document entries, got 222 bytes",
        ),
        (34, &[255; 4], "byte 34: expected a length of sequence 0 of at least 0, got -1"),
        (34, &[2, 0], "byte 78: expected byte offset 8 of sequence 1, got 12"),
        (34 + 9 * 12 + 8, &[0], "expected a last document entry"),
    ] {
        let message = message_of("megatron", "int32.bin", |folder| {
            overwrite(&folder.join("int32.idx"), at, bytes);
            if at == 34 + 9 * 12 + 8 {
                overwrite(&folder.join("int32.idx"), 34 + 9 * 12 + 8 * 9, &[8]);
            }
        });
        assert!(message.contains(expected), "{message}");
    }
    let longer = message_of("megatron", "int32.bin", |folder| {
        let path = folder.join("int32.bin");
        fs::write(&path, [fs::read(&path).unwrap(), vec![0; 4]].concat()).unwrap();
    });
    assert!(longer.contains("int32.idx: byte 34: expected sequences of 544 bytes"), "{longer}");
}

#[test]
fn bad_headers_and_ends_are_named_with_place() {
    for (at, number, expected) in [
        (
            0,
            1_u32,
            "gpt2_train_000000.bin: byte 0: expected llm.c's magic 20240520 or 20240801, got 1",
        ),
        (0, 20_240_522, "got its file of multiple-choice questions"),
        (4, 2, "byte 4: expected version 1 after magic 20240520, got 2"),
        (
            8,
            134,
            "byte 8: expected the number of ids behind the header, 135 in 1294 bytes, got 134",
        ),
        (8, u32::MAX, "got 4294967295"),
    ] {
        let copy = golden("llmc", "gpt2");
        overwrite(&copy.path().join("gpt2_train_000000.bin"), at, &number.to_le_bytes());
        let options = ImportOptions { format: Some(TokenFormat::Llmc), ..options() };
        let error = adopt(copy.path(), "gpt2_train_000000.bin", &options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (at, number, expected) in [
        (16, 2_u64, "two_bytes.ds.index: byte 16: expected an end of 9 to 135"),
        (64, 1 << 40, "byte 64: expected a last end of 135 or 67 ids"),
        (56, 1 << 63, "byte 56: expected an end of 84 to 135"),
    ] {
        let message = message_of("datatrove", "two_bytes.ds", |folder| {
            overwrite(&folder.join("two_bytes.ds.index"), at, &number.to_le_bytes());
        });
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn narrow_ids_of_a_wide_vocabulary_are_refused() {
    let options = ImportOptions { vocab_size: 100_000, dtype: Some(Dtype::U16), ..options() };
    for (folder, name) in
        [("nanogpt", "train.bin"), ("megatron", "uint16.bin"), ("llmc", "gpt2_train_000000.bin")]
    {
        let copy = golden(folder, name.split('.').next().unwrap());
        let message = adopt(copy.path(), name, &options).unwrap_err().to_string();
        assert!(
            message.contains("vocabulary of 100000, got uint16 ids, which end at 65535"),
            "{message}"
        );
    }
}

#[test]
fn documents_of_olmo_must_follow_one_another() {
    use std::io::Write;
    for (csv, expected) in [
        (
            "0,3\n4,9\n",
            "expected in line 2 a document that begins at 3, where the last one ends, got 4",
        ),
        (
            "0,3\n3,136\n",
            "expected in line 2 an end of 3 to 135, the ids of part-0-00000.npy, got 136",
        ),
        ("0,3\n3,2\n", "expected in line 2 an end of 3"),
        ("0\n", "expected in line 1 a line that begins with two numbers, got fewer"),
        ("a,b\n", "expected in line 1 a line that begins with two numbers, start and end, got 'a'"),
        ("0,99999999999999999999\n", "expected in line 1 numbers of 64 bits"),
        ("0,3,\"x\n", "expected in line 1 a closing quotation mark"),
    ] {
        let message = message_of("olmo", "part-0-00000.npy", |folder| {
            let file = fs::File::create(folder.join("part-0-00000.csv.gz")).unwrap();
            let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            gzip.write_all(csv.as_bytes()).unwrap();
            gzip.finish().unwrap();
        });
        assert!(message.contains(expected), "{message}");
    }
    let cut = message_of("olmo", "part-0-00000.npy", |folder| {
        let path = folder.join("part-0-00000.csv.gz");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    });
    assert!(cut.contains("gzip data that is whole"), "{cut}");
    // More columns, quoted commas and line ends, no line end at the end, ids behind the last document.
    let copy = golden("olmo", "part");
    let file = fs::File::create(copy.path().join("part-0-00000.csv.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(b"0,3,\"a,\nb\",s,1\r\n3,3,,,\n3,9,\"\"\"\",s,2").unwrap();
    gzip.finish().unwrap();
    let manifest = adopt(
        copy.path(),
        "part-0-00000.npy",
        &ImportOptions { text_of: &|_| Ok((1, 1)), ..options() },
    )
    .unwrap();
    assert_eq!((manifest.train.documents, manifest.counts.empty_documents), (3, 1));
}

/// Whatever stands in a header or an index, nothing panics; what is adopted is sound.
#[test]
fn every_header_byte_may_be_damaged() {
    // Where the rest of a file is padding, its begin is enough.
    for (folder, name, damaged, header_bytes) in [
        ("megatron", "int32.bin", "int32.idx", 222),
        ("megatron", "sentences.bin", "sentences.idx", 200),
        ("datatrove", "two_bytes.ds", "two_bytes.ds.index", 72),
        ("llmc", "gpt2_train_000000.bin", "gpt2_train_000000.bin", 16),
        ("npy", "ids.npy", "ids.npy", 80),
        ("olmo", "part-0-00000.npy", "part-0-00000.csv.gz", 84),
    ] {
        let copy = golden(folder, name.split('.').next().unwrap());
        let path = copy.path().join(damaged);
        let sound = fs::read(&path).unwrap();
        let any_text = ImportOptions { text_of: &|_| Ok((1, 1)), ..options() };
        let mut accepted = 0;
        for at in 0..header_bytes {
            fs::write(&path, &sound[..at]).unwrap();
            accepted += usize::from(outcome(copy.path(), name, &any_text));
            fs::write(&path, &sound).unwrap();
            flip(&path, at, [0x01, 0x80, 0xff][at % 3]);
            accepted += usize::from(outcome(copy.path(), name, &any_text));
        }
        // Bytes that say nothing, such as gzip's time, and a begin that is an array of ids.
        assert!(accepted < header_bytes, "{damaged}: {accepted}");
    }
}

/// Whether the folder is adopted; if it is, it is sound.
fn outcome(folder: &Path, name: &str, options: &ImportOptions<'_>) -> bool {
    let is_adopted = adopt(folder, name, options).is_ok();
    if is_adopted {
        assert_eq!(damage_of(folder), []);
        fs::remove_file(folder.join("manifest.json")).unwrap();
    }
    is_adopted
}

#[cfg(unix)]
#[test]
fn files_outside_the_corpus_folder_are_refused() {
    let copy = golden("nanogpt", "train");
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("train.bin");
    fs::copy(copy.path().join("train.bin"), &file).unwrap();
    let files = [ImportFile { path: file.clone(), split: Split::Train }];
    let stop = AtomicBool::new(false);
    let message = import(copy.path(), &files, &options(), &|_| (), &stop).unwrap_err().to_string();
    assert!(message.contains("expected a file below the corpus folder"), "{message}");
    // A link that leads out is refused when the corpus is opened, in any part of the path.
    std::os::unix::fs::symlink(outside.path(), copy.path().join("link")).unwrap();
    let message = adopt(copy.path(), "link/train.bin", &options()).unwrap_err().to_string();
    assert!(message.contains("a link to"), "{message}");
    assert!(!copy.path().join("manifest.json").exists());
}

#[test]
fn a_stop_leaves_no_manifest_and_the_next_run_succeeds() {
    let copy = golden("nanogpt", "train");
    let files = [ImportFile { path: copy.path().join("train.bin"), split: Split::Train }];
    let stopped = import(copy.path(), &files, &options(), &|_| (), &AtomicBool::new(true));
    assert!(stopped.unwrap_err().is_interrupted());
    assert!(!copy.path().join("manifest.json").exists());
    adopt(copy.path(), "train.bin", &options()).unwrap();
}
