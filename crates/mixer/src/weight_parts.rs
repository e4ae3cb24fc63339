//! The weights of a mixture as integer parts of a period.

use std::fmt;

use crate::error::Error;
use crate::weight::{Weight, WeightUnit, greatest_common_divisor, write_exactly};

/// Positive integer parts aᵢ in lowest terms: source i gets aᵢ of every P = Σ aᵢ slots.
///
/// Never empty; the period is at most [`LARGEST_PERIOD`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightParts {
    parts: Vec<u64>,
    period: u64,
    sources: u32,
}

/// The longest period: products of two parts, doubled, then fit 128 bits.
pub const LARGEST_PERIOD: u64 = u64::MAX >> 1;

impl WeightParts {
    /// Parts in the proportion of the given ones, divided by their greatest common divisor.
    ///
    /// # Errors
    /// No part, a part of zero, too many parts, or a sum above [`LARGEST_PERIOD`].
    pub fn new(parts: &[u64]) -> Result<Self, Error> {
        let wide: Vec<u128> = parts.iter().map(|&part| u128::from(part)).collect();
        if parts.contains(&0) {
            Weight::from_integer(0)?;
        }
        Self::reduce(&wide)
    }

    /// The parts of exact weights. Percentages need not sum to 100 % here; a
    /// [`Mixture`](crate::Mixture) checks that.
    ///
    /// # Errors
    /// No weight, too many of them, or a common period above [`LARGEST_PERIOD`].
    pub fn of_weights(weights: &[Weight]) -> Result<Self, Error> {
        let mut denominator = 1_u128;
        for weight in weights {
            let own = u128::from(weight.denominator());
            let missing = own / greatest_common_divisor(denominator, own);
            denominator = denominator
                .checked_mul(missing)
                .ok_or_else(|| overflow(&"a common denominator above 128 bits"))?;
        }
        let parts: Option<Vec<u128>> = weights
            .iter()
            .map(|weight| {
                let own = u128::from(weight.denominator());
                u128::from(weight.numerator()).checked_mul(denominator / own)
            })
            .collect();
        Self::reduce(&parts.ok_or_else(|| overflow(&"a part above 128 bits"))?)
    }

    fn reduce(parts: &[u128]) -> Result<Self, Error> {
        let sources = match u32::try_from(parts.len()) {
            Ok(0) => return Err(Error::NoSources),
            Ok(sources) => sources,
            Err(_) => return Err(too_many_sources(parts.len())),
        };
        let common = parts.iter().copied().fold(0, greatest_common_divisor);
        let total = parts
            .iter()
            .try_fold(0_u128, |sum, &part| sum.checked_add(part / common))
            .ok_or_else(|| overflow(&"more than 128 bits hold"))?;
        let period = match u64::try_from(total) {
            Ok(period) if period <= LARGEST_PERIOD => period,
            _ => return Err(overflow(&total)),
        };
        // No part is above the period, so none is lost.
        let parts = parts.iter().filter_map(|part| u64::try_from(part / common).ok()).collect();
        Ok(Self { parts, period, sources })
    }

    /// The parts, in the order of the sources.
    pub fn parts(&self) -> &[u64] {
        &self.parts
    }

    /// The parts of one source; 1 for a source that does not exist, so that it divides.
    pub fn part(&self, source: u32) -> u64 {
        usize::try_from(source)
            .ok()
            .and_then(|source| self.parts.get(source))
            .map_or(1, |&part| part)
    }

    /// The sum of the parts, in slots.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// The number of sources.
    pub fn sources(&self) -> u32 {
        self.sources
    }
}

/// Checks that the weights are all percentages summing to 100 %, or none is a percentage.
///
/// A mixture of both is refused rather than guessed at: `"0.01"` beside `"99%"` could mean 0.01 or
/// one per cent.
pub(crate) fn check_units(names: &[&str], weights: &[Weight]) -> Result<(), Error> {
    let first_with = |unit| weights.iter().position(|weight| weight.unit() == unit);
    match (first_with(WeightUnit::Percent), first_with(WeightUnit::Plain)) {
        (Some(percent), Some(plain)) => Err(Error::MixedWeights {
            percent: names.get(percent).copied().unwrap_or_default().to_owned(),
            plain: names.get(plain).copied().unwrap_or_default().to_owned(),
        }),
        (Some(_), None) => check_percentages(weights),
        _ => Ok(()),
    }
}

fn check_percentages(weights: &[Weight]) -> Result<(), Error> {
    let (mut numerator, mut denominator) = (0_u128, 1_u128);
    for weight in weights {
        let (above, below) = (u128::from(weight.numerator()), u128::from(weight.denominator()));
        let common = greatest_common_divisor(denominator, below);
        let sum = numerator
            .checked_mul(below / common)
            .zip(above.checked_mul(denominator / common))
            .and_then(|(one, other)| one.checked_add(other))
            .zip(denominator.checked_mul(below / common))
            .ok_or_else(|| overflow(&"percentages whose sum needs more than 128 bits"))?;
        (numerator, denominator) = sum;
    }
    if numerator == denominator {
        return Ok(());
    }
    let mut got = String::new();
    let percent = numerator.checked_mul(100).unwrap_or(numerator);
    // Writing to a String cannot fail.
    write_exactly(&mut got, percent, denominator).unwrap_or_default();
    Err(Error::PercentageSum { got: format!("{got}%") })
}

fn overflow(got: &dyn fmt::Display) -> Error {
    Error::WeightOverflow { expected: LARGEST_PERIOD, got: got.to_string() }
}

pub(crate) fn too_many_sources(len: usize) -> Error {
    Error::TooManySources {
        expected: u64::from(u32::MAX),
        got: u64::try_from(len).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(texts: &[&str]) -> Vec<Weight> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn parts(texts: &[&str]) -> Vec<u64> {
        WeightParts::of_weights(&weights(texts)).unwrap().parts
    }

    #[test]
    fn weights_become_the_least_integers_in_proportion() {
        assert_eq!(parts(&["99%", "1%"]), [99, 1]);
        assert_eq!(parts(&["70%", "20%", "10%"]), [7, 2, 1]);
        assert_eq!(parts(&["0.5", "1/3", "1/6"]), [3, 2, 1]);
        assert_eq!(parts(&["200", "100"]), [2, 1]);
        assert_eq!(parts(&["5"]), [1]);
        assert_eq!(parts(&["0.000000001", "0.999999999"]), [1, 999_999_999]);
    }

    #[test]
    fn periods_that_do_not_fit_are_errors() {
        for texts in [
            ["1/18446744073709551557", "1/18446744073709551533", "1/18446744073709551521"],
            ["9223372036854775807", "1", "1"],
            ["1/4294967291", "1/4294967279", "1"],
        ] {
            let error = WeightParts::of_weights(&weights(&texts)).unwrap_err();
            assert!(matches!(error, Error::WeightOverflow { .. }), "{error}");
        }
        assert!(WeightParts::new(&[LARGEST_PERIOD - 1, 1]).is_ok());
        assert!(matches!(WeightParts::new(&[]), Err(Error::NoSources)));
        assert!(matches!(WeightParts::new(&[1, 0]), Err(Error::Weight { .. })));
    }

    #[test]
    fn percentages_sum_to_a_hundred_exactly() {
        let check = |texts: &[&str]| {
            let names: Vec<&str> = texts.to_vec();
            check_units(&names, &weights(texts))
        };
        assert!(check(&["99%", "1%"]).is_ok());
        assert!(check(&["100/3%", "100/3%", "100/3%"]).is_ok());
        assert!(check(&["3", "0.5"]).is_ok());
        assert!(check(&["100%"]).is_ok());
        let message = check(&["99%", "0.5%"]).unwrap_err().to_string();
        assert!(message.contains("got 99.5%"), "{message}");
        let message = check(&["33.3%", "100/3%", "100/3%"]).unwrap_err().to_string();
        assert!(message.contains('/'), "{message}");
        let message = check(&["99%", "0.01"]).unwrap_err().to_string();
        assert!(message.contains("\"99%\"") && message.contains("\"0.01\""), "{message}");
    }
}
