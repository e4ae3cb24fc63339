//! RMSNorm of each head's queries and keys, as in Qwen3.

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::norm::{Norm, Sums};
use super::number::{Number, vectorised};

/// Rows of one task.
const TASK_ROWS: usize = 32;

/// The norms of queries and keys in rows `[heads queries, key_value_heads keys, ..]`; heads are as wide as the weights.
#[derive(Clone, Copy)]
pub(crate) struct HeadNorm<'a, F> {
    pub(crate) query: Norm<'a, F>,
    pub(crate) key: Norm<'a, F>,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
}

impl<F: Number> HeadNorm<'_, F> {
    /// Length of the queries and keys of one row.
    pub(crate) fn width(&self) -> usize {
        (self.heads + self.key_value_heads) * self.query.weight.len()
    }

    fn norm(&self, head: usize) -> &Norm<'_, F> {
        if head < self.heads { &self.query } else { &self.key }
    }

    /// Copies the queries and keys of `rows` \[rows, stride\] to `raw` \[rows, width\] and normalizes them in place.
    pub(crate) fn forward(&self, rows: &mut [F], stride: usize, raw: &mut [F]) {
        let (width, head_width) = (self.width(), self.query.weight.len());
        let tasks = rows.par_chunks_mut(TASK_ROWS * stride);
        tasks.zip(raw.par_chunks_mut(TASK_ROWS * width)).for_each(|(rows, raw)| {
            vectorised(
                #[inline(always)]
                || {
                    for (row, raw) in rows.chunks_exact_mut(stride).zip(raw.chunks_exact_mut(width))
                    {
                        raw.copy_from_slice(&row[..width]);
                        let heads = row[..width].chunks_exact_mut(head_width);
                        for (head, (y, x)) in heads.zip(raw.chunks_exact(head_width)).enumerate() {
                            self.norm(head).forward_row(x, y);
                        }
                    }
                },
            );
        });
    }

    /// Replaces the gradients in `rows` by the gradients before normalization, and returns the gradients of the weights
    /// of queries and keys.
    pub(crate) fn backward(&self, raw: &[F], rows: &mut [F], stride: usize) -> [Vec<F>; 2] {
        let (width, head_width) = (self.width(), self.query.weight.len());
        let tasks = rows.par_chunks_mut(TASK_ROWS * stride).zip(raw.par_chunks(TASK_ROWS * width));
        let parts: (Vec<Sums<F>>, Vec<Sums<F>>) = tasks
            .map(|(rows, raw)| {
                let mut sums = [self.query.zero_sums(), self.key.zero_sums()];
                let mut gradient = vec![F::ZERO; head_width];
                vectorised(
                    #[inline(always)]
                    || {
                        for (row, raw) in rows.chunks_exact_mut(stride).zip(raw.chunks_exact(width))
                        {
                            let heads = row[..width].chunks_exact_mut(head_width);
                            for (head, (dx, x)) in
                                heads.zip(raw.chunks_exact(head_width)).enumerate()
                            {
                                gradient.copy_from_slice(dx);
                                dx.fill(F::ZERO);
                                let sums = &mut sums[usize::from(head >= self.heads)];
                                self.norm(head).backward_row(x, &gradient, dx, sums);
                            }
                        }
                    },
                );
                let [query, key] = sums;
                (query, key)
            })
            .unzip();
        [
            Sums::of(parts.0, self.query.zero_sums()).weight,
            Sums::of(parts.1, self.key.zero_sums()).weight,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::HeadNorm;
    use crate::engine::kernels::check::{Operation, check, numbers};
    use crate::engine::kernels::norm::Norm;
    use crate::engine::kernels::number::Number;

    /// Rows of three query heads, one key head and one value head, each of four numbers; two weights.
    struct Case;

    const STRIDE: usize = 20;

    fn norms<F: Number>(operands: &[Vec<F>]) -> HeadNorm<'_, F> {
        let norm = |weight| Norm { weight, bias: None, epsilon: F::of(1e-2) };
        HeadNorm {
            query: norm(&operands[1]),
            key: norm(&operands[2]),
            heads: 3,
            key_value_heads: 1,
        }
    }

    impl Operation for Case {
        fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F> {
            let mut rows = operands[0].clone();
            let mut raw = vec![F::ZERO; rows.len() / STRIDE * 16];
            norms(operands).forward(&mut rows, STRIDE, &mut raw);
            rows
        }

        fn backward<F: Number>(&self, operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>> {
            let mut rows = operands[0].clone();
            let mut raw = vec![F::ZERO; rows.len() / STRIDE * 16];
            norms(operands).forward(&mut rows, STRIDE, &mut raw);
            let mut gradient = gradient.to_vec();
            let [query, key] = norms(operands).backward(&raw, &mut gradient, STRIDE);
            vec![gradient, query, key]
        }
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        check(&Case, &[numbers(35 * STRIDE, 1), numbers(4, 2), numbers(4, 3)], 1e-5);
    }
}
