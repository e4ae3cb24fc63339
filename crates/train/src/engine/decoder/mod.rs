//! The fast path: hand-written forward and backward passes over flat buffers, without a tape.
//!
//! Rows are processed in passes of at most [`PASS_TOKENS`] tokens, which all add to the same gradients: memory depends
//! on the pass and not on the batch.

mod block;
pub(crate) mod cached;
#[cfg(test)]
pub(crate) mod tests;
mod workspace;

use std::sync::atomic::AtomicBool;

use crate::adapter::AdapterGradients;
use crate::config::compute::PassOptions;
use crate::engine::Engine;
use crate::engine::kernels::cross_entropy::{Output, OutputGradients};
use crate::engine::kernels::embedding;
use crate::engine::kernels::number::Number;
use crate::engine::kernels::rotary::Rotary;
use crate::engine::rows::{MicroBatch, Rows};
use crate::error::Error;
use crate::model::config::{ModelConfig, Positions};
use crate::model::layout::Layout;
use block::Gradients;
use block::{Block, norm};
pub(crate) use workspace::ActivationPolicy;
use workspace::{Workspace, numbers_per_token};

/// The maximum number of tokens in one pass; a pass has at least one row.
const PASS_TOKENS: usize = 1024;

/// A decoder's shape with the workspace of its passes.
pub(crate) struct Decoder<F> {
    config: ModelConfig,
    layout: Layout,
    policy: ActivationPolicy,
    /// The number of rows in one pass, if it is set.
    micro_batch: Option<usize>,
    rotary: Option<Rotary<F>>,
    workspace: Workspace<F>,
}

impl<F: Number> Decoder<F> {
    /// Makes a decoder that computes `micro_batch` rows at once and keeps the activations chosen by `policy` for the
    /// backward pass.
    pub(crate) fn new(
        config: &ModelConfig,
        layout: &Layout,
        policy: ActivationPolicy,
        micro_batch: Option<usize>,
    ) -> Self {
        let (config, layout) = (config.clone(), layout.clone());
        Self { config, layout, policy, micro_batch, rotary: None, workspace: Workspace::default() }
    }

    /// Returns the number of rows in one pass.
    fn rows(&self, length: usize) -> usize {
        pass_rows(self.micro_batch, length)
    }

    /// Computes the loss of every target in nats, 0 for ignored ones. Adds the gradients of `Σ loss / divisor` to
    /// `gradients`.
    pub(crate) fn losses_and_gradients(
        &mut self,
        parameters: &[F],
        rows: &Rows,
        divisor: f64,
        gradients: &mut [F],
        stop: &AtomicBool,
    ) -> Result<Vec<F>, Error> {
        self.accumulate(parameters, rows, divisor, &mut Gradients::All(gradients), stop)
    }

    /// Like `losses_and_gradients`, but adds only the gradients of an adapter that is merged into `parameters`.
    pub(crate) fn losses_and_adapter_gradients(
        &mut self,
        parameters: &[F],
        rows: &Rows,
        divisor: f64,
        adapter: AdapterGradients<F>,
        stop: &AtomicBool,
    ) -> Result<Vec<F>, Error> {
        self.accumulate(parameters, rows, divisor, &mut Gradients::Adapter(adapter), stop)
    }

    fn accumulate(
        &mut self,
        parameters: &[F],
        rows: &Rows,
        divisor: f64,
        gradients: &mut Gradients<F>,
        stop: &AtomicBool,
    ) -> Result<Vec<F>, Error> {
        let mut losses = vec![F::ZERO; rows.targets.len()];
        let pass = self.rows(rows.length);
        for (part, losses) in rows.micro_batches(pass).zip(losses.chunks_mut(pass * rows.length)) {
            Error::check_stop(stop, "the training step")?;
            self.forward(parameters, part, self.policy);
            self.output(parameters, part, losses, Some((divisor, &mut *gradients)));
            self.backward(parameters, part, gradients);
        }
        Ok(losses)
    }

    /// Computes the loss of every target in nats, 0 for ignored ones.
    pub(crate) fn losses(
        &mut self,
        parameters: &[F],
        rows: &Rows,
        stop: &AtomicBool,
    ) -> Result<Vec<F>, Error> {
        let mut losses = vec![F::ZERO; rows.targets.len()];
        let pass = self.rows(rows.length);
        for (part, losses) in rows.micro_batches(pass).zip(losses.chunks_mut(pass * rows.length)) {
            Error::check_stop(stop, "the evaluation")?;
            self.forward(parameters, part, ActivationPolicy::Discard);
            self.output(parameters, part, losses, None);
        }
        Ok(losses)
    }

    /// Returns the logits, \[rows, length, vocabulary\].
    #[cfg(test)]
    pub(crate) fn logits(&mut self, parameters: &[F], rows: &Rows) -> Vec<F> {
        use crate::engine::kernels::matrix::{Existing, Matrix, product};

        let sizes = self.layout.sizes;
        let mut logits = Vec::new();
        for part in rows.micro_batches(self.rows(rows.length)) {
            self.forward(parameters, part, ActivationPolicy::Discard);
            let mut losses = vec![F::ZERO; part.targets.len()];
            self.output(parameters, part, &mut losses, None);
            let hidden = Matrix::new(&self.workspace.hidden, losses.len(), sizes.hidden);
            let weight = &parameters[self.layout.output()];
            let weight = Matrix::new(weight, sizes.vocabulary, sizes.hidden).transposed();
            let start = logits.len();
            logits.resize(start + losses.len() * sizes.vocabulary, F::ZERO);
            product(&mut logits[start..], Existing::Replace, hidden, weight);
        }
        logits
    }

    /// Computes the rotary angles for all positions of `part`, unless they exist already.
    fn fit_rotary(&mut self, part: MicroBatch) {
        let Positions::Rotary(config) = &self.config.positions else { return };
        if self.rotary.as_ref().is_none_or(|rotary| rotary.positions() < part.length) {
            self.rotary = Some(Rotary::new(config, part.length));
        }
    }

    /// Runs the forward pass, which fills the residual streams; [`last`](Self::last) gives the index of the last one.
    fn forward(&mut self, parameters: &[F], part: MicroBatch, policy: ActivationPolicy) {
        self.forward_seen(parameters, part, policy, |_, _| {});
    }

    /// Like [`forward`](Self::forward); `see` receives the queries, keys and values of each block.
    fn forward_seen(
        &mut self,
        parameters: &[F],
        part: MicroBatch,
        policy: ActivationPolicy,
        mut see: impl FnMut(usize, &[F]),
    ) {
        self.fit_rotary(part);
        self.workspace.fit(&self.config, &self.layout.sizes, part.tokens.len(), policy);
        let hidden = self.layout.sizes.hidden;
        let first = &mut self.workspace.streams[0];
        embedding::forward(&parameters[self.layout.embedding.clone()], hidden, part.tokens, first);
        if let Some(positions) = self.layout.positions.clone() {
            embedding::forward_add(&parameters[positions], hidden, part.positions, first);
        }
        for index in 0..self.layout.blocks.len() {
            let (config, rotary) = (&self.config, self.rotary.as_ref());
            let block = Block::new(config, &self.layout, index, parameters, rotary, part);
            let (input, output) = streams(&mut self.workspace.streams, index, policy);
            let saved =
                &mut self.workspace.saved[if policy == ActivationPolicy::Keep { index } else { 0 }];
            block.forward(input, saved, &mut self.workspace.scratch);
            see(index, &saved.qkv);
            block.finish(saved, &mut self.workspace.scratch, output);
        }
    }

    /// Computes the losses and, with a divisor, the gradients of the output projection and the last norm.
    fn output(
        &mut self,
        parameters: &[F],
        part: MicroBatch,
        losses: &mut [F],
        backward: Option<(f64, &mut Gradients<F>)>,
    ) {
        let sizes = &self.layout.sizes;
        let policy = if backward.is_some() { self.policy } else { ActivationPolicy::Discard };
        let last = &self.workspace.streams[last(sizes.layers, policy)];
        let last_norm = norm(&self.layout.last_norm, parameters, &self.config);
        last_norm.forward(last, &mut self.workspace.hidden);
        let range = self.layout.output();
        let weight = &parameters[range.clone()];
        let output = Output { weight, width: sizes.hidden, vocabulary: sizes.vocabulary };
        let logits = &mut self.workspace.logits;
        let Some((divisor, gradients)) = backward else {
            output.losses(&self.workspace.hidden, part.targets, losses, logits, None);
            return;
        };
        let (hidden, weight) = (&mut self.workspace.dhidden[..], gradients.of(range));
        let to = OutputGradients { hidden, weight, divisor };
        output.losses(&self.workspace.hidden, part.targets, losses, logits, Some(to));
        self.workspace.d.fill(F::ZERO);
        let sums = last_norm.backward(last, &self.workspace.dhidden, &mut self.workspace.d);
        gradients.add_norm(&self.layout.last_norm, &sums);
    }

    /// Runs the backward pass from the gradient of the last stream to the embedding.
    fn backward(&mut self, parameters: &[F], part: MicroBatch, gradients: &mut Gradients<F>) {
        let Workspace { streams, saved, scratch, d, .. } = &mut self.workspace;
        for index in (0..self.layout.blocks.len()).rev() {
            let (config, rotary) = (&self.config, self.rotary.as_ref());
            let block = Block::new(config, &self.layout, index, parameters, rotary, part);
            let input = &streams[index];
            let saved = if self.policy == ActivationPolicy::Keep {
                &mut saved[index]
            } else {
                block.forward(input, &mut saved[0], scratch);
                &mut saved[0]
            };
            block.backward(input, saved, scratch, d, gradients);
        }
        let hidden = self.layout.sizes.hidden;
        if let Some(table) = gradients.of(self.layout.embedding.clone()) {
            embedding::backward(d, hidden, part.tokens, table);
        }
        let positions = self.layout.positions.clone();
        if let Some(table) = positions.and_then(|positions| gradients.of(positions)) {
            embedding::backward(d, hidden, part.positions, table);
        }
    }
}

/// Returns the bytes of the buffers of an f32 pass on the CPU over rows of `length` tokens, with `batch_size` rows per
/// batch.
pub(crate) fn pass_bytes(
    config: &ModelConfig,
    layout: &Layout,
    [length, batch_size]: [u64; 2],
    options: PassOptions,
) -> u64 {
    let sizes = &layout.sizes;
    let side = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let rows = pass_rows(options.micro_batch_size.map(side), side(length).max(1));
    let tokens = side(length).saturating_mul(rows.min(side(batch_size)));
    let numbers =
        tokens.saturating_mul(numbers_per_token(config, sizes, options.activation_policy()));
    let output = Output::<f32> { weight: &[], width: sizes.hidden, vocabulary: sizes.vocabulary };
    let numbers = numbers.saturating_add(output.workspace_len(tokens));
    u64::try_from(numbers.saturating_mul(size_of::<f32>())).unwrap_or(u64::MAX)
}

/// Returns the number of rows in one pass.
fn pass_rows(micro_batch: Option<usize>, length: usize) -> usize {
    micro_batch.unwrap_or(PASS_TOKENS / length).max(1)
}

/// Returns the index of the residual stream after the last block.
fn last(layers: usize, policy: ActivationPolicy) -> usize {
    if policy == ActivationPolicy::Discard { layers % 2 } else { layers }
}

/// Returns the residual streams before and after a block.
fn streams<F>(all: &mut [Vec<F>], index: usize, policy: ActivationPolicy) -> (&[F], &mut [F]) {
    if policy == ActivationPolicy::Discard && index % 2 == 1 {
        let (first, second) = all.split_at_mut(1);
        return (&second[0], &mut first[0]);
    }
    let index = if policy == ActivationPolicy::Discard { 0 } else { index };
    let (before, after) = all.split_at_mut(index + 1);
    (&before[index], &mut after[0])
}

impl Engine for Decoder<f32> {
    fn losses_and_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        gradients: &mut [f32],
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        Self::losses_and_gradients(self, parameters, rows, divisor, gradients, stop)
    }

    fn losses_and_adapter_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        adapter: AdapterGradients<f32>,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        Self::losses_and_adapter_gradients(self, parameters, rows, divisor, adapter, stop)
    }

    fn losses(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        Self::losses(self, parameters, rows, stop)
    }
}
