//! The options for the device and the number format.

use clap::Args;
use mixdown_train::{DeviceChoice, PassOptions, Precision};
use serde::de::DeserializeOwned;

/// Arguments for the device and the number format.
#[derive(Debug, Clone, Copy, Args)]
pub struct ComputeArgs {
    /// Device to compute on: cpu, cuda or cuda:N (docs/guide/gpu.md).
    #[arg(long, value_name = "DEVICE", default_value = "cpu", help_heading = "Machine", value_parser = parsed::<DeviceChoice>)]
    pub device: DeviceChoice,
    /// Number format of matrix products: f32, or bf16 on a GPU.
    #[arg(long, value_name = "FORMAT", default_value = "f32", help_heading = "Machine", value_parser = parsed::<Precision>)]
    pub precision: Precision,
}

impl ComputeArgs {
    /// The options of a forward pass, for a model that is not trained.
    pub fn pass(self) -> PassOptions {
        let Self { device, precision } = self;
        PassOptions { device, precision, ..PassOptions::default() }
    }
}

/// Parses a value that is written as in run.toml.
fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = toml::Value::String(text.to_owned());
    value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}
