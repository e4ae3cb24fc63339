//! What depends on where an input stands: which inputs it sees, and by how much its heads turn.

use candle_core::{DType, Device, Result, Tensor};

use crate::model_config::{ModelConfig, Positions, RotaryConfig, RotaryScaling};
use crate::rows::Rows;

/// Constants of one batch, for all blocks.
pub(super) struct Places {
    pub(super) rows: usize,
    pub(super) length: usize,
    /// \[rows, 1, length, length\]: 0 where the query (third) sees the key (fourth), else −∞.
    pub(super) mask: Tensor,
    /// Cosines and sines, \[rows, 1, length, width / 2\], where positions are rotary.
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

/// A window of w leaves keys j > i − w to query i.
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

/// Angles are products of f32, as in transformers; their cosines and sines are exact in `dtype`.
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
    let (cosines, sines): (Vec<f64>, Vec<f64>) = angles.map(|a| (a.cos(), a.sin())).unzip();
    let table = |values: Vec<f64>| {
        let shape = (rows.rows, 1, rows.length, frequencies.len());
        Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
    };
    Ok((table(cosines)?, table(sines)?))
}

/// Radians that pair i turns by a position: `1 / θ^(2i/width)`, scaled, rounded to f32 once.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the definition")]
#[expect(clippy::cast_precision_loss, reason = "a head's width is far below 2^53")]
fn inverse_frequencies(config: &RotaryConfig) -> Vec<f32> {
    let pair = |i: u64| 1.0 / config.theta.powf((2 * i) as f64 / config.width as f64);
    (0..config.width / 2).map(|i| scaled(pair(i), &config.scaling) as f32).collect()
}

/// transformers' `_compute_llama3_parameters` and `_compute_linear_scaling_rope_parameters`.
#[expect(clippy::cast_precision_loss, reason = "a number of positions is far below 2^53")]
fn scaled(frequency: f64, scaling: &RotaryScaling) -> f64 {
    match *scaling {
        RotaryScaling::None => frequency,
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
    use crate::model_config::{RotaryConfig, RotaryScaling};

    /// transformers 5.24's formulas for Llama 3.1 8B (θ 500,000, width 128), by hand.
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
}
