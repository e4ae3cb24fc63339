//! How a model is computed: the device, the number format of products, and the steps of a pass.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::decoder::ActivationPolicy;
use crate::error::Error;

/// The way a training step is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PassOptions {
    /// The rows of a micro-batch; `None` for as many as have 1,024 tokens.
    pub micro_batch_size: Option<u64>,
    /// Whether the backward pass computes each block again instead of keeping it.
    pub recompute: Recompute,
    /// The implementation that computes.
    pub path: ComputePath,
    /// The device that computes.
    pub device: DeviceChoice,
    /// The number format of matrix products.
    pub precision: Precision,
}

/// The implementation that computes losses and gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputePath {
    /// Kernels with a hand-written backward pass.
    #[default]
    Fast,
    /// Operations of candle with candle's gradients. It is several times slower and takes more memory; the fast path is
    /// checked against it.
    Reference,
}

/// Whether the backward pass computes blocks again (activation checkpointing).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recompute {
    /// All activations are kept.
    #[default]
    Nothing,
    /// Only the inputs of blocks are kept.
    Blocks,
}

impl PassOptions {
    /// # Errors
    /// No build, or not this one, can compute with these settings.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.micro_batch_size == Some(0) {
            return Err(Error::setting("train.micro_batch_size", "at least 1", 0));
        }
        if self.device == DeviceChoice::Cpu {
            let is_f32 = self.precision == Precision::F32;
            let expected = "\"f32\", or train.device = \"cuda\"";
            return is_f32
                .then_some(())
                .ok_or_else(|| Error::setting("train.precision", expected, "bf16"));
        }
        if !cfg!(feature = "cuda") {
            let expected = "\"cpu\", or a mixdown built with --features cuda (docs/guide/gpu.md)";
            return Err(Error::setting("train.device", expected, self.device));
        }
        match self.path {
            ComputePath::Fast => Ok(()),
            ComputePath::Reference => Err(Error::setting(
                "train.path",
                "\"fast\", or train.device = \"cpu\"",
                "reference",
            )),
        }
    }

    pub(crate) fn activation_policy(&self) -> ActivationPolicy {
        match self.recompute {
            Recompute::Nothing => ActivationPolicy::Keep,
            Recompute::Blocks => ActivationPolicy::Checkpoint,
        }
    }
}

/// The device to compute on: `cpu`, or `cuda` with the number of a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU with this number in the driver's order.
    Cuda(u32),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(0) => formatter.write_str("cuda"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = match text.as_str() {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        let expected = || format!("expected \"cpu\", \"cuda\" or \"cuda:N\", got \"{text}\"");
        number.map(Self::Cuda).ok_or_else(expected)
    }
}

/// The number format of matrix products. Parameters, moments, gradients of parameters and the residual stream are
/// always f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits, as the CPU computes.
    #[default]
    F32,
    /// The upper 16 bits of an f32, for the tensor cores of a GPU.
    Bf16,
}

impl Precision {
    /// Returns the bytes of a number.
    #[cfg(feature = "cuda")]
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceChoice;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for choice in [DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(3)] {
            assert_eq!(DeviceChoice::try_from(choice.to_string()), Ok(choice));
        }
        for wrong in ["gpu", "cuda:", "cuda:-1", "CPU"] {
            let error = DeviceChoice::try_from(wrong.to_owned()).unwrap_err();
            assert_eq!(error, format!("expected \"cpu\", \"cuda\" or \"cuda:N\", got \"{wrong}\""));
        }
    }
}
