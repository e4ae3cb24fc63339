//! The width of the numbers that are multiplied.

use serde::{Deserialize, Serialize};

/// The width of the numbers that products take. Parameters, moments, gradients of parameters and the residual stream
/// are f32 always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits, as the CPU computes.
    #[default]
    F32,
    /// The upper 16 bits of them, for the tensor cores of a GPU.
    Bf16,
}

impl Precision {
    /// Bytes of a number.
    #[cfg(feature = "cuda")]
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}
