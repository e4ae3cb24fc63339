//! The workspace of a pass: the activations that the backward pass reads, and scratch buffers.

use crate::engine::kernels::number::Number;
use crate::model::config::ModelConfig;
use crate::model::layout::Sizes;

/// Activations of one block that the backward pass reads, \[rows, ..\] each.
#[derive(Default)]
pub(crate) struct Saved<F> {
    /// Queries, keys and values after normalization and rotation.
    pub(crate) qkv: Vec<F>,
    /// Queries and keys before normalization, in models that normalize them.
    pub(crate) raw: Vec<F>,
    /// One log-sum-exp per query head.
    pub(crate) log_sums: Vec<F>,
    /// The output of attention.
    pub(crate) attended: Vec<F>,
    /// The residual stream between attention and MLP.
    pub(crate) middle: Vec<F>,
    /// The input of the activation.
    pub(crate) up: Vec<F>,
}

/// Scratch buffers that are not in use between two blocks.
#[derive(Default)]
pub(crate) struct Scratch<F> {
    /// A normalized stream, or its gradient.
    pub(crate) normed: Vec<F>,
    /// Attention in the layout by heads.
    pub(crate) heads: Vec<F>,
    /// The output of the activation, or its gradient.
    pub(crate) inner: Vec<F>,
    pub(crate) dqkv: Vec<F>,
    pub(crate) dattended: Vec<F>,
    pub(crate) dup: Vec<F>,
}

/// The activations that a forward pass keeps for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActivationPolicy {
    /// None, because no backward pass follows.
    Discard,
    /// The input of each block; the backward pass recomputes the others (activation checkpointing).
    Checkpoint,
    /// All activations that the backward pass reads.
    Keep,
}

/// All buffers of a pass over a number of tokens.
#[derive(Default)]
pub(crate) struct Workspace<F> {
    /// The residual stream before each block and after the last; two alternating buffers if nothing is kept.
    pub(crate) streams: Vec<Vec<F>>,
    /// One buffer per block, or a single one that all blocks share.
    pub(crate) saved: Vec<Saved<F>>,
    pub(crate) scratch: Scratch<F>,
    /// The gradient of the residual stream.
    pub(crate) d: Vec<F>,
    /// The last hidden states after the norm, and their gradient.
    pub(crate) hidden: Vec<F>,
    pub(crate) dhidden: Vec<F>,
    pub(crate) logits: Vec<F>,
}

/// Returns the numbers of buffers for residual streams and for saved blocks.
fn counts(sizes: &Sizes, policy: ActivationPolicy) -> (usize, usize) {
    match policy {
        ActivationPolicy::Discard => (2, 1),
        ActivationPolicy::Checkpoint => (sizes.layers + 1, 1),
        ActivationPolicy::Keep => (sizes.layers + 1, sizes.layers),
    }
}

/// Returns the length of a row of the queries and keys that are kept from before normalization.
fn raw(config: &ModelConfig, sizes: &Sizes) -> usize {
    let heads = if config.query_key_norm { sizes.heads + sizes.key_value_heads } else { 0 };
    heads * sizes.head_width
}

/// Returns how many numbers per token a forward and backward pass stores, without the logits.
pub(super) fn numbers_per_token(
    config: &ModelConfig,
    sizes: &Sizes,
    policy: ActivationPolicy,
) -> usize {
    let (streams, saved) = counts(sizes, policy);
    let (hidden, attended, qkv) = (sizes.hidden, sizes.attended(), sizes.qkv());
    let block = qkv + raw(config, sizes) + sizes.heads + attended + hidden + sizes.up;
    let scratch = hidden + 2 * qkv + sizes.inner + attended + sizes.up;
    (streams + 3) * hidden + saved * block + scratch
}

impl<F: Number> Workspace<F> {
    /// Resizes every buffer for `tokens`; memory once allocated is kept.
    pub(crate) fn fit(
        &mut self,
        config: &ModelConfig,
        sizes: &Sizes,
        tokens: usize,
        policy: ActivationPolicy,
    ) {
        let set = |buffer: &mut Vec<F>, width: usize| buffer.resize(tokens * width, F::ZERO);
        let (streams, saved) = counts(sizes, policy);
        self.streams.resize_with(streams.max(self.streams.len()), Vec::new);
        self.saved.resize_with(saved.max(self.saved.len()), Saved::default);
        self.streams[..streams].iter_mut().for_each(|stream| set(stream, sizes.hidden));
        for saved in &mut self.saved[..saved] {
            set(&mut saved.qkv, sizes.qkv());
            set(&mut saved.raw, raw(config, sizes));
            set(&mut saved.log_sums, sizes.heads);
            set(&mut saved.attended, sizes.attended());
            set(&mut saved.middle, sizes.hidden);
            set(&mut saved.up, sizes.up);
        }
        set(&mut self.scratch.normed, sizes.hidden);
        set(&mut self.scratch.heads, sizes.qkv());
        set(&mut self.scratch.inner, sizes.inner);
        set(&mut self.hidden, sizes.hidden);
        if policy != ActivationPolicy::Discard {
            set(&mut self.scratch.dqkv, sizes.qkv());
            set(&mut self.scratch.dattended, sizes.attended());
            set(&mut self.scratch.dup, sizes.up);
            set(&mut self.d, sizes.hidden);
            set(&mut self.dhidden, sizes.hidden);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ActivationPolicy, Workspace, numbers_per_token};
    use crate::model::config::tests::all_kinds;
    use crate::model::layout::Layout;

    #[test]
    fn a_pass_takes_what_is_estimated() {
        for config in all_kinds() {
            let sizes = Layout::new(&config).unwrap().sizes;
            for policy in [ActivationPolicy::Keep, ActivationPolicy::Checkpoint] {
                let mut workspace = Workspace::<f32>::default();
                workspace.fit(&config, &sizes, 10, policy);
                let mut all: Vec<&Vec<f32>> = workspace.streams.iter().collect();
                for saved in &workspace.saved {
                    all.extend([&saved.qkv, &saved.raw, &saved.log_sums, &saved.attended]);
                    all.extend([&saved.middle, &saved.up]);
                }
                let scratch = &workspace.scratch;
                all.extend([&scratch.normed, &scratch.heads, &scratch.inner, &scratch.dqkv]);
                all.extend([&scratch.dattended, &scratch.dup]);
                all.extend([&workspace.d, &workspace.hidden, &workspace.dhidden]);
                let taken: usize = all.iter().map(|buffer| buffer.len()).sum();
                assert_eq!(taken, 10 * numbers_per_token(&config, &sizes, policy));
            }
        }
    }
}
