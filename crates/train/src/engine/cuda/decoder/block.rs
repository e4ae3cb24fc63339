//! One block on the device: the steps of decoder/block.rs on device addresses.

use crate::engine::cuda::decoder::CudaDecoder;
use crate::engine::cuda::decoder::attention::AttentionGradients;
use crate::engine::cuda::decoder::cached::KeyValueCache;
use crate::engine::cuda::device::workspace::Saved;
use crate::engine::cuda::device::{Address, Form};
use crate::engine::cuda::kernels::{NormAt, Shape};
use crate::error::Error;
use crate::model::layout::{LinearRange, NormRange};

/// The widths of a projection's input and output.
type Sides = [usize; 2];

impl CudaDecoder {
    /// Returns the addresses of a norm's parameters in the buffer `from`, or null if `from` is null.
    pub(crate) fn norm_at(&self, range: &NormRange, from: Address) -> NormAt {
        if from == Address::NULL {
            return NormAt { weight: from, bias: from };
        }
        let bias = range.bias.as_ref().map_or(Address::NULL, |bias| from.f32(bias.start));
        NormAt { weight: from.f32(range.weight.start), bias }
    }

    fn bias(&self, range: &LinearRange, from: Address) -> Address {
        range.bias.as_ref().map_or(Address::NULL, |bias| from.f32(bias.start))
    }

    /// Computes y = x · Wᵀ, with the bias.
    fn project(
        &mut self,
        range: &LinearRange,
        [x, y]: [Address; 2],
        [inputs, outputs]: Sides,
        tokens: usize,
    ) -> Result<(), Error> {
        let weight = self.narrow(range.weight.start);
        self.kernels.product(Form::Output, [x, weight, y], [tokens, inputs, outputs])?;
        match self.bias(range, self.parameters) {
            Address::NULL => Ok(()),
            bias => self.kernels.add_bias(y, bias, tokens, outputs),
        }
    }

    /// Computes the residual stream `to` = `from` + x · Wᵀ, with the bias.
    fn project_residual(
        &mut self,
        range: &LinearRange,
        [x, from, to]: [Address; 3],
        inputs: usize,
        tokens: usize,
    ) -> Result<(), Error> {
        let (bias, weight) = (self.bias(range, self.parameters), self.narrow(range.weight.start));
        self.kernels.add_bias_to_stream(to, from, bias, tokens)?;
        let outputs = self.layout.sizes.hidden;
        self.kernels.product(Form::AddOutput, [x, weight, to], [tokens, inputs, outputs])
    }

    /// Adds the gradients of a projection's weight and bias, or of its adapter.
    fn add_linear(
        &mut self,
        range: &LinearRange,
        [x, dy]: [Address; 2],
        [inputs, outputs]: Sides,
        tokens: usize,
    ) -> Result<(), Error> {
        if self.gradients == Address::NULL {
            return self.add_low_rank(range, [x, dy], [inputs, outputs], tokens);
        }
        let weight = self.gradients.f32(range.weight.start);
        self.kernels.product(Form::Weight, [x, weight, dy], [tokens, inputs, outputs])?;
        match self.bias(range, self.gradients) {
            Address::NULL => Ok(()),
            bias => self.kernels.add_columns(bias, dy, self.workspace.partial, tokens, outputs),
        }
    }

    /// Computes dx from dy.
    fn back_project(
        &mut self,
        range: &LinearRange,
        [dx, dy]: [Address; 2],
        [inputs, outputs]: Sides,
        tokens: usize,
    ) -> Result<(), Error> {
        let weight = self.narrow(range.weight.start);
        self.kernels.product(Form::Input, [dx, weight, dy], [tokens, inputs, outputs])
    }

    fn mlp_input(&self, input: Address, saved: Saved) -> Address {
        if self.config.parallel_residual { input } else { saved.middle }
    }

    fn head_norms(&self, index: usize, from: Address) -> Option<[Address; 2]> {
        let block = &self.layout.blocks[index];
        if from == Address::NULL && block.query_norm.is_some() {
            return Some([from; 2]);
        }
        let at = |range: &Option<std::ops::Range<usize>>| Some(from.f32(range.as_ref()?.start));
        Some([at(&block.query_norm)?, at(&block.key_norm)?])
    }

    fn turn(&mut self, rows: Address, shape: Shape, sign: f32) -> Result<(), Error> {
        match self.angles {
            None => Ok(()),
            Some((angles, half)) => self.kernels.rotary(rows, angles, half, shape, sign),
        }
    }

    /// Fills `saved` from the stream before block `index`.
    pub(crate) fn block_forward(
        &mut self,
        index: usize,
        input: Address,
        saved: Saved,
        shape: Shape,
        cache: Option<KeyValueCache>,
    ) -> Result<(), Error> {
        let (block, sizes) = (self.layout.blocks[index].clone(), self.layout.sizes);
        let (tokens, normed) = (shape.tokens(), self.workspace.normed);
        let norm = self.norm_at(&block.attention_norm, self.parameters);
        self.kernels.norm_forward(normed, input, norm, tokens)?;
        self.project(&block.qkv, [normed, saved.qkv], [sizes.hidden, sizes.qkv()], tokens)?;
        if let Some(weights) = self.head_norms(index, self.parameters) {
            self.kernels.head_norm_forward(saved.qkv, saved.raw, weights, tokens)?;
        }
        self.turn(saved.qkv, shape, 1.0)?;
        self.attend(index, [saved.attended, saved.log_sums, saved.qkv], shape, cache)?;
        let residual = [saved.attended, input, saved.middle];
        self.project_residual(&block.output, residual, sizes.attended(), tokens)?;
        let norm = self.norm_at(&block.mlp_norm, self.parameters);
        self.kernels.norm_forward(normed, self.mlp_input(input, saved), norm, tokens)?;
        self.project(&block.up, [normed, saved.up], [sizes.hidden, sizes.up], tokens)
    }

    /// Computes the residual stream after the block.
    pub(crate) fn block_finish(
        &mut self,
        index: usize,
        saved: Saved,
        output: Address,
        shape: Shape,
    ) -> Result<(), Error> {
        let (down, tokens, inner) =
            (self.layout.blocks[index].down.clone(), shape.tokens(), self.workspace.inner);
        self.kernels.activation_forward(inner, saved.up, self.config.activation, tokens)?;
        self.project_residual(&down, [inner, saved.middle, output], self.layout.sizes.inner, tokens)
    }

    /// Replaces the gradient of the stream after the block by that of the stream before it.
    pub(crate) fn block_backward(
        &mut self,
        index: usize,
        input: Address,
        saved: Saved,
        shape: Shape,
    ) -> Result<(), Error> {
        // Attention and MLP each read the gradient of the sum to which their output was added. A parallel block adds
        // both outputs to the same sum, so both read the gradient before the MLP's norm changes it.
        if self.config.parallel_residual {
            self.backward_output(index, saved, shape)?;
            self.backward_mlp(index, input, saved, shape)?;
        } else {
            self.backward_mlp(index, input, saved, shape)?;
            self.backward_output(index, saved, shape)?;
        }
        self.backward_attention(index, input, saved, shape)
    }

    fn backward_mlp(
        &mut self,
        index: usize,
        input: Address,
        saved: Saved,
        shape: Shape,
    ) -> Result<(), Error> {
        let (block, sizes) = (self.layout.blocks[index].clone(), self.layout.sizes);
        let (tokens, mlp_input) = (shape.tokens(), self.mlp_input(input, saved));
        let (normed, inner, dup, d) = (
            self.workspace.normed,
            self.workspace.inner,
            self.workspace.dup,
            self.workspace.narrow_d,
        );
        let (up, down) = ([sizes.hidden, sizes.up], [sizes.inner, sizes.hidden]);
        self.back_project(&block.down, [inner, d], down, tokens)?;
        self.kernels.activation_backward(inner, dup, saved.up, self.config.activation, tokens)?;
        self.add_linear(&block.down, [inner, d], down, tokens)?;
        let norm = self.norm_at(&block.mlp_norm, self.parameters);
        self.kernels.norm_forward(normed, mlp_input, norm, tokens)?;
        self.add_linear(&block.up, [normed, dup], up, tokens)?;
        self.back_project(&block.up, [normed, dup], up, tokens)?;
        self.backward_norm(&block.mlp_norm, mlp_input, normed, tokens)
    }

    fn backward_output(&mut self, index: usize, saved: Saved, shape: Shape) -> Result<(), Error> {
        let (output, sizes, tokens) =
            (self.layout.blocks[index].output.clone(), self.layout.sizes, shape.tokens());
        let (d, sides) = (self.workspace.narrow_d, [sizes.attended(), sizes.hidden]);
        self.back_project(&output, [self.workspace.dattended, d], sides, tokens)?;
        self.add_linear(&output, [saved.attended, d], sides, tokens)
    }

    fn backward_attention(
        &mut self,
        index: usize,
        input: Address,
        saved: Saved,
        shape: Shape,
    ) -> Result<(), Error> {
        let (block, sizes, tokens) =
            (self.layout.blocks[index].clone(), self.layout.sizes, shape.tokens());
        let (normed, dqkv, sides) =
            (self.workspace.normed, self.workspace.dqkv, [sizes.hidden, sizes.qkv()]);
        let at = AttentionGradients {
            qkv: saved.qkv,
            attended: saved.attended,
            log_sums: saved.log_sums,
            dattended: self.workspace.dattended,
            delta: self.workspace.delta,
            dqkv,
        };
        self.kernels.attention_backward(at, shape)?;
        self.turn(dqkv, shape, -1.0)?;
        if let Some(weights) = self.head_norms(index, self.parameters)
            && let Some(gradients) = self.head_norms(index, self.gradients)
        {
            self.kernels.head_norm_backward(
                dqkv,
                saved.raw,
                weights,
                gradients,
                self.workspace.partial,
                tokens,
            )?;
        }
        let norm = self.norm_at(&block.attention_norm, self.parameters);
        self.kernels.norm_forward(normed, input, norm, tokens)?;
        self.add_linear(&block.qkv, [normed, dqkv], sides, tokens)?;
        self.back_project(&block.qkv, [normed, dqkv], sides, tokens)?;
        self.backward_norm(&block.attention_norm, input, normed, tokens)
    }

    /// Adds the gradient that flows back through a norm of the residual stream `x` to the gradient of the stream.
    pub(crate) fn backward_norm(
        &mut self,
        range: &NormRange,
        x: Address,
        dy: Address,
        tokens: usize,
    ) -> Result<(), Error> {
        let norm = self.norm_at(range, self.parameters);
        let gradients = self.norm_at(range, self.gradients);
        // In f32, matrix products read the gradient itself.
        let narrow = if self.workspace.narrow_d == self.workspace.d {
            Address::NULL
        } else {
            self.workspace.narrow_d
        };
        self.kernels.norm_backward(
            self.workspace.d,
            narrow,
            dy,
            x,
            norm,
            gradients,
            self.workspace.partial,
            tokens,
        )
    }
}
