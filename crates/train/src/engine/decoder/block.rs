//! One block: attention and MLP, each after a norm and added to the residual stream.

use std::ops::Range;

use super::workspace::{Saved, Scratch};
use crate::adapter::AdapterGradients;
use crate::engine::kernels::activation;
use crate::engine::kernels::attention::cached::Cache;
use crate::engine::kernels::attention::{Attended, Attention};
use crate::engine::kernels::elementwise::add;
use crate::engine::kernels::head_norm::HeadNorm;
use crate::engine::kernels::linear::{Linear, backward_bias};
use crate::engine::kernels::norm::{Norm, Sums};
use crate::engine::kernels::number::Number;
use crate::engine::kernels::rotary::{Rotary, Turn, TurnedHeads};
use crate::engine::rows::MicroBatch;
use crate::model::config::ModelConfig;
use crate::model::layout::{BlockLayout, Layout, LinearRange, NormRange, Sizes};

/// A block with its parameters and its data for the rows.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a, F> {
    config: &'a ModelConfig,
    sizes: &'a Sizes,
    layout: &'a BlockLayout,
    parameters: &'a [F],
    rotary: Option<&'a Rotary<F>>,
    rows: MicroBatch<'a>,
}

/// Returns the norm whose weight and bias are at `range` of `parameters`.
pub(crate) fn norm<'a, F: Number>(
    range: &NormRange,
    parameters: &'a [F],
    config: &ModelConfig,
) -> Norm<'a, F> {
    Norm {
        weight: &parameters[range.weight.clone()],
        bias: range.bias.clone().map(|bias| &parameters[bias]),
        epsilon: F::of(config.norm_epsilon),
    }
}

impl<'a, F: Number> Block<'a, F> {
    /// Returns block number `index` of a decoder, with its data for the rows.
    pub(crate) fn new(
        config: &'a ModelConfig,
        layout: &'a Layout,
        index: usize,
        parameters: &'a [F],
        rotary: Option<&'a Rotary<F>>,
        rows: MicroBatch<'a>,
    ) -> Self {
        let (sizes, layout) = (&layout.sizes, &layout.blocks[index]);
        Self { config, sizes, layout, parameters, rotary, rows }
    }

    fn norm(&self, range: &NormRange) -> Norm<'a, F> {
        norm(range, self.parameters, self.config)
    }

    fn linear(&self, range: &LinearRange, inputs: usize, outputs: usize) -> Linear<'a, F> {
        Linear {
            weight: &self.parameters[range.weight.clone()],
            bias: range.bias.clone().map(|bias| &self.parameters[bias]),
            inputs,
            outputs,
        }
    }

    fn qkv(&self) -> Linear<'a, F> {
        self.linear(&self.layout.qkv, self.sizes.hidden, self.sizes.qkv())
    }

    fn output(&self) -> Linear<'a, F> {
        self.linear(&self.layout.output, self.sizes.attended(), self.sizes.hidden)
    }

    fn up(&self) -> Linear<'a, F> {
        self.linear(&self.layout.up, self.sizes.hidden, self.sizes.up)
    }

    fn down(&self) -> Linear<'a, F> {
        self.linear(&self.layout.down, self.sizes.inner, self.sizes.hidden)
    }

    fn head_norm(&self) -> Option<HeadNorm<'a, F>> {
        let norm = |range: &Option<std::ops::Range<usize>>| {
            let weight = &self.parameters[range.clone()?];
            Some(Norm { weight, bias: None, epsilon: F::of(self.config.norm_epsilon) })
        };
        Some(HeadNorm {
            query: norm(&self.layout.query_norm)?,
            key: norm(&self.layout.key_norm)?,
            heads: self.sizes.heads,
            key_value_heads: self.sizes.key_value_heads,
        })
    }

    fn attention(&self) -> Attention<'a> {
        let window = self.config.sliding_window.map_or(Ok(usize::MAX), usize::try_from);
        Attention {
            length: self.rows.length,
            heads: self.sizes.heads,
            key_value_heads: self.sizes.key_value_heads,
            width: self.sizes.head_width,
            starts: self.rows.starts,
            window: window.unwrap_or(usize::MAX),
        }
    }

    /// Rotates queries and keys of `qkv`, if positions are rotary.
    fn turn(&self, turn: Turn, qkv: &mut [F]) {
        if let Some(rotary) = self.rotary {
            let shape = TurnedHeads {
                heads: self.sizes.heads + self.sizes.key_value_heads,
                head_width: self.sizes.head_width,
                stride: self.sizes.qkv(),
            };
            rotary.turn(turn, self.rows.positions, shape, qkv);
        }
    }

    /// The input of the MLP's norm.
    fn mlp_input<'b>(&self, input: &'b [F], middle: &'b [F]) -> &'b [F] {
        if self.config.parallel_residual { input } else { middle }
    }

    /// Fills `saved` from `input` \[rows, hidden\], the residual stream before the block.
    pub(crate) fn forward(&self, input: &[F], saved: &mut Saved<F>, scratch: &mut Scratch<F>) {
        self.norm(&self.layout.attention_norm).forward(input, &mut scratch.normed);
        self.qkv().forward(&scratch.normed, &mut saved.qkv);
        if let Some(norm) = self.head_norm() {
            norm.forward(&mut saved.qkv, self.sizes.qkv(), &mut saved.raw);
        }
        self.turn(Turn::Forward, &mut saved.qkv);
        self.attention().forward(
            &saved.qkv,
            &mut scratch.heads,
            &mut saved.log_sums,
            &mut saved.attended,
        );
        self.output().forward_residual(&saved.attended, input, &mut saved.middle);
        let mlp_input = self.mlp_input(input, &saved.middle);
        self.norm(&self.layout.mlp_norm).forward(mlp_input, &mut scratch.normed);
        self.up().forward(&scratch.normed, &mut saved.up);
    }

    /// Computes the residual stream after the block.
    pub(crate) fn finish(&self, saved: &Saved<F>, scratch: &mut Scratch<F>, output: &mut [F]) {
        let activation = self.config.activation;
        activation::forward(activation, self.sizes.inner, &saved.up, &mut scratch.inner);
        self.down().forward_residual(&scratch.inner, &saved.middle, output);
    }

    /// Computes the residual stream after the block for one new row of each of `sequences`, and stores its keys and
    /// values in the cache.
    pub(crate) fn step(
        &self,
        input: &[F],
        (sequences, cache): (&[usize], &mut Cache<F>),
        saved: &mut Saved<F>,
        scratch: &mut Scratch<F>,
        output: &mut [F],
    ) {
        self.norm(&self.layout.attention_norm).forward(input, &mut scratch.normed);
        self.qkv().forward_few(&scratch.normed, &mut saved.qkv);
        if let Some(norm) = self.head_norm() {
            norm.forward(&mut saved.qkv, self.sizes.qkv(), &mut saved.raw);
        }
        self.turn(Turn::Forward, &mut saved.qkv);
        let positions = self.rows.positions;
        for (row, (&sequence, &position)) in
            saved.qkv.chunks_exact(self.sizes.qkv()).zip(sequences.iter().zip(positions))
        {
            cache.fill(sequence, position as usize, row);
        }
        let window = self.attention().window;
        cache.attend(&saved.qkv, sequences, positions, window, &mut saved.attended);
        self.output().forward_residual_few(&saved.attended, input, &mut saved.middle);
        let mlp_input = self.mlp_input(input, &saved.middle);
        self.norm(&self.layout.mlp_norm).forward(mlp_input, &mut scratch.normed);
        self.up().forward_few(&scratch.normed, &mut saved.up);
        let activation = self.config.activation;
        activation::forward(activation, self.sizes.inner, &saved.up, &mut scratch.inner);
        self.down().forward_residual_few(&scratch.inner, &saved.middle, output);
    }

    /// Replaces `d`, the gradient of the residual stream after the block, by the gradient before the block, and adds
    /// the gradients of the parameters.
    pub(crate) fn backward(
        &self,
        input: &[F],
        saved: &Saved<F>,
        scratch: &mut Scratch<F>,
        d: &mut [F],
        gradients: &mut Gradients<F>,
    ) {
        let mlp_input = self.mlp_input(input, &saved.middle);
        // Attention and MLP each read d as the gradient of the sum to which their output was added. A parallel block
        // adds both outputs to the same sum, so both read d before the MLP's norm changes it.
        if self.config.parallel_residual {
            self.backward_output(saved, scratch, d, gradients);
            self.backward_mlp(mlp_input, saved, scratch, d, gradients);
        } else {
            self.backward_mlp(mlp_input, saved, scratch, d, gradients);
            self.backward_output(saved, scratch, d, gradients);
        }
        self.backward_attention(input, saved, scratch, d, gradients);
    }

    fn backward_mlp(
        &self,
        mlp_input: &[F],
        saved: &Saved<F>,
        scratch: &mut Scratch<F>,
        d: &mut [F],
        gradients: &mut Gradients<F>,
    ) {
        let (up, down) = (self.up(), self.down());
        down.backward_input(d, &mut scratch.inner);
        let dup = &mut scratch.dup;
        let activation = self.config.activation;
        activation::backward(activation, self.sizes.inner, &saved.up, &mut scratch.inner, dup);
        gradients.add_linear(down, &self.layout.down, &scratch.inner, d);
        let norm = self.norm(&self.layout.mlp_norm);
        norm.forward(mlp_input, &mut scratch.normed);
        gradients.add_linear(up, &self.layout.up, &scratch.normed, dup);
        up.backward_input(dup, &mut scratch.normed);
        let sums = norm.backward(mlp_input, &scratch.normed, d);
        gradients.add_norm(&self.layout.mlp_norm, &sums);
    }

    fn backward_output(
        &self,
        saved: &Saved<F>,
        scratch: &mut Scratch<F>,
        d: &[F],
        gradients: &mut Gradients<F>,
    ) {
        let output = self.output();
        output.backward_input(d, &mut scratch.dattended);
        gradients.add_linear(output, &self.layout.output, &saved.attended, d);
    }

    fn backward_attention(
        &self,
        input: &[F],
        saved: &Saved<F>,
        scratch: &mut Scratch<F>,
        d: &mut [F],
        gradients: &mut Gradients<F>,
    ) {
        let attended =
            Attended { qkv: &saved.qkv, result: &saved.attended, log_sums: &saved.log_sums };
        let (heads, dqkv) = (&mut scratch.heads, &mut scratch.dqkv);
        self.attention().backward(attended, &scratch.dattended, heads, dqkv);
        self.turn(Turn::Back, dqkv);
        if let Some(norm) = self.head_norm() {
            let sums = norm.backward(&saved.raw, dqkv, self.sizes.qkv());
            let ranges = [&self.layout.query_norm, &self.layout.key_norm];
            for (range, sums) in ranges.into_iter().flatten().zip(&sums) {
                gradients.add(range, sums);
            }
        }
        let norm = self.norm(&self.layout.attention_norm);
        norm.forward(input, &mut scratch.normed);
        gradients.add_linear(self.qkv(), &self.layout.qkv, &scratch.normed, dqkv);
        self.qkv().backward_input(dqkv, &mut scratch.normed);
        let sums = norm.backward(input, &scratch.normed, d);
        gradients.add_norm(&self.layout.attention_norm, &sums);
    }
}

/// The gradients that a backward pass adds to.
pub(super) enum Gradients<'a, F> {
    /// The gradients of all parameters, in their layout.
    All(&'a mut [F]),
    /// The gradients of an adapter alone.
    Adapter(AdapterGradients<'a, F>),
}

impl<F: Number> Gradients<'_, F> {
    /// Returns the gradients of the parameters at `range`, if they are trained.
    pub(super) fn of(&mut self, range: Range<usize>) -> Option<&mut [F]> {
        match self {
            Self::All(gradients) => Some(&mut gradients[range]),
            Self::Adapter(_) => None,
        }
    }

    /// Adds `sums` to the gradients of the parameters at `range`, if they are trained.
    pub(super) fn add(&mut self, range: &Range<usize>, sums: &[F]) {
        if let Some(gradients) = self.of(range.clone()) {
            add(gradients, sums);
        }
    }

    /// Adds the gradients of a norm's weight and bias.
    pub(super) fn add_norm(&mut self, range: &NormRange, sums: &Sums<F>) {
        self.add(&range.weight, &sums.weight);
        if let (Some(range), Some(bias)) = (&range.bias, &sums.bias) {
            self.add(range, bias);
        }
    }

    /// Adds the gradients of a projection's weight and bias, or of the adapter's part of the projection.
    pub(super) fn add_linear(&mut self, linear: Linear<F>, range: &LinearRange, x: &[F], dy: &[F]) {
        match self {
            Self::All(gradients) => {
                linear.backward_weight(x, dy, &mut gradients[range.weight.clone()]);
                if let Some(bias) = &range.bias {
                    backward_bias(dy, &mut gradients[bias.clone()]);
                }
            }
            Self::Adapter(adapter) => adapter.add_linear(&range.weight, linear.outputs, x, dy),
        }
    }
}
