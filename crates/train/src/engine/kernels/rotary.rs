//! Rotary positions: pairs (i, i + width/2) of a head are rotated by an angle that grows with the position.

use std::f64::consts::TAU;

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::number::{Number, vectorised};
use crate::model::config::{RotaryConfig, RotaryScaling};

/// Rows of one task.
const TASK_ROWS: usize = 64;

/// Cosines and sines for every position and pair, \[positions, width / 2\].
#[derive(Debug)]
pub(crate) struct Rotary<F> {
    half: usize,
    cosines: Vec<F>,
    sines: Vec<F>,
}

/// Direction of the rotation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Rotates by the position's angle.
    Forward,
    /// Rotates back by the position's angle: the gradient of the forward rotation.
    Back,
}

/// The heads at the beginning of each row of `stride` numbers.
#[derive(Clone, Copy)]
pub(crate) struct TurnedHeads {
    pub(crate) heads: usize,
    pub(crate) head_width: usize,
    pub(crate) stride: usize,
}

impl<F: Number> Rotary<F> {
    /// Computes the angles for `positions` positions.
    ///
    /// Frequencies and angles are rounded to f32 before cosine and sine, as in the checkpoints' reference
    /// implementation; without this rounding position 10,000 is off by a thousandth.
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the definition")]
    #[expect(clippy::cast_precision_loss, reason = "positions are far below 2^24")]
    pub(crate) fn new(config: &RotaryConfig, positions: usize) -> Self {
        let pairs = config.width / 2;
        let frequencies: Vec<f32> = (0..pairs).map(|pair| frequency(config, pair) as f32).collect();
        let angles = (0..positions)
            .flat_map(|position| frequencies.iter().map(move |f| f64::from(position as f32 * f)));
        let factor = config.scaling.attention_factor();
        let (cosines, sines) =
            angles.map(|a| (F::of(factor * a.cos()), F::of(factor * a.sin()))).unzip();
        Self { half: frequencies.len(), cosines, sines }
    }

    /// Cosines and sines, \[positions, width / 2\].
    #[cfg(feature = "cuda")]
    pub(crate) fn tables(&self) -> (&[F], &[F]) {
        (&self.cosines, &self.sines)
    }

    /// Number of positions that have angles.
    pub(crate) fn positions(&self) -> usize {
        self.cosines.len() / self.half
    }

    /// Rotates the first heads of every row in place; row i is at position `positions[i]`.
    pub(crate) fn turn(&self, turn: Turn, positions: &[u32], shape: TurnedHeads, rows: &mut [F]) {
        let tasks = rows.par_chunks_mut(TASK_ROWS * shape.stride);
        tasks.zip(positions.par_chunks(TASK_ROWS)).for_each(|(rows, positions)| {
            vectorised(
                #[inline(always)]
                || {
                    for (row, &position) in rows.chunks_exact_mut(shape.stride).zip(positions) {
                        let heads = row.chunks_exact_mut(shape.head_width).take(shape.heads);
                        heads.for_each(|head| self.turn_head(turn, position, head));
                    }
                },
            );
        });
    }

    #[inline(always)]
    fn turn_head(&self, turn: Turn, position: u32, head: &mut [F]) {
        let start = position as usize * self.half;
        let cosines = &self.cosines[start..start + self.half];
        let sines = &self.sines[start..start + self.half];
        let sign = if turn == Turn::Forward { F::ONE } else { -F::ONE };
        let (first, second) = head[..2 * self.half].split_at_mut(self.half);
        for i in 0..self.half {
            let (cosine, sine) = (cosines[i], sines[i] * sign);
            let (x, y) = (first[i], second[i]);
            first[i] = x * cosine - y * sine;
            second[i] = y * cosine + x * sine;
        }
    }
}

/// Radians by which a pair rotates per position.
#[expect(clippy::cast_precision_loss, reason = "a head's width is far below 2^53")]
fn frequency(config: &RotaryConfig, pair: u64) -> f64 {
    let power = (2 * pair) as f64 / config.width as f64;
    let plain = 1.0 / config.theta.powf(power);
    match config.scaling {
        RotaryScaling::Yarn { factor, .. } => {
            let share = kept_share(config, pair);
            plain * (share + (1.0 - share) / factor)
        }
        other => scaled(plain, other),
    }
}

/// The share of a pair's original frequency in YaRN's frequency: 1 for pairs that rotate often within the original
/// positions, 0 for pairs that rotate seldom, and decreasing in between.
#[expect(clippy::cast_precision_loss, reason = "positions and widths are far below 2^53")]
fn kept_share(config: &RotaryConfig, pair: u64) -> f64 {
    let RotaryScaling::Yarn { original_positions, fast_turns, slow_turns, truncate, .. } =
        config.scaling
    else {
        return 1.0;
    };
    let width = config.width as f64;
    let pair_of = |turns: f64| {
        let wavelengths = original_positions as f64 / (turns * TAU);
        width * wavelengths.ln() / (2.0 * config.theta.ln())
    };
    let (mut low, mut high) = (pair_of(fast_turns), pair_of(slow_turns));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(width - 1.0));
    // This value is as in transformers; it avoids a division by zero.
    let range = if (high - low).abs() > 0.0 { high - low } else { 0.001 };
    1.0 - ((pair as f64 - low) / range).clamp(0.0, 1.0)
}

/// Frequency of a pair after scaling for longer sequences, as defined by the models that introduced the configuration's
/// names.
#[expect(clippy::cast_precision_loss, reason = "positions are far below 2^53")]
fn scaled(frequency: f64, scaling: RotaryScaling) -> f64 {
    match scaling {
        // YaRN depends on the pair, not only on the frequency.
        RotaryScaling::Yarn { .. } => frequency,
        RotaryScaling::None => frequency,
        RotaryScaling::Linear { factor } => frequency / factor,
        RotaryScaling::Llama3 {
            factor,
            low_frequency_factor: low,
            high_frequency_factor: high,
            original_positions,
        } => {
            let turns = original_positions as f64 * frequency / TAU;
            let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            frequency * (share + (1.0 - share) / factor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rotary, Turn, TurnedHeads, frequency, scaled};
    use crate::engine::kernels::check::numbers;
    use crate::model::config::{RotaryConfig, RotaryScaling};

    const PLAIN: RotaryConfig =
        RotaryConfig { theta: 10_000.0, width: 8, scaling: RotaryScaling::None };

    fn turned(turn: Turn, row: &[f64], position: u32) -> Vec<f64> {
        let shape = TurnedHeads { heads: 1, head_width: 10, stride: 10 };
        let mut row = row.to_vec();
        Rotary::new(&PLAIN, 40).turn(turn, &[position], shape, &mut row);
        row
    }

    #[test]
    fn turning_back_restores_the_row_and_positions_are_relative() {
        let (a, b) = (numbers::<f64>(10, 1), numbers::<f64>(10, 2));
        let back = turned(Turn::Back, &turned(Turn::Forward, &a, 17), 17);
        for i in 0..10 {
            assert!((back[i] - a[i]).abs() < 1e-12);
        }
        let at = |x: &[f64], p: u32, y: &[f64], q: u32| -> f64 {
            let (x, y) = (turned(Turn::Forward, x, p), turned(Turn::Forward, y, q));
            x.iter().zip(&y).map(|(x, y)| x * y).sum()
        };
        // The tolerance is for angles that are rounded to f32.
        assert!((at(&a, 9, &b, 4) - at(&a, 35, &b, 30)).abs() < 1e-5);
        assert_eq!(turned(Turn::Forward, &a, 0), a);
        // Numbers beyond the rotated width stay the same.
        assert_eq!(turned(Turn::Forward, &a, 7)[8..], a[8..]);
    }

    #[test]
    fn the_gradient_of_a_turn_is_the_turn_back() {
        // ⟨turn(x), g⟩ = ⟨x, back(g)⟩, because the rotation is linear.
        let (x, g) = (numbers::<f64>(10, 1), numbers::<f64>(10, 2));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (forward, back) = (turned(Turn::Forward, &x, 23), turned(Turn::Back, &g, 23));
        assert!((dot(&forward, &g) - dot(&x, &back)).abs() < 1e-12);
    }

    /// The expected values are from `_compute_yarn_parameters` of transformers 5.24.
    #[test]
    fn yarn_has_the_frequencies_of_transformers() {
        let yarn = |factor, original_positions, turns: [f64; 2], truncate| RotaryScaling::Yarn {
            factor,
            original_positions,
            fast_turns: turns[0],
            slow_turns: turns[1],
            truncate,
            attention_factor: 1.5,
        };
        let wide =
            RotaryConfig { theta: 1e6, width: 16, scaling: yarn(4.0, 32_768, [32.0, 1.0], true) };
        let expected = [
            1.0,
            0.177_827_94,
            0.031_622_78,
            0.004_217_56,
            0.000_5,
            0.000_044_456_985,
            0.000_007_905_693_6,
            0.000_001_405_853_4,
        ];
        near(&wide, &expected);
        let fine =
            RotaryConfig { theta: 100.0, width: 12, scaling: yarn(8.0, 16, [4.0, 0.5], false) };
        near(&fine, &[1.0, 0.272_666_13, 0.037_677_32, 0.0125, 0.005_801_985_5, 0.002_693_043_6]);
        // Both ends of the ramp coincide, between pairs 1 and 2.
        let step = RotaryConfig { scaling: yarn(2.0, 16, [1.0, 1.0], false), ..fine };
        assert!((frequency(&step, 1) - frequency(&PLAIN_12, 1)).abs() < 1e-12);
        assert!((frequency(&step, 2) - frequency(&PLAIN_12, 2) / 2.0).abs() < 1e-12);
        let tables = Rotary::<f64>::new(&wide, 2);
        assert!((tables.cosines[0] - 1.5).abs() < 1e-12);
        assert!((tables.sines[8] - 1.5 * 1_f64.sin()).abs() < 1e-7);
    }

    const PLAIN_12: RotaryConfig =
        RotaryConfig { theta: 100.0, width: 12, scaling: RotaryScaling::None };

    fn near(config: &RotaryConfig, expected: &[f64]) {
        assert_eq!(expected.len() as u64 * 2, config.width);
        for (pair, expected) in (0..).zip(expected) {
            let got = frequency(config, pair);
            assert!((got / expected - 1.0).abs() < 1e-6, "{pair}: {got} {expected}");
        }
    }

    #[test]
    fn llama_3_stretches_slow_frequencies_only() {
        let scaling = RotaryScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_positions: 8192,
        };
        let fast = std::f64::consts::TAU / 100.0;
        let slow = std::f64::consts::TAU / 10_000.0;
        let between = std::f64::consts::TAU / 4096.0;
        assert!((scaled(fast, scaling) - fast).abs() < 1e-15);
        assert!((scaled(slow, scaling) - slow / 8.0).abs() < 1e-15);
        // The pair rotates twice within the original positions, which is a third of the way from 1 to 4.
        let expected = between * (1.0 / 3.0 + 2.0 / 3.0 / 8.0);
        assert!((scaled(between, scaling) - expected).abs() < 1e-15);
        assert!((scaled(fast, RotaryScaling::Linear { factor: 2.0 }) - fast / 2.0).abs() < 1e-15);
    }
}
