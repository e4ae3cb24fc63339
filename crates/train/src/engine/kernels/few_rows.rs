//! Products of a few rows with a matrix, as in a generation step: one row per sequence.
//!
//! A step reads every weight once, so a product takes as long as reading its matrix. The result of a row depends
//! neither on the other rows nor on the number of threads.

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::elementwise::dot;
use super::linear::Linear;
use super::number::{Number, vectorised};

/// The number of matrix elements that one task reads, which takes about 6 µs.
const TASK_NUMBERS: usize = 1 << 15;
/// Rows of a matrix that are multiplied with a row of x at once, each with separate running sums.
const GROUP: usize = 4;
/// Lanes of the running sums; the number is fixed so that a sum has the same bits on every machine.
const LANES: usize = 16;

impl<F: Number> Linear<'_, F> {
    /// Computes the same as [`forward`](Self::forward), for a few rows.
    pub(crate) fn forward_few(&self, x: &[F], y: &mut [F]) {
        self.products(x, y, |_, sum| sum);
    }

    /// Computes the same as [`forward_residual`](Self::forward_residual), for a few rows.
    pub(crate) fn forward_residual_few(&self, x: &[F], residual: &[F], y: &mut [F]) {
        self.products(x, y, |at, sum| residual[at] + sum);
    }

    /// Writes each product with its bias to `y` through `finish`, which receives its index.
    fn products(&self, x: &[F], y: &mut [F], finish: impl Fn(usize, F) -> F) {
        let rows = x.len() / self.inputs;
        let by_output = self.by_output(x, rows);
        for (row, y) in y.chunks_exact_mut(self.outputs).enumerate() {
            for (output, value) in y.iter_mut().enumerate() {
                let bias = self.bias.map_or(F::ZERO, |bias| bias[output]);
                *value = finish(row * self.outputs + output, by_output[output * rows + row] + bias);
            }
        }
    }

    /// Returns `W · xᵀ`, \[outputs, rows\], of which each task writes one contiguous part.
    fn by_output(&self, x: &[F], rows: usize) -> Vec<F> {
        let mut all = vec![F::ZERO; self.outputs * rows];
        let outputs = (TASK_NUMBERS / self.inputs).next_multiple_of(GROUP).max(GROUP);
        let tasks = all.par_chunks_mut(outputs * rows);
        tasks.zip(self.weight.par_chunks(outputs * self.inputs)).for_each(|(out, weight)| {
            vectorised(
                #[inline(always)]
                || {
                    let groups = out.chunks_mut(GROUP * rows);
                    for (out, weight) in groups.zip(weight.chunks(GROUP * self.inputs)) {
                        for (row, x) in x.chunks_exact(self.inputs).enumerate() {
                            let sums = dots(weight, x);
                            for (out, sum) in out.chunks_exact_mut(rows).zip(sums) {
                                out[row] = sum;
                            }
                        }
                    }
                },
            );
        });
        all
    }
}

/// `Σ w·x` for up to [`GROUP`] rows w, with zeros for missing rows.
#[inline(always)]
fn dots<F: Number>(weight: &[F], x: &[F]) -> [F; GROUP] {
    let width = x.len();
    let mut totals = [F::ZERO; GROUP];
    if weight.len() < GROUP * width {
        for (total, row) in totals.iter_mut().zip(weight.chunks_exact(width)) {
            *total = dot(row, x);
        }
        return totals;
    }
    let (first, rest) = weight.split_at(width);
    let (second, rest) = rest.split_at(width);
    let (third, fourth) = rest.split_at(width);
    let rows = [first, second, third, fourth].map(|row| row.as_chunks::<LANES>());
    let (x, x_rest) = x.as_chunks::<LANES>();
    let mut sums = [[F::ZERO; LANES]; GROUP];
    for (place, x) in x.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let row = &row.0[place];
            for lane in 0..LANES {
                sums[lane] += row[lane] * x[lane];
            }
        }
    }
    for ((total, sums), row) in totals.iter_mut().zip(sums).zip(&rows) {
        let rest: F = row.1.iter().zip(x_rest).map(|(w, x)| *w * *x).sum();
        *total = sums.iter().copied().sum::<F>() + rest;
    }
    totals
}

#[cfg(test)]
mod tests {
    use crate::engine::kernels::check::{close, numbers, on_threads};
    use crate::engine::kernels::linear::Linear;

    fn wide(numbers: &[f32]) -> Vec<f64> {
        numbers.iter().map(|&number| f64::from(number)).collect()
    }

    #[test]
    fn few_rows_give_what_many_do_whatever_rows_are_beside_them() {
        for (rows, inputs, outputs) in [(1, 7, 3), (3, 70, 21), (2, 130, 1000), (5, 16, 4)] {
            let (weight, bias) = (numbers::<f32>(inputs * outputs, 1), numbers(outputs, 2));
            let (x, residual) = (numbers::<f32>(rows * inputs, 3), numbers(rows * outputs, 4));
            for bias in [None, Some(bias.as_slice())] {
                let linear = Linear { weight: &weight, bias, inputs, outputs };
                let (mut many, mut few) = (residual.clone(), residual.clone());
                linear.forward(&x, &mut many);
                linear.forward_few(&x, &mut few);
                close(&few, &wide(&many), 1e-5, "plain");
                linear.forward_residual(&x, &residual, &mut many);
                linear.forward_residual_few(&x, &residual, &mut few);
                close(&few, &wide(&many), 1e-5, "residual");
                for row in 0..rows {
                    let mut alone = vec![0.0; outputs];
                    let of = |all: &[f32], width: usize| all[row * width..][..width].to_vec();
                    let residual = of(&residual, outputs);
                    linear.forward_residual_few(&of(&x, inputs), &residual, &mut alone);
                    assert_eq!(alone, of(&few, outputs));
                }
                let run = || {
                    let mut y = vec![0.0; rows * outputs];
                    linear.forward_few(&x, &mut y);
                    y
                };
                assert_eq!(on_threads(1, run), on_threads(3, run));
            }
        }
    }
}
