//! The share p of pretraining data in a finetuning mixture.

use std::fmt;
use std::str::FromStr;

/// p as an exact fraction below one, in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Injection {
    pretraining: u64,
    total: u64,
}

impl Default for Injection {
    /// No pretraining data.
    fn default() -> Self {
        Self { pretraining: 0, total: 1 }
    }
}

impl Injection {
    /// The integer weights (target, pretraining); the second is zero for p = 0.
    pub fn weights(self) -> (u64, u64) {
        (self.total - self.pretraining, self.pretraining)
    }

    /// p as a number.
    #[expect(clippy::cast_precision_loss, reason = "shown, never decided on")]
    pub fn share(self) -> f64 {
        self.pretraining as f64 / self.total as f64
    }
}

impl FromStr for Injection {
    type Err = String;

    /// Reads `1%`, `0.5 %`, `0.01` or `0`, exactly.
    fn from_str(text: &str) -> Result<Self, String> {
        let reason = || format!("expected a share below 100 %, such as 1% or 0.01, got {text:?}");
        let (number, percent) = match text.trim().strip_suffix('%') {
            Some(number) => (number.trim_end(), 100),
            None => (text.trim(), 1),
        };
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{decimals}");
        if digits.is_empty()
            || digits.len() > 15
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(reason());
        }
        let pretraining: u64 = digits.parse().map_err(|_| reason())?;
        let places = u32::try_from(decimals.len()).map_err(|_| reason())?;
        let total = 10_u64.pow(places) * percent;
        if pretraining >= total {
            return Err(reason());
        }
        let divisor = greatest_common_divisor(pretraining, total);
        Ok(Self { pretraining: pretraining / divisor, total: total / divisor })
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.8}", self.share() * 100.0);
        write!(formatter, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn greatest_common_divisor(left: u64, right: u64) -> u64 {
    if right == 0 { left.max(1) } else { greatest_common_divisor(right, left % right) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        let weights = |text: &str| text.parse::<Injection>().map(Injection::weights);
        assert_eq!(weights("1%"), Ok((99, 1)));
        assert_eq!(weights("0.01"), Ok((99, 1)));
        assert_eq!(weights("0.1 %"), Ok((999, 1)));
        assert_eq!(weights("25%"), Ok((3, 1)));
        assert_eq!(weights("0"), Ok((1, 0)));
        assert_eq!(weights("0%"), Ok((1, 0)));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "%", "100%", "1", "-1%", "1e-2", "NaN", "1%%", "0.0000000000000001"] {
            assert!(text.parse::<Injection>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_share_is_shown_in_per_cent() {
        for (text, shown) in [("0", "0%"), ("0.010", "1%"), ("0.125%", "0.125%"), ("5%", "5%")] {
            assert_eq!(text.parse::<Injection>().unwrap().to_string(), shown);
        }
    }
}
