//! manifest.json: the contents of a corpus and its origin.

use std::{io, path::Path};

use mixdown_base::files;
use serde::{Deserialize, Serialize};

use crate::ClustersRecord;
use crate::Counts;
use crate::Dtype;
use crate::Error;
use crate::Fingerprint;
use crate::InputRecord;
use crate::PackRecord;
use crate::ShardRecord;
use crate::Split;
use crate::SplitRecord;
use crate::files::confined::check_link;
use crate::format::manifest_rules;
use crate::format::seal::{self, Seal};

/// The manifest of a corpus folder, `manifest.json`, which is written last.
///
/// docs/format.md, section 6, describes each field. Unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`Manifest::FORMAT`].
    pub format: String,
    /// [`Manifest::VERSION`].
    pub version: u32,
    /// The integer type of the ids.
    pub dtype: Dtype,
    /// The vocabulary size: every id is smaller.
    pub vocab_size: u64,
    /// The id that ends every document.
    pub end_of_text: u32,
    /// The id that begins every document, if there is one.
    pub beginning_of_text: Option<u32>,
    /// The fingerprint of the tokenizer that made the ids: the hash of its canonical content.
    pub tokenizer_fingerprint: Fingerprint,
    /// The data fingerprint: [`Manifest::data_fingerprint`].
    pub fingerprint: Fingerprint,
    /// The layout of the rows, if the documents were packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackRecord>,
    /// The documents to train on.
    pub train: SplitRecord,
    /// The validation documents.
    pub holdout: SplitRecord,
    /// The inputs in their frozen order.
    pub inputs: Vec<InputRecord>,
    /// The options given to `prepare`; no reader interprets them.
    pub options: serde_json::Value,
    /// Counts of special cases that `prepare` found in the inputs.
    pub counts: Counts,
    /// The clusters of which only the first document was kept, if `prepare` looked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<ClustersRecord>,
}

impl Manifest {
    /// The value of `format`.
    pub const FORMAT: &str = "mixdown-corpus";
    /// The version of a folder that `prepare` writes.
    pub const VERSION: u32 = 1;
    /// The version of a folder with adopted token files (docs/format.md, section 11), the newest that this crate reads.
    pub const ADOPTED_VERSION: u32 = 2;
    /// The manifest's name in the corpus folder.
    pub const FILE: &str = "manifest.json";
    /// The size limit of a manifest: 64 MiB, about 100,000 shards.
    pub const MAX_BYTES: u64 = 64 << 20;

    /// Makes the manifest of some shards, with their data fingerprint: the end-of-text id is 0, and optional parts are
    /// empty.
    ///
    /// ```
    /// use mixdown_shards::{Dtype, Fingerprint, Manifest, SplitRecord};
    ///
    /// let (train, holdout) = (SplitRecord::default(), SplitRecord::default());
    /// let manifest = Manifest::new(Dtype::U16, 500, Fingerprint::of(b"tokenizer"), train, holdout);
    /// assert_eq!(manifest.vocab_size, 500);
    /// ```
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
            clusters: None,
        }
    }

    /// Returns the record of one split.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.manifest().split(Split::Train).documents, 2);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn split(&self, split: Split) -> &SplitRecord {
        match split {
            Split::Train => &self.train,
            Split::Holdout => &self.holdout,
        }
    }

    /// Returns the hash of what two corpora must share to give the same stream: dtype, tokenizer, and each shard's
    /// counts and roots, masks only where there are any; no name, path, option or version (docs/format.md, section 7).
    ///
    /// ```
    /// use mixdown_shards::Manifest;
    ///
    /// # let (_folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let Manifest { dtype, tokenizer_fingerprint, train, holdout, .. } = corpus.manifest();
    /// let (train, holdout) = (&train.shards, &holdout.shards);
    /// let fingerprint = Manifest::data_fingerprint(*dtype, *tokenizer_fingerprint, train, holdout);
    /// assert_eq!(fingerprint, corpus.fingerprint());
    /// ```
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

    /// Reads and checks the manifest of the corpus in `folder`: everything that docs/format.md requires except the
    /// files' sizes, which [`Corpus::open`](crate::Corpus::open) checks.
    ///
    /// # Errors
    /// There is no manifest, it is larger than [`Manifest::MAX_BYTES`], is not JSON of this shape, has another version,
    /// contradicts itself, or names a file outside `folder`.
    ///
    /// ```
    /// use mixdown_shards::Manifest;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(&Manifest::read(folder.path())?, corpus.manifest());
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let manifest = Self::read_alone(folder)?;
        manifest_rules::check_shard_links(&manifest, folder)?;
        Ok(manifest)
    }

    /// Like [`Manifest::read`], without looking at shard files: code that opens one checks that it is not a link out of
    /// the folder.
    pub(crate) fn read_alone(folder: &Path) -> Result<Self, Error> {
        Self::read_with_seal(folder).map(|(manifest, _)| manifest)
    }

    /// Like [`Manifest::read_alone`], with the seal of a sealed manifest.
    pub(crate) fn read_with_seal(folder: &Path) -> Result<(Self, Option<Seal>), Error> {
        let path = folder.join(Self::FILE);
        check_link(folder, &path)?;
        let bytes = read_capped(folder, &path)?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|source| {
            // An unknown version is reported before missing fields.
            match manifest_rules::check_version(&path, &bytes) {
                Err(error) => error,
                Ok(()) => Error::ManifestJson { path: path.clone(), source },
            }
        })?;
        manifest_rules::check(&manifest, &path)?;
        manifest_rules::check_folder_links(folder)?;
        // The sum is checked last: a contradiction between fields is a more helpful error.
        let seal = seal::check_sum(&path, &bytes)?;
        Ok((manifest, seal))
    }

    /// Checks the manifest and writes it to `folder` as `manifest.json`, by rename, which makes the folder a corpus.
    ///
    /// # Errors
    /// The manifest contradicts itself or is larger than [`Manifest::MAX_BYTES`]; the disk refuses.
    ///
    /// ```
    /// use mixdown_shards::Manifest;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let manifest = corpus.manifest();
    /// std::fs::remove_file(folder.path().join("manifest.json")).unwrap();
    /// manifest.write(folder.path())?;
    /// assert_eq!(&Manifest::read(folder.path())?, manifest);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| Error::ManifestJson { path: folder.join(Self::FILE), source })?;
        bytes.push(b'\n');
        self.write_json(folder, &bytes)
    }

    /// Like [`Manifest::write`], with a seal: the hashes of the manifest itself and of the tokenizer's files in
    /// `folder`, which must already exist. Reading then refuses a manifest of which any byte was changed, and
    /// [`verify`](crate::verify()) finds a changed file of the tokenizer.
    ///
    /// # Errors
    /// Those of [`Manifest::write`]; a file of the tokenizer cannot be read.
    pub fn write_sealed(&self, folder: &Path) -> Result<(), Error> {
        self.write_json(folder, &seal::sealed_json(self, folder)?)
    }

    fn write_json(&self, folder: &Path, json: &[u8]) -> Result<(), Error> {
        let path = folder.join(Self::FILE);
        manifest_rules::check(self, &path)?;
        if json.len() as u64 > Self::MAX_BYTES {
            return Err(too_large(&path, json.len() as u64));
        }
        Ok(files::write(&path, json)?)
    }
}

fn read_capped(folder: &Path, path: &Path) -> Result<Vec<u8>, Error> {
    files::read_capped(path, Manifest::MAX_BYTES).map_err(|error| match error {
        files::Error::TooLarge { got_bytes, .. } => too_large(path, got_bytes),
        files::Error::Io { source, .. } if is_absent(&source) => {
            Error::NoManifest { path: folder.to_owned() }
        }
        other => other.into(),
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn too_large(path: &Path, got_bytes: u64) -> Error {
    let expected = format!("a manifest of at most {} bytes", Manifest::MAX_BYTES);
    Error::damaged(path, None, expected, format!("{got_bytes} bytes or more"))
}
