//! Initial weights: normal numbers from ChaCha, the same on every machine.

use std::collections::TryReserveError;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Normal numbers by Marsaglia's polar form of Box and Muller's method.
///
/// Only additions, multiplications, divisions and square roots, all exactly rounded by IEEE 754,
/// so no machine's own logarithm or cosine can change a bit.
pub(crate) struct Normal {
    generator: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normal {
    /// Parameter number `stream` of the model with `seed` has numbers of its own: a further layer
    /// changes no earlier one.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self { generator, spare: None }
    }

    /// `len` numbers of mean 0 and the given standard deviation, where there is memory for them.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32 by definition")]
    pub(crate) fn weights(
        &mut self,
        len: usize,
        deviation: f64,
    ) -> Result<Vec<f32>, TryReserveError> {
        let mut weights = Vec::new();
        weights.try_reserve_exact(len)?;
        weights.extend((0..len).map(|_| (self.next() * deviation) as f32));
        Ok(weights)
    }

    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (self.uniform(), self.uniform());
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * logarithm(square) / square).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }

    /// Uniform in [-1, 1), in steps of 2^-52.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// The natural logarithm of a normal positive number: `k ln 2 + 2 artanh((m − 1)/(m + 1))` with
/// m in [1, 2), the series cut where its terms fall below 2^-53.
fn logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    // The exponent field has 11 bits.
    let exponent = i32::try_from(bits >> 52).unwrap_or(0) - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let mut sum = 0.0;
    for n in (0..18).rev() {
        sum = sum * t * t + 1.0 / f64::from(2 * n + 1);
    }
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * t * sum
}

#[cfg(test)]
mod tests {
    use super::{Normal, logarithm};

    #[test]
    fn the_logarithm_is_right() {
        for i in 1..2000 {
            let x = f64::from(i) / 1000.0;
            assert!((logarithm(x) - x.ln()).abs() < 1e-14, "{x}");
        }
    }

    #[test]
    fn moments_and_tails_are_those_of_a_normal_distribution() {
        let values = Normal::new(3, 1).weights(400_000, 2.0).unwrap();
        let moment = |power: i32| {
            values.iter().map(|&v| f64::from(v / 2.0).powi(power)).sum::<f64>() / 400_000.0
        };
        assert!(moment(1).abs() < 0.01 && moment(3).abs() < 0.02);
        assert!((moment(2) - 1.0).abs() < 0.01 && (moment(4) - 3.0).abs() < 0.06);
        let tail = values.iter().filter(|v| v.abs() > 4.0).count();
        assert!((17_000..19_400).contains(&tail), "{tail}");
    }

    #[test]
    fn the_numbers_are_fixed_for_ever() {
        let first = Normal::new(7, 0).weights(4, 1.0).unwrap();
        assert_eq!(first.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), FIRST);
        assert_ne!(Normal::new(7, 1).weights(4, 1.0).unwrap(), first);
        assert_ne!(Normal::new(8, 0).weights(4, 1.0).unwrap(), first);
        assert!(Normal::new(8, 0).weights(usize::MAX, 1.0).is_err());
    }

    const FIRST: [u32; 4] = [3_198_170_476, 3_197_857_728, 1_064_356_468, 1_065_722_567];
}
