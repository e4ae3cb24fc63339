//! Optimizer steps: AdamW, learning-rate schedules, weight averages, frozen tensors.

pub(crate) mod adamw;
pub(crate) mod freeze;
pub(crate) mod schedule;
pub(crate) mod trainable_state;

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use crate::engine::kernels::number::vectorised;

/// The numbers of one parallel task.
const TASK_LEN: usize = 1 << 14;

/// An exponential moving average in f32: `average ← decay · average + (1 − decay) · numbers` after every step,
/// beginning with the numbers before the first step.
pub(crate) struct Average {
    fresh_share: f32,
    numbers: Vec<f32>,
}

impl Average {
    /// Continues from `numbers`.
    #[expect(clippy::cast_possible_truncation, reason = "the average is f32 by definition")]
    pub(crate) fn new(decay: f64, numbers: Vec<f32>) -> Self {
        Self { fresh_share: (1.0 - decay) as f32, numbers }
    }

    /// Returns the weight of the numbers of one step.
    #[cfg(feature = "cuda")]
    pub(crate) fn fresh_share(&self) -> f32 {
        self.fresh_share
    }

    pub(crate) fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    pub(crate) fn numbers_mut(&mut self) -> &mut Vec<f32> {
        &mut self.numbers
    }

    /// Adds the numbers of one more step. It adds a difference, so that a frozen number stays the same bit for bit.
    pub(crate) fn update(&mut self, numbers: &[f32]) {
        let fresh_share = self.fresh_share;
        let tasks = self.numbers.par_chunks_mut(TASK_LEN).zip(numbers.par_chunks(TASK_LEN));
        tasks.with_min_len(4).for_each(|(averages, numbers)| {
            vectorised(
                #[inline(always)]
                || {
                    for (average, number) in averages.iter_mut().zip(numbers) {
                        *average += fresh_share * (*number - *average);
                    }
                },
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Average;
    use crate::engine::kernels::check::numbers;

    #[test]
    fn the_average_is_that_of_the_formula() {
        let len = 40_000;
        let first = numbers::<f32>(len, 1);
        let mut average = Average::new(0.9, first.clone());
        let mut expected: Vec<f64> = first.iter().map(|value| f64::from(*value)).collect();
        for step in 2..30 {
            let mut now = numbers::<f32>(len, step);
            now[7] = first[7];
            average.update(&now);
            for (expected, now) in expected.iter_mut().zip(&now) {
                *expected = 0.9 * *expected + 0.1 * f64::from(*now);
            }
        }
        for (got, expected) in average.numbers().iter().zip(&expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-6);
        }
        // What does not change is not rounded away from.
        assert_eq!(average.numbers()[7].to_bits(), first[7].to_bits());
    }
}
