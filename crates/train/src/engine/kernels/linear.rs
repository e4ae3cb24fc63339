//! The linear layer `y = x · Wᵀ + b`, optionally added to a residual, and its gradients.

use rayon::prelude::ParallelIterator;
use rayon::slice::ParallelSlice;

use super::elementwise::add;
use super::matrix::{Existing, Matrix, product, product_onto};
use super::number::{Number, vectorised};

/// Rows whose gradients one task sums; the sums of the tasks are then added in order.
const BIAS_ROWS: usize = 64;

/// A matrix \[outputs, inputs\] with its optional bias \[outputs\].
#[derive(Clone, Copy)]
pub(crate) struct Linear<'a, F> {
    pub(crate) weight: &'a [F],
    pub(crate) bias: Option<&'a [F]>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl<F: Number> Linear<'_, F> {
    fn matrix(&self) -> Matrix<'_, F> {
        Matrix::new(self.weight, self.outputs, self.inputs)
    }

    /// `y = x · Wᵀ + b` for x \[rows, inputs\] and y \[rows, outputs\].
    pub(crate) fn forward(&self, x: &[F], y: &mut [F]) {
        let x = Matrix::new(x, x.len() / self.inputs, self.inputs);
        match self.bias {
            None => product(y, Existing::Replace, x, self.matrix().transposed()),
            Some(bias) => product_onto(y, x, self.matrix().transposed(), |_, columns, y| {
                y.copy_from_slice(&bias[columns]);
            }),
        }
    }

    /// `y = residual + x · Wᵀ + b`.
    pub(crate) fn forward_residual(&self, x: &[F], residual: &[F], y: &mut [F]) {
        let x = Matrix::new(x, x.len() / self.inputs, self.inputs);
        product_onto(y, x, self.matrix().transposed(), |row, columns, y| {
            let start = row * self.outputs;
            y.copy_from_slice(&residual[start + columns.start..start + columns.end]);
            if let Some(bias) = self.bias {
                add(y, &bias[columns]);
            }
        });
    }

    /// `dx = dy · W`.
    pub(crate) fn backward_input(&self, dy: &[F], dx: &mut [F]) {
        let dy = Matrix::new(dy, dy.len() / self.outputs, self.outputs);
        product(dx, Existing::Replace, dy, self.matrix());
    }

    /// `dW += dyᵀ · x`.
    pub(crate) fn backward_weight(&self, x: &[F], dy: &[F], dweight: &mut [F]) {
        let rows = x.len() / self.inputs;
        let dy = Matrix::new(dy, rows, self.outputs).transposed();
        product(dweight, Existing::Add, dy, Matrix::new(x, rows, self.inputs));
    }
}

/// `db += Σ dy` over the rows.
pub(crate) fn backward_bias<F: Number>(dy: &[F], dbias: &mut [F]) {
    let width = dbias.len();
    let parts: Vec<Vec<F>> = dy
        .par_chunks(BIAS_ROWS * width)
        .map(|dy| {
            let mut sums = vec![F::ZERO; width];
            vectorised(
                #[inline(always)]
                || dy.chunks_exact(width).for_each(|row| add(&mut sums, row)),
            );
            sums
        })
        .collect();
    parts.iter().for_each(|part| add(dbias, part));
}

#[cfg(test)]
mod tests {
    use super::{Linear, backward_bias};
    use crate::engine::kernels::check::{Operation, check, numbers};
    use crate::engine::kernels::number::Number;

    /// An operation on x, W, b and a residual.
    struct Case {
        inputs: usize,
        outputs: usize,
        has_bias: bool,
    }

    impl Case {
        fn linear<'a, F: Number>(&self, weight: &'a [F], bias: &'a [F]) -> Linear<'a, F> {
            let bias = self.has_bias.then_some(bias);
            Linear { weight, bias, inputs: self.inputs, outputs: self.outputs }
        }
    }

    impl Operation for Case {
        /// `x·Wᵀ + b`, then `residual + x·Wᵀ + b`.
        fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F> {
            let [x, weight, bias, residual] = operands else { panic!() };
            let linear = self.linear(weight, bias);
            let mut plain = vec![F::of(9.0); residual.len()];
            linear.forward(x, &mut plain);
            let mut sum = vec![F::of(9.0); residual.len()];
            linear.forward_residual(x, residual, &mut sum);
            [plain, sum].concat()
        }

        fn backward<F: Number>(&self, operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>> {
            let [x, weight, bias, residual] = operands else { panic!() };
            let linear = self.linear(weight, bias);
            let (plain, sum) = gradient.split_at(residual.len());
            let dy: Vec<F> = plain.iter().zip(sum).map(|(plain, sum)| *plain + *sum).collect();
            let mut dx = vec![F::of(9.0); x.len()];
            linear.backward_input(&dy, &mut dx);
            let mut dweight = vec![F::ZERO; weight.len()];
            linear.backward_weight(x, &dy, &mut dweight);
            let mut dbias = vec![F::ZERO; bias.len()];
            if self.has_bias {
                backward_bias(&dy, &mut dbias);
            }
            vec![dx, dweight, dbias, sum.to_vec()]
        }
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        for (rows, inputs, outputs, has_bias) in [(5, 7, 3, false), (70, 3, 4, true)] {
            let case = Case { inputs, outputs, has_bias };
            let lens = [rows * inputs, outputs * inputs, outputs, rows * outputs];
            let operands: Vec<Vec<f64>> =
                lens.into_iter().zip(1..).map(|(l, s)| numbers(l, s)).collect();
            check(&case, &operands, 1e-5);
        }
    }
}
