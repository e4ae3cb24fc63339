//! Fused operations with a backward pass, one a file.
//!
//! candle's own fused RMSNorm, softmax and rotary positions cut the gradient without a word, and its
//! composed operations keep every intermediate and pay a zero-fill and an addition per edge. Each
//! operation here is one node of a graph.

pub(crate) mod attention;
#[cfg(test)]
pub(crate) mod check;
pub(crate) mod cross_entropy;
pub(crate) mod elementwise;
pub(crate) mod embedding;
pub(crate) mod host;
pub(crate) mod linear;
pub(crate) mod matrix;
pub(crate) mod rms_norm;
pub(crate) mod rotary;
pub(crate) mod swiglu;
