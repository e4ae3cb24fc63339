//! The writer of shards: limits, errors, leftovers.

use std::fs;

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::files::finished_name;
use mixdown_shards::{
    Access, Corpus, DocumentBytes, Dtype, Error, Fingerprint, Manifest, ShardRecord, ShardWriter,
    Sketch, SketchRecord, Split, SplitRecord,
};

use crate::support::{damage_of, flip, run_verify, small_corpus, write_corpus};

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn bad_documents_are_refused_and_leave_the_shard_sound() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(folder.path(), "s", Dtype::U16, 100).unwrap();
    writer.push(&[1, 2], 5, 1, None).unwrap();
    for (ids, expected) in [(&[][..], "at least one id"), (&[1, 100], "below the vocabulary")] {
        let error = writer.push(ids, 5, 1, None).unwrap_err();
        assert!(matches!(error, Error::Document { document: 1, .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
    writer.push(&[99], 6, 2, None).unwrap();
    assert_eq!((writer.len_tokens(), writer.len_documents()), (3, 2));
    let record = writer.finish().unwrap();
    assert_eq!((record.documents, record.tokens, record.text_bytes), (2, 3, 11));
    assert_eq!(fs::read(folder.path().join("s.bin")).unwrap(), [1, 0, 2, 0, 99, 0]);
    assert_eq!(names(folder.path()), ["s.bin", "s.hashes", "s.idx", "s.sums"]);
}

#[test]
fn bad_shards_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, dtype, vocab_size) in [
        ("../s", Dtype::U16, 10),
        ("", Dtype::U16, 10),
        ("s", Dtype::U16, 0),
        ("s", Dtype::U16, 65_537),
        ("s", Dtype::I32, (1 << 31) + 1),
    ] {
        let error = ShardWriter::create(folder.path(), name, dtype, vocab_size).unwrap_err();
        assert!(matches!(error, Error::Shard { .. }), "{error}");
    }
    assert_eq!(names(folder.path()), [""; 0]);
    let error =
        ShardWriter::create(folder.path(), "s", Dtype::U16, 9).unwrap().finish().unwrap_err();
    assert!(error.to_string().contains("at least one document"), "{error}");
}

/// After a kill during writing, no file has its final name, and the next attempt succeeds.
#[test]
fn unfinished_shard_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train");
    let mut writer = ShardWriter::create(&train, "shard-00000", Dtype::U16, 100).unwrap();
    writer.push(&vec![7; 2_000_000], 5, 1, None).unwrap();
    assert!(names(&train).iter().all(|name| name.ends_with(".tmp")));
    // This is the state after a kill: neither dropped nor finished.
    std::mem::forget(writer);
    assert_eq!(
        Corpus::open(folder.path(), Access::Map).unwrap_err().kind(),
        ErrorKind::Configuration
    );
    write_corpus(folder.path(), 100, &vec![vec![vec![1]]], &vec![]);
    Corpus::open(folder.path(), Access::Map).unwrap();
    let left = names(&train).into_iter().filter(|name| finished_name(name).is_some()).count();
    assert_eq!(left, 2);
    // A dropped writer removes its files.
    drop(ShardWriter::create(&train, "shard-00001", Dtype::U16, 100).unwrap());
    assert_eq!(names(&train).len(), 6);
}

fn document<'d>(ids: &'d [u8], own_id: Option<&'d [u8]>) -> DocumentBytes<'d> {
    DocumentBytes { ids, text_bytes: 4, hash: 9, mask: None, own_id, sketch: None }
}

#[test]
fn encoded_documents_are_checked_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [Dtype::U16, Dtype::I32] {
        let mut writer = ShardWriter::create(folder.path(), "b", dtype, 100).unwrap();
        let width = usize::try_from(dtype.bytes()).unwrap();
        let (good, bad) = ([[99, 0, 0, 0]; 3], [[99, 0, 0, 0], [100, 0, 0, 0]]);
        let bytes = |ids: &[[u8; 4]]| ids.iter().flat_map(|id| id[..width].to_vec()).collect();
        let (good, bad): (Vec<u8>, Vec<u8>) = (bytes(&good), bytes(&bad));
        writer.push_bytes(&document(&good, None)).unwrap();
        for ids in [&[][..], &good[1..], &bad] {
            let error = writer.push_bytes(&document(ids, None)).unwrap_err();
            assert!(matches!(error, Error::Document { document: 1, .. }), "{error}");
        }
        assert!(writer.push_bytes(&document(&good, Some(b"\"x\""))).is_err());
        writer.push(&[99, 99, 99], 4, 9, None).unwrap();
        let record = writer.finish().unwrap();
        assert_eq!((record.documents, record.tokens, record.ids), (2, 6, None));
        assert_eq!(fs::read(folder.path().join("b.bin")).unwrap(), [good.clone(), good].concat());
    }
}

#[test]
fn own_ids_stand_in_a_file_of_lines() {
    let (folder, mut manifest) = small_corpus(50);
    let train = folder.path().join("train");
    let mut writer = ShardWriter::create(&train, "named", Dtype::U16, 50).unwrap();
    let document = |own_id| document(&[7, 0], own_id);
    writer.push_bytes(&document(Some(b"\"a\""))).unwrap();
    assert!(writer.push_bytes(&document(None)).is_err());
    assert!(writer.push_bytes(&document(Some(b"\"a\n\""))).is_err());
    writer.push_bytes(&document(Some(b"null"))).unwrap();
    let record = writer.finish().unwrap();
    let text = fs::read(train.join("named.ids")).unwrap();
    assert_eq!(text, b"\"a\"\nnull\n");
    let ids = record.ids.unwrap();
    assert_eq!((ids.bytes, ids.root), (9, Fingerprint::of(&text)));

    manifest.train = SplitRecord::new(vec![record]);
    let (dtype, tokenizer) = (manifest.dtype, manifest.tokenizer_fingerprint);
    let (train_shards, holdout) = (&manifest.train.shards, &manifest.holdout.shards);
    manifest.fingerprint = Manifest::data_fingerprint(dtype, tokenizer, train_shards, holdout);
    manifest.write(folder.path()).unwrap();
    let corpus = Corpus::open(folder.path(), Access::Read).unwrap();
    let own_id = |index| corpus.document_own_id(Split::Train, index);
    assert_eq!(own_id(0).unwrap().as_deref(), Some("a"));
    assert_eq!(own_id(1).unwrap(), None);
    assert!(own_id(2).is_err());
    assert_eq!(damage_of(folder.path()), []);
    flip(&train.join("named.ids"), 1, 1);
    assert_eq!(damage_of(folder.path()), [(train.join("named.ids"), None)]);
    fs::write(train.join("named.ids"), "\"a\"\n").unwrap();
    assert_eq!(damage_of(folder.path()), [(train.join("named.ids"), None)]);
    assert!(Corpus::open(folder.path(), Access::Read).is_err());
}

#[test]
fn sketches_stand_in_a_file_of_their_own() {
    let (folder, mut manifest) = small_corpus(50);
    let train = folder.path().join("train");
    let mut writer = ShardWriter::create(&train, "sketched", Dtype::U16, 50).unwrap();
    let sketches = [1, 2].map(Sketch::of_hash);
    let document = |sketch| DocumentBytes { sketch, ..document(&[7, 0], None) };
    writer.push_bytes(&document(Some(sketches[0]))).unwrap();
    assert!(writer.push_bytes(&document(None)).is_err());
    writer.push_bytes(&document(Some(sketches[1]))).unwrap();
    let mut record = writer.finish().unwrap();
    let bytes = fs::read(train.join("sketched.sketches")).unwrap();
    assert_eq!(bytes, sketches.map(|sketch| *sketch.as_bytes()).concat());
    let root = Fingerprint::of(&bytes);
    assert_eq!(record.sketches, Some(SketchRecord { version: Sketch::VERSION, root }));

    let fingerprint = |record: ShardRecord| {
        let (dtype, tokenizer) = (manifest.dtype, manifest.tokenizer_fingerprint);
        Manifest::data_fingerprint(dtype, tokenizer, &[record], &manifest.holdout.shards)
    };
    let without = ShardRecord { sketches: None, ..record.clone() };
    assert_eq!(fingerprint(record.clone()), fingerprint(without));
    manifest.fingerprint = fingerprint(record.clone());
    let mut write = |record: ShardRecord| {
        manifest.train = SplitRecord::new(vec![record]);
        manifest.write(folder.path()).unwrap();
        Corpus::open(folder.path(), Access::Read).unwrap()
    };
    let corpus = write(record.clone());
    assert!(corpus.has_sketches(Split::Train) && !corpus.has_sketches(Split::Holdout));
    assert!(corpus.sketches(Split::Holdout).is_err());
    let read: Vec<_> = corpus.sketches(Split::Train).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [sketches]);
    assert_eq!(run_verify(folder.path()).unwrap().foreign_sketch_shards, 0);

    // Another version is sound, but cannot be compared.
    record.sketches = Some(SketchRecord { version: 99, root });
    let corpus = write(record);
    assert!(!corpus.has_sketches(Split::Train));
    let error = corpus.sketches(Split::Train).err().unwrap().to_string();
    assert!(error.contains("expected sketches of version 1, got version 99"), "{error}");
    let report = run_verify(folder.path()).unwrap();
    assert_eq!((report.foreign_sketch_shards, report.damage), (1, Vec::new()));

    flip(&train.join("sketched.sketches"), 200, 1);
    assert_eq!(damage_of(folder.path()), [(train.join("sketched.sketches"), None)]);
    fs::write(train.join("sketched.sketches"), &bytes[1..]).unwrap();
    assert_eq!(damage_of(folder.path()), [(train.join("sketched.sketches"), None)]);
    assert!(Corpus::open(folder.path(), Access::Read).is_err());
}

#[test]
fn folder_that_is_a_file_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train");
    fs::write(&path, "x").unwrap();
    let error = ShardWriter::create(&path, "s", Dtype::U16, 100).unwrap_err();
    assert!(error.kind() == ErrorKind::Other && error.to_string().contains("train"), "{error}");
}
