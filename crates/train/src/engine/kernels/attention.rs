//! Causal self-attention with groups of queries that share keys and values.
//!
//! One task handles one row of the batch and one head of keys, with query rows in blocks. The forward pass keeps only
//! the log-sum-exp of every query, and the backward pass recomputes the probabilities from it, so memory grows linearly
//! with the length.

pub(crate) mod cached;

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::elementwise::{dot, exponentials, maximum};
use super::matrix::{Existing, Matrix, MatrixMut, multiply};
use super::number::{Number, count, vectorised};

/// Query rows of one block; the scores of a block fit the inner cache.
const BLOCK_ROWS: usize = 64;
/// Rows that one task copies between the layouts by heads and by rows.
const COPY_ROWS: usize = 64;

/// Attention over rows \[batch · length, (heads + 2 · key_value_heads) · width\]: all queries, then all keys, then all
/// values, already rotated by their positions.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// Positions per row of the batch.
    pub(crate) length: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    /// Size of one head.
    pub(crate) width: usize,
    /// For each position of the batch, the first position in its row that it attends to; never decreasing within a row.
    pub(crate) starts: &'a [u32],
    /// The largest number of positions that a position attends to, itself included.
    pub(crate) window: usize,
}

/// The values that the backward pass reads besides the gradient.
#[derive(Clone, Copy)]
pub(crate) struct Attended<'a, F> {
    pub(crate) qkv: &'a [F],
    /// The output of the forward pass, \[batch · length, heads · width\].
    pub(crate) result: &'a [F],
    /// Log-sum-exp, \[batch, heads, length\].
    pub(crate) log_sums: &'a [F],
}

/// A block of query rows and the keys that they see.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    end: usize,
    first_key: usize,
}

impl Block {
    fn rows(self) -> usize {
        self.end - self.start
    }

    fn keys(self) -> usize {
        self.end - self.first_key
    }
}

impl Attention<'_> {
    fn group(&self) -> usize {
        self.heads / self.key_value_heads
    }

    /// Length of a row of queries, keys and values.
    fn stride(&self) -> usize {
        (self.heads + 2 * self.key_value_heads) * self.width
    }

    /// Length of one head in one row of the batch.
    fn head_len(&self) -> usize {
        self.length * self.width
    }

    fn scale<F: Number>(&self) -> F {
        F::ONE / count::<F>(self.width).root()
    }

    /// The first position that `position` attends to.
    #[inline(always)]
    fn first_key(&self, starts: &[u32], position: usize) -> usize {
        (starts[position] as usize).max((position + 1).saturating_sub(self.window))
    }

    fn blocks(&self, starts: &[u32]) -> impl Iterator<Item = Block> {
        (0..self.length).step_by(BLOCK_ROWS).map(move |start| {
            let end = (start + BLOCK_ROWS).min(self.length);
            Block { start, end, first_key: self.first_key(starts, start) }
        })
    }

    /// Returns rows `from..to` of one head; `column` is the index of the head within a row.
    fn view<'a, F: Number>(
        &self,
        qkv: &'a [F],
        column: usize,
        from: usize,
        to: usize,
    ) -> Matrix<'a, F> {
        let start = from * self.stride() + column * self.width;
        Matrix::strided(&qkv[start..], to - from, self.width, self.stride())
    }

    /// Writes the scores of a block, \[rows, keys\], to `out`.
    fn scores<F: Number>(&self, qkv: &[F], head: usize, block: Block, out: &mut [F]) {
        let queries = self.view(qkv, head, block.start, block.end);
        let keys = self.heads + head / self.group();
        let keys = self.view(qkv, keys, block.first_key, block.end);
        let mut out = MatrixMut::new(out, block.rows(), block.keys());
        multiply(&mut out, Existing::Replace, self.scale(), queries, keys.transposed());
    }

    /// Workspace for the scores of one block.
    fn scores_workspace<F: Number>(&self) -> Vec<F> {
        vec![F::ZERO; BLOCK_ROWS.min(self.length) * self.length]
    }

    /// Writes the output, \[batch · length, heads · width\], to `result`, and the log-sum-exp of every query. `scratch`
    /// is as long as `qkv`.
    pub(crate) fn forward<F: Number>(
        &self,
        qkv: &[F],
        scratch: &mut [F],
        log_sums: &mut [F],
        result: &mut [F],
    ) {
        let (group, head_len) = (self.group(), self.head_len());
        let by_head = &mut scratch[..result.len()];
        let tasks = by_head.par_chunks_mut(group * head_len);
        tasks.zip(log_sums.par_chunks_mut(group * self.length)).enumerate().for_each(
            |(task, (out, log_sums))| {
                let (row, key_head) = (task / self.key_value_heads, task % self.key_value_heads);
                let qkv = &qkv[row * self.length * self.stride()..];
                let starts = &self.starts[row * self.length..(row + 1) * self.length];
                let heads = out.chunks_exact_mut(head_len);
                let heads = heads.zip(log_sums.chunks_exact_mut(self.length));
                for (member, (out, log_sums)) in heads.enumerate() {
                    self.forward_head(qkv, starts, key_head * group + member, out, log_sums);
                }
            },
        );
        let by_head = &*by_head;
        let width = self.heads * self.width;
        result.par_chunks_mut(COPY_ROWS * width).enumerate().for_each(|(task, rows)| {
            for (index, row) in rows.chunks_exact_mut(width).enumerate() {
                let at = task * COPY_ROWS + index;
                let (batch_row, position) = (at / self.length, at % self.length);
                for (head, out) in row.chunks_exact_mut(self.width).enumerate() {
                    let from = (batch_row * self.heads + head) * head_len + position * self.width;
                    out.copy_from_slice(&by_head[from..from + self.width]);
                }
            }
        });
    }

    fn forward_head<F: Number>(
        &self,
        qkv: &[F],
        starts: &[u32],
        head: usize,
        out: &mut [F],
        log_sums: &mut [F],
    ) {
        let mut workspace = self.scores_workspace();
        let mut inverse_sums = [F::ZERO; BLOCK_ROWS];
        for block in self.blocks(starts) {
            let scores = &mut workspace[..block.rows() * block.keys()];
            self.scores(qkv, head, block, scores);
            vectorised(
                #[inline(always)]
                || {
                    for (index, row) in scores.chunks_exact_mut(block.keys()).enumerate() {
                        let position = block.start + index;
                        let seen = self.seen(starts, block, position, row);
                        let shift = maximum(seen);
                        let sum = exponentials(seen, shift);
                        inverse_sums[index] = F::ONE / sum;
                        log_sums[position] = shift + sum.logarithm();
                    }
                },
            );
            let out = &mut out[block.start * self.width..block.end * self.width];
            let mut product = MatrixMut::new(out, block.rows(), self.width);
            let weights = Matrix::new(scores, block.rows(), block.keys());
            let values = self.values(qkv, head, block);
            multiply(&mut product, Existing::Replace, F::ONE, weights, values);
            for (row, scale) in out.chunks_exact_mut(self.width).zip(inverse_sums) {
                row.iter_mut().for_each(|value| *value *= scale);
            }
        }
    }

    fn values<'a, F: Number>(&self, qkv: &'a [F], head: usize, block: Block) -> Matrix<'a, F> {
        let column = self.heads + self.key_value_heads + head / self.group();
        self.view(qkv, column, block.first_key, block.end)
    }

    /// Returns the part of a row of scores that `position` attends to, and sets the rest of the row to zero.
    #[inline(always)]
    fn seen<'a, F: Number>(
        &self,
        starts: &[u32],
        block: Block,
        position: usize,
        row: &'a mut [F],
    ) -> &'a mut [F] {
        let (row, future) = row.split_at_mut(position + 1 - block.first_key);
        future.fill(F::ZERO);
        let (before, seen) = row.split_at_mut(self.first_key(starts, position) - block.first_key);
        before.fill(F::ZERO);
        seen
    }

    /// Writes the gradient of `qkv` to `dqkv`. `scratch` is as long as `qkv`.
    pub(crate) fn backward<F: Number>(
        &self,
        saved: Attended<F>,
        dresult: &[F],
        scratch: &mut [F],
        dqkv: &mut [F],
    ) {
        let (group, head_len, stride) = (self.group(), self.head_len(), self.stride());
        let width = self.heads * self.width;
        scratch.par_chunks_mut((group + 2) * head_len).enumerate().for_each(|(task, out)| {
            let (row, key_head) = (task / self.key_value_heads, task % self.key_value_heads);
            let (results, rows) = (row * self.length * width, row * self.length * stride);
            let saved = Attended {
                qkv: &saved.qkv[rows..],
                result: &saved.result[results..],
                log_sums: &saved.log_sums[row * self.heads * self.length..],
            };
            let starts = &self.starts[row * self.length..(row + 1) * self.length];
            let (queries, rest) = out.split_at_mut(group * head_len);
            rest.fill(F::ZERO);
            for (member, dqueries) in queries.chunks_exact_mut(head_len).enumerate() {
                let head = key_head * group + member;
                let (dkeys, dvalues) = rest.split_at_mut(head_len);
                let gradients = HeadGradients { queries: dqueries, keys: dkeys, values: dvalues };
                self.backward_head(saved, &dresult[results..], starts, head, gradients);
            }
        });
        self.gather(scratch, dqkv);
    }

    /// Copies gradients from \[batch, key_value_heads, group + 2, length, width\] to rows.
    fn gather<F: Number>(&self, by_head: &[F], dqkv: &mut [F]) {
        let (group, head_len, stride) = (self.group(), self.head_len(), self.stride());
        dqkv.par_chunks_mut(COPY_ROWS * stride).enumerate().for_each(|(task, rows)| {
            for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                let at = task * COPY_ROWS + index;
                let (batch_row, position) = (at / self.length, at % self.length);
                for (column, out) in row.chunks_exact_mut(self.width).enumerate() {
                    let (key_head, member) = if column < self.heads {
                        (column / group, column % group)
                    } else {
                        let column = column - self.heads;
                        (column % self.key_value_heads, group + column / self.key_value_heads)
                    };
                    let place =
                        (batch_row * self.key_value_heads + key_head) * (group + 2) + member;
                    let from = place * head_len + position * self.width;
                    out.copy_from_slice(&by_head[from..from + self.width]);
                }
            }
        });
    }

    fn backward_head<F: Number>(
        &self,
        saved: Attended<F>,
        dresult: &[F],
        starts: &[u32],
        head: usize,
        out: HeadGradients<F>,
    ) {
        let (width, row_width) = (self.width, self.heads * self.width);
        let log_sums = &saved.log_sums[head * self.length..(head + 1) * self.length];
        let (mut weights, mut dscores) = (self.scores_workspace(), self.scores_workspace());
        for block in self.blocks(starts) {
            let (rows, keys) = (block.rows(), block.keys());
            let weights = &mut weights[..rows * keys];
            let dscores = &mut dscores[..rows * keys];
            self.scores(saved.qkv, head, block, weights);
            let at = block.start * row_width + head * width;
            let (gradient, result) = (&dresult[at..], &saved.result[at..]);
            let dout = Matrix::strided(gradient, rows, width, row_width);
            let values = self.values(saved.qkv, head, block).transposed();
            let mut view = MatrixMut::new(dscores, rows, keys);
            multiply(&mut view, Existing::Replace, F::ONE, dout, values);
            vectorised(
                #[inline(always)]
                || {
                    for index in 0..rows {
                        let position = block.start + index;
                        let at = index * row_width..index * row_width + width;
                        let correction = dot(&gradient[at.clone()], &result[at]);
                        let row = index * keys..(index + 1) * keys;
                        let weights = self.seen(starts, block, position, &mut weights[row.clone()]);
                        let dscores = self.seen(starts, block, position, &mut dscores[row]);
                        for (weight, dscore) in weights.iter_mut().zip(dscores) {
                            *weight = (*weight - log_sums[position]).exponential();
                            *dscore = *weight * (*dscore - correction);
                        }
                    }
                },
            );
            let weights = Matrix::new(weights, rows, keys);
            let dscores = Matrix::new(dscores, rows, keys);
            let seen = block.first_key * width..block.end * width;
            let mut view = MatrixMut::new(&mut out.values[seen.clone()], keys, width);
            multiply(&mut view, Existing::Add, F::ONE, weights.transposed(), dout);
            let queries = self.view(saved.qkv, head, block.start, block.end);
            let mut view = MatrixMut::new(&mut out.keys[seen], keys, width);
            multiply(&mut view, Existing::Add, self.scale(), dscores.transposed(), queries);
            let key_column = self.heads + head / self.group();
            let keys = self.view(saved.qkv, key_column, block.first_key, block.end);
            let own = block.start * width..block.end * width;
            let mut view = MatrixMut::new(&mut out.queries[own], rows, width);
            multiply(&mut view, Existing::Replace, self.scale(), dscores, keys);
        }
    }
}

/// Destinations of the gradients of one head of queries and its keys and values, each \[length, width\].
struct HeadGradients<'a, F> {
    queries: &'a mut [F],
    keys: &'a mut [F],
    values: &'a mut [F],
}

#[cfg(test)]
mod tests {
    use super::{Attended, Attention};
    use crate::engine::kernels::check::{Operation, check, close, numbers};
    use crate::engine::kernels::number::Number;

    struct Case {
        rows: usize,
        length: usize,
        heads: usize,
        key_value_heads: usize,
        width: usize,
        starts: Vec<u32>,
        window: usize,
    }

    impl Case {
        fn new(
            rows: usize,
            length: usize,
            heads: usize,
            key_value_heads: usize,
            width: usize,
        ) -> Self {
            let starts = vec![0; rows * length];
            Self { rows, length, heads, key_value_heads, width, starts, window: usize::MAX }
        }

        fn attention(&self) -> Attention<'_> {
            Attention {
                length: self.length,
                heads: self.heads,
                key_value_heads: self.key_value_heads,
                width: self.width,
                starts: &self.starts,
                window: self.window,
            }
        }

        fn operand(&self) -> Vec<f64> {
            let heads = self.heads + 2 * self.key_value_heads;
            let numbers = numbers::<f64>(self.rows * self.length * heads * self.width, 1);
            numbers.iter().map(|value| value * 2.0).collect()
        }

        fn run<F: Number>(&self, qkv: &[F]) -> (Vec<F>, Vec<F>) {
            let queries = self.rows * self.length * self.heads;
            let (mut scratch, mut log_sums) = (qkv.to_vec(), vec![F::ZERO; queries]);
            let mut result = vec![F::ZERO; queries * self.width];
            self.attention().forward(qkv, &mut scratch, &mut log_sums, &mut result);
            (result, log_sums)
        }

        /// Computes attention one query at a time, straight from the formula.
        fn naive(&self, qkv: &[f64]) -> Vec<f64> {
            let stride = (self.heads + 2 * self.key_value_heads) * self.width;
            let head_of = |row: usize, column: usize| {
                let start = row * stride + column * self.width;
                &qkv[start..start + self.width]
            };
            let mut out = Vec::new();
            for row in 0..self.rows * self.length {
                for head in 0..self.heads {
                    let key_head = head * self.key_value_heads / self.heads;
                    let (base, position) = (row - row % self.length, row % self.length);
                    let seen = (self.starts[row] as usize..=position)
                        .filter(|key| position - key < self.window);
                    let weights: Vec<(usize, f64)> = seen
                        .map(|key| {
                            let key_row = head_of(base + key, self.heads + key_head);
                            let products = head_of(row, head).iter().zip(key_row);
                            let score: f64 = products.map(|(q, k)| q * k).sum();
                            (key, (score / (self.width as f64).sqrt()).exp())
                        })
                        .collect();
                    let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
                    for i in 0..self.width {
                        let column = self.heads + self.key_value_heads + key_head;
                        let value = |key: usize| head_of(base + key, column)[i];
                        out.push(weights.iter().map(|(k, w)| w / sum * value(*k)).sum());
                    }
                }
            }
            out
        }
    }

    impl Operation for Case {
        fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F> {
            self.run(&operands[0]).0
        }

        fn backward<F: Number>(&self, operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>> {
            let qkv = &operands[0];
            let (result, log_sums) = self.run(qkv);
            let saved = Attended { qkv, result: &result, log_sums: &log_sums };
            let (mut scratch, mut dqkv) = (qkv.clone(), qkv.clone());
            self.attention().backward(saved, gradient, &mut scratch, &mut dqkv);
            vec![dqkv]
        }
    }

    fn agrees(case: &Case) {
        let qkv = case.operand();
        close(&case.run(&qkv).0, &case.naive(&qkv), 1e-12, "attention");
        check(case, &[qkv], 1e-5);
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        agrees(&Case::new(2, 5, 2, 2, 4));
        agrees(&Case::new(1, 1, 1, 1, 2));
        agrees(&Case::new(2, 6, 6, 2, 2));
    }

    #[test]
    fn blocks_of_query_rows_agree_too() {
        agrees(&Case::new(1, 67, 1, 1, 2));
        agrees(&Case::new(1, 130, 2, 1, 1));
    }

    #[test]
    fn documents_and_windows_are_kept_apart() {
        let starts = [[0; 3].as_slice(), &[3; 4], &[0; 7]].concat();
        agrees(&Case { starts, ..Case::new(2, 7, 2, 1, 2) });
        agrees(&Case { window: 3, ..Case::new(1, 9, 1, 1, 2) });
        let starts = [[0; 70].as_slice(), &[70; 10]].concat();
        agrees(&Case { starts, window: 20, ..Case::new(1, 80, 1, 1, 2) });
    }
}
