//! The layout of a decoder's flat buffer of parameters.
//!
//! Gradients and moments have the same layout. Matrices are row-major \[outputs, inputs\]. Matrices with the same input
//! are fused: queries, keys and values are one matrix, gate and up another.

use std::ops::Range;

use crate::model::config::{Activation, ModelConfig, Norm};

/// The sizes of a decoder as `usize`; their products fit, or the buffer could not have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    pub(crate) head_width: usize,
    /// The width of the activation's output.
    pub(crate) inner: usize,
    /// The width of the activation's input: twice that of its output for SwiGLU.
    pub(crate) up: usize,
    pub(crate) positions: usize,
}

/// A matrix \[outputs, inputs\] with its bias \[outputs\], if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinearRange {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
}

/// The weight of a norm, with the bias that LayerNorm has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NormRange {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockLayout {
    /// \[hidden\].
    pub(crate) attention_norm: NormRange,
    /// \[(heads + 2 · key_value_heads) · head_width, hidden\]: all queries, all keys, all values.
    pub(crate) qkv: LinearRange,
    /// \[head_width\].
    pub(crate) query_norm: Option<Range<usize>>,
    /// \[head_width\].
    pub(crate) key_norm: Option<Range<usize>>,
    /// \[hidden, heads · head_width\].
    pub(crate) output: LinearRange,
    /// \[hidden\].
    pub(crate) mlp_norm: NormRange,
    /// \[up, hidden\]; for SwiGLU all gates, then all ups.
    pub(crate) up: LinearRange,
    /// \[hidden, inner\].
    pub(crate) down: LinearRange,
}

/// All tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) sizes: Sizes,
    /// \[vocabulary, hidden\].
    pub(crate) embedding: Range<usize>,
    /// \[positions, hidden\], if positions are learned.
    pub(crate) positions: Option<Range<usize>>,
    pub(crate) blocks: Vec<BlockLayout>,
    /// \[hidden\].
    pub(crate) last_norm: NormRange,
    /// \[vocabulary, hidden\], if it is not the embedding.
    pub(crate) head: Option<Range<usize>>,
    /// The length of the buffer.
    pub(crate) len: usize,
}

/// An allocator of consecutive ranges.
struct Next(usize);

impl Next {
    fn take(&mut self, len: usize) -> Range<usize> {
        let start = self.0;
        self.0 += len;
        start..self.0
    }

    fn linear(&mut self, outputs: usize, inputs: usize, has_bias: bool) -> LinearRange {
        let weight = self.take(outputs * inputs);
        LinearRange { weight, bias: has_bias.then(|| self.take(outputs)) }
    }

    fn norm(&mut self, width: usize, norm: Norm) -> NormRange {
        let weight = self.take(width);
        NormRange { weight, bias: (norm == Norm::Layer).then(|| self.take(width)) }
    }
}

impl Sizes {
    /// Returns the width of a row of queries, keys and values.
    pub(crate) fn qkv(&self) -> usize {
        (self.heads + 2 * self.key_value_heads) * self.head_width
    }

    /// Returns the width of a row of queries, which is that of attention's output.
    pub(crate) fn attended(&self) -> usize {
        self.heads * self.head_width
    }

    fn of(config: &ModelConfig) -> Option<Self> {
        let side = |value: u64| usize::try_from(value).ok();
        let inner = side(config.intermediate_size)?;
        Some(Self {
            vocabulary: side(config.vocab_size)?,
            hidden: side(config.hidden_size)?,
            layers: side(config.layers)?,
            heads: side(config.heads)?,
            key_value_heads: side(config.key_value_heads)?,
            head_width: side(config.head_width)?,
            inner,
            up: if config.activation == Activation::SwiGlu { 2 * inner } else { inner },
            positions: side(config.max_position_embeddings)?,
        })
    }
}

impl Layout {
    /// Returns the layout of a model whose config is checked; `None` if it exceeds the address space.
    pub(crate) fn new(config: &ModelConfig) -> Option<Self> {
        let sizes = Sizes::of(config)?;
        usize::try_from(config.parameters()).ok()?.checked_mul(size_of::<f64>())?;
        let mut next = Next(0);
        let table = sizes.vocabulary * sizes.hidden;
        let embedding = next.take(table);
        let learned = config.positions == crate::model::config::Positions::Learned;
        let positions = learned.then(|| next.take(sizes.positions * sizes.hidden));
        let blocks = (0..sizes.layers).map(|_| block(config, &sizes, &mut next)).collect();
        let last_norm = next.norm(sizes.hidden, config.norm);
        let head = (!config.tied_embeddings).then(|| next.take(table));
        Some(Self { sizes, embedding, positions, blocks, last_norm, head, len: next.0 })
    }

    /// Returns all matrices in order, including embeddings.
    pub(crate) fn matrices(&self) -> Vec<Range<usize>> {
        let tables = [Some(self.embedding.clone()), self.positions.clone()];
        let blocks = self.blocks.iter().flat_map(|block| {
            [&block.qkv, &block.output, &block.up, &block.down].map(|linear| linear.weight.clone())
        });
        tables.into_iter().flatten().chain(blocks).chain(self.head.clone()).collect()
    }

    /// Returns the matrix of the output projection, \[vocabulary, hidden\].
    pub(crate) fn output(&self) -> Range<usize> {
        self.head.clone().unwrap_or_else(|| self.embedding.clone())
    }
}

fn block(config: &ModelConfig, sizes: &Sizes, next: &mut Next) -> BlockLayout {
    let head_norm = |next: &mut Next| config.query_key_norm.then(|| next.take(sizes.head_width));
    BlockLayout {
        attention_norm: next.norm(sizes.hidden, config.norm),
        qkv: next.linear(sizes.qkv(), sizes.hidden, config.query_key_value_bias),
        query_norm: head_norm(next),
        key_norm: head_norm(next),
        output: next.linear(sizes.hidden, sizes.attended(), config.attention_output_bias),
        mlp_norm: next.norm(sizes.hidden, config.norm),
        up: next.linear(sizes.up, sizes.hidden, config.mlp_bias),
        down: next.linear(sizes.hidden, sizes.inner, config.mlp_bias),
    }
}
