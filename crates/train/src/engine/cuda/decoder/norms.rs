//! The kernel launches of the norms.

use crate::engine::cuda::device::{Address, Launch};
use crate::engine::cuda::kernels::{
    Kernels, NormAt, SUM_BLOCKS, THREADS, WARP, address, blocks, count, real,
};
use crate::error::Error;

impl Kernels {
    pub(crate) fn norm_forward(
        &mut self,
        y: Address,
        x: Address,
        norm: NormAt,
        tokens: usize,
    ) -> Result<(), Error> {
        let (weight, bias) = (address(norm.weight), address(norm.bias));
        let arguments =
            [address(y), address(x), weight, bias, real(self.epsilon), count(self.sizes.hidden)];
        self.go("norm_forward", [blocks(tokens, 1), 1, 1], &arguments)
    }

    /// Adds the gradient of the norm's input to `d`, writes `d` to `narrow` unless `narrow` is null, and adds to the
    /// gradients of weight and bias if they are trained.
    #[expect(clippy::too_many_arguments, reason = "those of the kernel")]
    pub(crate) fn norm_backward(
        &mut self,
        d: Address,
        narrow: Address,
        dy: Address,
        x: Address,
        norm: NormAt,
        gradients: NormAt,
        partial: Address,
        tokens: usize,
    ) -> Result<(), Error> {
        let width = self.sizes.hidden;
        let parts = SUM_BLOCKS.min(tokens);
        let arguments = [
            address(d),
            address(narrow),
            address(partial),
            address(dy),
            address(x),
            address(norm.weight),
            address(norm.bias),
            real(self.epsilon),
            count(width),
            count(tokens),
        ];
        let shared_bytes = blocks(2 * width * size_of::<f32>(), 1);
        let grid = [blocks(parts, 1), 1, 1];
        self.device.launch(Launch {
            kernel: "norm_backward",
            grid,
            threads: THREADS,
            shared_bytes,
            arguments: &arguments,
        })?;
        if gradients.weight == Address::NULL {
            return Ok(());
        }
        self.add_partial(gradients.weight, partial, [parts, 2 * width], width)?;
        if gradients.bias == Address::NULL {
            return Ok(());
        }
        self.add_partial(gradients.bias, partial.f32(width), [parts, 2 * width], width)
    }

    pub(crate) fn normed_heads(&self) -> usize {
        self.sizes.heads + self.sizes.key_value_heads
    }

    /// Normalizes queries and keys; `weights` are those of queries and of keys.
    pub(crate) fn head_norm_forward(
        &mut self,
        qkv: Address,
        raw: Address,
        weights: [Address; 2],
        tokens: usize,
    ) -> Result<(), Error> {
        let [query, key] = weights.map(address);
        let arguments = [
            address(qkv),
            address(raw),
            query,
            key,
            real(self.epsilon),
            count(self.sizes.heads),
            count(self.normed_heads()),
            count(self.sizes.qkv()),
            count(tokens),
        ];
        let grid = [blocks(tokens * self.normed_heads(), THREADS / WARP), 1, 1];
        self.go("head_norm_forward", grid, &arguments)
    }

    /// Like [`norm_backward`](Self::norm_backward), for the norms of queries and keys; the gradients of weights that
    /// are not trained are null.
    pub(crate) fn head_norm_backward(
        &mut self,
        dqkv: Address,
        raw: Address,
        weights: [Address; 2],
        gradients: [Address; 2],
        partial: Address,
        tokens: usize,
    ) -> Result<(), Error> {
        let [query, key] = weights.map(address);
        let arguments = [
            address(dqkv),
            address(partial),
            address(raw),
            query,
            key,
            real(self.epsilon),
            count(self.sizes.heads),
            count(self.normed_heads()),
            count(self.sizes.qkv()),
            count(tokens),
        ];
        let warps = (THREADS / WARP) as usize;
        let parts = SUM_BLOCKS.min((tokens * self.normed_heads()).div_ceil(warps));
        self.go("head_norm_backward", [blocks(parts, 1), 1, 1], &arguments)?;
        if gradients[0] == Address::NULL {
            return Ok(());
        }
        let width = self.sizes.head_width;
        self.add_partial(gradients[0], partial, [parts, 2 * width], width)?;
        self.add_partial(gradients[1], partial.f32(width), [parts, 2 * width], width)
    }
}
