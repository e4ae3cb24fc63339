//! Corpora of format version 1, written once and readable forever.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mixdown_shards::{Access, Corpus, Dtype, Split};

use crate::support::{
    Extras, Shards, hash_of, mask_of, run_verify, sketch_of, some_documents, write_corpus_with,
};

struct Golden {
    name: &'static str,
    vocab_size: u32,
    dtype: Dtype,
    extras: Extras,
    fingerprint: &'static str,
}

const GOLDEN: [Golden; 4] = [
    Golden {
        name: "tiny",
        vocab_size: 1000,
        dtype: Dtype::U16,
        extras: Extras::None,
        fingerprint: "284eb292773bb6a2cfe0156cd8359a1d6a3dccabed1717c09e43f093adedb3e4",
    },
    Golden {
        name: "tiny-int32",
        vocab_size: 100_000,
        dtype: Dtype::I32,
        extras: Extras::None,
        fingerprint: "d03561c4b65325aaf08dd203e228288481827347f20d79c0dfd7d316c78f11ea",
    },
    Golden {
        name: "tiny-labelled",
        vocab_size: 1000,
        dtype: Dtype::U16,
        extras: Extras::Masks,
        fingerprint: "5f8a6534901bf62997140c57df07b63011b6d2913e683692925b507b4a6ee2b7",
    },
    // The sketches are not in the fingerprint, which is that of "tiny".
    Golden {
        name: "tiny-sketches",
        vocab_size: 1000,
        dtype: Dtype::U16,
        extras: Extras::Sketches,
        fingerprint: "284eb292773bb6a2cfe0156cd8359a1d6a3dccabed1717c09e43f093adedb3e4",
    },
];

fn folder(golden: &Golden) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/format-v1").join(golden.name)
}

fn content(golden: &Golden) -> (Shards, Shards) {
    let documents = |seed, count| some_documents(seed, count, golden.vocab_size);
    (vec![documents(11, 6), documents(12, 1), documents(13, 3)], vec![documents(14, 2)])
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn golden_corpora_are_read() {
    for golden in &GOLDEN {
        let (train, holdout) = content(golden);
        for access in [Access::Map, Access::Read] {
            let corpus = Corpus::open(&folder(golden), access).unwrap();
            assert_eq!(corpus.manifest().dtype, golden.dtype);
            assert_eq!(corpus.fingerprint().to_string(), golden.fingerprint);
            for (split, shards) in [(Split::Train, &train), (Split::Holdout, &holdout)] {
                let documents = shards.concat();
                let mut ids = vec![0; usize::try_from(corpus.tokens(split)).unwrap()];
                corpus.read_tokens(split, 0, &mut ids).unwrap();
                assert_eq!(ids, documents.concat());
                let hashes: Vec<u64> = documents.iter().map(|ids| hash_of(ids)).collect();
                assert_eq!(corpus.document_hashes(split).unwrap(), hashes);
                let mut mask = vec![9; ids.len()];
                corpus.read_mask(split, 0, &mut mask).unwrap();
                let is_labelled = golden.extras == Extras::Masks;
                assert_eq!(corpus.is_labelled(split), is_labelled);
                assert_eq!(mask, if is_labelled { mask_of(&ids) } else { vec![1; ids.len()] });
                assert_eq!(corpus.has_sketches(split), golden.extras == Extras::Sketches);
                if golden.extras == Extras::Sketches {
                    let sketches: Vec<_> = corpus.sketches(split).unwrap().collect();
                    let expected: Vec<_> = documents.iter().map(|ids| sketch_of(ids)).collect();
                    assert_eq!(
                        sketches.into_iter().flat_map(Result::unwrap).collect::<Vec<_>>(),
                        expected
                    );
                }
                assert_eq!(corpus.document_lengths(split).unwrap().len(), documents.len());
            }
        }
        assert_eq!(run_verify(&folder(golden)).unwrap().damage, []);
    }
}

#[test]
fn the_writer_still_writes_the_same_bytes() {
    for golden in &GOLDEN {
        let (train, holdout) = content(golden);
        let fresh = tempfile::tempdir().unwrap();
        let vocab_size = u64::from(golden.vocab_size);
        write_corpus_with(fresh.path(), vocab_size, &train, &holdout, golden.extras);
        let (fresh_files, golden_files) = (files(fresh.path()), files(&folder(golden)));
        assert_eq!(fresh_files.len(), golden_files.len());
        for ((path, fresh_bytes), (golden_path, golden_bytes)) in
            fresh_files.iter().zip(&golden_files)
        {
            let name = path.strip_prefix(fresh.path()).unwrap();
            assert_eq!(name, golden_path.strip_prefix(folder(golden)).unwrap());
            assert!(fresh_bytes == golden_bytes, "{} differs", name.display());
        }
    }
}

/// Makes a golden corpus that does not exist yet; a new case gets a new name.
#[test]
#[ignore = "writes into testdata; only for a new case"]
fn write_golden() {
    for golden in GOLDEN.iter().filter(|golden| !folder(golden).exists()) {
        let (train, holdout) = content(golden);
        fs::create_dir_all(folder(golden)).unwrap();
        let vocab_size = u64::from(golden.vocab_size);
        write_corpus_with(&folder(golden), vocab_size, &train, &holdout, golden.extras);
    }
}
