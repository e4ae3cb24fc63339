//! The records of a manifest.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AdoptedRecord, Fingerprint};

/// One of the two parts of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The documents to train on.
    Train,
    /// The validation documents.
    Holdout,
}

impl Split {
    /// Both splits in the order that the data fingerprint uses.
    pub const ALL: [Self; 2] = [Self::Train, Self::Holdout];

    /// Returns the name of the split's folder inside the corpus folder, `train` or `holdout`.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// assert_eq!(Split::ALL.map(Split::folder), ["train", "holdout"]);
    /// ```
    pub fn folder(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Holdout => "holdout",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.folder())
    }
}

/// One split: sums over its shards, and the shards in the order of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// Documents in all shards.
    pub documents: u64,
    /// Tokens in all shards.
    pub tokens: u64,
    /// Bytes of the documents' text in UTF-8, before tokenizing.
    pub text_bytes: u64,
    /// Tokens that are loss targets, if the split is labeled; otherwise all of them are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_tokens: Option<u64>,
    /// The shards.
    pub shards: Vec<ShardRecord>,
}

/// One shard: files with a common name, four of them and optional ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The files' name without ending and folder: `shard-00000`.
    pub file: String,
    /// Documents, at least 1.
    pub documents: u64,
    /// Tokens, at least one per document.
    pub tokens: u64,
    /// Bytes of the documents' text in UTF-8, before tokenizing.
    pub text_bytes: u64,
    /// Size of `.bin`.
    pub bin_bytes: u64,
    /// BLAKE3 of `.bin`, as `b3sum` prints it.
    pub bin_root: Fingerprint,
    /// BLAKE3 of `.idx`.
    pub idx_root: Fingerprint,
    /// BLAKE3 of `.sums`.
    pub sums_root: Fingerprint,
    /// BLAKE3 of `.hashes`.
    pub hashes_root: Fingerprint,
    /// The loss mask, if the split is labeled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskRecord>,
    /// The locations of its files, if they existed before the corpus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<AdoptedRecord>,
    /// The file `.ids`, if the documents' own ids are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<FileRecord>,
    /// The file `.sketches`, if the documents' sketches are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketches: Option<SketchRecord>,
}

/// A shard's sketches: `.sketches`, 128 bytes per document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SketchRecord {
    /// [`Sketch::VERSION`](crate::Sketch::VERSION) of the program that made them: sketches of different versions cannot
    /// be compared.
    pub version: u32,
    /// BLAKE3 of `.sketches`.
    pub root: Fingerprint,
}

/// A file whose size does not follow from the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 hash.
    pub root: Fingerprint,
}

/// A shard's loss mask: `.mask`, one byte per token, 1 for a loss target and 0 otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskRecord {
    /// BLAKE3 of `.mask`.
    pub root: Fingerprint,
    /// Tokens that are loss targets: the sum of the file's bytes.
    pub loss_tokens: u64,
}

/// The layout of documents in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRecord {
    /// T: a row holds T + 1 ids, for T inputs and T targets.
    pub sequence_length: u64,
    /// The id that fills the end of a row.
    pub padding: u32,
}

impl PackRecord {
    /// Returns the number of ids in a row: T + 1.
    ///
    /// ```
    /// use mixdown_shards::PackRecord;
    ///
    /// assert_eq!(PackRecord { sequence_length: 2_048, padding: 0 }.row_tokens(), 2_049);
    /// ```
    pub fn row_tokens(&self) -> u64 {
        self.sequence_length.saturating_add(1)
    }
}

/// One input file of `prepare`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Path relative to the given root, with `/` between its parts.
    pub path: String,
    /// Size as stored.
    pub bytes: u64,
    /// Documents read from it.
    pub documents: u64,
}

/// Counts of special cases that `prepare` found in the inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records skipped because they could not be read.
    pub bad_records: u64,
    /// Documents without text, left out.
    pub empty_documents: u64,
    /// Documents whose text spells a special token.
    pub special_text_documents: u64,
    /// Documents that are shorter than requested, in characters, left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub short_documents: u64,
    /// Labeled documents without a loss target, left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub untargeted_documents: u64,
    /// Documents longer than a row, left out or cut off according to the options.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub too_long_documents: u64,
    /// Ids that fill the ends of rows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub padding_tokens: u64,
    /// Held-out documents that moved to training because of near-duplicates there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moved_documents: u64,
    /// Their tokens.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moved_tokens: u64,
    /// Documents left out of training as near-duplicates of held-out or other texts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub excluded_documents: u64,
    /// Their tokens.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub excluded_tokens: u64,
    /// Documents left out of training because they repeat an earlier one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated_documents: u64,
    /// Their tokens.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated_tokens: u64,
}

/// Clusters of training documents that repeat each other, of which only the first was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClustersRecord {
    /// Clusters of two or more documents.
    pub clusters: u64,
    /// The largest of them.
    pub largest: Vec<ClusterRecord>,
}

/// A cluster of training documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Documents, the first one included.
    pub documents: u64,
    /// The input of the first one.
    pub input: String,
    /// Where the first one begins there: bytes, or rows of a table.
    pub offset: u64,
}

/// Returns whether a count is 0: such optional counts are left out of the manifest.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl SplitRecord {
    /// Makes the record of these shards with their sums (which saturate at `u64::MAX`; writing such a manifest is
    /// refused).
    ///
    /// ```
    /// use mixdown_shards::SplitRecord;
    ///
    /// assert_eq!(SplitRecord::new(Vec::new()), SplitRecord::default());
    /// ```
    pub fn new(shards: Vec<ShardRecord>) -> Self {
        let sum =
            |field: fn(&ShardRecord) -> u64| shards.iter().map(field).fold(0, u64::saturating_add);
        Self {
            documents: sum(|shard| shard.documents),
            tokens: sum(|shard| shard.tokens),
            text_bytes: sum(|shard| shard.text_bytes),
            loss_tokens: shards
                .iter()
                .filter_map(|shard| shard.mask)
                .map(|mask| mask.loss_tokens)
                .reduce(u64::saturating_add),
            shards,
        }
    }
}
