//! Causal self-attention with the rotary positions inside.
//!
//! One task per batch row and head, query rows in blocks. The forward pass keeps only the
//! log-sum-exp of every row; the backward pass finds the probabilities again from it, so memory
//! grows with the length, not with its square.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::iter::IntoParallelIterator;
use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::elementwise::{dot, exponential, exponentials, maximum};
use super::host;
use super::matrix::{Existing, Matrix, MatrixMut, multiply};
use super::rotary::{Rotary, Turn};

/// Query rows of one block: the scores of a block stay in the inner cache.
const BLOCK_ROWS: usize = 64;

/// Sizes of one attention layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Positions of one sequence.
    pub(crate) length: usize,
    /// Heads, for queries as for keys and values.
    pub(crate) heads: usize,
    /// Numbers of one head; even.
    pub(crate) width: usize,
}

impl Heads {
    fn hidden(self) -> usize {
        self.heads * self.width
    }

    /// Where queries (0), keys (1) or values (2) of `head` begin in a row of `qkv`.
    fn column(self, part: usize, head: usize) -> usize {
        part * self.hidden() + head * self.width
    }

    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.length)
            .step_by(BLOCK_ROWS)
            .map(move |start| (start, (start + BLOCK_ROWS).min(self.length)))
    }

    #[expect(clippy::cast_precision_loss, reason = "a head is far narrower than 2^24")]
    fn scale(self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }
}

/// Attention over `qkv` \[batch · length, 3 · hidden\]: queries, keys and values side by side,
/// not yet turned. Gives \[batch · length, hidden\].
pub(crate) struct Attention {
    heads: Heads,
    rotary: Arc<Rotary>,
    /// Per batch row and head: the log-sum-exp of every query row.
    log_sums: Mutex<Vec<Vec<f32>>>,
}

impl Attention {
    pub(crate) fn new(heads: Heads, rotary: Arc<Rotary>) -> Self {
        Self { heads, rotary, log_sums: Mutex::new(Vec::new()) }
    }
}

/// Queries and keys of one head, turned; queries also scaled.
struct Turned {
    queries: Vec<f32>,
    keys: Vec<f32>,
}

fn turned(qkv: &[f32], head: usize, heads: Heads, rotary: &Rotary) -> Turned {
    let Heads { length, width, .. } = heads;
    let mut queries = vec![0.0; length * width];
    let mut keys = vec![0.0; length * width];
    for (position, row) in qkv.chunks_exact(3 * heads.hidden()).enumerate() {
        let at = position * width..(position + 1) * width;
        let (query, key) = (heads.column(0, head), heads.column(1, head));
        let query = &row[query..query + width];
        let key = &row[key..key + width];
        rotary.turn(Turn::Forward, position, heads.scale(), query, &mut queries[at.clone()]);
        rotary.turn(Turn::Forward, position, 1.0, key, &mut keys[at]);
    }
    Turned { queries, keys }
}

/// The values of one head as they lie in `qkv`, rows `0..end`.
fn values(qkv: &[f32], head: usize, heads: Heads, end: usize) -> Matrix<'_> {
    let hidden = heads.hidden();
    Matrix::strided(&qkv[heads.column(2, head)..], end, heads.width, 3 * hidden)
}

/// Query rows `start..end` against keys `0..end`: \[end − start, end\].
fn scores(turned: &Turned, width: usize, start: usize, end: usize, out: &mut [f32]) {
    let queries = Matrix::new(&turned.queries[start * width..end * width], end - start, width);
    let keys = Matrix::new(&turned.keys[..end * width], end, width);
    let mut out = MatrixMut::new(out, end - start, end);
    multiply(&mut out, Existing::Replace, queries, keys.transposed());
}

/// Output \[length, width\] and log-sum-exp of every row for one head.
fn forward_head(qkv: &[f32], head: usize, heads: Heads, rotary: &Rotary) -> (Vec<f32>, Vec<f32>) {
    let Heads { length, width, .. } = heads;
    let turned = turned(qkv, head, heads, rotary);
    let mut out = vec![0.0; length * width];
    let mut log_sums = Vec::with_capacity(length);
    let mut block = vec![0.0; BLOCK_ROWS.min(length) * length];
    let mut inverse_sums = [0.0; BLOCK_ROWS];
    for (start, end) in heads.blocks() {
        let block = &mut block[..(end - start) * end];
        scores(&turned, width, start, end, block);
        for (index, row) in block.chunks_exact_mut(end).enumerate() {
            let (seen, future) = row.split_at_mut(start + index + 1);
            let shift = maximum(seen);
            let sum = exponentials(seen, shift);
            future.fill(0.0);
            inverse_sums[index] = 1.0 / sum;
            log_sums.push(shift + sum.ln());
        }
        let out = &mut out[start * width..end * width];
        let mut product = MatrixMut::new(out, end - start, width);
        let probabilities = Matrix::new(block, end - start, end);
        multiply(&mut product, Existing::Replace, probabilities, values(qkv, head, heads, end));
        for (row, scale) in out.chunks_exact_mut(width).zip(inverse_sums) {
            row.iter_mut().for_each(|value| *value *= scale);
        }
    }
    (out, log_sums)
}

/// What the backward pass of one batch row reads.
#[derive(Clone, Copy)]
struct Saved<'a> {
    qkv: &'a [f32],
    result: &'a [f32],
    gradient: &'a [f32],
}

/// Gradients of one head's queries, keys and values, each \[length, width\].
struct HeadGradients {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

fn backward_head(
    saved: Saved,
    log_sums: &[f32],
    head: usize,
    heads: Heads,
    rotary: &Rotary,
) -> HeadGradients {
    let Heads { length, width, .. } = heads;
    let hidden = heads.hidden();
    let turned = turned(saved.qkv, head, heads, rotary);
    let zeros = || vec![0.0; length * width];
    let mut out = HeadGradients { queries: zeros(), keys: zeros(), values: zeros() };
    let room = BLOCK_ROWS.min(length) * length;
    let (mut probabilities, mut dscores) = (vec![0.0; room], vec![0.0; room]);
    for (start, end) in heads.blocks() {
        let rows = end - start;
        let probabilities = &mut probabilities[..rows * end];
        let dscores = &mut dscores[..rows * end];
        scores(&turned, width, start, end, probabilities);
        let gradient = &saved.gradient[start * hidden + head * width..];
        let result = &saved.result[start * hidden + head * width..];
        let dout = Matrix::strided(gradient, rows, width, hidden);
        let mut view = MatrixMut::new(dscores, rows, end);
        multiply(
            &mut view,
            Existing::Replace,
            dout,
            values(saved.qkv, head, heads, end).transposed(),
        );
        for index in 0..rows {
            let position = start + index;
            let at = index * hidden..index * hidden + width;
            let correction = dot(&gradient[at.clone()], &result[at]);
            let row = index * end..(index + 1) * end;
            backward_row(
                &mut probabilities[row.clone()],
                &mut dscores[row],
                position + 1,
                log_sums[position],
                correction,
            );
        }
        let probabilities = Matrix::new(probabilities, rows, end);
        let dscores = Matrix::new(dscores, rows, end);
        let keys = Matrix::new(&turned.keys[..end * width], end, width);
        let queries = Matrix::new(&turned.queries[start * width..end * width], rows, width);
        let mut view = MatrixMut::new(&mut out.values[..end * width], end, width);
        multiply(&mut view, Existing::Add, probabilities.transposed(), dout);
        let mut view = MatrixMut::new(&mut out.keys[..end * width], end, width);
        multiply(&mut view, Existing::Add, dscores.transposed(), queries);
        let mut view = MatrixMut::new(&mut out.queries[start * width..end * width], rows, width);
        multiply(&mut view, Existing::Replace, dscores, keys);
    }
    out
}

/// Scores to probabilities and their gradient to that of the scores, future positions zeroed.
fn backward_row(
    probabilities: &mut [f32],
    dscores: &mut [f32],
    seen: usize,
    log_sum: f32,
    correction: f32,
) {
    let (past, future) = probabilities.split_at_mut(seen);
    let (dpast, dfuture) = dscores.split_at_mut(seen);
    for (probability, dscore) in past.iter_mut().zip(dpast) {
        *probability = exponential(*probability - log_sum);
        *dscore = *probability * (*dscore - correction);
    }
    future.fill(0.0);
    dfuture.fill(0.0);
}

/// Turns the gradients of one head back and writes them where the head lies in `dqkv`.
fn scatter(
    gradients: &HeadGradients,
    head: usize,
    heads: Heads,
    rotary: &Rotary,
    dqkv: &mut [f32],
) {
    let width = heads.width;
    for (position, row) in dqkv.chunks_exact_mut(3 * heads.hidden()).enumerate() {
        let from = position * width..(position + 1) * width;
        let to = |part| heads.column(part, head)..heads.column(part, head) + width;
        let query = &gradients.queries[from.clone()];
        rotary.turn(Turn::Back, position, heads.scale(), query, &mut row[to(0)]);
        let key = &gradients.keys[from.clone()];
        rotary.turn(Turn::Back, position, 1.0, key, &mut row[to(1)]);
        row[to(2)].copy_from_slice(&gradients.values[from]);
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let heads = self.heads;
        let (rows, columns) = layout.shape().dims2()?;
        if columns != 3 * heads.hidden() || heads.length == 0 || rows % heads.length != 0 {
            bail!("attention: expected rows of {} for {heads:?}, got {columns}", 3 * heads.hidden())
        }
        let qkv = host::numbers(qkv, layout)?;
        let mut out = vec![0.0; rows * heads.hidden()];
        let log_sums: Vec<Vec<Vec<f32>>> = qkv
            .par_chunks(heads.length * columns)
            .zip(out.par_chunks_mut(heads.length * heads.hidden()))
            .map(|(qkv, out)| {
                let done: Vec<(Vec<f32>, Vec<f32>)> = (0..heads.heads)
                    .into_par_iter()
                    .map(|head| forward_head(qkv, head, heads, &self.rotary))
                    .collect();
                let mut log_sums = Vec::with_capacity(heads.heads);
                for (head, (values, sums)) in done.into_iter().enumerate() {
                    let rows = out.chunks_exact_mut(heads.hidden());
                    for (row, values) in rows.zip(values.chunks_exact(heads.width)) {
                        row[head * heads.width..(head + 1) * heads.width].copy_from_slice(values);
                    }
                    log_sums.push(sums);
                }
                log_sums
            })
            .collect();
        *self.log_sums.lock().unwrap_or_else(PoisonError::into_inner) =
            log_sums.into_iter().flatten().collect();
        Ok(host::output(out, (rows, heads.hidden())))
    }

    fn bwd(&self, qkv: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let heads = self.heads;
        let log_sums = self.log_sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dqkv = vec![0.0; qkv.elem_count()];
        let part = heads.length * heads.hidden();
        let mut run = |qkv: &[f32], result: &[f32], gradient: &[f32]| {
            let inputs = qkv
                .par_chunks(3 * part)
                .zip(result.par_chunks(part))
                .zip(gradient.par_chunks(part))
                .zip(log_sums.par_chunks(heads.heads));
            dqkv.par_chunks_mut(3 * part).zip(inputs).for_each(
                |(dqkv, (((qkv, result), gradient), log_sums))| {
                    let saved = Saved { qkv, result, gradient };
                    let done: Vec<HeadGradients> = (0..heads.heads)
                        .into_par_iter()
                        .map(|head| {
                            backward_head(saved, &log_sums[head], head, heads, &self.rotary)
                        })
                        .collect();
                    for (head, gradients) in done.iter().enumerate() {
                        scatter(gradients, head, heads, &self.rotary, dqkv);
                    }
                },
            );
            Ok(())
        };
        host::with_numbers(qkv, |qkv| {
            host::with_numbers(result, |result| {
                host::with_numbers(gradient, |gradient| run(qkv, result, gradient))
            })
        })?;
        Ok(Some(host::tensor(dqkv, qkv.shape())?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Attention, Heads};
    use crate::ops::check::{Operand, check};
    use crate::ops::rotary::Rotary;

    /// One query row at a time, in the words of the formula.
    fn reference(qkv: &[f64], batch: usize, heads: Heads, theta: f64) -> Vec<f64> {
        let Heads { length, heads: count, width } = heads;
        let hidden = count * width;
        let turned = |b: usize, part: usize, h: usize, t: usize| -> Vec<f64> {
            let start = (b * length + t) * 3 * hidden + part * hidden + h * width;
            let row = &qkv[start..start + width];
            let mut out = vec![0.0; width];
            for i in 0..width / 2 {
                let angle = t as f64 * theta.powf(-2.0 * i as f64 / width as f64);
                out[i] = row[i] * angle.cos() - row[i + width / 2] * angle.sin();
                out[i + width / 2] = row[i + width / 2] * angle.cos() + row[i] * angle.sin();
            }
            out
        };
        let mut out = vec![0.0; batch * length * hidden];
        for b in 0..batch {
            for h in 0..count {
                for t in 0..length {
                    let query = turned(b, 0, h, t);
                    let weights: Vec<f64> = (0..=t)
                        .map(|s| {
                            let key = turned(b, 1, h, s);
                            let score: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                            (score / (width as f64).sqrt()).exp()
                        })
                        .collect();
                    let sum: f64 = weights.iter().sum();
                    for (s, weight) in weights.iter().enumerate() {
                        let value = (b * length + s) * 3 * hidden + 2 * hidden + h * width;
                        for i in 0..width {
                            out[(b * length + t) * hidden + h * width + i] +=
                                weight / sum * qkv[value + i];
                        }
                    }
                }
            }
        }
        out
    }

    fn agrees(batch: usize, heads: Heads) {
        let mut qkv = Operand::new(&[batch * heads.length, 3 * heads.heads * heads.width], 1);
        qkv.values.iter_mut().for_each(|value| *value *= 2.0);
        let rotary = Arc::new(Rotary::new(heads.length, heads.width, 100.0));
        check(&[qkv], 1e-5, &|t| t[0].apply_op1(Attention::new(heads, rotary.clone())), &|v| {
            reference(&v[0], batch, heads, 100.0)
        });
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        agrees(2, Heads { length: 5, heads: 2, width: 4 });
        agrees(1, Heads { length: 1, heads: 1, width: 2 });
    }

    #[test]
    fn blocks_of_query_rows_agree_too() {
        agrees(1, Heads { length: 67, heads: 1, width: 2 });
    }
}
