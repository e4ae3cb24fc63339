//! How long something goes on: in steps, sequences, tokens or epochs.

use std::fmt;
use std::str::FromStr;

use mixdown_base::quantity::{Quantity, not_a_unit};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// A length from the beginning of a run: `1000` or `"1000 steps"`, `"64_000 sequences"`,
/// `"1.5B tokens"`, `"2 epochs"` (of the first source) or `"2 epochs of target"`.
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
    /// Sequences of all sources: slots.
    Sequences(u64),
    /// Targets of all sources.
    Tokens(u64),
    /// Until every sequence of a source was drawn so often.
    Epochs {
        /// How often.
        epochs: u64,
        /// The source's name; the first source where there is none.
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

    /// `3e6` is a float to TOML; its shortest spelling is read as it is written.
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
