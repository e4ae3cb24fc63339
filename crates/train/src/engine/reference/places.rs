//! Constants that depend on an input's position: which inputs it attends to, and the rotation of its heads.

use candle_core::{DType, Device, Result, Tensor};

use crate::engine::rows::Rows;
use crate::model::config::{ModelConfig, Positions, RotaryConfig, RotaryScaling};

/// Constants of one batch, shared by all blocks.
pub(super) struct Places {
    pub(super) rows: usize,
    pub(super) length: usize,
    /// \[rows, 1, length, length\]: 0 where the query (third dimension) attends to the key (fourth dimension), else −∞.
    pub(super) mask: Tensor,
    /// Cosines and sines, \[rows, 1, length, width / 2\], for rotary positions.
    pub(super) rotary: Option<(Tensor, Tensor)>,
}

impl Places {
    pub(super) fn new(
        config: &ModelConfig,
        rows: &Rows,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let mask = Tensor::from_vec(
            mask(rows, config.sliding_window),
            (rows.rows, 1, rows.length, rows.length),
            &Device::Cpu,
        )?;
        let mask = mask.to_dtype(dtype)?.to_device(device)?;
        let rotary = match &config.positions {
            Positions::Learned => None,
            Positions::Rotary(rotary) => Some(turns(rotary, rows, device, dtype)?),
        };
        Ok(Self { rows: rows.rows, length: rows.length, mask, rotary })
    }
}

/// Returns 0 for each key that a query attends to and −∞ for every other key. With a window of w, query i attends to
/// keys `j > i − w`.
fn mask(rows: &Rows, sliding_window: Option<u64>) -> Vec<f32> {
    let window = sliding_window.unwrap_or(u64::MAX);
    let keys = || (0u64..).take(rows.length);
    let queries = rows.starts.iter().zip(keys().cycle());
    let mut mask = Vec::with_capacity(rows.starts.len() * rows.length);
    for (&start, query) in queries {
        mask.extend(keys().map(|key| {
            let is_seen =
                key <= query && key >= u64::from(start) && key.saturating_add(window) > query;
            if is_seen { 0.0 } else { f32::NEG_INFINITY }
        }));
    }
    mask
}

/// Returns the cosines and sines of all angles. The angles are products of f32, as in transformers; their cosines and
/// sines are exact in `dtype`.
#[expect(clippy::cast_precision_loss, reason = "positions are far below 2^24")]
fn turns(
    config: &RotaryConfig,
    rows: &Rows,
    device: &Device,
    dtype: DType,
) -> Result<(Tensor, Tensor)> {
    let frequencies = inverse_frequencies(config);
    let angles = rows.positions.iter().flat_map(|position| {
        frequencies.iter().map(move |frequency| f64::from(*position as f32 * frequency))
    });
    let factor = match config.scaling {
        RotaryScaling::Yarn { attention_factor, .. } => attention_factor,
        _ => 1.0,
    };
    let (cosines, sines): (Vec<f64>, Vec<f64>) =
        angles.map(|a| (a.cos() * factor, a.sin() * factor)).unzip();
    let table = |values: Vec<f64>| {
        let shape = (rows.rows, 1, rows.length, frequencies.len());
        Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
    };
    Ok((table(cosines)?, table(sines)?))
}

/// Returns the radians by which each pair i rotates per position: `1 / θ^(2i/width)`, scaled, and rounded to f32 once.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the definition")]
#[expect(clippy::cast_precision_loss, reason = "a head's width is far below 2^53")]
fn inverse_frequencies(config: &RotaryConfig) -> Vec<f32> {
    let pair = |i: u64| 1.0 / config.theta.powf((2 * i) as f64 / config.width as f64);
    if let RotaryScaling::Yarn { factor, .. } = config.scaling {
        let ramp = yarn_ramp(config);
        let one = |(i, ramp)| (pair(i) / factor * ramp + pair(i) * (1.0 - ramp)) as f32;
        return (0..).zip(ramp).map(one).collect();
    }
    (0..config.width / 2).map(|i| scaled(pair(i), &config.scaling) as f32).collect()
}

/// Returns the share of the divided frequency in each pair's frequency, which is `linear_ramp_factor` in transformers'
/// `_compute_yarn_parameters`.
#[expect(clippy::cast_precision_loss, reason = "positions and widths are far below 2^53")]
fn yarn_ramp(config: &RotaryConfig) -> Vec<f64> {
    let RotaryScaling::Yarn { original_positions, fast_turns, slow_turns, truncate, .. } =
        config.scaling
    else {
        return Vec::new();
    };
    let (width, original) = (config.width as f64, original_positions as f64);
    let correction = |rotations: f64| {
        (width * (original / (rotations * 2.0 * std::f64::consts::PI)).ln())
            / (2.0 * config.theta.ln())
    };
    let ends = [correction(fast_turns), correction(slow_turns)];
    let [low, high] = if truncate { [ends[0].floor(), ends[1].ceil()] } else { ends };
    let low = low.max(0.0);
    let mut high = high.min(width - 1.0);
    if low.to_bits() == high.to_bits() {
        high += 0.001;
    }
    (0..config.width / 2).map(|i| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0)).collect()
}

/// Returns a pair's frequency after scaling, as in transformers' `_compute_llama3_parameters` and
/// `_compute_linear_scaling_rope_parameters`.
#[expect(clippy::cast_precision_loss, reason = "a number of positions is far below 2^53")]
fn scaled(frequency: f64, scaling: &RotaryScaling) -> f64 {
    match *scaling {
        RotaryScaling::None | RotaryScaling::Yarn { .. } => frequency,
        RotaryScaling::Linear { factor } => frequency / factor,
        RotaryScaling::Llama3 {
            factor,
            low_frequency_factor: low,
            high_frequency_factor: high,
            original_positions,
        } => {
            let original = original_positions as f64;
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            if wavelength < original / high {
                frequency
            } else if wavelength > original / low {
                frequency / factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::inverse_frequencies;
    use crate::model::config::{RotaryConfig, RotaryScaling};

    /// The expected values are calculated by hand from transformers 5.24's formulas for Llama 3.1 8B (θ 500,000, width
    /// 128).
    #[test]
    #[expect(clippy::float_cmp, reason = "divided by powers of two only")]
    fn llama_3_frequencies_are_kept_interpolated_or_divided() {
        let scaling = RotaryScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_positions: 8192,
        };
        let config = |scaling| RotaryConfig { theta: 500_000.0, width: 128, scaling };
        let plain = inverse_frequencies(&config(RotaryScaling::None));
        let halved = inverse_frequencies(&config(RotaryScaling::Linear { factor: 2.0 }));
        let got = inverse_frequencies(&config(scaling));
        assert_eq!(got.len(), 64);
        for (idx, (got, plain)) in got.iter().zip(&plain).enumerate() {
            assert_eq!(halved[idx], plain / 2.0);
            match idx {
                0..=28 => assert_eq!(got, plain),
                29..=34 => assert!(*got < *plain && *got > plain / 8.0, "{idx}"),
                _ => assert_eq!(*got, plain / 8.0),
            }
        }
        assert_eq!(got[29..35], MIDDLE);
    }

    const MIDDLE: [f32; 6] = [
        2.166_570_9e-3,
        1.371_893_6e-3,
        8.567_514e-4,
        5.248_461_4e-4,
        3.126_937_4e-4,
        1.785_078e-4,
    ];

    /// The expected values are computed with transformers 5.24's formulas: width 12, θ 100, factor 8, 16 original
    /// positions, `beta_fast` 4 and `beta_slow` 0.5, not truncated.
    #[test]
    fn yarn_frequencies_are_those_of_transformers() {
        let scaling = RotaryScaling::Yarn {
            factor: 8.0,
            original_positions: 16,
            fast_turns: 4.0,
            slow_turns: 0.5,
            truncate: false,
            attention_factor: 1.0,
        };
        let got = inverse_frequencies(&RotaryConfig { theta: 100.0, width: 12, scaling });
        let expected = [1.0, 0.272_666_13, 0.037_677_32, 0.0125, 0.005_801_985_5, 0.002_693_043_6];
        for (got, expected) in got.into_iter().zip(expected) {
            assert!((f64::from(got) / expected - 1.0).abs() < 1e-6, "{got} {expected}");
        }
    }
}
