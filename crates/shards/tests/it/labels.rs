//! Loss masks and rows: written ones are read back, and contradictory ones are refused.

use std::{fs, path::PathBuf};

use mixdown_shards::{
    Access, Corpus, Dtype, Error, Fingerprint, Manifest, PackRecord, ShardWriter, Split,
};

use crate::support::{
    Extras, damage_of, edit_manifest, flip, mask_of, run_verify, some_documents, write_corpus,
    write_corpus_with,
};

fn labeled() -> (tempfile::TempDir, Manifest, Vec<u32>) {
    let folder = tempfile::tempdir().unwrap();
    let train = vec![some_documents(1, 9, 1000), some_documents(2, 4, 1000)];
    let holdout = vec![some_documents(3, 3, 1000)];
    let manifest = write_corpus_with(folder.path(), 1000, &train, &holdout, Extras::Masks);
    (folder, manifest, train.concat().concat())
}

fn mask_path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("train/shard-00000.mask")
}

#[test]
fn masks_are_read_across_shards() {
    let (folder, manifest, ids) = labeled();
    let expected = mask_of(&ids);
    let targets = expected.iter().filter(|byte| **byte == 1).count() as u64;
    assert_eq!(manifest.train.loss_tokens, Some(targets));
    assert_eq!(
        fs::read(mask_path(&folder)).unwrap(),
        expected[..expected.len() - { usize::try_from(manifest.train.shards[1].tokens).unwrap() }]
    );
    for access in [Access::Map, Access::Read] {
        let corpus = Corpus::open(folder.path(), access).unwrap();
        assert_eq!(corpus.loss_tokens(Split::Train), targets);
        assert!(corpus.is_labelled(Split::Train));
        for start in 0..expected.len() {
            let mut mask = vec![7; (expected.len() - start).min(150)];
            corpus.read_mask(Split::Train, start as u64, &mut mask).unwrap();
            assert_eq!(mask, expected[start..start + mask.len()]);
        }
        let beyond = corpus.read_mask(Split::Train, ids.len() as u64, &mut [0]).unwrap_err();
        assert!(matches!(beyond, Error::OutOfRange { .. }), "{beyond}");
        for document in 0..corpus.documents(Split::Train) {
            let ids = corpus.document(Split::Train, document).unwrap();
            assert_eq!(corpus.document_mask(Split::Train, document).unwrap(), mask_of(&ids));
        }
    }
    assert_eq!(run_verify(folder.path()).unwrap().damage, []);
}

#[test]
fn without_labels_every_token_is_a_target() {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(folder.path(), 10, &vec![vec![vec![1, 2, 3]]], &vec![]);
    let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
    let mut mask = [0; 3];
    corpus.read_mask(Split::Train, 0, &mut mask).unwrap();
    assert_eq!((mask, corpus.loss_tokens(Split::Train)), ([1; 3], 3));
    assert!(!corpus.is_labelled(Split::Train));
    assert_eq!(corpus.document_mask(Split::Train, 0).unwrap(), [1; 3]);
}

#[test]
fn bad_masks_are_refused_and_leave_the_shard_sound() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(folder.path(), "s", Dtype::U16, 100).unwrap();
    for (mask, expected) in [(&[1][..], "each of 2 ids, got 1 bytes"), (&[0, 2], "0 or 1, got 2")] {
        let error = writer.push(&[1, 2], 5, 1, Some(mask)).unwrap_err().to_string();
        assert!(error.contains("document 0") && error.contains(expected), "{error}");
    }
    writer.push(&[1, 2], 5, 1, Some(&[0, 1])).unwrap();
    let error = writer.push(&[3], 5, 1, None).unwrap_err().to_string();
    assert!(error.contains("document 1: expected a mask"), "{error}");
    writer.push(&[3], 5, 1, Some(&[1])).unwrap();
    let record = writer.finish().unwrap();
    assert_eq!(fs::read(folder.path().join("s.mask")).unwrap(), [0, 1, 1]);
    assert_eq!(record.mask.unwrap().loss_tokens, 2);
    let mut writer = ShardWriter::create(folder.path(), "t", Dtype::U16, 100).unwrap();
    writer.push(&[1, 2], 5, 1, None).unwrap();
    let error = writer.push(&[3], 5, 1, Some(&[1])).unwrap_err().to_string();
    assert!(error.contains("expected no mask"), "{error}");
    assert_eq!(writer.finish().unwrap().mask, None);
}

#[test]
fn a_changed_mask_is_damage() {
    let (folder, manifest, _) = labeled();
    let path = mask_path(&folder);
    let whole = fs::read(&path).unwrap();
    for (at, bits, place) in [(3, 1, None), (5, 2, Some(5)), (17, 0x80, Some(17))] {
        flip(&path, at, bits);
        assert_eq!(damage_of(folder.path()), [(path.clone(), place)]);
        let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
        assert_eq!(corpus.read_mask(Split::Train, 0, &mut [0; 40]).is_err(), place.is_some());
        flip(&path, at, bits);
    }
    for len in [0, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        let error = Corpus::open(folder.path(), Access::Map).unwrap_err().to_string();
        assert!(error.contains(&format!("a file of {} bytes", whole.len())), "{error}");
        assert_eq!(damage_of(folder.path()), [(path.clone(), None)]);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(damage_of(folder.path()), [(path.clone(), None)]);
    // The hash is right and the sum is wrong: the file matches its record, but the record is wrong.
    fs::write(&path, &whole).unwrap();
    let mut manifest = manifest;
    let mask = manifest.train.shards[0].mask.as_mut().unwrap();
    mask.loss_tokens -= 1;
    manifest.train.loss_tokens = manifest.train.loss_tokens.map(|tokens| tokens - 1);
    let (train, holdout) = (&manifest.train.shards, &manifest.holdout.shards);
    manifest.fingerprint =
        Manifest::data_fingerprint(manifest.dtype, manifest.tokenizer_fingerprint, train, holdout);
    manifest.write(folder.path()).unwrap();
    assert_eq!(damage_of(folder.path()), [(path, None)]);
}

#[test]
fn truncated_masks_under_an_open_reader_are_errors_with_access_read() {
    let (folder, ..) = labeled();
    let corpus = Corpus::open(folder.path(), Access::Read).unwrap();
    corpus.read_mask(Split::Train, 0, &mut [0; 4]).unwrap();
    fs::write(mask_path(&folder), [1; 10]).unwrap();
    let error = corpus.read_mask(Split::Train, 8, &mut [0; 4]).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    type Edit = fn(&mut serde_json::Value);
    let edits: [(Edit, &str); 6] = [
        (|json| json["train"]["loss_tokens"] = 1.into(), "train.loss_tokens"),
        (|json| json["train"]["loss_tokens"] = serde_json::Value::Null, "train.shards[0].mask"),
        (|json| json["train"]["shards"][1]["mask"] = serde_json::Value::Null, "shards[1].mask"),
        (
            |json| json["train"]["shards"][0]["mask"]["loss_tokens"] = u64::MAX.into(),
            "shards[0].mask.loss_tokens",
        ),
        (
            |json| {
                let other = Fingerprint::of(b"other").to_string();
                json["train"]["shards"][0]["mask"]["root"] = other.into();
            },
            "fingerprint",
        ),
        (
            |json| json["pack"] = serde_json::json!({"sequence_length": 1, "padding": 1000}),
            "pack.padding",
        ),
    ];
    for (edit, field) in edits {
        let (folder, ..) = labeled();
        edit_manifest(folder.path(), edit);
        let error = Corpus::open(folder.path(), Access::Map).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
}

#[test]
fn packed_shards_hold_whole_rows() {
    let folder = tempfile::tempdir().unwrap();
    let shards = vec![vec![vec![1, 2, 3], vec![4, 5, 6, 7, 8]]];
    let mut manifest = write_corpus(folder.path(), 10, &shards, &vec![]);
    for (sequence_length, sound) in
        [(3, true), (7, true), (1, true), (2, false), (8, false), (0, false), (u64::MAX, false)]
    {
        manifest.pack = Some(PackRecord { sequence_length, padding: 9 });
        assert_eq!(manifest.write(folder.path()).is_ok(), sound, "{sequence_length}");
    }
}

/// The same ids with and without a mask are different data.
#[test]
fn the_data_fingerprint_takes_in_the_mask() {
    let fingerprints = [Extras::Masks, Extras::None].map(|masks| {
        let folder = tempfile::tempdir().unwrap();
        let shards = vec![vec![vec![1, 2, 3]]];
        write_corpus_with(folder.path(), 10, &shards, &vec![], masks).fingerprint
    });
    assert_ne!(fingerprints[0], fingerprints[1]);
}
