//! Merging `W + s · B · A`, and the gradients of A and B without the gradient of W.

use super::matrix::{Existing, Matrix, product, product_onto};
use super::number::Number;

/// The matrices A \[rank, inputs\] and B \[outputs, rank\] with their scale s.
#[derive(Clone, Copy)]
pub(crate) struct LowRank<'a, F> {
    pub(crate) a: &'a [F],
    pub(crate) b: &'a [F],
    pub(crate) rank: usize,
    pub(crate) scale: F,
}

fn scaled<F: Number>(values: &[F], scale: F) -> Vec<F> {
    values.iter().map(|value| *value * scale).collect()
}

impl<F: Number> LowRank<'_, F> {
    fn inputs(&self) -> usize {
        self.a.len() / self.rank
    }

    fn outputs(&self) -> usize {
        self.b.len() / self.rank
    }

    fn matrix_a(&self) -> Matrix<'_, F> {
        Matrix::new(self.a, self.rank, self.inputs())
    }

    fn matrix_b(&self) -> Matrix<'_, F> {
        Matrix::new(self.b, self.outputs(), self.rank)
    }

    /// `merged = base + s · B · A`.
    pub(crate) fn merge(&self, base: &[F], merged: &mut [F]) {
        let b = scaled(self.b, self.scale);
        let (b, inputs) = (Matrix::new(&b, self.outputs(), self.rank), self.inputs());
        product_onto(merged, b, self.matrix_a(), |row, columns, merged| {
            let start = row * inputs;
            merged.copy_from_slice(&base[start + columns.start..start + columns.end]);
        });
    }

    /// `dA += s · (dy · B)ᵀ · x` and `dB += s · dyᵀ · (x · Aᵀ)`: the gradients for x \[rows, inputs\] and dy \[rows,
    /// outputs\], whose rows begin `stride` apart.
    ///
    /// The gradient of W would be `dyᵀ · x`, which takes `rows · outputs · inputs` multiplications; these products take
    /// `2 · rank · rows · (outputs + inputs)`, far fewer for a small rank.
    pub(crate) fn backward(&self, x: &[F], dy: &[F], stride: usize, da: &mut [F], db: &mut [F]) {
        let (inputs, outputs, rank) = (self.inputs(), self.outputs(), self.rank);
        let rows = x.len() / inputs;
        let x = Matrix::new(x, rows, inputs);
        let dy = Matrix::strided(dy, rows, outputs, stride);
        let mut thin = vec![F::ZERO; rows * rank];
        product(&mut thin, Existing::Replace, x, self.matrix_a().transposed());
        let hidden = scaled(&thin, self.scale);
        product(db, Existing::Add, dy.transposed(), Matrix::new(&hidden, rows, rank));
        product(&mut thin, Existing::Replace, dy, self.matrix_b());
        let dhidden = scaled(&thin, self.scale);
        product(da, Existing::Add, Matrix::new(&dhidden, rows, rank).transposed(), x);
    }

    /// Adds the same gradients, computed from dW \[outputs, inputs\]: `dA += s · Bᵀ · dW` and `dB += s · dW · Aᵀ`.
    pub(crate) fn backward_of(&self, dweight: &[F], da: &mut [F], db: &mut [F]) {
        let dweight = Matrix::new(dweight, self.outputs(), self.inputs());
        let (a, b) = (scaled(self.a, self.scale), scaled(self.b, self.scale));
        let (rank, inputs) = (self.rank, self.inputs());
        let b = Matrix::new(&b, self.outputs(), rank);
        product(da, Existing::Add, b.transposed(), dweight);
        product(db, Existing::Add, dweight, Matrix::new(&a, rank, inputs).transposed());
    }
}

#[cfg(test)]
mod tests {
    use super::LowRank;
    use crate::engine::kernels::check::{Operation, check, close, numbers};
    use crate::engine::kernels::linear::Linear;
    use crate::engine::kernels::number::Number;

    /// An operation on x, W, A and B.
    struct Case {
        inputs: usize,
        outputs: usize,
        rank: usize,
    }

    impl Operation for Case {
        fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F> {
            let [x, base, a, b] = operands else { panic!() };
            let mut weight = vec![F::of(9.0); base.len()];
            LowRank { a, b, rank: self.rank, scale: F::of(1.5) }.merge(base, &mut weight);
            let rows = x.len() / self.inputs;
            let mut y = vec![F::ZERO; rows * self.outputs];
            let (inputs, outputs) = (self.inputs, self.outputs);
            Linear { weight: &weight, bias: None, inputs, outputs }.forward(x, &mut y);
            y
        }

        fn backward<F: Number>(&self, operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>> {
            let [x, base, a, b] = operands else { panic!() };
            let low_rank = LowRank { a, b, rank: self.rank, scale: F::of(1.5) };
            let mut weight = base.clone();
            low_rank.merge(base, &mut weight);
            let (inputs, outputs) = (self.inputs, self.outputs);
            let linear = Linear { weight: &weight, bias: None, inputs, outputs };
            let (mut dx, mut dweight) = (x.clone(), vec![F::ZERO; base.len()]);
            linear.backward_input(gradient, &mut dx);
            linear.backward_weight(x, gradient, &mut dweight);
            let (mut da, mut db) = (vec![F::ZERO; a.len()], vec![F::ZERO; b.len()]);
            // The gradient is some columns of a wider one.
            let stride = outputs + 3;
            let mut wide = vec![F::of(7.0); stride * (x.len() / inputs)];
            for (wide, row) in wide.chunks_mut(stride).zip(gradient.chunks(outputs)) {
                wide[2..2 + outputs].copy_from_slice(row);
            }
            low_rank.backward(x, &wide[2..], stride, &mut da, &mut db);
            vec![dx, dweight, da, db]
        }
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        for (rows, inputs, outputs, rank) in [(5, 7, 3, 2), (4, 6, 5, 8), (70, 3, 4, 1)] {
            let lens = [rows * inputs, outputs * inputs, rank * inputs, outputs * rank];
            let operands: Vec<Vec<f64>> =
                lens.into_iter().zip(1..).map(|(l, s)| numbers(l, s)).collect();
            check(&Case { inputs, outputs, rank }, &operands, 1e-5);
        }
    }

    #[test]
    fn the_gradient_of_the_matrix_gives_the_same() {
        let (rows, inputs, outputs, rank) = (300, 200, 260, 8);
        let [x, dy, a, b] = [rows * inputs, rows * outputs, rank * inputs, outputs * rank]
            .map(|len| numbers::<f64>(len, len as u64));
        let low_rank = LowRank { a: &a, b: &b, rank, scale: 0.5 };
        let grown = |work: &dyn Fn(&mut [f64], &mut [f64])| {
            let (mut da, mut db) = (vec![1.0; a.len()], vec![2.0; b.len()]);
            work(&mut da, &mut db);
            [da, db].concat()
        };
        let thin = grown(&|da, db| low_rank.backward(&x, &dy, outputs, da, db));
        let mut dweight = vec![0.0; outputs * inputs];
        let linear = Linear { weight: &[], bias: None, inputs, outputs };
        linear.backward_weight(&x, &dy, &mut dweight);
        let whole = grown(&|da, db| low_rank.backward_of(&dweight, da, db));
        close(&thin, &whole, 1e-12, "gradients");
    }
}
