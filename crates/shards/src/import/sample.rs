//! The selection of blocks of a large file when only a sample gets sums.

use std::{fmt, str::FromStr};

use mixdown_base::quantity::Number;

/// The share of blocks that get a sum: a percentage above 0, at most 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleShare {
    parts_per_million: u64,
}

const MILLION: u64 = 1_000_000;

impl SampleShare {
    /// Returns whether block `block` of `blocks` is in the sample: the first, the last, and evenly spaced ones between
    /// them.
    pub(crate) fn takes(self, block: u64, blocks: u64) -> bool {
        let reached = |block: u64| {
            u128::from(block) * u128::from(self.parts_per_million) / u128::from(MILLION)
        };
        block == 0 || block + 1 == blocks || reached(block + 1) > reached(block)
    }
}

impl FromStr for SampleShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("expected a share of the blocks such as 1% or 0.01%, up to 100%, got {text:?}")
        };
        let share: Number = text.parse().map_err(|_| wrong())?;
        let millionths = u128::from(share.numerator()) * u128::from(MILLION);
        let is_whole = millionths.is_multiple_of(u128::from(share.denominator()));
        match u64::try_from(millionths / u128::from(share.denominator())) {
            Ok(parts_per_million @ 1..=MILLION) if is_whole && share.is_percent() => {
                Ok(Self { parts_per_million })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for SampleShare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            format!("{}.{:04}", self.parts_per_million / 10_000, self.parts_per_million % 10_000);
        write!(formatter, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        for (text, parts) in [("1%", 10_000), ("0.01%", 100), ("100%", 1_000_000), ("2.5%", 25_000)]
        {
            let share: SampleShare = text.parse().unwrap();
            assert_eq!(share.parts_per_million, parts);
            assert_eq!(share.to_string(), text);
        }
        for text in ["", "%", "1", "0%", "101%", "-1%", "1e3%", "0.00001%", "1.%x"] {
            assert!(text.parse::<SampleShare>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_sample_has_its_size_and_both_ends() {
        let share: SampleShare = "1%".parse().unwrap();
        let taken: Vec<u64> = (0..10_000).filter(|block| share.takes(*block, 10_000)).collect();
        assert_eq!((taken.first(), taken.last()), (Some(&0), Some(&9_999)));
        assert!((100..=102).contains(&taken.len()), "{}", taken.len());
        assert!("100%".parse::<SampleShare>().unwrap().takes(5, 9));
    }
}
