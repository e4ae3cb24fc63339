use serde::{Deserialize, Serialize};

use crate::Fingerprint;

/// One split: sums over its shards, and the shards in the order of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// Documents in all shards.
    pub documents: u64,
    /// Tokens in all shards.
    pub tokens: u64,
    /// Bytes of the documents' text in UTF-8, before tokenizing.
    pub text_bytes: u64,
    /// The shards.
    pub shards: Vec<ShardRecord>,
}

/// One shard: four files of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The files' name without ending and folder: `shard-00000`.
    pub file: String,
    /// Documents, at least 1.
    pub documents: u64,
    /// Tokens, at least one a document.
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

/// What `prepare` met in the inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records skipped because they could not be read.
    pub bad_records: u64,
    /// Documents without text, left out.
    pub empty_documents: u64,
    /// Documents whose text spells a special token.
    pub special_text_documents: u64,
}

impl SplitRecord {
    /// The record of these shards with their sums (which stop at `u64::MAX`; such a manifest is
    /// refused when it is written).
    pub fn new(shards: Vec<ShardRecord>) -> Self {
        let sum =
            |field: fn(&ShardRecord) -> u64| shards.iter().map(field).fold(0, u64::saturating_add);
        Self {
            documents: sum(|shard| shard.documents),
            tokens: sum(|shard| shard.tokens),
            text_bytes: sum(|shard| shard.text_bytes),
            shards,
        }
    }
}
