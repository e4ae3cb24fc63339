//! Damaged corpora are refused, and the error names the damage.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use mixdown_base::error_kind::ErrorKind;
use mixdown_shards::{Access, Corpus, Error, Split};
use proptest::{
    prelude::{prop_assert, prop_assert_eq},
    test_runner::{Config, TestRunner},
};

use crate::support::{
    damage_of, edit_manifest, flip, overwrite, run_verify, small_corpus, write_corpus,
};

fn files(folder: &Path) -> Vec<PathBuf> {
    ["bin", "idx", "sums", "hashes"]
        .map(|extension| folder.join(format!("train/shard-00000.{extension}")))
        .to_vec()
}

fn set_len(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// The path and offset in a damaged file's error.
fn place(error: Error) -> (PathBuf, Option<u64>) {
    match error {
        Error::Damaged { path, offset_bytes, .. } => (path, offset_bytes),
        other => panic!("expected damage, got {other}"),
    }
}

#[test]
fn truncated_index_is_an_error_at_every_byte() {
    let (folder, manifest) = small_corpus(1000);
    let path = folder.path().join("train/shard-00000.idx");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len() as u64, 42 + 20 * manifest.train.shards[0].documents);
    let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        // This applies both before opening and to an opened corpus.
        assert_eq!(place(Corpus::open(folder.path(), Access::Map).unwrap_err()).0, path);
        assert_eq!(place(corpus.document(Split::Train, 0).unwrap_err()).0, path);
        assert_eq!(place(corpus.document_lengths(Split::Train).unwrap_err()).0, path);
        assert_eq!(damage_of(folder.path()), [(path.clone(), None)], "length {len}");
    }
}

#[test]
fn changed_index_header_is_an_error_at_its_field() {
    let (folder, _) = small_corpus(1000);
    let path = folder.path().join("train/shard-00000.idx");
    for offset in 0..34 {
        let field = [26, 18, 17, 9, 0].into_iter().find(|field| *field <= offset).unwrap();
        let expected = (path.clone(), Some(field));
        for bit in 0..8 {
            let at = usize::try_from(offset).unwrap();
            flip(&path, at, 1 << bit);
            let corpus = Corpus::open(folder.path(), Access::Read).unwrap();
            assert_eq!(place(corpus.document(Split::Train, 0).unwrap_err()), expected);
            assert_eq!(place(corpus.document_lengths(Split::Train).unwrap_err()), expected);
            assert_eq!(damage_of(folder.path()), std::slice::from_ref(&expected));
            flip(&path, at, 1 << bit);
        }
    }
    assert_eq!(damage_of(folder.path()), []);
}

#[test]
fn huge_and_negative_index_entries_are_errors() {
    let (folder, manifest) = small_corpus(1000);
    let path = folder.path().join("train/shard-00000.idx");
    let documents = usize::try_from(manifest.train.shards[0].documents).unwrap();
    let sound = fs::read(&path).unwrap();
    let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
    for length in [i32::MAX, i32::MIN, -1, 0] {
        overwrite(&path, 34 + 4 * 2, &length.to_le_bytes());
        assert_eq!(place(corpus.document(Split::Train, 2).unwrap_err()).0, path);
        assert_eq!(place(corpus.document_lengths(Split::Train).unwrap_err()).0, path);
        assert_eq!(damage_of(folder.path())[0].0, path);
        fs::write(&path, &sound).unwrap();
    }
    for offset in [i64::MAX, i64::MIN, -2, 1, 1 << 40] {
        let at = 34 + 4 * documents + 8 * 2;
        overwrite(&path, at, &offset.to_le_bytes());
        let expected = (path.clone(), Some(at as u64));
        assert_eq!(place(corpus.document(Split::Train, 2).unwrap_err()), expected);
        assert_eq!(damage_of(folder.path()), [expected]);
        fs::write(&path, &sound).unwrap();
    }
    for start in 0..=documents {
        let at = 34 + 12 * documents + 8 * start;
        overwrite(&path, at, &u64::MAX.to_le_bytes());
        assert_eq!(damage_of(folder.path()), [(path.clone(), Some(at as u64))]);
        fs::write(&path, &sound).unwrap();
    }
}

#[test]
fn any_changed_byte_is_found() {
    // One corpus for all cases: writing it costs a dozen flushes to the disk.
    let (folder, _) = small_corpus(100_000);
    let cases = (0..4_usize, 0..100_000_usize, 1..=255_u8);
    let mut runner = TestRunner::new(Config::with_cases(200));
    let result = runner.run(&cases, |(file, at, bits)| {
        let path = &files(folder.path())[file];
        let at = at % fs::read(path).unwrap().len();
        flip(path, at, bits);
        let damage = damage_of(folder.path());
        // Reading may fail or not, but it returns.
        let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
        for document in 0..corpus.documents(Split::Train) {
            if let Ok(ids) = corpus.document(Split::Train, document) {
                prop_assert!(ids.iter().all(|id| *id < 100_000));
            }
        }
        drop(corpus);
        flip(path, at, bits);
        prop_assert_eq!(damage.len(), 1);
        prop_assert_eq!(&damage[0].0, path);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn damaged_block_is_named_by_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    // 4 bytes per id: three full blocks and a short one.
    let document: Vec<u32> = (0..850_000).map(|n| n % 70_000).collect();
    write_corpus(folder.path(), 70_000, &vec![vec![document]], &vec![]);
    let path = folder.path().join("train/shard-00000.bin");
    let mib = 1_u64 << 20;
    for block in 0..4 {
        let at = usize::try_from(block * mib).unwrap() + 12_345;
        flip(&path, at, 1);
        assert_eq!(damage_of(folder.path()), [(path.clone(), Some(block * mib))]);
        flip(&path, at, 1);
    }
    flip(&path, 5, 128);
    flip(&path, 3_300_000, 128);
    let both = [(path.clone(), Some(0)), (path.clone(), Some(3 * mib))];
    assert_eq!(damage_of(folder.path()), both);
    // With the sums lost too, the file as a whole is still found damaged.
    let sums = folder.path().join("train/shard-00000.sums");
    flip(&sums, 40, 1);
    let damage = run_verify(folder.path()).unwrap().damage;
    assert!(damage.iter().any(|damage| damage.path == sums), "{damage:?}");
    assert!(damage.iter().any(|damage| damage.path == path && damage.offset_bytes.is_none()));
}

#[test]
fn wrong_sizes_are_errors_before_and_after_opening() {
    let (folder, _) = small_corpus(1000);
    for path in files(folder.path()) {
        let whole = fs::read(&path).unwrap();
        let len = whole.len() as u64;
        for bytes in [0, 1, len - 1, len + 1, 1 << 40] {
            set_len(&path, bytes);
            let error = Corpus::open(folder.path(), Access::Map).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            let message = error.to_string();
            assert!(
                message.contains(&format!("{len} bytes, as manifest.json says, got {bytes} bytes")),
                "{message}"
            );
            assert_eq!(place(error).0, path);
            assert_eq!(damage_of(folder.path()), [(path.clone(), None)]);
            fs::write(&path, &whole).unwrap();
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(place(Corpus::open(folder.path(), Access::Map).unwrap_err()).0, path);
        assert_eq!(damage_of(folder.path()), [(path.clone(), None)]);
        fs::create_dir(&path).unwrap();
        assert_eq!(place(Corpus::open(folder.path(), Access::Map).unwrap_err()).0, path);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, &whole).unwrap();
    }
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(damage_of(folder.path()), [(folder.path().join("tokenizer.json"), None)]);
}

#[test]
fn truncation_under_an_open_reader_is_an_error_with_access_read() {
    let (folder, _) = small_corpus(1000);
    let corpus = Corpus::open(folder.path(), Access::Read).unwrap();
    let mut ids = [0; 8];
    corpus.read_tokens(Split::Train, 4, &mut ids).unwrap();
    let path = folder.path().join("train/shard-00000.bin");
    set_len(&path, 10);
    let error = corpus.read_tokens(Split::Train, 4, &mut ids).unwrap_err();
    assert_eq!(place(error), (path.clone(), Some(8)));
    // When a shard is opened later, the size is checked again, for both kinds of access.
    for access in [Access::Map, Access::Read] {
        fs::write(
            &path,
            vec![0; usize::try_from(corpus.manifest().train.shards[0].bin_bytes).unwrap()],
        )
        .unwrap();
        let corpus = Corpus::open(folder.path(), access).unwrap();
        set_len(&path, 10);
        let error = corpus.read_tokens(Split::Train, 0, &mut ids).unwrap_err();
        assert_eq!(place(error), (path.clone(), None));
    }
}

#[test]
fn id_outside_the_vocabulary_is_named_with_its_offset() {
    for (vocab_size, id_bytes) in [(1000, 2), (100_000, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let documents = vec![vec![vec![1, 2, 3]], vec![vec![4, 5, vocab_size - 1, 6]]];
        write_corpus(folder.path(), u64::from(vocab_size), &documents, &vec![]);
        // The sums are right; only the vocabulary shrinks.
        edit_manifest(folder.path(), |json| json["vocab_size"] = (vocab_size - 1).into());
        let expected = (folder.path().join("train/shard-00001.bin"), Some(2 * id_bytes));
        for access in [Access::Map, Access::Read] {
            let corpus = Corpus::open(folder.path(), access).unwrap();
            let error = corpus.read_tokens(Split::Train, 1, &mut [0; 5]).unwrap_err();
            assert!(error.to_string().contains(&format!("got {}", vocab_size - 1)), "{error}");
            assert_eq!(place(error), expected);
            corpus.read_tokens(Split::Train, 1, &mut [0; 4]).unwrap();
        }
        assert_eq!(damage_of(folder.path()), [expected]);
    }
}
