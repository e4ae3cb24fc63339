//! Corpora for these tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mixdown_base::observer::Observer;
use mixdown_shards::{
    DocumentBytes, Dtype, Error, Fingerprint, InputRecord, Manifest, ShardRecord, ShardWriter,
    Split, SplitRecord, VerifyReport, verify,
};
use mixdown_similarity::{Sketch, Sketcher};

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

/// The sketch of a test document, as if its ids were words.
pub fn sketch_of(document: &[u32]) -> Sketch {
    let words: Vec<String> = document.iter().map(u32::to_string).collect();
    Sketcher::default().sketch(&words.join(" ")).unwrap()
}

/// What the documents of a test corpus have beside their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extras {
    None,
    Masks,
    Sketches,
}

fn write_shard(
    folder: &Path,
    n: usize,
    vocab_size: u64,
    documents: &[Vec<u32>],
    extras: Extras,
) -> ShardRecord {
    let dtype = Dtype::for_vocab(vocab_size);
    let name = format!("shard-{n:05}");
    let mut writer = ShardWriter::create(folder, &name, dtype, vocab_size).unwrap();
    for document in documents {
        let mask = (extras == Extras::Masks).then(|| mask_of(document));
        let width = usize::try_from(dtype.bytes()).unwrap();
        let ids: Vec<u8> =
            document.iter().flat_map(|id| id.to_le_bytes().into_iter().take(width)).collect();
        let document = DocumentBytes {
            ids: &ids,
            text_bytes: 3 * document.len() as u64,
            hash: hash_of(document),
            mask: mask.as_deref(),
            own_id: None,
            sketch: (extras == Extras::Sketches).then(|| sketch_of(document)),
        };
        writer.push_bytes(&document).unwrap();
    }
    writer.finish().unwrap()
}

fn write_split(
    folder: &Path,
    split: Split,
    vocab_size: u64,
    shards: &Shards,
    extras: Extras,
) -> SplitRecord {
    let folder = folder.join(split.folder());
    let shards = shards.iter().enumerate();
    SplitRecord::new(
        shards
            .map(|(n, documents)| write_shard(&folder, n, vocab_size, documents, extras))
            .collect(),
    )
}

/// Writes a whole corpus.
pub fn write_corpus(folder: &Path, vocab_size: u64, train: &Shards, holdout: &Shards) -> Manifest {
    write_corpus_with(folder, vocab_size, train, holdout, Extras::None)
}

/// Writes a whole corpus with such extras.
pub fn write_corpus_with(
    folder: &Path,
    vocab_size: u64,
    train: &Shards,
    holdout: &Shards,
    extras: Extras,
) -> Manifest {
    let train = write_split(folder, Split::Train, vocab_size, train, extras);
    let holdout = write_split(folder, Split::Holdout, vocab_size, holdout, extras);
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
