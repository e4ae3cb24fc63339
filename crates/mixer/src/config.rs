//! The description of a mixture, as a user writes it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use mixdown_base::quantity::{Quantity, field, not_a_unit};
use mixdown_shards::Access;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::weights::Weight;

/// A mixture's description: the `[mixture]` table of a run, or a whole MIX.toml.
///
/// ```
/// use mixdown_mixer::MixtureConfig;
///
/// let config: MixtureConfig = toml::from_str(
///     r#"
///     sequence_length = 1024
///     batch_size = 64
///     source = [
///         { name = "target", corpus = "math", weight = "99%" },
///         { name = "pretraining", corpus = "general", weight = "1%" },
///     ]
///     "#,
/// )?;
/// assert_eq!(config.source[1].name, "pretraining");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureConfig {
    /// T: inputs (and targets) per sequence, in tokens.
    #[serde(deserialize_with = "field::tokens")]
    pub sequence_length: u64,
    /// B: sequences per batch, over all ranks.
    #[serde(deserialize_with = "field::count")]
    pub batch_size: u64,
    /// The seed of the order of the data; equal seeds give equal orders.
    #[serde(default, deserialize_with = "field::count")]
    pub seed: u64,
    /// The starts of the windows in an epoch.
    #[serde(default)]
    pub window_offset: WindowOffset,
    /// Neighboring sequences that stay together in an epoch's order, shuffled among themselves, so that the reads of a
    /// step are close to each other; if none is given, the whole epoch is shuffled.
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub shuffle_block: Option<u64>,
    /// The unit of the weights.
    #[serde(default, skip_serializing_if = "WeightUnit::is_sequences")]
    pub weight_unit: WeightUnit,
    /// The way in which corpora are read: `"map"`, or `"read"` if files may be truncated during a run. It does not
    /// affect the order, so a resumed run may change it.
    #[serde(default)]
    pub access: Access,
    /// The sources; their order breaks ties.
    pub source: Vec<SourceConfig>,
    /// Changed weights from later slots on, in the order of their starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage: Vec<StageConfig>,
}

/// One source of a [`MixtureConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Its name, which is part of what determines its order.
    pub name: String,
    /// Its corpus folder, relative to the description's own folder.
    pub corpus: PathBuf,
    /// Its share from the first slot on; a source without one waits for a stage that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// The number of tokens at the beginning of the training split that are used, in whole sequences.
    #[serde(
        default,
        deserialize_with = "field::optional_tokens",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_tokens: Option<u64>,
    /// The number of epochs that a run may not exceed.
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_epochs: Option<u64>,
}

/// The weights from a slot on: constant `weights`, or a straight line between two. Every source continues from its
/// position.
///
/// ```toml
/// stage = [{ start = "500 steps", to = { target = "90%", pretraining = "10%" }, over = "1000 steps" }]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Its beginning, counted from the beginning of the run: `"2000 steps"`, `"1B tokens"`, `"1 epoch of target"`. A
    /// ramp may begin with the run, and does by default.
    #[serde(default = "beginning")]
    pub start: RunLength,
    /// The shares by source name; a source without one gets nothing in this stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, Weight>,
    /// The shares at the start of a ramp; by default the shares at the end of the previous stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<BTreeMap<String, Weight>>,
    /// The shares at the end of a ramp, and afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BTreeMap<String, Weight>>,
    /// The length of a ramp: `"1000 steps"`, `"1B tokens"`, `"64_000 sequences"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<RunLength>,
}

fn beginning() -> RunLength {
    RunLength::Sequences(0)
}

/// The starts of the windows in an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowOffset {
    /// At a separate offset for each epoch, so that boundaries do not repeat.
    #[default]
    Epoch,
    /// At a separate offset for each epoch out of all the source's tokens: each epoch leaves out other targets, those
    /// that do not fill a whole sequence, and over several epochs every target is used.
    Anywhere,
    /// At the first token, in every epoch.
    Fixed,
}

/// The unit of a mixture's weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightUnit {
    /// Shares of all sequences, and so of all tokens, as every sequence has T targets.
    #[default]
    Sequences,
    /// Shares of all targets that count for the loss, by the exact mean number of each corpus.
    LossTokens,
}

impl WeightUnit {
    fn is_sequences(&self) -> bool {
        *self == Self::Sequences
    }
}

/// A length from the beginning of a run: `1000` or `"1000 steps"`, `"64_000 sequences"`, `"1.5B tokens"`, `"2 epochs"`
/// (of the first source) or `"2 epochs of target"`.
///
/// Numbers are whole, in the grammar of [`mixdown_base::quantity`]: `50k`, `50_000`, `1.5B`, `3e6`.
///
/// ```
/// use mixdown_mixer::RunLength;
///
/// assert_eq!("1.5B tokens".parse::<RunLength>().unwrap(), RunLength::Tokens(1_500_000_000));
/// assert_eq!("20".parse::<RunLength>().unwrap(), RunLength::Steps(20));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunLength {
    /// Batches.
    Steps(u64),
    /// Sequences of all sources (slots).
    Sequences(u64),
    /// Targets of all sources.
    Tokens(u64),
    /// The time until every sequence of a source was drawn a number of times.
    Epochs {
        /// The number of times.
        epochs: u64,
        /// The source's name; the first source if none is given.
        source: Option<String>,
    },
}

impl FromStr for RunLength {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::RunLength { got: text.to_owned(), reason };
        let quantity = Quantity::parse(text, "").map_err(|error| wrong(error.reason))?;
        let number = quantity.whole().map_err(|reason| wrong(reason.to_owned()))?;
        match quantity.unit {
            "" | "step" | "steps" => return Ok(Self::Steps(number)),
            "sequence" | "sequences" => return Ok(Self::Sequences(number)),
            "token" | "tokens" => return Ok(Self::Tokens(number)),
            "epoch" | "epochs" => return Ok(Self::Epochs { epochs: number, source: None }),
            _ => {}
        }
        let name = ["epochs of ", "epoch of "]
            .into_iter()
            .find_map(|words| quantity.unit.strip_prefix(words))
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .ok_or_else(|| wrong(not_a_unit(quantity.unit)))?;
        Ok(Self::Epochs { epochs: number, source: Some(name.to_owned()) })
    }
}

impl fmt::Display for RunLength {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self {
            Self::Steps(number) => (number, "step"),
            Self::Sequences(number) => (number, "sequence"),
            Self::Tokens(number) => (number, "token"),
            Self::Epochs { epochs, .. } => (epochs, "epoch"),
        };
        write!(formatter, "{number} {unit}{}", if *number == 1 { "" } else { "s" })?;
        match self {
            Self::Epochs { source: Some(name), .. } => write!(formatter, " of {name}"),
            _ => Ok(()),
        }
    }
}

impl Serialize for RunLength {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Steps(steps) => serializer.serialize_u64(*steps),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for RunLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RunLengthVisitor)
    }
}

struct RunLengthVisitor;

impl Visitor<'_> for RunLengthVisitor {
    type Value = RunLength;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a length such as 1000, \"1B tokens\" or \"2 epochs of target\"")
    }

    fn visit_u64<E: serde::de::Error>(self, steps: u64) -> Result<RunLength, E> {
        Ok(RunLength::Steps(steps))
    }

    fn visit_i64<E: serde::de::Error>(self, steps: i64) -> Result<RunLength, E> {
        let steps = u64::try_from(steps).map_err(|_| E::custom(format!("a length of {steps}")))?;
        Ok(RunLength::Steps(steps))
    }

    /// TOML parses `3e6` as a float; its shortest spelling is read as written.
    fn visit_f64<E: serde::de::Error>(self, steps: f64) -> Result<RunLength, E> {
        self.visit_str(&steps.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RunLength, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(epochs: u64, source: Option<&str>) -> RunLength {
        RunLength::Epochs { epochs, source: source.map(str::to_owned) }
    }

    #[test]
    fn lengths_are_whole_numbers_of_a_unit() {
        for (text, expected) in [
            ("1000", RunLength::Steps(1_000)),
            (" 1_000  steps ", RunLength::Steps(1_000)),
            ("1 step", RunLength::Steps(1)),
            ("64k sequences", RunLength::Sequences(64_000)),
            ("64K sequences", RunLength::Sequences(64_000)),
            ("50,000 tokens", RunLength::Tokens(50_000)),
            ("1 k tokens", RunLength::Tokens(1_000)),
            ("1e3", RunLength::Steps(1_000)),
            ("1.5B tokens", RunLength::Tokens(1_500_000_000)),
            ("0.25T tokens", RunLength::Tokens(250_000_000_000)),
            ("2.0 epochs", epochs(2, None)),
            ("1 epoch of my data", epochs(1, Some("my data"))),
        ] {
            let read: RunLength = text.parse().unwrap();
            assert_eq!(read, expected, "{text}");
            assert_eq!(read.to_string().parse::<RunLength>().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in [
            "",
            "steps",
            "-1",
            "1.5",
            "0.0001k tokens",
            "3 hours",
            "2 epochs of ",
            "1 epochsof x",
            "99999999T tokens",
            "1..5k",
            "5%",
        ] {
            let message = text.parse::<RunLength>().unwrap_err().to_string();
            assert!(message.contains("\"1B tokens\""), "{text}: {message}");
        }
    }
}
