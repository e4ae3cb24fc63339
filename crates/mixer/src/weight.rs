//! A source's weight: an exact positive rational, never a float.

use std::fmt;
use std::str::FromStr;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// An exact positive share: a percentage (`"1%"`, `"0.5%"`, `"100/3%"`) or a plain number (`"99"`,
/// `"0.001"`, `"1/3"`) that counts relative to the other plain numbers of a mixture.
///
/// In TOML and JSON it is a string or an integer; a float is refused, as `0.1` is none of the
/// numbers a float can hold.
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

/// How a weight was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightNotation {
    /// As a part of a hundred: all percentages of a mixture sum to 100 %.
    Percent,
    /// As a number: only the proportions count.
    Plain,
}

const EXPECTED: &str = "an exact positive number";

impl Weight {
    /// A plain whole number.
    ///
    /// # Errors
    /// Zero.
    pub fn from_integer(value: u64) -> Result<Self, Error> {
        Self::reduced(value, 1, WeightNotation::Plain)
            .ok_or_else(|| refused(&value.to_string(), "zero"))
    }

    /// The numerator in lowest terms (of the share itself: 1 for `"1%"`).
    pub fn numerator(&self) -> u64 {
        self.numerator
    }

    /// The denominator in lowest terms (100 for `"1%"`).
    pub fn denominator(&self) -> u64 {
        self.denominator
    }

    /// How it was written.
    pub fn notation(&self) -> WeightNotation {
        self.notation
    }

    /// Several weights from one text with colons between them: `"99:1"`.
    ///
    /// # Errors
    /// Any of them is no weight.
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
        let trimmed = text.trim();
        let (number, notation, hundred) = match trimmed.strip_suffix('%') {
            Some(number) => (number.trim_end(), WeightNotation::Percent, 100),
            None => (trimmed, WeightNotation::Plain, 1),
        };
        if number.starts_with('-') {
            return Err(refused(text, "a negative number"));
        }
        let (above, below) = number.split_once('/').unwrap_or((number, "1"));
        let (numerator, scale) = decimal(above).map_err(|got| refused(text, got))?;
        let (divisor, divisor_scale) = decimal(below).map_err(|got| refused(text, got))?;
        if divisor == 0 {
            return Err(refused(text, "a division by zero"));
        }
        if numerator == 0 {
            return Err(refused(text, "zero"));
        }
        let product = |one: u64, other: u64| u128::from(one) * u128::from(other);
        let numerator = product(numerator, divisor_scale);
        let denominator =
            product(divisor, scale).checked_mul(hundred).ok_or_else(|| refused(text, TOO_LONG))?;
        let common = greatest_common_divisor(numerator, denominator);
        match (u64::try_from(numerator / common), u64::try_from(denominator / common)) {
            (Ok(numerator), Ok(denominator)) => Ok(Self { numerator, denominator, notation }),
            _ => Err(refused(text, TOO_LONG)),
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
        write_exactly(formatter, numerator, u128::from(self.denominator))?;
        formatter.write_str(sign)
    }
}

/// Writes a fraction as a decimal where that is exact within 18 places, else as `n/d`.
pub(crate) fn write_exactly(
    formatter: &mut dyn fmt::Write,
    numerator: u128,
    denominator: u128,
) -> fmt::Result {
    let common = greatest_common_divisor(numerator, denominator).max(1);
    let (numerator, denominator) = (numerator / common, denominator / common);
    let Some(places) = (0..=18_u32).find(|&places| 10_u128.pow(places) % denominator == 0) else {
        return write!(formatter, "{numerator}/{denominator}");
    };
    let scale = 10_u128.pow(places);
    write!(formatter, "{}", numerator / denominator)?;
    if places > 0 {
        let fraction = numerator % denominator * (scale / denominator);
        let width = usize::try_from(places).unwrap_or(usize::MAX);
        write!(formatter, ".{fraction:0width$}")?;
    }
    Ok(())
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
            Err(_) => Err(E::custom(refused(&value.to_string(), "a negative number"))),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Weight, E> {
        let fix = format!("an exact number: write it as a string, weight = \"{value}\"");
        Err(E::invalid_type(Unexpected::Float(value), &fix.as_str()))
    }
}

const TOO_LONG: &str = "more digits than 64 bits hold";

fn refused(text: &str, got: &str) -> Error {
    Error::Weight { text: text.to_owned(), expected: EXPECTED, got: got.to_owned() }
}

/// `"12.50"` as (1250, 100).
fn decimal(text: &str) -> Result<(u64, u64), &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() + fraction.len() == 0 {
        return Err("no digits");
    }
    let (mut value, mut scale) = (0_u64, 1_u64);
    for (digits, grows) in [(whole, 1), (fraction, 10)] {
        for character in digits.chars() {
            let digit = character.to_digit(10).ok_or("something that is no decimal number")?;
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u64::from(digit)))
                .ok_or(TOO_LONG)?;
            scale = scale.checked_mul(grows).ok_or(TOO_LONG)?;
        }
    }
    Ok((value, scale))
}

/// The greatest common divisor (Euclid); of a number and zero it is the number.
pub(crate) fn greatest_common_divisor(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
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
    }

    #[test]
    fn what_is_no_positive_number_is_refused_with_the_reason() {
        for (text, reason) in [
            ("0", "zero"),
            ("0.00%", "zero"),
            ("-1", "negative"),
            ("", "no digits"),
            ("%", "no digits"),
            (".", "no digits"),
            ("NaN", "no decimal"),
            ("inf", "no decimal"),
            ("1e-9", "no decimal"),
            ("1,5", "no decimal"),
            ("1/0", "division by zero"),
            ("1/2/3", "no decimal"),
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
