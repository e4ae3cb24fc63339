use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    Counts, Dtype, Error, Fingerprint, InputRecord, PackRecord, ShardRecord, Split, SplitRecord,
    confined::check_link,
    manifest_check,
    pending_file::{PendingFile, name_all},
};

/// What a corpus folder must hold: `manifest.json`, written last.
///
/// docs/format.md, section 6, gives each field. Unknown fields are ignored on reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`Manifest::FORMAT`].
    pub format: String,
    /// [`Manifest::VERSION`].
    pub version: u32,
    /// How the ids are stored.
    pub dtype: Dtype,
    /// Every id is smaller.
    pub vocab_size: u64,
    /// The id that ends every document.
    pub end_of_text: u32,
    /// The id that begins every document, where there is one.
    pub beginning_of_text: Option<u32>,
    /// Which tokenizer made the ids: the hash of its canonical content.
    pub tokenizer_fingerprint: Fingerprint,
    /// The data fingerprint: [`Manifest::data_fingerprint`].
    pub fingerprint: Fingerprint,
    /// The rows that the documents lie in, where they were packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackRecord>,
    /// The documents to train on.
    pub train: SplitRecord,
    /// The validation documents.
    pub holdout: SplitRecord,
    /// The inputs in their frozen order.
    pub inputs: Vec<InputRecord>,
    /// The options as given to `prepare`; no reader interprets them.
    pub options: serde_json::Value,
    /// What `prepare` met in the inputs.
    pub counts: Counts,
}

impl Manifest {
    /// The value of `format`.
    pub const FORMAT: &str = "mixdown-corpus";
    /// The version of a folder that `prepare` writes.
    pub const VERSION: u32 = 1;
    /// The version of a folder with adopted token files (docs/format.md, section 11), the newest
    /// that this crate reads.
    pub const ADOPTED_VERSION: u32 = 2;
    /// The manifest's name in the corpus folder.
    pub const FILE: &str = "manifest.json";
    /// The largest manifest that is read: 64 MiB, some 100,000 shards.
    pub const MAX_BYTES: u64 = 64 << 20;

    /// The manifest of some shards, with their data fingerprint: end-of-text id 0, and none of what not every
    /// corpus has.
    pub fn new(
        dtype: Dtype,
        vocab_size: u64,
        tokenizer_fingerprint: Fingerprint,
        train: SplitRecord,
        holdout: SplitRecord,
    ) -> Self {
        let shards = (&train.shards, &holdout.shards);
        let fingerprint = Self::data_fingerprint(dtype, tokenizer_fingerprint, shards.0, shards.1);
        Self {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            dtype,
            vocab_size,
            end_of_text: 0,
            beginning_of_text: None,
            tokenizer_fingerprint,
            fingerprint,
            pack: None,
            train,
            holdout,
            inputs: Vec::new(),
            options: serde_json::Value::Null,
            counts: Counts::default(),
        }
    }

    /// The record of one split.
    pub fn split(&self, split: Split) -> &SplitRecord {
        match split {
            Split::Train => &self.train,
            Split::Holdout => &self.holdout,
        }
    }

    /// What two corpora must share to give the same stream: dtype, tokenizer, and each shard's
    /// counts and roots, masks only where there are any; no name, path, option or version
    /// (docs/format.md, section 7).
    pub fn data_fingerprint(
        dtype: Dtype,
        tokenizer_fingerprint: Fingerprint,
        train: &[ShardRecord],
        holdout: &[ShardRecord],
    ) -> Fingerprint {
        let mut bytes = u64::from(dtype.megatron_code()).to_le_bytes().to_vec();
        bytes.extend(tokenizer_fingerprint.as_bytes());
        for shards in [train, holdout] {
            bytes.extend((shards.len() as u64).to_le_bytes());
            for shard in shards {
                for count in [shard.documents, shard.tokens, shard.text_bytes, shard.bin_bytes] {
                    bytes.extend(count.to_le_bytes());
                }
                for root in [shard.bin_root, shard.idx_root, shard.sums_root, shard.hashes_root] {
                    bytes.extend(root.as_bytes());
                }
            }
        }
        for (name, shards) in [("train", train), ("holdout", holdout)] {
            let masks: Vec<_> = shards.iter().filter_map(|shard| shard.mask).collect();
            if !masks.is_empty() {
                bytes.extend(name.as_bytes());
            }
            for mask in masks {
                bytes.extend(mask.loss_tokens.to_le_bytes());
                bytes.extend(mask.root.as_bytes());
            }
        }
        Fingerprint::of(&bytes)
    }

    /// Reads and checks the manifest of the corpus in `folder`: everything that docs/format.md
    /// asks for but the files' sizes, which [`Corpus::open`](crate::Corpus::open) checks.
    ///
    /// # Errors
    /// There is no manifest, it is larger than [`Manifest::MAX_BYTES`], no JSON of this shape, of
    /// another version, contradicts itself, or names a file outside `folder`.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let manifest = Self::read_alone(folder)?;
        manifest_check::check_shard_links(&manifest, folder)?;
        Ok(manifest)
    }

    /// As [`Manifest::read`], but shard files are not looked at: whoever opens one checks that it is no link
    /// out of the folder.
    pub(crate) fn read_alone(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(Self::FILE);
        check_link(folder, &path)?;
        let bytes = read_capped(folder, &path)?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|source| {
            // Another version is named before what it lacks.
            match manifest_check::check_version(&path, &bytes) {
                Err(error) => error,
                Ok(()) => Error::ManifestJson { path: path.clone(), source },
            }
        })?;
        manifest_check::check(&manifest, &path)?;
        manifest_check::check_folder_links(folder)?;
        Ok(manifest)
    }

    /// Checks the manifest and writes it into `folder` as `manifest.json`, by rename: with it the
    /// folder becomes a corpus.
    ///
    /// # Errors
    /// The manifest contradicts itself or is larger than [`Manifest::MAX_BYTES`]; the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(Self::FILE);
        manifest_check::check(self, &path)?;
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| Error::ManifestJson { path: path.clone(), source })?;
        bytes.push(b'\n');
        check_size(&path, bytes.len() as u64)?;
        let mut file = PendingFile::create(&path)?;
        file.write(&bytes)?;
        name_all(vec![file], folder)
    }
}

fn read_capped(folder: &Path, path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::NoManifest { path: folder.to_owned() }
        }
        _ => Error::io("open", path)(error),
    })?;
    let mut bytes = Vec::new();
    file.take(Manifest::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    check_size(path, bytes.len() as u64)?;
    Ok(bytes)
}

fn check_size(path: &Path, got_bytes: u64) -> Result<(), Error> {
    if got_bytes <= Manifest::MAX_BYTES {
        return Ok(());
    }
    let expected = format!("a manifest of at most {} bytes", Manifest::MAX_BYTES);
    Err(Error::damaged(path, None, expected, format!("{got_bytes} bytes or more")))
}
