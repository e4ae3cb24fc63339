//! Token files of other programs, adopted in place. The files of testdata/interchange were made
//! with the programs' own packages (tools/golden/make_interchange_golden.py).

use std::{
    fs,
    path::{Path, PathBuf},
};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_shards::{
    Access, Corpus, Dtype, Error, Fingerprint, ImportFile, ImportOptions, Manifest, Split, import,
};

use crate::support::{damage_of, flip, overwrite, run_verify};

const END: u32 = 7;
const VOCAB_SIZE: u64 = 1000;

/// The golden documents, each ending with END.
fn documents() -> Vec<Vec<u32>> {
    let mut state = 1_u64;
    let mut next = || {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        8 + u32::try_from((state / 65_536) % (VOCAB_SIZE - 8)).unwrap()
    };
    let ended = |number: usize| (0..2 + 3 * number).map(|_| next()).chain([END]).collect();
    (0..9).map(ended).collect()
}

/// The same documents, each beginning with END.
fn begun() -> Vec<Vec<u32>> {
    let rotated = |mut ids: Vec<u32>| {
        ids.rotate_right(1);
        ids
    };
    documents().into_iter().map(rotated).collect()
}

/// The text of a document in the tests: three bytes per id.
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
        companions: &[],
        text_of: &text_of,
    }
}

/// A copy of some golden files in a temporary folder.
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
    let report = import(folder, &files, options, Observer::silent())?;
    assert!(!report.already_done);
    Ok(report.manifest)
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
        // Only the manifest and the sidecars are new, and nothing else has changed.
        let mut after = names(copy.path());
        after.retain(|(path, _)| !path.ends_with("manifest.json"));
        assert_eq!(after, before);
        let beside = names(&copy.path().join(".mixdown/train"));
        let beside: Vec<_> = beside.iter().map(|(path, _)| path.extension().unwrap()).collect();
        assert_eq!(beside, sidecars, "{name}");
        assert_a_second_import_is_known(copy.path(), name, &manifest);
    }
}

/// The same import again changes nothing; an import that differs is refused with its first difference.
fn assert_a_second_import_is_known(folder: &Path, name: &str, manifest: &Manifest) {
    let again = |options: &ImportOptions<'_>| {
        let files = [ImportFile { path: folder.join(name), split: Split::Train }];
        import(folder, &files, options, Observer::silent())
    };
    let before = names(folder);
    let report = again(&options()).unwrap();
    assert!(report.already_done && report.manifest == *manifest, "{name}");
    for (options, expected) in [
        (
            ImportOptions { tokenizer_fingerprint: Fingerprint::of(b"another"), ..options() },
            "expected the tokenizer",
        ),
        (ImportOptions { end_of_text: END + 1, ..options() }, "expected end_of_text 7"),
        (
            ImportOptions { sample_sums: Some("1%".parse().unwrap()), ..options() },
            "expected sums of all blocks as it was written before, got 1%",
        ),
    ] {
        let message = again(&options).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(names(folder), before);
}

#[test]
fn another_list_of_files_is_another_import() {
    let copy = golden("nanogpt", "");
    adopt(copy.path(), "train.bin", &options()).unwrap();
    let file = |name: &str, split| ImportFile { path: copy.path().join(name), split };
    for (files, expected) in [
        (vec![file("val.bin", Split::Train)], "expected file 0 of train as train.bin of"),
        (
            vec![file("train.bin", Split::Train), file("val.bin", Split::Holdout)],
            "expected file 0 of holdout as none",
        ),
    ] {
        let error = import(copy.path(), &files, &options(), Observer::silent()).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Configuration && error.to_string().contains(expected),
            "{error}"
        );
    }
    // Somebody has appended to the file.
    let path = copy.path().join("train.bin");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..], &[1, 0]].concat()).unwrap();
    let files = [file("train.bin", Split::Train)];
    let error = import(copy.path(), &files, &options(), Observer::silent()).unwrap_err();
    let expected = format!("train.bin of {} bytes", bytes.len());
    assert!(error.to_string().contains(&expected), "{error}");
    // The manifest belongs to another program.
    fs::write(&path, &bytes).unwrap();
    fs::write(copy.path().join("manifest.json"), "{\"files\": []}").unwrap();
    let error = import(copy.path(), &files, &options(), Observer::silent()).unwrap_err();
    assert!(error.to_string().contains("or that of an earlier import, got another"), "{error}");
}

#[test]
fn an_end_of_text_that_never_occurs_is_told() {
    let copy = golden("nanogpt", "");
    let files = ["train.bin", "val.bin"]
        .map(|name| ImportFile { path: copy.path().join(name), split: Split::Train });
    let absent = ImportOptions { end_of_text: 998, text_of: &|_| Ok((1, 1)), ..options() };
    let report = import(copy.path(), &files, &absent, Observer::silent()).unwrap();
    assert_eq!(report.without_end, ["train.bin", "val.bin"]);
    assert_eq!(report.manifest.train.documents, 2);
    // With an index, no end-of-text search is needed.
    let copy = golden("megatron", "uint16");
    let files = [ImportFile { path: copy.path().join("uint16.bin"), split: Split::Train }];
    let report = import(copy.path(), &files, &absent, Observer::silent()).unwrap();
    assert!(report.without_end.is_empty() && report.manifest.train.documents > 1);
}

#[test]
fn the_tokenizers_files_are_written_whole_and_never_over_others() {
    let copy = golden("nanogpt", "train");
    let name = "tokenizer_config.json";
    let companions = [("tokenizer.json", b"{}".to_vec()), (name, b"{\"a\": 1}".to_vec())];
    let files = [ImportFile { path: copy.path().join("train.bin"), split: Split::Train }];
    let with = ImportOptions { companions: &companions, ..options() };
    // A killed import left half a file under a name that nobody else uses.
    let left = copy.path().join(format!("{name}.0123456789abcdef.tmp"));
    fs::write(&left, "{").unwrap();
    fs::write(copy.path().join(name), "{}").unwrap();
    let error = import(copy.path(), &files, &with, Observer::silent()).unwrap_err();
    assert!(error.to_string().contains("or the same as the tokenizer's, got another"), "{error}");
    fs::remove_file(copy.path().join(name)).unwrap();
    import(copy.path(), &files, &with, Observer::silent()).unwrap();
    assert!(!left.exists());
    assert_eq!(fs::read(copy.path().join(name)).unwrap(), b"{\"a\": 1}");
    // The manifest's seal covers them.
    fs::write(copy.path().join(name), b"{\"a\": 2}").unwrap();
    assert_eq!(damage_of(copy.path()), [(copy.path().join(name), None)]);
    fs::remove_file(copy.path().join(name)).unwrap();
    assert_eq!(damage_of(copy.path()), [(copy.path().join(name), None)]);
}

#[test]
fn masks_beside_arrays_of_olmo_are_taken() {
    let copy = golden("olmo", "part");
    let tokens = fs::metadata(copy.path().join("part-0-00000.npy")).unwrap().len() / 2;
    let mask: Vec<u8> = (0..tokens).map(|n| u8::from(n % 4 == 0)).collect();
    fs::write(copy.path().join("labels_mask_part-0-00000.npy"), &mask).unwrap();
    adopt(copy.path(), "part-0-00000.npy", &options()).unwrap();
    let corpus = Corpus::open(copy.path(), Access::Map).unwrap();
    let mut read = vec![9; mask.len()];
    corpus.read_mask(Split::Train, 0, &mut read).unwrap();
    assert_eq!(read, mask);
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
    // The mask is too short, or holds something else.
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
    let report = import(copy.path(), &files, &options(), Observer::silent()).unwrap();
    let manifest = report.manifest;
    assert_eq!(manifest.inputs[0].path, "more/again.bin");
    assert_holds(copy.path(), &[documents(), documents()].concat());
    let corpus = Corpus::open(copy.path(), Access::Map).unwrap();
    // The last document of val.bin is cut in the middle.
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
    // 7 also occurs in the ids of every thousand: twice per thousand.
    assert_eq!(corpus.documents(Split::Train), 3000);
    assert_eq!(damage_of(folder.path()), []);
    // Damage in the header and in each block is reported; two blocks, two places.
    for offset in [5, (1 << 20) + 4, (2 << 20) + 8] {
        flip(&path, offset, 1);
    }
    let blocks = [0, 1 << 20, 2 << 20].map(|offset| (path.clone(), Some(offset)));
    assert_eq!(damage_of(folder.path()), blocks);
    // An id beyond the vocabulary lies in a block without a sum: only the blocks of the sample have one.
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
