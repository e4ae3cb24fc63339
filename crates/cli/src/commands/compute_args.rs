//! Where a model is computed, and in which numbers.

use clap::Args;
use mixdown_train::{DeviceChoice, PassOptions, Precision};
use serde::de::DeserializeOwned;

/// Arguments about the device.
#[derive(Debug, Clone, Copy, Args)]
pub struct ComputeArgs {
    /// What computes: `cpu`, `cuda` or `cuda:N` (docs/guide/gpu.md).
    #[arg(long, default_value = "cpu", value_parser = parsed::<DeviceChoice>)]
    pub device: DeviceChoice,
    /// The numbers that products take: `f32`, or on a GPU `bf16`.
    #[arg(long, default_value = "f32", value_parser = parsed::<Precision>)]
    pub precision: Precision,
}

impl ComputeArgs {
    /// For a model that is not trained.
    pub fn pass(self) -> PassOptions {
        let Self { device, precision } = self;
        PassOptions { device, precision, ..PassOptions::default() }
    }
}

/// A value as run.toml spells it.
fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = toml::Value::String(text.to_owned());
    value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}
