//! A mixture as a user writes it.

pub(crate) mod run_length;
pub(crate) mod stage;

use std::collections::BTreeMap;
use std::path::PathBuf;

use mixdown_base::quantity::field;
use mixdown_shards::Access;
use serde::{Deserialize, Serialize};

use crate::config::run_length::RunLength;
use crate::weights::weight::Weight;

/// A mixture's description: the `[mixture]` table of a run, or the whole of a MIX.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureConfig {
    /// T: inputs (and targets) a sequence, in tokens.
    #[serde(deserialize_with = "field::tokens")]
    pub sequence_length: u64,
    /// B: sequences a batch, over all ranks.
    #[serde(deserialize_with = "field::count")]
    pub batch_size: u64,
    /// Orders the data; equal seeds give equal orders.
    #[serde(default, deserialize_with = "field::count")]
    pub seed: u64,
    /// Where the windows of an epoch begin.
    #[serde(default)]
    pub window_offset: WindowOffset,
    /// Neighboring sequences that stay together in an epoch's order, shuffled among themselves, so
    /// that the reads of a step lie close to each other; none: the whole epoch is shuffled.
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub shuffle_block: Option<u64>,
    /// What the weights count.
    #[serde(default, skip_serializing_if = "WeightUnit::is_sequences")]
    pub weight_unit: WeightUnit,
    /// How the corpora are read: `"map"`, or `"read"` where files may be truncated under a run. Changes
    /// no order, so a resumed run may change it.
    #[serde(default)]
    pub access: Access,
    /// The sources; their order breaks ties.
    pub source: Vec<SourceConfig>,
    /// Other weights from some slot on, in the order of their starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage: Vec<StageConfig>,
}

/// One source of a [`MixtureConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Its name, part of what orders its data.
    pub name: String,
    /// Its corpus folder, relative to the description's own folder.
    pub corpus: PathBuf,
    /// Its share from the first slot on; a source without one waits for a stage that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// Use only the first tokens of the training part, in whole sequences.
    #[serde(
        default,
        deserialize_with = "field::optional_tokens",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_tokens: Option<u64>,
    /// Refuse a run that would repeat it more often.
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_epochs: Option<u64>,
}

/// The weights from some slot on: `weights` that stay, or a straight line between two. Every source goes on
/// where it stood.
///
/// ```toml
/// stage = [{ start = "500 steps", to = { target = "90%", pretraining = "10%" }, over = "1000 steps" }]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Where it begins, counted from the beginning of the run: `"2000 steps"`, `"1B tokens"`,
    /// `"1 epoch of target"`. A ramp may begin with the run, and does where this is left out.
    #[serde(default = "beginning")]
    pub start: RunLength,
    /// Per source name its share; a source without one is due nothing in this stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, Weight>,
    /// The shares at the start of a ramp; the last ones said before it where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<BTreeMap<String, Weight>>,
    /// The shares at the end of a ramp, and from there on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BTreeMap<String, Weight>>,
    /// How long a ramp takes: `"1000 steps"`, `"1B tokens"`, `"64_000 sequences"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<RunLength>,
}

fn beginning() -> RunLength {
    RunLength::Sequences(0)
}

/// Where the windows of an epoch begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowOffset {
    /// At an offset of each epoch's own, so that no boundary is met twice.
    #[default]
    Epoch,
    /// At an offset of each epoch's own out of all the source's tokens: the targets that fill no whole sequence,
    /// which an epoch leaves out, are others in each, and over epochs every one is seen.
    Anywhere,
    /// At the first token, in every epoch.
    Fixed,
}

/// What the weights of a mixture are shares of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightUnit {
    /// Of all sequences, and so of all tokens, as every sequence has T targets.
    #[default]
    Sequences,
    /// Of all targets that count for the loss, by the exact mean number of each corpus.
    LossTokens,
}

impl WeightUnit {
    fn is_sequences(&self) -> bool {
        *self == Self::Sequences
    }
}
