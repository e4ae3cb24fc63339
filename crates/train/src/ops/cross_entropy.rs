//! The output projection and its cross-entropy as one operation.
//!
//! Rows go through in chunks: logits, loss, and the logits turned in place into their own gradient,
//! from which the gradients of the hidden states and of the embedding follow at once. There is
//! never a full logits tensor, a probabilities tensor or a second exponential; the backward pass
//! only hands over what the forward pass has already found.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::elementwise::{exponentials, maximum};
use super::host;
use super::matrix::{Matrix, add_product, product};

/// Rows of one task of the soft-max.
const TASK_ROWS: usize = 16;
/// Logits of one chunk: 4 MiB stay in the outer cache.
const CHUNK_LOGITS: usize = 1 << 20;
/// Logits of the largest chunk: 256 MiB.
const MOST_LOGITS: usize = 1 << 26;

/// A target that does not count: no loss, no gradient.
pub(crate) const IGNORED: u32 = u32::MAX;

/// `−log softmax(hidden · Eᵀ)[target]` of every row, without gradients.
pub(crate) fn token_losses(
    hidden: &Tensor,
    embedding: &Tensor,
    targets: &[u32],
) -> Result<Vec<f32>> {
    let sizes = Sizes::of(hidden.shape(), embedding.shape(), targets)?;
    host::with_numbers(hidden, |hidden| {
        host::with_numbers(embedding, |embedding| {
            let mut losses = Vec::with_capacity(sizes.rows);
            for (hidden, targets) in sizes.chunks(hidden, targets) {
                let mut logits = sizes.logits(hidden, embedding);
                losses.extend(soft_max(&mut logits, sizes.vocabulary, targets, None));
            }
            Ok(losses)
        })
    })
}

#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    width: usize,
    vocabulary: usize,
}

impl Sizes {
    fn of(hidden: &Shape, embedding: &Shape, targets: &[u32]) -> Result<Self> {
        let (rows, width) = hidden.dims2()?;
        let (vocabulary, expected) = embedding.dims2()?;
        if width != expected || rows != targets.len() || width == 0 || vocabulary == 0 {
            bail!(
                "cross-entropy: {hidden:?} hidden states, {embedding:?} embeddings, {} targets",
                targets.len()
            )
        }
        let beyond = |id: u32| usize::try_from(id).is_ok_and(|id| id >= vocabulary);
        if let Some(target) = targets.iter().find(|&&id| id != IGNORED && beyond(id)) {
            bail!("cross-entropy: expected targets below {vocabulary}, got {target}")
        }
        Ok(Self { rows, width, vocabulary })
    }

    /// At least 64 rows up to a vocabulary of 2^20, as each chunk goes through the whole embedding
    /// and its gradient: with 8 rows a step of 131,072 words takes 3 times as long.
    fn chunk_rows(self) -> usize {
        let rows = (CHUNK_LOGITS / self.vocabulary).max(1).next_multiple_of(64);
        rows.min((MOST_LOGITS / self.vocabulary).max(1))
    }

    fn chunks<'a>(
        self,
        hidden: &'a [f32],
        targets: &'a [u32],
    ) -> impl Iterator<Item = (&'a [f32], &'a [u32])> {
        hidden.chunks(self.chunk_rows() * self.width).zip(targets.chunks(self.chunk_rows()))
    }

    fn logits(self, hidden: &[f32], embedding: &[f32]) -> Vec<f32> {
        let hidden = Matrix::new(hidden, hidden.len() / self.width, self.width);
        product(hidden, Matrix::new(embedding, self.vocabulary, self.width).transposed())
    }
}

/// The loss of every row (0 of one whose target is ignored); with a divisor the logits become the
/// gradient of `Σ loss / divisor`.
fn soft_max(
    logits: &mut [f32],
    vocabulary: usize,
    targets: &[u32],
    divisor: Option<f64>,
) -> Vec<f32> {
    let mut losses = vec![0.0; targets.len()];
    logits
        .par_chunks_mut(TASK_ROWS * vocabulary)
        .zip(losses.par_chunks_mut(TASK_ROWS))
        .enumerate()
        .for_each(|(task, (logits, losses))| {
            let targets = &targets[task * TASK_ROWS..];
            let rows = logits.chunks_exact_mut(vocabulary);
            for ((row, loss), &target) in rows.zip(losses).zip(targets) {
                *loss = soft_max_row(row, target, divisor);
            }
        });
    losses
}

#[expect(clippy::cast_possible_truncation, reason = "the gradient is f32 by definition")]
fn soft_max_row(row: &mut [f32], target: u32, divisor: Option<f64>) -> f32 {
    if target == IGNORED {
        if divisor.is_some() {
            row.fill(0.0);
        }
        return 0.0;
    }
    let target = target as usize;
    let logit = row[target];
    let shift = maximum(row);
    let sum = exponentials(row, shift);
    if let Some(divisor) = divisor {
        let scale = (1.0 / (f64::from(sum) * divisor)) as f32;
        row.iter_mut().for_each(|value| *value *= scale);
        row[target] -= (1.0 / divisor) as f32;
    }
    sum.ln() + (shift - logit)
}

/// Gradients of the hidden states and of the embedding.
struct Gradients {
    hidden: Vec<f32>,
    embedding: Vec<f32>,
}

/// `Σ −log softmax(hidden · Eᵀ)[target] / divisor`, a scalar, for hidden \[rows, width\] and
/// E \[vocabulary, width\]; one target a row. Its gradient can be asked for once.
pub(crate) struct CrossEntropy {
    targets: Vec<u32>,
    divisor: f64,
    gradients: Mutex<Option<Gradients>>,
}

impl CrossEntropy {
    pub(crate) fn new(targets: Vec<u32>, divisor: f64) -> Self {
        Self { targets, divisor, gradients: Mutex::new(None) }
    }
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    #[expect(clippy::cast_possible_truncation, reason = "a tensor of f32 holds the loss")]
    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        embedding: &CpuStorage,
        embedding_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(hidden_layout.shape(), embedding_layout.shape(), &self.targets)?;
        let hidden = host::numbers(hidden, hidden_layout)?;
        let embedding = host::numbers(embedding, embedding_layout)?;
        let (width, vocabulary) = (sizes.width, sizes.vocabulary);
        let weights = Matrix::new(embedding, vocabulary, width);
        let mut gradients = Gradients {
            hidden: Vec::with_capacity(hidden.len()),
            embedding: vec![0.0; embedding.len()],
        };
        let mut total = 0.0;
        for (hidden, targets) in sizes.chunks(hidden, &self.targets) {
            let mut logits = sizes.logits(hidden, embedding);
            let losses = soft_max(&mut logits, vocabulary, targets, Some(self.divisor));
            total += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            let logits = Matrix::new(&logits, targets.len(), vocabulary);
            gradients.hidden.extend_from_slice(&product(logits, weights));
            let hidden = Matrix::new(hidden, targets.len(), width);
            add_product(&mut gradients.embedding, logits.transposed(), hidden);
        }
        *self.gradients.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradients);
        Ok(host::output(vec![(total / self.divisor) as f32], ()))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        embedding: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let taken = self.gradients.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Gradients { hidden: mut dhidden, embedding: mut dembedding }) = taken else {
            bail!("cross-entropy: the gradient was already taken")
        };
        let scale = gradient.to_scalar::<f32>()?;
        // At the root of the graph the factor is one.
        if (scale - 1.0).abs() > 0.0 {
            dhidden.iter_mut().for_each(|value| *value *= scale);
            dembedding.iter_mut().for_each(|value| *value *= scale);
        }
        Ok((
            Some(host::tensor(dhidden, hidden.shape())?),
            Some(host::tensor(dembedding, embedding.shape())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{CrossEntropy, IGNORED, token_losses};
    use crate::ops::check::{Operand, check};
    use candle_core::{Device, Tensor};

    fn reference(hidden: &[f64], embedding: &[f64], targets: &[u32], width: usize) -> Vec<f64> {
        let mut losses = Vec::new();
        for (hidden, &target) in hidden.chunks(width).zip(targets) {
            let logits: Vec<f64> = embedding
                .chunks(width)
                .map(|row| row.iter().zip(hidden).map(|(a, b)| a * b).sum())
                .collect();
            let sum: f64 = logits.iter().map(|l| l.exp()).sum();
            losses.push(sum.ln() - logits[target as usize]);
        }
        losses
    }

    #[test]
    fn ignored_targets_are_as_if_their_rows_were_not_there() {
        let (width, vocabulary) = (6, 11);
        let tensor = |rows: usize, seed: u64| {
            let operand = Operand::new(&[rows, width], seed);
            Tensor::from_vec(operand.values, operand.shape, &Device::Cpu).unwrap()
        };
        let (hidden, embedding) = (tensor(20, 1), tensor(vocabulary, 2));
        let targets: Vec<u32> =
            (0..20).map(|i| if i % 3 == 0 { IGNORED } else { i % 11 }).collect();
        let losses = token_losses(&hidden, &embedding, &targets).unwrap();
        let kept: Vec<u32> = (0..20).filter(|i| i % 3 != 0).collect();
        let rows = Tensor::new(kept.as_slice(), &Device::Cpu).unwrap();
        let kept_hidden = hidden.index_select(&rows, 0).unwrap();
        let kept_targets: Vec<u32> = kept.iter().map(|i| i % 11).collect();
        let expected = token_losses(&kept_hidden, &embedding, &kept_targets).unwrap();
        let counted: Vec<f32> =
            losses.iter().zip(&targets).filter(|(_, t)| **t != IGNORED).map(|(l, _)| *l).collect();
        assert_eq!(counted, expected);
        assert!(losses.iter().step_by(3).all(|loss| *loss == 0.0));
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let (rows, width, vocabulary) = (20, 6, 11);
        let targets: Vec<u32> = (0..20).map(|i| i * 7 % 11).collect();
        let mut hidden = Operand::new(&[rows, width], 1);
        hidden.values.iter_mut().for_each(|value| *value *= 3.0);
        check(
            &[hidden, Operand::new(&[vocabulary, width], 2)],
            1e-5,
            &|t| t[0].apply_op2(&t[1], CrossEntropy::new(targets.clone(), 20.0)),
            &|v| vec![reference(&v[0], &v[1], &targets, width).iter().sum::<f64>() / 20.0],
        );
    }

    #[test]
    fn chunks_of_rows_give_the_loss_of_all_rows() {
        // 17,000 words make chunks of 64 rows.
        expect_chunks_like_all_rows(130, 17_000);
        expect_chunks_like_all_rows(65, (1 << 20) + 1);
    }

    fn expect_chunks_like_all_rows(rows: usize, vocabulary: usize) {
        let width = 2;
        let make = |rows: usize, seed| {
            let operand = Operand::new(&[rows, width], seed);
            (
                Tensor::from_vec(operand.values.clone(), (rows, width), &Device::Cpu).unwrap(),
                operand,
            )
        };
        let ((hidden, h), (embedding, e)) = (make(rows, 1), make(vocabulary, 2));
        let targets: Vec<u32> = (0..130).map(|i| i * 130).take(rows).collect();
        let wide = |o: &Operand| o.values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let expected = reference(&wide(&h), &wide(&e), &targets, width);
        let losses = token_losses(&hidden, &embedding, &targets).unwrap();
        for (got, expected) in losses.iter().zip(&expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-5);
        }
        let mean =
            hidden.apply_op2(&embedding, CrossEntropy::new(targets, losses.len() as f64)).unwrap();
        let mean = f64::from(mean.to_scalar::<f32>().unwrap());
        assert!((mean - expected.iter().sum::<f64>() / losses.len() as f64).abs() < 1e-5);
    }

    #[test]
    fn a_target_beyond_the_vocabulary_is_refused() {
        let hidden = Tensor::zeros((1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = hidden.apply_op2(&hidden, CrossEntropy::new(vec![1], 1.0)).unwrap_err();
        assert!(error.to_string().contains("targets below 1, got 1"), "{error}");
    }
}
