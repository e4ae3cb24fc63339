//! The memory of a pass on the device: one allocation, in which each buffer has its place.

use crate::config::compute::Precision;
use crate::engine::cuda::device::{Address, Device};
use crate::engine::cuda::kernels::partial_len;
use crate::engine::decoder::ActivationPolicy;
use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::layout::Sizes;

/// Every buffer begins at a multiple of so many bytes, as wide loads need it.
const ALIGNMENT: usize = 256;
/// Logits of one chunk.
const CHUNK_LOGITS: usize = 1 << 27;
/// The rows of logits are padded to a multiple of so many numbers: products read 16 bytes at once.
const PITCH: usize = 8;

/// What the backward pass of one block reads: real numbers but where it is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saved {
    /// Queries, keys and values, normalized and turned.
    pub(crate) qkv: Address,
    /// Queries and keys before they were normalized.
    pub(crate) raw: Address,
    /// f32 \[batch, heads, length\].
    pub(crate) log_sums: Address,
    pub(crate) attended: Address,
    /// f32: the stream between attention and MLP.
    pub(crate) middle: Address,
    /// What the activation took.
    pub(crate) up: Address,
}

/// Ids that tell which rows of a gradient an entry of a table takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lists {
    pub(crate) entries: Address,
    pub(crate) begins: Address,
    pub(crate) order: Address,
}

/// All buffers of a pass over some tokens.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// f32: the residual stream before each block and after the last; two in turn where nothing is kept.
    pub(crate) streams: Vec<Address>,
    /// Of each block, or one for all in turn.
    pub(crate) saved: Vec<Saved>,
    pub(crate) normed: Address,
    pub(crate) inner: Address,
    pub(crate) dqkv: Address,
    pub(crate) dattended: Address,
    pub(crate) dup: Address,
    /// f32: the gradient of the residual stream, and its copy in the width of products.
    pub(crate) d: Address,
    pub(crate) narrow_d: Address,
    pub(crate) hidden: Address,
    pub(crate) dhidden: Address,
    pub(crate) logits: Address,
    /// f32.
    pub(crate) delta: Address,
    pub(crate) partial: Address,
    /// Ids.
    pub(crate) tokens: Address,
    pub(crate) targets: Address,
    pub(crate) positions: Address,
    pub(crate) starts: Address,
    pub(crate) token_lists: Lists,
    pub(crate) position_lists: Lists,
    /// Numbers of a row of logits with its padding.
    pub(crate) pitch: usize,
    /// Rows of logits at once.
    pub(crate) chunk: usize,
    /// Of the whole.
    pub(crate) bytes: usize,
}

/// Memory that grows with what is asked for and is kept.
#[derive(Default)]
pub(crate) struct Kept(Option<(Address, usize)>);

impl Kept {
    /// At least so many bytes, of arbitrary content.
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

/// Hands out places one after the other, `bytes` from `base` on.
pub(crate) struct Next {
    pub(crate) base: Address,
    pub(crate) bytes: usize,
}

impl Next {
    pub(crate) fn take(&mut self, bytes: usize) -> Address {
        let place = Address(self.base.0.saturating_add(self.bytes as u64));
        let end = self.bytes.saturating_add(bytes);
        // More than there can be stays that, and no memory is given for it.
        self.bytes = end.checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX);
        place
    }
}

impl Workspace {
    /// The places from `base` on of a pass over `tokens`.
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
