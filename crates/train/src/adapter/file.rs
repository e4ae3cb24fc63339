//! An adapter as PEFT reads it: adapter_config.json and adapter_model.safetensors.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::adapter::AdapterLayout;
use crate::config::model_choice::ModelChoice;
use crate::config::run_config::RunConfig;
use crate::error::Error;
use crate::model::Model;
use crate::model::config::Family;
use crate::weights::files::{sync_folder, write_json};
use crate::weights::weights_file::write_tensors;

/// The folder in a checkpoint or best/.
pub(crate) const ADAPTER_FOLDER: &str = "adapter";
/// The file that describes an adapter.
pub(crate) const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// All of an adapter but its numbers, for a thread that writes them.
#[derive(Clone)]
pub(crate) struct AdapterFiles {
    layout: AdapterLayout,
    config: Value,
}

impl AdapterFiles {
    /// Those of a run of `config`, whose paths are resolved.
    ///
    /// # Errors
    /// A working directory that is gone.
    pub(crate) fn new(
        layout: &AdapterLayout,
        model: &Model,
        config: &RunConfig,
    ) -> Result<Self, Error> {
        let base = match &config.model {
            ModelChoice::Init(folder) => {
                Some(std::path::absolute(folder).map_err(Error::io(folder, "find"))?)
            }
            ModelChoice::Fresh(_) => None,
        };
        let lora = config.train.lora.clone().unwrap_or_default();
        let config = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            // GPT-2's matrices are stored as [inputs, outputs].
            "fan_in_fan_out": model.config().family == Family::Gpt2,
            "target_modules": layout.targets,
            "init_lora_weights": true,
            "inference_mode": true,
        });
        Ok(Self { layout: layout.clone(), config })
    }

    /// Writes the folder `adapter` into a folder that nobody reads yet, synced to the disk.
    pub(crate) fn save(&self, folder: &Path, numbers: &[f32]) -> Result<(), Error> {
        let folder = folder.join(ADAPTER_FOLDER);
        fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
        write_json(&folder.join(ADAPTER_CONFIG_FILE), &self.config)?;
        let tensors = self.layout.tensors();
        let parts: Vec<_> =
            tensors.map(|tensor| (tensor, &numbers[tensor.range.clone()])).collect();
        write_tensors(&folder.join(WEIGHTS_FILE), &parts)?;
        sync_folder(&folder);
        Ok(())
    }
}
