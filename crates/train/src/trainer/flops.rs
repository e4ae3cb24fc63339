//! Operations of a model, and of the machine.

use std::time::Instant;

use crate::engine::kernels::matrix::{Existing, Matrix, product};
use crate::model::config::ModelConfig;

/// Floating point operations of training on `tokens` tokens: `6 N + 12 L H Q T` each, of which N are the
/// parameters that are multiplied with (all but a table of embeddings) and the rest is attention, L
/// layers of H heads of Q numbers over T positions (Chowdhery et al., PaLM, 2022, appendix B).
pub fn training_flops(config: &ModelConfig, length: u64, tokens: u64) -> f64 {
    flops(6.0, config, length, tokens)
}

/// The same where an adapter is trained: without the gradients of matrices, `4 N` in the place of `6 N`. The
/// adapter's own products are left out: with rank 8 some per cent.
pub(crate) fn adapter_flops(config: &ModelConfig, length: u64, tokens: u64) -> f64 {
    flops(4.0, config, length, tokens)
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
fn flops(factor: f64, config: &ModelConfig, length: u64, tokens: u64) -> f64 {
    let projection = config.vocab_size.saturating_mul(config.hidden_size);
    let multiplied = config.non_embedding_parameters().saturating_add(projection) as f64;
    let attended = (config.heads.saturating_mul(config.head_width)) as f64;
    (factor * multiplied + 12.0 * config.layers as f64 * attended * length as f64) * tokens as f64
}

/// Operations a second of a large f32 matrix product on all threads: the best of a few, some 50 ms.
pub fn peak_flops() -> f64 {
    const SIDE: usize = 768;
    let (lhs, rhs) = (vec![0.5; SIDE * SIDE], vec![0.25; SIDE * SIDE]);
    let mut out = vec![0.0; SIDE * SIDE];
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let (lhs, rhs) = (Matrix::new(&lhs, SIDE, SIDE), Matrix::new(&rhs, SIDE, SIDE));
        product::<f32>(&mut out, Existing::Replace, lhs, rhs);
        best = best.min(start.elapsed().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let operations = 2.0 * (SIDE * SIDE * SIDE) as f64;
    operations / best.max(1e-9)
}
