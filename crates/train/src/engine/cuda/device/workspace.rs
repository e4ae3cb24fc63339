//! The workspace of a pass on the device: one allocation, in which each buffer has its place.

use crate::config::compute::Precision;
use crate::engine::cuda::device::{Address, Device};
use crate::engine::cuda::kernels::partial_len;
use crate::engine::decoder::ActivationPolicy;
use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::layout::Sizes;

/// The alignment of every buffer in bytes, which wide loads need.
const ALIGNMENT: usize = 256;
/// The logits of one chunk.
const CHUNK_LOGITS: usize = 1 << 27;
/// Rows of logits are padded to a multiple of this number: products read 16 bytes at once.
const PITCH: usize = 8;

/// The activations that the backward pass of one block reads, in the number format of products unless stated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saved {
    /// Queries, keys and values, normalized and rotated.
    pub(crate) qkv: Address,
    /// Queries and keys before they were normalized.
    pub(crate) raw: Address,
    /// f32 \[batch, heads, length\].
    pub(crate) log_sums: Address,
    pub(crate) attended: Address,
    /// f32: the stream between attention and MLP.
    pub(crate) middle: Address,
    /// The input of the activation.
    pub(crate) up: Address,
}

/// The ids that map rows of a gradient to the entries of an embedding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lists {
    pub(crate) entries: Address,
    pub(crate) begins: Address,
    pub(crate) order: Address,
}

/// All buffers of a pass over some tokens.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// f32: the residual stream before each block and after the last; two alternating buffers if nothing is kept.
    pub(crate) streams: Vec<Address>,
    /// The activations of each block, or one buffer for all in turn.
    pub(crate) saved: Vec<Saved>,
    pub(crate) normed: Address,
    pub(crate) inner: Address,
    pub(crate) dqkv: Address,
    pub(crate) dattended: Address,
    pub(crate) dup: Address,
    /// f32: the gradient of the residual stream, and its copy in the number format of products.
    pub(crate) d: Address,
    pub(crate) narrow_d: Address,
    pub(crate) hidden: Address,
    pub(crate) dhidden: Address,
    pub(crate) logits: Address,
    /// f32: the attention output times its gradient, summed over each head.
    pub(crate) delta: Address,
    pub(crate) partial: Address,
    /// The ids.
    pub(crate) tokens: Address,
    pub(crate) targets: Address,
    pub(crate) positions: Address,
    pub(crate) starts: Address,
    pub(crate) token_lists: Lists,
    pub(crate) position_lists: Lists,
    /// The length of a row of logits with its padding.
    pub(crate) pitch: usize,
    /// The rows of logits that are computed at once.
    pub(crate) chunk: usize,
    /// The bytes of the whole workspace.
    pub(crate) bytes: usize,
}

/// Memory that grows on demand and never shrinks.
#[derive(Default)]
pub(crate) struct Kept(Option<(Address, usize)>);

impl Kept {
    /// Returns the address of at least this number of bytes, whose content is arbitrary.
    pub(crate) fn fit(&mut self, device: &mut dyn Device, bytes: usize) -> Result<Address, Error> {
        match self.0.take_if(|(_, there)| *there < bytes) {
            Some((before, _)) => device.free(before)?,
            None => {
                if let Some((there, _)) = self.0 {
                    return Ok(there);
                }
            }
        }
        let memory = device.allocate(bytes as u64)?;
        self.0 = Some((memory, bytes));
        Ok(memory)
    }
}

/// An allocator of consecutive buffers from `base` on, of which `bytes` are in use.
pub(crate) struct Next {
    pub(crate) base: Address,
    pub(crate) bytes: usize,
}

impl Next {
    pub(crate) fn take(&mut self, bytes: usize) -> Address {
        let place = Address(self.base.0.saturating_add(self.bytes as u64));
        let end = self.bytes.saturating_add(bytes);
        // A size that overflows saturates, and its allocation fails.
        self.bytes = end.checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX);
        place
    }
}

impl Workspace {
    /// Lays out the buffers of a pass over `tokens` from `base` on.
    pub(crate) fn new(
        config: &ModelConfig,
        sizes: &Sizes,
        precision: Precision,
        tokens: usize,
        policy: ActivationPolicy,
        base: Address,
    ) -> Self {
        let mut next = Next { base, bytes: 0 };
        let (streams, saved) = match policy {
            ActivationPolicy::Discard => (2, 1),
            ActivationPolicy::Checkpoint => (sizes.layers + 1, 1),
            ActivationPolicy::Keep => (sizes.layers + 1, sizes.layers),
        };
        let has_backward = usize::from(policy != ActivationPolicy::Discard);
        let (wide, real) = (4 * tokens, precision.bytes() * tokens);
        let hidden = sizes.hidden;
        let pitch = sizes.vocabulary.next_multiple_of(PITCH);
        let chunk = (CHUNK_LOGITS / pitch).max(64).min(tokens);
        let raw = if config.query_key_norm { sizes.heads + sizes.key_value_heads } else { 0 };
        let streams = (0..streams).map(|_| next.take(wide * hidden)).collect();
        let saved = (0..saved).map(|_| Saved {
            qkv: next.take(real * sizes.qkv()),
            raw: next.take(real * raw * sizes.head_width),
            log_sums: next.take(wide * sizes.heads),
            attended: next.take(real * sizes.attended()),
            middle: next.take(wide * hidden),
            up: next.take(real * sizes.up),
        });
        let saved = saved.collect();
        let d = next.take(wide * hidden * has_backward);
        let narrow_d = match precision {
            Precision::F32 => d,
            Precision::Bf16 => next.take(real * hidden * has_backward),
        };
        let mut lists = |rows: usize| Lists {
            entries: next.take(4 * rows),
            begins: next.take(4 * (rows + 1)),
            order: next.take(4 * tokens),
        };
        let token_lists = lists(tokens.min(sizes.vocabulary));
        let position_lists = lists(tokens.min(sizes.positions));
        Self {
            streams,
            saved,
            normed: next.take(real * hidden),
            inner: next.take(real * sizes.inner),
            dqkv: next.take(real * sizes.qkv() * has_backward),
            dattended: next.take(real * sizes.attended() * has_backward),
            dup: next.take(real * sizes.up * has_backward),
            d,
            narrow_d,
            hidden: next.take(real * hidden),
            dhidden: next.take(real * hidden * has_backward),
            logits: next.take(precision.bytes() * chunk * pitch),
            delta: next.take(wide * sizes.heads * has_backward),
            partial: next.take(4 * partial_len(sizes, tokens)),
            tokens: next.take(wide),
            targets: next.take(wide),
            positions: next.take(wide),
            starts: next.take(wide),
            token_lists,
            position_lists,
            pitch,
            chunk,
            bytes: next.bytes,
        }
    }
}
