//! Initial weights: normal numbers from ChaCha, the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::layout::Layout;
use crate::weights::hugging_face::{FileTensor, tensors};

/// Standard deviation of the initial weights.
const DEVIATION: f64 = 0.02;

/// Returns `len` zeros, or an error if there is not enough memory.
pub(crate) fn zeros(len: usize) -> Result<Vec<f32>, Error> {
    let mut zeros = Vec::new();
    zeros
        .try_reserve_exact(len)
        .map_err(|error| Error::setting("model", format!("memory for {len} numbers"), error))?;
    zeros.resize(len, 0.0);
    Ok(zeros)
}

/// Returns the parameters of a fresh model: normal weights, the projections onto the residual stream scaled by
/// 1/√(2·layers) (Radford et al., 2019), the weights of norms one, and biases zero.
///
/// Each tensor of the model's file has a separate random stream, so a further layer changes no earlier tensor.
#[expect(clippy::cast_precision_loss, reason = "layers are far below 2^53")]
pub(crate) fn parameters(
    config: &ModelConfig,
    layout: &Layout,
    seed: u64,
) -> Result<Vec<f32>, Error> {
    let mut parameters = zeros(layout.len)?;
    for (stream, tensor) in (0..).zip(tensors(config, layout)) {
        let values = &mut parameters[tensor.range.clone()];
        if !tensor.decays() {
            values.fill(if tensor.name.ends_with(".bias") { 0.0 } else { 1.0 });
            continue;
        }
        let is_residual = layout
            .blocks
            .iter()
            .any(|block| [&block.output.weight, &block.down.weight].contains(&&tensor.range));
        let shrink = if is_residual { (2.0 * config.layers as f64).sqrt() } else { 1.0 };
        fill(&tensor, Normal::new(seed, stream), DEVIATION / shrink, values);
    }
    Ok(parameters)
}

/// Fills a tensor in the order of its file.
fn fill(tensor: &FileTensor, mut normal: Normal, deviation: f64, values: &mut [f32]) {
    let mut numbers = Vec::new();
    let part_len = (1usize << 18).next_multiple_of(tensor.part_len());
    for first in (0..values.len()).step_by(part_len) {
        numbers.clear();
        numbers.extend(normal.weights(deviation).take(part_len.min(values.len() - first)));
        tensor.copy_in(first, &numbers, values);
    }
}

/// A generator of normal numbers by Marsaglia's polar form of the Box–Muller method.
///
/// Only additions, multiplications, divisions and square roots, all exactly rounded by IEEE 754,
/// so no machine's own logarithm or cosine can change a bit.
pub(crate) struct Normal {
    generator: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normal {
    /// Makes a generator; each `stream` of a `seed` has independent numbers.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self { generator, spare: None }
    }

    /// Fills a slice with normal numbers of mean 0 and the given standard deviation.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32 by definition")]
    pub(crate) fn weights(&mut self, deviation: f64) -> impl Iterator<Item = f32> {
        std::iter::repeat_with(move || (self.next() * deviation) as f32)
    }

    /// Fills a slice with uniform numbers in ±`bound`.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32 by definition")]
    pub(crate) fn uniforms(&mut self, bound: f64) -> impl Iterator<Item = f32> {
        std::iter::repeat_with(move || (self.uniform() * bound) as f32)
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

    /// Returns a uniform number in [-1, 1), in steps of 2^-52.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Returns the natural logarithm of a normal positive number as `k ln 2 + 2 artanh((m − 1)/(m + 1))` with m in [1, 2);
/// the series ends where its terms fall below 2^-53.
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
    use super::{Normal, logarithm, parameters, zeros};
    use crate::model::config::ModelConfig;
    use crate::model::config::tests::all_kinds;
    use crate::model::layout::Layout;

    #[test]
    fn the_logarithm_is_right() {
        for i in 1..2000 {
            let x = f64::from(i) / 1000.0;
            assert!((logarithm(x) - x.ln()).abs() < 1e-14, "{x}");
        }
    }

    #[test]
    fn moments_and_tails_are_those_of_a_normal_distribution() {
        let values: Vec<f32> = Normal::new(3, 1).weights(2.0).take(400_000).collect();
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
        let numbers = |seed, stream| -> Vec<u32> {
            Normal::new(seed, stream).weights(1.0).take(4).map(f32::to_bits).collect()
        };
        assert_eq!(numbers(7, 0), FIRST);
        assert_ne!(numbers(7, 1), FIRST);
        assert_ne!(numbers(8, 0), FIRST);
        assert!(zeros(usize::MAX).is_err());
    }

    #[test]
    fn tensors_have_the_deviations_of_their_kind() {
        for config in all_kinds() {
            let config = ModelConfig { hidden_size: 64, intermediate_size: 128, ..config };
            let layout = Layout::new(&config).unwrap();
            let parameters = parameters(&config, &layout, 3).unwrap();
            let deviation = |range: &std::ops::Range<usize>| {
                let values = &parameters[range.clone()];
                let square: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
                (square / values.len() as f64).sqrt()
            };
            let near = |got: f64, expected: f64| assert!((got / expected - 1.0).abs() < 0.08);
            near(deviation(&layout.embedding), 0.02);
            for block in &layout.blocks {
                near(deviation(&block.qkv.weight), 0.02);
                near(deviation(&block.down.weight), 0.01);
                near(deviation(&block.output.weight), 0.01);
                near(deviation(&block.mlp_norm.weight), 1.0);
                let biases = [&block.qkv.bias, &block.mlp_norm.bias, &block.down.bias];
                biases.into_iter().flatten().for_each(|bias| assert!(deviation(bias).abs() < 1e-9));
            }
        }
    }

    const FIRST: [u32; 4] = [3_198_170_476, 3_197_857_728, 1_064_356_468, 1_065_722_567];
}
