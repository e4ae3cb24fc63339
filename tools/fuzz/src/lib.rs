//! What the fuzz targets share: corpora in a folder of memory, panics that are caught.

pub mod panics;

use std::fs;
use std::path::{Path, PathBuf};

use mixdown_base::observer::Observer;
use mixdown_shards::{
    Access, Corpus, Dtype, Fingerprint, Manifest, ShardWriter, Split, SplitRecord, verify,
};

/// A copy of the tiny golden corpus, and the bytes of one of its files.
pub struct Scratch {
    folder: tempfile::TempDir,
    path: PathBuf,
    sound: Vec<u8>,
}

impl Scratch {
    /// Copies the corpus; `name` is the file that will be damaged.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/format-v1/tiny");
        copy(&golden, folder.path());
        let path = folder.path().join(name);
        let sound = fs::read(&path).expect("the golden file");
        Self { folder, path, sound }
    }

    /// The corpus folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `data` in place of the file.
    pub fn replace(&self, data: &[u8]) {
        fs::write(&self.path, data).expect("room for a file");
    }

    /// Writes `data` over the begin of the sound file, so that its size stays right.
    pub fn overlay(&self, data: &[u8]) {
        let mut bytes = self.sound.clone();
        let len = data.len().min(bytes.len());
        bytes[..len].copy_from_slice(&data[..len]);
        self.replace(&bytes);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the golden corpus") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("room for a file");
        }
    }
}

/// Reads everything that can be read of a corpus, in both ways.
pub fn read_all(folder: &Path) {
    for access in [Access::Map, Access::Read] {
        let Ok(corpus) = Corpus::open(folder, access) else { continue };
        for split in Split::ALL {
            let documents = corpus.documents(split);
            for document in [0, 1, documents / 2, documents.saturating_sub(1), documents, u64::MAX]
            {
                let _ = corpus.document(split, document);
            }
            let _ = corpus.document_lengths(split);
            let _ = corpus.document_hashes(split);
            let tokens = corpus.tokens(split);
            for start in [0, tokens / 2, tokens.saturating_sub(3), u64::MAX] {
                let mut ids = [0; 7];
                let _ = corpus.read_tokens(split, start, &mut ids);
            }
        }
    }
    let _ = verify(folder, Observer::silent());
}

/// Writes a corpus whose token i has the id `first_id + i`, in two shards.
pub fn numbered_corpus(folder: &Path, first_id: u32, tokens: u32) {
    let (dtype, vocab_size) = (Dtype::U16, 65_536);
    let ids: Vec<u32> = (first_id..first_id + tokens).collect();
    let shards = (0..).zip(ids.chunks(ids.len() / 2 + 1)).map(|(number, ids)| {
        let name = format!("shard-{number:05}");
        let writer = ShardWriter::create(&folder.join("train"), &name, dtype, vocab_size);
        let mut writer = writer.expect("room for a shard");
        for (hash, document) in (u64::from(ids[0])..).zip(ids.chunks(7)) {
            writer.push(document, 1, hash, None).expect("room for a document");
        }
        writer.finish().expect("room for a shard")
    });
    let (train, holdout) = (SplitRecord::new(shards.collect()), SplitRecord::default());
    let tokenizer_fingerprint = Fingerprint::of(b"tokenizer");
    let manifest = Manifest::new(dtype, vocab_size, tokenizer_fingerprint, train, holdout);
    manifest.write(folder).expect("room for a manifest");
}
