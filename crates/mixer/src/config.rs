//! A mixture as a user writes it.

use std::path::PathBuf;

use mixdown_shards::Access;
use serde::{Deserialize, Serialize};

use crate::weight::Weight;

/// A mixture's description: the `[mixture]` table of a run, or the whole of a MIX.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureConfig {
    /// T: inputs (and targets) a sequence, in tokens.
    pub sequence_length: u64,
    /// B: sequences a batch, over all ranks.
    pub batch_size: u64,
    /// Orders the data; equal seeds give equal orders.
    #[serde(default)]
    pub seed: u64,
    /// Where the windows of an epoch begin.
    #[serde(default)]
    pub window_offset: WindowOffset,
    /// How the corpora are read: `"map"`, or `"read"` where files may be truncated under a run. Changes
    /// no order, so a resumed run may change it.
    #[serde(default)]
    pub access: Access,
    /// The sources; their order breaks ties.
    pub source: Vec<SourceConfig>,
}

/// One source of a [`MixtureConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Its name, part of what orders its data.
    pub name: String,
    /// Its corpus folder, relative to the description's own folder.
    pub corpus: PathBuf,
    /// Its share.
    pub weight: Weight,
    /// Use only the first tokens of the training part, in whole sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Refuse a run that would repeat it more often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_epochs: Option<u64>,
}

/// Where the windows of an epoch begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowOffset {
    /// At an offset of each epoch's own, so that no boundary is met twice.
    #[default]
    Epoch,
    /// At the first token, in every epoch.
    Fixed,
}
