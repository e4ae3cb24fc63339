//! Attention of one new position per sequence over the cached keys and values.

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::engine::kernels::elementwise::{dot, exponentials, maximum};
use crate::engine::kernels::number::{Number, count, vectorised};

/// Keys and values of one block, \[sequences, key_value_heads, capacity, width\] each.
pub(crate) struct Cache<F> {
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    /// Capacity of one sequence, in positions.
    pub(crate) capacity: usize,
    /// Size of one head.
    pub(crate) width: usize,
    pub(crate) keys: Vec<F>,
    pub(crate) values: Vec<F>,
}

impl<F: Number> Cache<F> {
    /// Length of a row of queries, keys and values.
    fn stride(&self) -> usize {
        (self.heads + 2 * self.key_value_heads) * self.width
    }

    /// Length of the keys of one sequence.
    fn sequence_len(&self) -> usize {
        self.key_value_heads * self.capacity * self.width
    }

    /// Stores the keys and values of the rows of `qkv` as positions of `sequence` from `first` on.
    pub(crate) fn fill(&mut self, sequence: usize, first: usize, qkv: &[F]) {
        let (stride, width, heads) = (self.stride(), self.width, self.heads);
        let start = sequence * self.sequence_len();
        for (position, row) in (first..).zip(qkv.chunks_exact(stride)) {
            let (keys, values) = row[heads * width..].split_at(self.key_value_heads * width);
            for (head, (key, value)) in
                keys.chunks_exact(width).zip(values.chunks_exact(width)).enumerate()
            {
                let at = start + (head * self.capacity + position) * width;
                self.keys[at..at + width].copy_from_slice(key);
                self.values[at..at + width].copy_from_slice(value);
            }
        }
    }

    /// Computes the attention of the last row of each sequence: row i of `qkv` is position `positions[i]` of sequence
    /// `sequences[i]` and attends to the last `window` positions up to itself. Writes \[rows, heads · width\] to
    /// `result`.
    pub(crate) fn attend(
        &self,
        qkv: &[F],
        sequences: &[usize],
        positions: &[u32],
        window: usize,
        result: &mut [F],
    ) {
        let group = self.heads / self.key_value_heads;
        let tasks = result.par_chunks_mut(group * self.width);
        tasks.enumerate().for_each(|(task, result)| {
            let (row, key_head) = (task / self.key_value_heads, task % self.key_value_heads);
            let len = positions[row] as usize + 1;
            let seen = len.saturating_sub(window)..len;
            let start =
                sequences[row] * self.sequence_len() + key_head * self.capacity * self.width;
            let seen = start + seen.start * self.width..start + seen.end * self.width;
            let queries = row * self.stride() + key_head * group * self.width;
            let queries = qkv[queries..].chunks_exact(self.width);
            let mut scores = vec![F::ZERO; seen.len() / self.width];
            for (query, result) in queries.zip(result.chunks_exact_mut(self.width)) {
                let (keys, values) = (&self.keys[seen.clone()], &self.values[seen.clone()]);
                vectorised(
                    #[inline(always)]
                    || attend_one(query, keys, values, &mut scores, result),
                );
            }
        });
    }
}

/// Computes the attention of one query over keys and values, \[positions, width\] each.
#[inline(always)]
fn attend_one<F: Number>(
    query: &[F],
    keys: &[F],
    values: &[F],
    scores: &mut [F],
    result: &mut [F],
) {
    let width = query.len();
    let scale = F::ONE / count::<F>(width).root();
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(width)) {
        *score = dot(query, key) * scale;
    }
    let shift = maximum(scores);
    let inverse_sum = F::ONE / exponentials(scores, shift);
    result.fill(F::ZERO);
    for (weight, value) in scores.iter().zip(values.chunks_exact(width)) {
        result.iter_mut().zip(value).for_each(|(result, value)| *result += *weight * *value);
    }
    result.iter_mut().for_each(|result| *result *= inverse_sum);
}
