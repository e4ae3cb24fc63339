//! RMSNorm `y = x / sqrt(mean(x²) + ε) · w` and LayerNorm `y = (x − mean) / sqrt(variance + ε) · w + b`,
//! row by row.

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::elementwise::{add, dot, dot3, square_deviation, sum};
use super::number::{Number, count, vectorised};

/// Rows of one task; the tasks' gradients of weight and bias are summed in order.
const TASK_ROWS: usize = 64;

/// A norm over rows as wide as its weight: LayerNorm with a bias, RMSNorm without.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a, F> {
    pub(crate) weight: &'a [F],
    pub(crate) bias: Option<&'a [F]>,
    pub(crate) epsilon: F,
}

/// Gradients of weight and bias over a range of rows.
pub(crate) struct Sums<F> {
    pub(crate) weight: Vec<F>,
    pub(crate) bias: Option<Vec<F>>,
}

impl<F: Number> Norm<'_, F> {
    /// The shift and scale of a row.
    #[inline(always)]
    fn shift_and_scale(&self, x: &[F]) -> (F, F) {
        let width = count::<F>(x.len());
        let (shift, square) = match self.bias {
            None => (F::ZERO, dot(x, x)),
            Some(_) => {
                let mean = sum(x) / width;
                (mean, square_deviation(x, mean))
            }
        };
        (shift, F::ONE / (square / width + self.epsilon).root())
    }

    #[inline(always)]
    pub(crate) fn forward_row(&self, x: &[F], y: &mut [F]) {
        let (shift, scale) = self.shift_and_scale(x);
        for ((y, x), w) in y.iter_mut().zip(x).zip(self.weight) {
            *y = (*x - shift) * scale * *w;
        }
        if let Some(bias) = self.bias {
            add(y, bias);
        }
    }

    /// Computes `y` for x \[rows, width\].
    pub(crate) fn forward(&self, x: &[F], y: &mut [F]) {
        let width = self.weight.len();
        let part = TASK_ROWS * width;
        y.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(y, x)| {
            vectorised(
                #[inline(always)]
                || {
                    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                        self.forward_row(x, y);
                    }
                },
            );
        });
    }

    /// Adds the gradients of one row to dx and to the sums: `dx = s · (g·w − mean(g·w) − x̂ · mean(g·w·x̂))`, where x̂
    /// is the row after the shift and the scale s. RMSNorm omits the first mean.
    #[inline(always)]
    pub(crate) fn backward_row(&self, x: &[F], gradient: &[F], dx: &mut [F], sums: &mut Sums<F>) {
        let (shift, scale) = self.shift_and_scale(x);
        let width = count::<F>(x.len());
        let mean = match self.bias {
            None => F::ZERO,
            Some(_) => dot(gradient, self.weight) / width,
        };
        let product = dot3(gradient, self.weight, x, shift);
        let correction = product * scale * scale / width;
        let inputs = x.iter().zip(gradient).zip(self.weight);
        for (((x, g), w), (dx, dw)) in inputs.zip(dx.iter_mut().zip(&mut sums.weight)) {
            let deviation = *x - shift;
            *dx += (*g * *w - mean - deviation * correction) * scale;
            *dw += *g * deviation * scale;
        }
        if let Some(bias) = &mut sums.bias {
            add(bias, gradient);
        }
    }

    pub(crate) fn zero_sums(&self) -> Sums<F> {
        let zeros = |values: &[F]| vec![F::ZERO; values.len()];
        Sums { weight: zeros(self.weight), bias: self.bias.map(zeros) }
    }

    /// Adds the gradient of x to `dx` and returns the gradients of weight and bias.
    pub(crate) fn backward(&self, x: &[F], gradient: &[F], dx: &mut [F]) -> Sums<F> {
        let width = self.weight.len();
        let part = TASK_ROWS * width;
        let inputs = x.par_chunks(part).zip(gradient.par_chunks(part));
        let parts: Vec<Sums<F>> = dx
            .par_chunks_mut(part)
            .zip(inputs)
            .map(|(dx, (x, gradient))| {
                let mut sums = self.zero_sums();
                vectorised(
                    #[inline(always)]
                    || {
                        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
                        for ((x, gradient), dx) in rows.zip(dx.chunks_exact_mut(width)) {
                            self.backward_row(x, gradient, dx, &mut sums);
                        }
                    },
                );
                sums
            })
            .collect();
        Sums::of(parts, self.zero_sums())
    }
}

impl<F: Number> Sums<F> {
    /// Adds the sums of all tasks to `start`, in order.
    pub(crate) fn of(parts: Vec<Self>, start: Self) -> Self {
        parts.into_iter().fold(start, |mut all, part| {
            add(&mut all.weight, &part.weight);
            if let (Some(all), Some(part)) = (&mut all.bias, &part.bias) {
                add(all, part);
            }
            all
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Norm;
    use crate::engine::kernels::check::{Operation, check, numbers};
    use crate::engine::kernels::number::Number;

    /// An operation on x, the weight and, for LayerNorm, the bias.
    struct Case;

    fn norm<F: Number>(operands: &[Vec<F>]) -> Norm<'_, F> {
        let bias = operands.get(2).map(Vec::as_slice);
        Norm { weight: &operands[1], bias, epsilon: F::of(1e-2) }
    }

    impl Operation for Case {
        fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F> {
            let mut y = vec![F::ZERO; operands[0].len()];
            norm(operands).forward(&operands[0], &mut y);
            y
        }

        fn backward<F: Number>(&self, operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>> {
            let mut dx = vec![F::ZERO; operands[0].len()];
            let sums = norm(operands).backward(&operands[0], gradient, &mut dx);
            [Some(dx), Some(sums.weight), sums.bias].into_iter().flatten().collect()
        }
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let (rows, width) = (70, 5);
        let operands = [numbers(rows * width, 1), numbers(width, 2), numbers(width, 3)];
        check(&Case, &operands[..2], 1e-5);
        check(&Case, &operands, 1e-5);
    }

    #[test]
    fn rows_have_the_moments_they_should() {
        let x: Vec<f64> = numbers(40, 7);
        let moments =
            |y: &[f64]| (y.iter().sum::<f64>() / 40.0, y.iter().map(|y| y * y).sum::<f64>() / 40.0);
        let (ones, zeros, mut y) = (vec![1.0; 40], vec![0.0; 40], vec![0.0; 40]);
        let rms = Norm { weight: &ones, bias: None, epsilon: 0.0 };
        rms.forward(&x, &mut y);
        assert!((moments(&y).1 - 1.0).abs() < 1e-12);
        Norm { bias: Some(&zeros), ..rms }.forward(&x, &mut y);
        assert!(moments(&y).0.abs() < 1e-12 && (moments(&y).1 - 1.0).abs() < 1e-12);
    }
}
