//! The output projection and its cross-entropy as one operation.
//!
//! Rows are processed in chunks: logits, loss, then the logits are replaced in place by their gradient, from which the
//! gradients of the hidden states and of the projection follow. No full logits tensor, no probabilities tensor and no
//! second exponential is needed.

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::elementwise::{exponentials, maximum};
use super::matrix::{Existing, Matrix, product};
use super::number::{Number, vectorised};

/// Rows of one task of the softmax.
const TASK_ROWS: usize = 16;
/// The number of logits in one chunk, which are 32 MiB in f32.
const CHUNK_LOGITS: usize = 1 << 23;

/// The id of an ignored target, which has no loss and no gradient.
pub(crate) const IGNORED: u32 = u32::MAX;

/// The projection \[vocabulary, width\] of hidden states to logits.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a, F> {
    pub(crate) weight: &'a [F],
    pub(crate) width: usize,
    pub(crate) vocabulary: usize,
}

/// Destinations of the gradients: `hidden` is overwritten; `weight`, if it is trained, is added to.
pub(crate) struct OutputGradients<'a, F> {
    pub(crate) hidden: &'a mut [F],
    pub(crate) weight: Option<&'a mut [F]>,
    /// The divisor of the sum of all losses.
    pub(crate) divisor: f64,
}

impl<F: Number> Output<'_, F> {
    /// Returns the number of rows in a chunk: a multiple of 64, because each chunk reads the whole projection and its
    /// gradient.
    fn chunk_rows(&self) -> usize {
        (CHUNK_LOGITS / self.vocabulary / 64).max(1) * 64
    }

    /// Returns the length that `logits` grows to for `rows` rows.
    pub(crate) fn workspace_len(&self, rows: usize) -> usize {
        self.chunk_rows().min(rows) * self.vocabulary
    }

    /// Writes `−log softmax(hidden · Wᵀ)[target]` of every row to `losses`, or 0 for an ignored target; with
    /// `gradients`, it also computes the gradients of `Σ loss / divisor`. `logits` holds one chunk.
    pub(crate) fn losses(
        &self,
        hidden: &[F],
        targets: &[u32],
        losses: &mut [F],
        logits: &mut Vec<F>,
        mut gradients: Option<OutputGradients<F>>,
    ) {
        let weight = Matrix::new(self.weight, self.vocabulary, self.width);
        let rows = self.chunk_rows();
        logits.resize(self.workspace_len(targets.len()), F::ZERO);
        let divisor = gradients.as_ref().map(|gradients| gradients.divisor);
        let chunks = hidden.chunks(rows * self.width).zip(targets.chunks(rows));
        for (index, ((hidden, targets), losses)) in chunks.zip(losses.chunks_mut(rows)).enumerate()
        {
            let logits = &mut logits[..targets.len() * self.vocabulary];
            let hidden = Matrix::new(hidden, targets.len(), self.width);
            product(logits, Existing::Replace, hidden, weight.transposed());
            self.soft_max(logits, targets, losses, divisor);
            if let Some(gradients) = &mut gradients {
                let logits = Matrix::new(logits, targets.len(), self.vocabulary);
                let start = index * rows * self.width;
                let dhidden = &mut gradients.hidden[start..start + targets.len() * self.width];
                product(dhidden, Existing::Replace, logits, weight);
                if let Some(weight) = &mut gradients.weight {
                    product(weight, Existing::Add, logits.transposed(), hidden);
                }
            }
        }
    }

    /// Computes the loss of every row; with a divisor the logits become the gradient of `Σ loss / divisor`.
    fn soft_max(&self, logits: &mut [F], targets: &[u32], losses: &mut [F], divisor: Option<f64>) {
        let tasks = logits.par_chunks_mut(TASK_ROWS * self.vocabulary);
        tasks.zip(losses.par_chunks_mut(TASK_ROWS)).enumerate().for_each(
            |(task, (logits, losses))| {
                let targets = &targets[task * TASK_ROWS..];
                vectorised(
                    #[inline(always)]
                    || {
                        let rows = logits.chunks_exact_mut(self.vocabulary);
                        for ((row, loss), &target) in rows.zip(losses).zip(targets) {
                            *loss = soft_max_row(row, target, divisor);
                        }
                    },
                );
            },
        );
    }
}

#[inline(always)]
fn soft_max_row<F: Number>(row: &mut [F], target: u32, divisor: Option<f64>) -> F {
    if target == IGNORED {
        if divisor.is_some() {
            row.fill(F::ZERO);
        }
        return F::ZERO;
    }
    let target = target as usize;
    let logit = row[target];
    let shift = maximum(row);
    let sum = exponentials(row, shift);
    if let Some(divisor) = divisor {
        let scale = F::of(1.0 / (sum.wide() * divisor));
        row.iter_mut().for_each(|value| *value *= scale);
        row[target] -= F::of(1.0 / divisor);
    }
    sum.logarithm() + (shift - logit)
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_LOGITS, IGNORED, Output, OutputGradients};
    use crate::engine::kernels::check::{Operation, check, close, numbers};
    use crate::engine::kernels::number::Number;

    const WIDTH: usize = 3;
    const VOCABULARY: usize = 5;
    const TARGETS: [u32; 6] = [0, 4, IGNORED, 2, 2, 1];

    /// The sum of all losses, divided by 4.
    struct Case;

    fn output<F: Number>(weight: &[F], vocabulary: usize) -> Output<'_, F> {
        Output { weight, width: WIDTH, vocabulary }
    }

    impl Operation for Case {
        fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F> {
            let mut losses = vec![F::ZERO; TARGETS.len()];
            let output = output(&operands[1], VOCABULARY);
            output.losses(&operands[0], &TARGETS, &mut losses, &mut Vec::new(), None);
            vec![losses.into_iter().sum::<F>() / F::of(4.0)]
        }

        fn backward<F: Number>(&self, operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>> {
            let mut losses = vec![F::ZERO; TARGETS.len()];
            let mut hidden = vec![F::of(9.0); operands[0].len()];
            let mut weight = vec![F::ZERO; operands[1].len()];
            let divisor = 4.0 / gradient[0].wide();
            let gradients =
                OutputGradients { hidden: &mut hidden, weight: Some(&mut weight), divisor };
            let output = output(&operands[1], VOCABULARY);
            let logits = &mut Vec::new();
            output.losses(&operands[0], &TARGETS, &mut losses, logits, Some(gradients));
            vec![hidden, weight]
        }
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let large = |values: Vec<f64>| values.into_iter().map(|v| 3.0 * v).collect::<Vec<f64>>();
        let operands = [large(numbers(TARGETS.len() * WIDTH, 1)), numbers(VOCABULARY * WIDTH, 2)];
        check(&Case, &operands, 1e-5);
    }

    #[test]
    fn chunks_of_rows_give_the_losses_of_all_rows() {
        // This vocabulary gives chunks of 64 rows.
        let vocabulary = CHUNK_LOGITS / 64 - 1;
        let rows = 150;
        let (hidden, weight) =
            (numbers::<f32>(rows * WIDTH, 1), numbers::<f32>(vocabulary * WIDTH, 2));
        let targets: Vec<u32> = (0..150).map(|i| i * 131).collect();
        let mut losses = vec![0.0; rows];
        let (mut dhidden, mut dweight) = (vec![9.0; hidden.len()], vec![0.0; weight.len()]);
        let gradients =
            OutputGradients { hidden: &mut dhidden, weight: Some(&mut dweight), divisor: 150.0 };
        let output = output(&weight, vocabulary);
        assert_eq!(output.chunk_rows(), 64);
        output.losses(&hidden, &targets, &mut losses, &mut Vec::new(), Some(gradients));
        let mut expected = Vec::new();
        for (row, &target) in hidden.chunks(WIDTH).zip(&targets) {
            let logit = |entry: &[f32]| -> f64 {
                row.iter().zip(entry).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let sum: f64 = weight.chunks(WIDTH).map(|entry| logit(entry).exp()).sum();
            let target = target as usize * WIDTH;
            expected.push(sum.ln() - logit(&weight[target..target + WIDTH]));
        }
        close(&losses, &expected, 1e-6, "losses");
        // Each row's gradient sums to zero over the vocabulary, so dW has zero column sums.
        let column: f64 = dweight.chunks(WIDTH).map(|row| f64::from(row[0])).sum();
        assert!(column.abs() < 1e-6, "{column}");
        assert!(dhidden.iter().all(|value| value.abs() < 1.0));
    }
}
