//! The weights of a mixture as integer parts of a period.

use std::fmt;

use mixdown_base::quantity::{greatest_common_divisor, write_fraction};

use crate::error::Error;
use crate::weights::{Weight, WeightNotation};

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
    /// Makes parts in the proportion of the given ones, divided by their greatest common divisor.
    ///
    /// # Errors
    /// There are no parts, a part is zero, there are too many parts, or their sum exceeds [`LARGEST_PERIOD`].
    ///
    /// ```
    /// use mixdown_mixer::WeightParts;
    ///
    /// assert_eq!(WeightParts::new(&[6, 2])?.parts(), [3, 1]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn new(parts: &[u64]) -> Result<Self, Error> {
        let wide: Vec<u128> = parts.iter().map(|&part| u128::from(part)).collect();
        if parts.contains(&0) {
            Weight::from_integer(0)?;
        }
        Self::reduce(&wide)
    }

    /// Makes the parts of exact weights. Percentages need not sum to 100 % here; a
    /// [`Mixture`](crate::Mixture) checks that.
    ///
    /// # Errors
    /// There are no weights, too many of them, or their common period exceeds [`LARGEST_PERIOD`].
    ///
    /// ```
    /// use mixdown_mixer::{Weight, WeightParts};
    ///
    /// let weights = Weight::parse_ratio("1/2:1/3:1/6")?;
    /// assert_eq!(WeightParts::of_weights(&weights)?.parts(), [3, 2, 1]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
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

    /// Returns the parts, in sequences, of weights that are shares of the loss tokens, for sources whose loss tokens
    /// and sequences per epoch are in `epochs`.
    ///
    /// They are exact if the period fits; otherwise each part is rounded to about 2⁻⁵⁵ of the largest, which moves no
    /// sequence in any run shorter than that.
    ///
    /// # Errors
    /// Those of [`of_weights`](Self::of_weights).
    pub(crate) fn of_loss_tokens(weights: &[Weight], epochs: &[LossEpoch]) -> Result<Self, Error> {
        let shares = Self::of_weights(weights)?;
        let quotients: Vec<Quotient> = shares
            .parts
            .iter()
            .zip(epochs)
            .map(|(&part, epoch)| Quotient::new(part, epoch.sequences, epoch.loss_tokens.max(1)))
            .collect();
        match exact_parts(&quotients).map(|parts| Self::reduce(&parts)) {
            Some(Ok(parts)) => Ok(parts),
            _ => Self::reduce(&rounded_parts(&quotients)),
        }
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
        // No part exceeds the period, so none is lost.
        let parts = parts.iter().filter_map(|part| u64::try_from(part / common).ok()).collect();
        Ok(Self { parts, period, sources })
    }

    /// Returns the parts in the order of the sources.
    ///
    /// ```
    /// use mixdown_mixer::WeightParts;
    ///
    /// let parts = WeightParts::new(&[3, 1])?;
    /// assert_eq!(parts.parts(), [3, 1]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn parts(&self) -> &[u64] {
        &self.parts
    }

    /// Returns the part of one source; 1 for a source that does not exist, so that it can be a divisor.
    ///
    /// ```
    /// use mixdown_mixer::WeightParts;
    ///
    /// let parts = WeightParts::new(&[3, 1])?;
    /// assert_eq!(parts.part(0), 3);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn part(&self, source: u32) -> u64 {
        usize::try_from(source)
            .ok()
            .and_then(|source| self.parts.get(source))
            .map_or(1, |&part| part)
    }

    /// Returns the sum of the parts, in slots.
    ///
    /// ```
    /// use mixdown_mixer::WeightParts;
    ///
    /// let parts = WeightParts::new(&[3, 1])?;
    /// assert_eq!(parts.period(), 4);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn period(&self) -> u64 {
        self.period
    }

    /// Returns the number of sources.
    ///
    /// ```
    /// use mixdown_mixer::WeightParts;
    ///
    /// let parts = WeightParts::new(&[3, 1])?;
    /// assert_eq!(parts.sources(), 2);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn sources(&self) -> u32 {
        self.sources
    }
}

/// The share of a source that counts for the loss.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LossEpoch {
    /// Sequences of an epoch.
    pub(crate) sequences: u64,
    /// Targets of an epoch that count.
    pub(crate) loss_tokens: u64,
}

/// A positive fraction in lowest terms.
struct Quotient {
    above: u128,
    below: u128,
}

impl Quotient {
    fn new(part: u64, sequences: u64, loss_tokens: u64) -> Self {
        let above = u128::from(part) * u128::from(sequences);
        let below = u128::from(loss_tokens);
        let common = greatest_common_divisor(above, below);
        Self { above: above / common, below: below / common }
    }
}

/// Returns integers in the proportion of the quotients, if they fit in 128 bits.
fn exact_parts(quotients: &[Quotient]) -> Option<Vec<u128>> {
    let denominator = quotients.iter().try_fold(1_u128, |all, quotient| {
        all.checked_mul(quotient.below / greatest_common_divisor(all, quotient.below))
    })?;
    let part = |quotient: &Quotient| quotient.above.checked_mul(denominator / quotient.below);
    quotients.iter().map(part).collect()
}

/// Returns integers near the proportion of the quotients, with a sum below 2⁶².
fn rounded_parts(quotients: &[Quotient]) -> Vec<u128> {
    let sources_bits = (usize::BITS - quotients.len().leading_zeros()).min(32);
    // The largest quotient is at least 2^(largest − 1) and below 2^(largest + 1).
    let largest = quotients.iter().map(Quotient::magnitude).max().unwrap_or(0);
    let power = 60 - i64::from(sources_bits) - largest;
    quotients.iter().map(|quotient| quotient.times_power_of_two(power).max(1)).collect()
}

impl Quotient {
    /// Returns the number of bits by which the numerator is longer than the denominator.
    fn magnitude(&self) -> i64 {
        i64::from(self.below.leading_zeros()) - i64::from(self.above.leading_zeros())
    }

    /// Returns the quotient times 2^power rounded down, by long division.
    fn times_power_of_two(&self, power: i64) -> u128 {
        let mut whole = self.above / self.below;
        if power < 0 {
            return whole.checked_shr(u32::try_from(-power).unwrap_or(u32::MAX)).unwrap_or(0);
        }
        let mut rest = self.above % self.below;
        for _ in 0..power {
            rest *= 2;
            let bit = u128::from(rest >= self.below);
            rest -= bit * self.below;
            whole = 2 * whole + bit;
        }
        whole
    }
}

/// Checks that the weights are all percentages summing to 100 %, or none is a percentage.
///
/// A mixture of both is refused instead of guessing: `"0.01"` beside `"99%"` could mean 0.01 or one percent.
pub(crate) fn check_notations(names: &[&str], weights: &[Weight]) -> Result<(), Error> {
    let first_with = |notation| weights.iter().position(|weight| weight.notation() == notation);
    match (first_with(WeightNotation::Percent), first_with(WeightNotation::Plain)) {
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
    write_fraction(&mut got, percent, denominator).unwrap_or_default();
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

    fn of_loss_tokens(texts: &[&str], epochs: &[(u64, u64)]) -> WeightParts {
        let epochs: Vec<LossEpoch> = epochs
            .iter()
            .map(|&(sequences, loss_tokens)| LossEpoch { sequences, loss_tokens })
            .collect();
        WeightParts::of_loss_tokens(&weights(texts), &epochs).unwrap()
    }

    #[test]
    fn shares_of_loss_tokens_are_exact_in_sequences() {
        // 512 and 128 loss tokens per sequence: for an equal share, the second needs four times the sequences.
        let parts = of_loss_tokens(&["1", "1"], &[(1_000, 512_000), (50, 6_400)]);
        assert_eq!(parts.parts, [1, 4]);
        // 99 % of 1,000/3 per sequence, 1 % of 7: 99·3/1000 to 1/7.
        let parts = of_loss_tokens(&["99%", "1%"], &[(3, 1_000), (1, 7)]);
        assert_eq!(parts.parts, [99 * 3 * 7, 1_000]);
    }

    #[test]
    fn shares_of_loss_tokens_whose_period_does_not_fit_are_near() {
        let epochs = [
            (1_000_003, 998_244_353_000_001),
            (999_983, 1_000_000_007_000_003),
            (77_777_777, 31_415_926_535_897_933),
        ];
        let rounded = of_loss_tokens(&["70%", "20%", "10%"], &epochs);
        assert!(rounded.period() > 1 << 56 && rounded.period() < 1 << 62);
        let shares: [f64; 3] = [70.0, 20.0, 10.0];
        let exact = shares.iter().zip(epochs).map(|(share, (s, l))| share * s as f64 / l as f64);
        let exact: Vec<f64> = exact.collect();
        let total: f64 = exact.iter().sum();
        for (part, exact) in rounded.parts.iter().zip(&exact) {
            let realised = *part as f64 / rounded.period() as f64;
            assert!((realised / (exact / total) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn percentages_sum_to_a_hundred_exactly() {
        let check = |texts: &[&str]| {
            let names: Vec<&str> = texts.to_vec();
            check_notations(&names, &weights(texts))
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
