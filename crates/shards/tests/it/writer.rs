use std::fs;

use mixdown_shards::{Access, Corpus, Dtype, Error, ShardWriter};

use crate::support::write_corpus;

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

/// Killed while writing: nothing stands under its own name, and the next attempt goes through.
#[test]
fn unfinished_shard_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train");
    let mut writer = ShardWriter::create(&train, "shard-00000", Dtype::U16, 100).unwrap();
    writer.push(&vec![7; 2_000_000], 5, 1, None).unwrap();
    drop(writer);
    assert!(names(&train).iter().all(|name| name.ends_with(".tmp")));
    assert!(Corpus::open(folder.path(), Access::Map).unwrap_err().is_configuration());
    write_corpus(folder.path(), 100, &vec![vec![vec![1]]], &vec![]);
    Corpus::open(folder.path(), Access::Map).unwrap();
    assert!(names(&train).iter().all(|name| !name.ends_with(".tmp")));
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_is_an_io_error() {
    for (extension, fails_at_push) in [("bin", true), ("idx", false), ("sums", false)] {
        let folder = tempfile::tempdir().unwrap();
        let temporary = folder.path().join(format!("s.{extension}.tmp"));
        std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
        let mut writer = ShardWriter::create(folder.path(), "s", Dtype::U16, 100).unwrap();
        let pushed = writer.push(&vec![7; 2_000_000], 5, 1, None);
        assert_eq!(pushed.is_err(), fails_at_push);
        let error = pushed.and_then(|()| writer.finish().map(drop)).unwrap_err();
        assert!(error.is_io() && !error.is_configuration(), "{error}");
        assert!(!folder.path().join("s.bin").exists());
    }
}

#[test]
fn folder_that_is_a_file_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train");
    fs::write(&path, "x").unwrap();
    let error = ShardWriter::create(&path, "s", Dtype::U16, 100).unwrap_err();
    assert!(error.is_io() && error.to_string().contains("train"), "{error}");
}
