//! The kernels, one function each. Only this file knows their arguments.

use super::device::{Address, Argument, Device, Form, Launch, Product};
use crate::config::compute::Precision;
use crate::error::Error;
use crate::model::config::Activation;
use crate::model::layout::Sizes;

/// The number of threads per thread block, except for attention on tensor cores.
pub(crate) const THREADS: u32 = 256;
pub(crate) const WARP: u32 = 32;
/// The largest number of thread blocks of a kernel that sums over rows. It is fixed, so that sums do not depend on the
/// device.
pub(crate) const SUM_BLOCKS: usize = 512;
/// The number of partial sums per column.
const COLUMN_PARTS: usize = 128;
/// The number of values that one thread block squares and sums.
pub(crate) const SQUARE_RUN: usize = 1 << 16;
/// The maximum width of the residual stream: two sums of a row of this width fit the 99 KiB of shared memory that every
/// device of compute capability 8.0 or later has.
pub(crate) const WIDEST_STREAM: usize = 12_288;

/// A device with the kernels of one model.
pub(crate) struct Kernels {
    pub(crate) device: Box<dyn Device>,
    pub(crate) precision: Precision,
    pub(crate) sizes: Sizes,
    pub(crate) epsilon: f32,
    /// The largest number of keys that a query sees.
    pub(crate) window: u32,
}

/// The weight and bias of a norm; RMSNorm has no bias.
#[derive(Clone, Copy)]
pub(crate) struct NormAt {
    pub(crate) weight: Address,
    pub(crate) bias: Address,
}

/// The rows of a batch that are computed at once.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) length: usize,
    /// The first position in its row that each input attends to.
    pub(crate) starts: Address,
    /// The position of each input.
    pub(crate) positions: Address,
}

impl Shape {
    pub(crate) fn tokens(&self) -> usize {
        self.rows * self.length
    }
}

/// The factors of AdamW.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update {
    pub(crate) clip: f32,
    pub(crate) beta1: f32,
    pub(crate) one_less_beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) one_less_beta2: f32,
    pub(crate) rate: f32,
    pub(crate) inverse_root: f32,
    pub(crate) epsilon: f32,
    pub(crate) decay_factor: f32,
}

/// Parameters, gradients, both moments and the narrow copy, from one index on.
#[derive(Clone, Copy)]
pub(crate) struct Buffers {
    pub(crate) parameters: Address,
    pub(crate) gradients: Address,
    pub(crate) first: Address,
    pub(crate) second: Address,
    /// Null if products use the parameters themselves.
    pub(crate) narrow: Address,
}

pub(crate) fn address(value: Address) -> Argument {
    Argument::Address(value)
}

/// Converts a count to an argument. The count fits: sizes are checked when the decoder is made, and passes have at most
/// 2^31 values per row.
pub(crate) fn count(value: usize) -> Argument {
    Argument::U32(u32::try_from(value).unwrap_or(u32::MAX))
}

pub(crate) fn long(value: usize) -> Argument {
    Argument::U64(value as u64)
}

pub(crate) fn real(value: f32) -> Argument {
    Argument::F32(value)
}

pub(crate) fn blocks(len: usize, each: u32) -> u32 {
    u32::try_from(len.div_ceil(each as usize)).unwrap_or(u32::MAX)
}

/// Returns the largest length of partial sums of any kernel.
pub(crate) fn partial_len(sizes: &Sizes, tokens: usize) -> usize {
    let norm = SUM_BLOCKS.min(tokens) * 2 * sizes.hidden;
    let widest = sizes.qkv().max(sizes.up).max(sizes.hidden);
    let heads = SUM_BLOCKS * 2 * sizes.head_width;
    norm.max(COLUMN_PARTS * widest).max(heads)
}

impl Kernels {
    pub(crate) fn go(
        &mut self,
        kernel: &'static str,
        grid: [u32; 3],
        arguments: &[Argument],
    ) -> Result<(), Error> {
        self.device.launch(Launch { kernel, grid, threads: THREADS, shared_bytes: 0, arguments })
    }

    /// Launches one thread for each of `len` values; `len` is the last argument.
    pub(crate) fn each(
        &mut self,
        kernel: &'static str,
        len: usize,
        arguments: &[Argument],
    ) -> Result<(), Error> {
        self.spread(kernel, (len, THREADS), arguments)
    }

    /// Like [`each`](Self::each), but with eight values per thread.
    fn eights(
        &mut self,
        kernel: &'static str,
        len: usize,
        arguments: &[Argument],
    ) -> Result<(), Error> {
        self.spread(kernel, (len, 8 * THREADS), arguments)
    }

    fn spread(
        &mut self,
        kernel: &'static str,
        (len, of_a_block): (usize, u32),
        arguments: &[Argument],
    ) -> Result<(), Error> {
        let mut all = arguments.to_vec();
        all.push(long(len));
        self.go(kernel, [blocks(len, of_a_block), 1, 1], &all)
    }

    pub(crate) fn cast(&mut self, to: Address, from: Address, len: usize) -> Result<(), Error> {
        self.each("cast", len, &[address(to), address(from)])
    }

    /// `to` = `base` + `scale` · `delta`.
    pub(crate) fn merge(
        &mut self,
        to: Address,
        base: Address,
        delta: Address,
        scale: f32,
        len: usize,
    ) -> Result<(), Error> {
        self.each("merge", len, &[address(to), address(base), address(delta), real(scale)])
    }

    /// Moves `averages` toward `numbers` by the share `fresh_share`.
    pub(crate) fn average(
        &mut self,
        averages: Address,
        numbers: Address,
        fresh_share: f32,
        len: usize,
    ) -> Result<(), Error> {
        self.each("average", len, &[address(averages), address(numbers), real(fresh_share)])
    }

    pub(crate) fn add_bias_to_stream(
        &mut self,
        to: Address,
        from: Address,
        bias: Address,
        tokens: usize,
    ) -> Result<(), Error> {
        let width = self.sizes.hidden;
        let arguments = [address(to), address(from), address(bias), count(width)];
        self.eights("add_bias_to_stream", tokens * width, &arguments)
    }

    pub(crate) fn add_bias(
        &mut self,
        rows: Address,
        bias: Address,
        tokens: usize,
        width: usize,
    ) -> Result<(), Error> {
        self.eights("add_bias", tokens * width, &[address(rows), address(bias), count(width)])
    }

    /// Writes the sum of the embeddings of ids and of positions to `rows`; of the two `tables`, that of positions may
    /// be null.
    pub(crate) fn embed(
        &mut self,
        rows: Address,
        tables: [Address; 2],
        ids: Address,
        shape: Shape,
    ) -> Result<(), Error> {
        let width = self.sizes.hidden;
        let [table, positions] = tables.map(address);
        let arguments =
            [address(rows), table, address(ids), positions, address(shape.positions), count(width)];
        self.each("embed", shape.tokens() * width, &arguments)
    }

    /// Adds the gradients of embeddings; `lists` are entries, begins and order, with this number of entries.
    pub(crate) fn embed_backward(
        &mut self,
        table: Address,
        d: Address,
        lists: [Address; 3],
        entries: usize,
    ) -> Result<(), Error> {
        let [a, b, c] = lists.map(address);
        let arguments = [address(table), address(d), a, b, c, count(self.sizes.hidden)];
        let grid = [blocks(entries, 1), blocks(self.sizes.hidden, THREADS), 1];
        self.go("embed_backward", grid, &arguments)
    }

    /// Adds the sums of the columns of `rows` to `to`.
    pub(crate) fn add_columns(
        &mut self,
        to: Address,
        rows: Address,
        partial: Address,
        tokens: usize,
        width: usize,
    ) -> Result<(), Error> {
        let parts = COLUMN_PARTS.min(tokens.div_ceil((THREADS / WARP) as usize));
        let grid = [blocks(width, THREADS), blocks(parts, 1), 1];
        self.go(
            "column_sums",
            grid,
            &[address(partial), address(rows), count(tokens), count(width)],
        )?;
        self.add_partial(to, partial, [parts, width], width)
    }

    pub(crate) fn add_partial(
        &mut self,
        to: Address,
        partial: Address,
        [parts, stride]: [usize; 2],
        width: usize,
    ) -> Result<(), Error> {
        let arguments = [address(to), address(partial), count(parts), count(stride), count(width)];
        self.go("add_partial", [blocks(width, WARP), 1, 1], &arguments)
    }

    /// Rotates queries and keys; `angles` are cosines and sines of `half` pairs, and a `sign` of −1 rotates back.
    pub(crate) fn rotary(
        &mut self,
        rows: Address,
        angles: [Address; 2],
        half: usize,
        shape: Shape,
        sign: f32,
    ) -> Result<(), Error> {
        let [cosines, sines] = angles.map(address);
        let heads = self.normed_heads();
        let arguments = [
            address(rows),
            cosines,
            sines,
            address(shape.positions),
            count(heads),
            count(self.sizes.qkv()),
            count(half),
            real(sign),
        ];
        self.eights("rotary", shape.tokens() * heads * half, &arguments)
    }

    pub(crate) fn activation_forward(
        &mut self,
        y: Address,
        x: Address,
        activation: Activation,
        tokens: usize,
    ) -> Result<(), Error> {
        let width = self.sizes.inner;
        let arguments = [address(y), address(x), kind(activation), count(width)];
        self.eights("activation_forward", tokens * width, &arguments)
    }

    /// Writes `dx`, and overwrites `dy` with y.
    pub(crate) fn activation_backward(
        &mut self,
        dy: Address,
        dx: Address,
        x: Address,
        activation: Activation,
        tokens: usize,
    ) -> Result<(), Error> {
        let width = self.sizes.inner;
        let arguments = [address(dy), address(dx), address(x), kind(activation), count(width)];
        self.eights("activation_backward", tokens * width, &arguments)
    }

    /// Computes losses; with a scale other than 0 the logits are replaced by their gradient.
    pub(crate) fn cross_entropy(
        &mut self,
        logits: Address,
        losses: Address,
        targets: Address,
        scale: f32,
        [tokens, pitch]: [usize; 2],
    ) -> Result<(), Error> {
        let arguments = [
            address(logits),
            address(losses),
            address(targets),
            real(scale),
            count(self.sizes.vocabulary),
            count(pitch),
        ];
        self.go("cross_entropy", [blocks(tokens, 1), 1, 1], &arguments)
    }

    /// Computes the sums of squares of runs of [`SQUARE_RUN`] values.
    pub(crate) fn square_sums(
        &mut self,
        sums: Address,
        from: Address,
        len: usize,
    ) -> Result<(), Error> {
        let run = u32::try_from(SQUARE_RUN).unwrap_or(u32::MAX);
        let arguments = [address(sums), address(from), long(SQUARE_RUN), long(len)];
        self.go("square_sums", [blocks(len, run), 1, 1], &arguments)
    }

    pub(crate) fn adamw(&mut self, at: Buffers, update: Update, len: usize) -> Result<(), Error> {
        let arguments = [
            address(at.parameters),
            address(at.gradients),
            address(at.first),
            address(at.second),
            address(at.narrow),
            real(update.clip),
            real(update.beta1),
            real(update.one_less_beta1),
            real(update.beta2),
            real(update.one_less_beta2),
            real(update.rate),
            real(update.inverse_root),
            real(update.epsilon),
            real(update.decay_factor),
        ];
        self.each("adamw", len, &arguments)
    }

    pub(crate) fn product(
        &mut self,
        form: Form,
        operands: [Address; 3],
        [rows, inputs, outputs]: [usize; 3],
    ) -> Result<(), Error> {
        let [x, weight, y] = operands;
        self.device.product(Product { form, x, weight, y, rows, inputs, outputs, pitch: outputs })
    }
}

fn kind(activation: Activation) -> Argument {
    Argument::U32(match activation {
        Activation::SwiGlu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
    })
}
