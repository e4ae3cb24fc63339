//! The operations of a decoder on plain slices: one file per operation, with its forward and backward pass.
//!
//! All operations are generic over [`Number`]: models run in f32, and the gradient checks run the same code in f64
//! against central differences. Every sum has a fixed order that does not depend on the split of the work, so a result
//! has the same bits on any number of threads.

pub(crate) mod activation;
pub(crate) mod attention;
#[cfg(test)]
pub(crate) mod check;
pub(crate) mod cross_entropy;
pub(crate) mod elementwise;
pub(crate) mod embedding;
pub(crate) mod few_rows;
pub(crate) mod head_norm;
pub(crate) mod linear;
pub(crate) mod low_rank;
pub(crate) mod matrix;
pub(crate) mod norm;
pub(crate) mod number;
pub(crate) mod rotary;
