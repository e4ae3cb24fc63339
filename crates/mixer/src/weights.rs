//! A source's weight: an exact positive rational, never a float.

pub(crate) mod parts;

use std::fmt;
use std::str::FromStr;

use mixdown_base::quantity::{Number, QuantityError, greatest_common_divisor, write_fraction};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// An exact positive share: a percentage (`"1%"`, `"0.5%"`, `"100/3%"`) or a plain number (`"99"`, `"0.001"`, `"1/3"`,
/// `"1e-4"`) that counts relative to the other plain numbers of a mixture, in the grammar of
/// [`mixdown_base::quantity`].
///
/// In TOML and JSON it is a string or an integer; a float is refused, because a float cannot hold `0.1` exactly.
///
/// ```
/// use mixdown_mixer::Weight;
///
/// let weight: Weight = "0.5%".parse().unwrap();
/// assert_eq!((weight.numerator(), weight.denominator()), (1, 200));
/// assert_eq!(weight.to_string(), "0.5%");
/// assert!("0".parse::<Weight>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weight {
    numerator: u64,
    denominator: u64,
    notation: WeightNotation,
}

/// The notation of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightNotation {
    /// A percentage: all percentages of a mixture sum to 100 %.
    Percent,
    /// A plain number: only the proportions count.
    Plain,
}

const EXPECTED: &str = "an exact positive number";

impl Weight {
    /// Makes the weight of a plain whole number.
    ///
    /// # Errors
    /// Zero.
    ///
    /// ```
    /// use mixdown_mixer::Weight;
    ///
    /// assert_eq!(Weight::from_integer(99).unwrap().to_string(), "99");
    /// assert!(Weight::from_integer(0).is_err());
    /// ```
    pub fn from_integer(value: u64) -> Result<Self, Error> {
        Self::reduced(value, 1, WeightNotation::Plain)
            .ok_or_else(|| refused(&value.to_string(), ZERO))
    }

    /// Returns the numerator in lowest terms (of the share itself: 1 for `"1%"`).
    ///
    /// ```
    /// use mixdown_mixer::Weight;
    ///
    /// let weight: Weight = "12.5%".parse()?;
    /// assert_eq!(weight.numerator(), 1);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn numerator(&self) -> u64 {
        self.numerator
    }

    /// Returns the denominator in lowest terms (100 for `"1%"`).
    ///
    /// ```
    /// use mixdown_mixer::Weight;
    ///
    /// let weight: Weight = "12.5%".parse()?;
    /// assert_eq!(weight.denominator(), 8);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn denominator(&self) -> u64 {
        self.denominator
    }

    /// Returns the notation of the weight.
    ///
    /// ```
    /// use mixdown_mixer::{Weight, WeightNotation};
    ///
    /// assert_eq!("1%".parse::<Weight>()?.notation(), WeightNotation::Percent);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn notation(&self) -> WeightNotation {
        self.notation
    }

    /// Parses several weights separated by colons, such as `"99:1"`.
    ///
    /// # Errors
    /// One of them is not a weight.
    ///
    /// ```
    /// use mixdown_mixer::Weight;
    ///
    /// assert_eq!(Weight::parse_ratio("99:1")?.len(), 2);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn parse_ratio(text: &str) -> Result<Vec<Self>, Error> {
        text.split(':').map(str::parse).collect()
    }

    fn reduced(numerator: u64, denominator: u64, notation: WeightNotation) -> Option<Self> {
        let divisor = greatest_common_divisor(u128::from(numerator), u128::from(denominator));
        let divisor = u64::try_from(divisor).ok()?;
        if numerator == 0 || denominator == 0 {
            return None;
        }
        Some(Self { numerator: numerator / divisor, denominator: denominator / divisor, notation })
    }
}

impl FromStr for Weight {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number: Number =
            text.parse().map_err(|error: QuantityError| refused(text, &error.reason))?;
        let notation = match number.is_percent() {
            true => WeightNotation::Percent,
            false => WeightNotation::Plain,
        };
        match number.numerator() {
            0 => Err(refused(text, ZERO)),
            numerator => Ok(Self { numerator, denominator: number.denominator(), notation }),
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hundred, sign) = match self.notation {
            WeightNotation::Percent => (100, "%"),
            WeightNotation::Plain => (1, ""),
        };
        let numerator = u128::from(self.numerator) * hundred;
        write_fraction(formatter, numerator, u128::from(self.denominator))?;
        formatter.write_str(sign)
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WeightVisitor)
    }
}

struct WeightVisitor;

impl Visitor<'_> for WeightVisitor {
    type Value = Weight;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a weight: a string like \"1%\", \"0.001\" or \"1/3\", or an integer")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Weight, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Weight, E> {
        Weight::from_integer(value).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Weight, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::custom(refused(&value.to_string(), "it is negative"))),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Weight, E> {
        let fix = format!("an exact number: write it as a string, weight = \"{value}\"");
        Err(E::invalid_type(Unexpected::Float(value), &fix.as_str()))
    }
}

const ZERO: &str = "it is zero";

fn refused(text: &str, got: &str) -> Error {
    Error::Weight { text: text.to_owned(), expected: EXPECTED, got: got.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (u64, u64) {
        let weight: Weight = text.parse().unwrap();
        (weight.numerator, weight.denominator)
    }

    #[test]
    fn texts_are_exact_rationals() {
        assert_eq!(parts("1%"), (1, 100));
        assert_eq!(parts("0.001"), (1, 1000));
        assert_eq!(parts("99"), (99, 1));
        assert_eq!(parts("2/6"), (1, 3));
        assert_eq!(parts("100/3%"), (1, 3));
        assert_eq!(parts(" 12.50 % "), (1, 8));
        assert_eq!(parts(".5"), (1, 2));
        assert_eq!(parts("0.1"), (1, 10));
        assert_eq!(parts("0.000000001"), (1, 1_000_000_000));
        assert_eq!(parts("1e-9"), (1, 1_000_000_000));
        assert_eq!(parts("50k"), (50_000, 1));
    }

    #[test]
    fn what_is_no_positive_number_is_refused_with_the_reason() {
        for (text, reason) in [
            ("0", "it is zero"),
            ("0.00%", "it is zero"),
            ("-1", "negative"),
            ("", "empty"),
            ("%", "begin with a number"),
            (".", "begin with a number"),
            ("NaN", "begin with a number"),
            ("inf", "begin with a number"),
            ("1,5", "separator"),
            ("1/0", "divides by zero"),
            ("1/2/3", "separator"),
            ("1 tokens", "\"tokens\" is not a unit here"),
            ("99999999999999999999", "64 bits"),
            ("0.00000000000000000001", "64 bits"),
        ] {
            let message = text.parse::<Weight>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text:?}: {message}");
            assert!(message.contains("\"1%\""), "the fix is missing: {message}");
        }
    }

    #[test]
    fn display_reads_back_as_the_same_weight() {
        for text in ["1%", "0.5%", "100/3%", "99", "0.001", "1/3", "12.5%", "100%", "2/7%"] {
            let weight: Weight = text.parse().unwrap();
            assert_eq!(weight.to_string(), text);
            assert_eq!(weight.to_string().parse::<Weight>().unwrap(), weight);
        }
    }

    #[test]
    fn a_ratio_is_several_weights() {
        let weights = Weight::parse_ratio("99:1").unwrap();
        assert_eq!(weights.len(), 2);
        assert_eq!(weights[0].numerator(), 99);
        assert!(Weight::parse_ratio("99:").is_err());
    }
}
