//! The kernel launches of attention.

use crate::config::compute::Precision;
use crate::engine::cuda::decoder::cached::{KeyValueCache, key_values};
use crate::engine::cuda::device::compile::WIDEST_TILE_HEAD;
use crate::engine::cuda::device::{Address, Argument, Launch};
use crate::engine::cuda::kernels::{
    Kernels, Shape, THREADS, WARP, address, blocks, count, long, real,
};
use crate::error::Error;

/// The number of queries or keys per thread block on tensor cores.
const TILE: usize = 64;
const TILE_THREADS: u32 = 128;

/// The buffers of attention's backward pass.
#[derive(Clone, Copy)]
pub(crate) struct AttentionGradients {
    pub(crate) qkv: Address,
    pub(crate) attended: Address,
    pub(crate) log_sums: Address,
    pub(crate) dattended: Address,
    pub(crate) delta: Address,
    pub(crate) dqkv: Address,
}

impl Kernels {
    /// Returns whether attention runs on tensor cores.
    pub(crate) fn has_tiles(&self) -> bool {
        self.precision == Precision::Bf16 && self.sizes.head_width <= WIDEST_TILE_HEAD
    }

    /// The last arguments of all attention kernels.
    fn attention_shape(&self, shape: Shape) -> [Argument; 6] {
        #[expect(clippy::cast_precision_loss, reason = "a head is far narrower than 2^24")]
        let scale = 1.0 / (self.sizes.head_width as f32).sqrt();
        [
            address(shape.starts),
            count(shape.length),
            count(self.sizes.heads),
            count(self.sizes.key_value_heads),
            Argument::U32(self.window),
            real(scale),
        ]
    }

    /// Returns the bytes of shared memory for `tiles` tiles of 64 rows and `inner` tiles of the backward pass's inner
    /// rows.
    fn tile_bytes(&self, tiles: usize, inner: usize) -> u32 {
        let head = self.sizes.head_width.div_ceil(16) * 16;
        let inner_rows = if head <= 64 { 64 } else { 32 };
        blocks((tiles * TILE + inner * inner_rows) * (head + 8) * 2, 1)
    }

    /// Launches attention for `heads` heads, with the tensor-core kernel or the plain one.
    fn attention(
        &mut self,
        [tiled, plain]: [&'static str; 2],
        [tiles, inner]: [usize; 2],
        heads: usize,
        shape: Shape,
        addresses: &[Address],
    ) -> Result<(), Error> {
        let mut arguments: Vec<Argument> = addresses.iter().copied().map(address).collect();
        arguments.extend(self.attention_shape(shape));
        if self.has_tiles() {
            let tile = u32::try_from(TILE).unwrap_or(u32::MAX);
            let grid = [blocks(shape.length, tile), blocks(heads, 1), blocks(shape.rows, 1)];
            let shared_bytes = self.tile_bytes(tiles, inner);
            let arguments = &arguments;
            return self.device.launch(Launch {
                kernel: tiled,
                grid,
                threads: TILE_THREADS,
                shared_bytes,
                arguments,
            });
        }
        let items = shape.tokens() * heads;
        arguments.push(long(items));
        self.go(plain, [blocks(items, THREADS / WARP), 1, 1], &arguments)
    }

    pub(crate) fn attention_forward(
        &mut self,
        attended: Address,
        log_sums: Address,
        qkv: Address,
        shape: Shape,
    ) -> Result<(), Error> {
        let names = ["attention_forward_tensor", "attention_forward_plain"];
        self.attention(names, [3, 0], self.sizes.heads, shape, &[attended, log_sums, qkv])
    }

    /// Copies the keys and values of rows to their places in a block's cache.
    pub(crate) fn keep_keys(
        &mut self,
        block: Address,
        qkv: Address,
        cache: &KeyValueCache,
        shape: Shape,
    ) -> Result<(), Error> {
        let width = key_values(&self.sizes);
        let arguments = [
            address(block),
            address(qkv),
            address(cache.sequences),
            address(shape.positions),
            count(cache.capacity),
            count(self.sizes.qkv()),
            count(width),
        ];
        self.each("keep_keys", shape.tokens() * width, &arguments)
    }

    /// Computes the attention of each row to the positions of its sequence up to its own.
    pub(crate) fn attention_cached(
        &mut self,
        attended: Address,
        block: Address,
        qkv: Address,
        cache: &KeyValueCache,
        shape: Shape,
    ) -> Result<(), Error> {
        let items = shape.tokens() * self.sizes.heads;
        let [_, _, heads, key_value_heads, window, scale] = self.attention_shape(shape);
        let arguments = [
            address(attended),
            address(block),
            address(qkv),
            address(cache.sequences),
            address(shape.positions),
            count(cache.capacity),
            heads,
            key_value_heads,
            window,
            scale,
            long(items),
        ];
        self.go("attention_cached", [blocks(items, THREADS / WARP), 1, 1], &arguments)
    }

    pub(crate) fn attention_backward(
        &mut self,
        at: AttentionGradients,
        shape: Shape,
    ) -> Result<(), Error> {
        let heads = self.sizes.heads;
        let items = shape.tokens() * heads;
        let arguments = [
            address(at.delta),
            address(at.attended),
            address(at.dattended),
            count(shape.length),
            count(heads),
            long(items),
        ];
        self.go("attention_delta", [blocks(items, THREADS / WARP), 1, 1], &arguments)?;
        let addresses = [at.dqkv, at.qkv, at.dattended, at.log_sums, at.delta];
        let names = ["attention_queries_tensor", "attention_queries_plain"];
        self.attention(names, [2, 2], heads, shape, &addresses)?;
        let names = ["attention_keys_tensor", "attention_keys_plain"];
        self.attention(names, [2, 2], self.sizes.key_value_heads, shape, &addresses)
    }
}
