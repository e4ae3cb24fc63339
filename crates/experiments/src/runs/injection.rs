//! The share p of pretraining data in a finetuning mixture.

use std::fmt;
use std::str::FromStr;

use mixdown_base::quantity::Number;
use mixdown_mixer::{Weight, WeightParts};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// The share p of pretraining data, as an exact fraction below one in lowest terms.
///
/// ```
/// use mixdown_experiments::Injection;
///
/// let share: Injection = "0.5%".parse()?;
/// assert_eq!(share.weights(), (199, 1));
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    pretraining: u64,
    total: u64,
}

impl Injection {
    /// The share of a mixture without pretraining data.
    pub const NONE: Self = Self { pretraining: 0, total: 1 };

    /// Returns the integer weights of target and pretraining data; the second is zero for p = 0.
    pub fn weights(self) -> (u64, u64) {
        (self.total - self.pretraining, self.pretraining)
    }

    /// Returns p as a number.
    ///
    /// ```
    /// use mixdown_experiments::Injection;
    ///
    /// let share: Injection = "99:1".parse()?;
    /// assert_eq!((share.share(), share.to_string()), (0.01, "1%".to_owned()));
    /// # Ok::<(), mixdown_experiments::Error>(())
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "shown and sorted by, never drawn by")]
    pub fn share(self) -> f64 {
        self.pretraining as f64 / self.total as f64
    }

    fn of_ratio(text: &str) -> Result<Option<Self>, mixdown_mixer::Error> {
        let parts = WeightParts::of_weights(&Weight::parse_ratio(text)?)?;
        let &[_, pretraining] = parts.parts() else { return Ok(None) };
        Ok(Some(Self { pretraining, total: parts.period() }))
    }

    fn of_share(text: &str) -> Result<Option<Self>, mixdown_mixer::Error> {
        if text.parse::<Number>().is_ok_and(|number| number.numerator() == 0) {
            return Ok(Some(Self::NONE));
        }
        let weight: Weight = text.parse()?;
        let (pretraining, total) = (weight.numerator(), weight.denominator());
        Ok((pretraining < total).then_some(Self { pretraining, total }))
    }
}

impl FromStr for Injection {
    type Err = Error;

    /// Reads `1%`, `0.5 %`, `0.01`, `1/3`, `99:1` (target to pretraining) or `0`, exactly.
    fn from_str(text: &str) -> Result<Self, Error> {
        let read = if text.contains(':') { Self::of_ratio(text)? } else { Self::of_share(text)? };
        read.ok_or_else(|| {
            Error::configuration(
                format!("expected a share below 100 %, such as 1%, 0.01 or 99:1, got {text:?}"),
                "",
            )
        })
    }
}

impl fmt::Display for Injection {
    /// Writes the exact share in percent: `1%`, `0.125%`, `100/3%`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredfold = u128::from(self.pretraining) * 100;
        match format!("{hundredfold}/{}%", self.total).parse::<Weight>() {
            Ok(weight) => weight.fmt(formatter),
            Err(_) => formatter.write_str("0%"),
        }
    }
}

impl Serialize for Injection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Injection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InjectionVisitor)
    }
}

struct InjectionVisitor;

impl Visitor<'_> for InjectionVisitor {
    type Value = Injection;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a share as a string like \"1%\", \"0.01\" or \"99:1\", or 0")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Injection, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Injection, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Injection {
        text.parse().unwrap()
    }

    #[test]
    fn shares_are_exact() {
        let cases = [
            ("1%", (99, 1)),
            ("0.01", (99, 1)),
            ("99:1", (99, 1)),
            ("0.1 %", (999, 1)),
            ("25%", (3, 1)),
            ("0", (1, 0)),
            ("0.0%", (1, 0)),
            ("1e-2", (99, 1)),
            ("1/3", (2, 1)),
            ("0.00000000001", (99_999_999_999, 1)),
        ];
        for (text, weights) in cases {
            assert_eq!(read(text).weights(), weights, "{text}");
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "%", "100%", "1", "-1%", "1e-2x", "NaN", "1%%", "99:1:1", "99:0", "3/2"] {
            assert!(text.parse::<Injection>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        let cases = [("0", "0%"), ("0.010", "1%"), ("0.125%", "0.125%"), ("5%", "5%")];
        for (text, shown) in cases {
            assert_eq!(read(text).to_string(), shown);
        }
        for text in ["0.00000000001", "1/3", "0"] {
            assert_eq!(read(&read(text).to_string()), read(text), "{text}");
        }
    }
}
