//! Corpora for these tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mixdown_base::observer::Observer;
use mixdown_shards::{
    Dtype, Error, Fingerprint, InputRecord, Manifest, ShardRecord, ShardWriter, Split, SplitRecord,
    VerifyReport, verify,
};

/// Shards of documents of ids.
pub type Shards = Vec<Vec<Vec<u32>>>;

/// The hash of a test document.
pub fn hash_of(document: &[u32]) -> u64 {
    document.iter().fold(7, |hash: u64, id| hash.wrapping_mul(0x1000_0000_01b3) ^ u64::from(*id))
}

/// The mask of a test document: every third id is a target.
pub fn mask_of(document: &[u32]) -> Vec<u8> {
    document.iter().map(|id| u8::from(id % 3 == 0)).collect()
}

/// Whether a test corpus has masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masks {
    With,
    Without,
}

fn write_shard(
    folder: &Path,
    n: usize,
    vocab_size: u64,
    documents: &[Vec<u32>],
    masks: Masks,
) -> ShardRecord {
    let dtype = Dtype::for_vocab(vocab_size);
    let name = format!("shard-{n:05}");
    let mut writer = ShardWriter::create(folder, &name, dtype, vocab_size).unwrap();
    for document in documents {
        let mask = (masks == Masks::With).then(|| mask_of(document));
        let text_bytes = 3 * document.len() as u64;
        writer.push(document, text_bytes, hash_of(document), mask.as_deref()).unwrap();
    }
    writer.finish().unwrap()
}

fn write_split(
    folder: &Path,
    split: Split,
    vocab_size: u64,
    shards: &Shards,
    masks: Masks,
) -> SplitRecord {
    let folder = folder.join(split.folder());
    let shards = shards.iter().enumerate();
    SplitRecord::new(
        shards
            .map(|(n, documents)| write_shard(&folder, n, vocab_size, documents, masks))
            .collect(),
    )
}

/// Writes a whole corpus.
pub fn write_corpus(folder: &Path, vocab_size: u64, train: &Shards, holdout: &Shards) -> Manifest {
    write_corpus_with(folder, vocab_size, train, holdout, Masks::Without)
}

/// Writes a whole corpus with or without masks.
pub fn write_corpus_with(
    folder: &Path,
    vocab_size: u64,
    train: &Shards,
    holdout: &Shards,
    masks: Masks,
) -> Manifest {
    let train = write_split(folder, Split::Train, vocab_size, train, masks);
    let holdout = write_split(folder, Split::Holdout, vocab_size, holdout, masks);
    let dtype = Dtype::for_vocab(vocab_size);
    let tokenizer = b"{\"version\": \"1.0\"}\n";
    fs::write(folder.join("tokenizer.json"), tokenizer).unwrap();
    let tokenizer_fingerprint = Fingerprint::of(tokenizer);
    let manifest = Manifest {
        inputs: vec![InputRecord {
            path: "prose/a.jsonl".to_owned(),
            bytes: train.text_bytes,
            documents: train.documents,
        }],
        options: serde_json::json!({"holdout": "1%", "seed": 7}),
        ..Manifest::new(dtype, vocab_size, tokenizer_fingerprint, train, holdout)
    };
    manifest.write(folder).unwrap();
    manifest
}

/// `documents` documents of 1 … 40 pseudorandom ids.
pub fn some_documents(seed: u32, documents: u32, vocab_size: u32) -> Vec<Vec<u32>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = |below: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % below
    };
    (0..documents)
        .map(|_| {
            let len = 1 + next(40);
            (0..len).map(|_| next(vocab_size)).collect()
        })
        .collect()
}

/// A small corpus of two training shards and one holdout shard in a temporary folder.
pub fn small_corpus(vocab_size: u32) -> (tempfile::TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let train = vec![some_documents(1, 9, vocab_size), some_documents(2, 4, vocab_size)];
    let holdout = vec![some_documents(3, 3, vocab_size)];
    let manifest = write_corpus(folder.path(), u64::from(vocab_size), &train, &holdout);
    (folder, manifest)
}

pub fn run_verify(folder: &Path) -> Result<VerifyReport, Error> {
    verify(folder, Observer::silent())
}

/// The paths and offsets of all damage.
pub fn damage_of(folder: &Path) -> Vec<(PathBuf, Option<u64>)> {
    let damage = run_verify(folder).unwrap().damage;
    damage.into_iter().map(|damage| (damage.path, damage.offset_bytes)).collect()
}

/// Flips bits of one byte of a file.
pub fn flip(path: &Path, offset: usize, bits: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= bits;
    fs::write(path, bytes).unwrap();
}

/// Overwrites a part of a file.
pub fn overwrite(path: &Path, offset: usize, new: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset..offset + new.len()].copy_from_slice(new);
    fs::write(path, bytes).unwrap();
}

/// Changes the manifest as JSON, which breaks a seal.
pub fn edit_manifest(folder: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join(Manifest::FILE);
    let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut json);
    fs::write(path, json.to_string()).unwrap();
}
