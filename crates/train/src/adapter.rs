//! Low-rank adapters: their memory layout, their initial values, and how they are merged into a model.
//!
//! The model always computes with merged weights `W + s · B · A`, so the forward pass and the gradients of activations
//! are the same as without an adapter; thin products give the gradients of A and B (kernels/low_rank.rs), so the
//! gradient of W is not computed. docs/design/trainer.md has the measurements.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::lora::LoraConfig;
use crate::config::model_choice::ModelChoice;
use crate::config::run_config::RunConfig;
use crate::engine::kernels::low_rank::LowRank;
use crate::engine::kernels::number::Number;
use crate::error::Error;
use crate::model::Model;
use crate::model::config::{Family, ModelConfig};
use crate::model::initial::{self, Normal};
use crate::model::layout::Layout;
use crate::weights::hugging_face::{Arrangement, FileTensor, tensors};
use crate::weights::weights_file::write_tensors;
use crate::weights::{sync_folder, write_json};

/// A and B of one target matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdapterPart {
    /// The range of the target in the model's buffer: all or some rows of a matrix.
    pub(crate) weight: Range<usize>,
    /// The range of the target in a buffer of all targets.
    pub(crate) base: Range<usize>,
    /// A \[rank, inputs\] with PEFT's name; its range is in the adapter's buffer.
    pub(crate) a: FileTensor,
    /// B \[outputs, rank\]; its rows have the order of the model's file.
    pub(crate) b: FileTensor,
}

impl AdapterPart {
    pub(crate) fn inputs(&self) -> usize {
        self.a.shape[1]
    }
}

/// The layout of an adapter's flat buffer; gradients and moments have the same layout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdapterLayout {
    rank: usize,
    /// alpha / rank.
    scale: f64,
    /// The parts in the order of their targets in the model's buffer.
    parts: Vec<AdapterPart>,
    /// The PEFT names of the targets.
    pub(crate) targets: Vec<String>,
    /// The length of the buffer.
    pub(crate) len: usize,
    /// The total length of all targets.
    pub(crate) base_len: usize,
}

/// An adapter's parameters and the buffer to which its gradients are added.
pub(crate) struct AdapterGradients<'a, F> {
    pub(crate) layout: &'a AdapterLayout,
    pub(crate) numbers: &'a [F],
    pub(crate) gradients: &'a mut [F],
}

impl AdapterLayout {
    /// Returns the layout of the adapter that `lora` describes for a model.
    ///
    /// # Errors
    /// The model lacks a target; the rank exceeds the address space.
    #[expect(clippy::cast_precision_loss, reason = "a rank is far below 2^53")]
    pub(crate) fn new(
        config: &ModelConfig,
        layout: &Layout,
        lora: &LoraConfig,
    ) -> Result<Self, Error> {
        let mut matrices = matrices(config, layout);
        matrices.sort_by_key(|(_, tensor)| tensor.range.start);
        let modules: Vec<&str> = matrices.iter().map(|(module, _)| module.as_str()).collect();
        let (targets, chosen) = lora.chosen(config.family, &modules)?;
        let too_large = || Error::setting("train.lora.rank", "one that fits memory", lora.rank);
        let rank = usize::try_from(lora.rank).map_err(|_| too_large())?;
        let scale = lora.alpha / lora.rank as f64;
        let mut adapter = Self { rank, scale, parts: Vec::new(), targets, len: 0, base_len: 0 };
        for ((module, tensor), _) in matrices.iter().zip(chosen).filter(|(_, chosen)| *chosen) {
            adapter.push(module, tensor).ok_or_else(too_large)?;
        }
        Ok(adapter)
    }

    fn push(&mut self, module: &str, tensor: &FileTensor) -> Option<()> {
        let mut sides = [*tensor.shape.first()?, *tensor.shape.get(1)?];
        if tensor.arrangement == Arrangement::Transposed {
            sides.reverse();
        }
        let [outputs, inputs] = sides;
        let (rank, start) = (self.rank, self.len);
        let middle = start.checked_add(rank.checked_mul(inputs)?)?;
        let end = middle.checked_add(outputs.checked_mul(rank)?)?;
        end.checked_mul(size_of::<f64>())?;
        let name = |matrix: &str| format!("base_model.model.{module}.lora_{matrix}.weight");
        // Rows of heads are in the file's order, as those of the target.
        let arrangement = match tensor.arrangement {
            Arrangement::InterleavedHeads { .. } => tensor.arrangement,
            _ => Arrangement::Plain,
        };
        let base = self.base_len..self.base_len + tensor.range.len();
        self.parts.push(AdapterPart {
            weight: tensor.range.clone(),
            base: base.clone(),
            a: FileTensor {
                name: name("A"),
                shape: vec![rank, inputs],
                range: start..middle,
                arrangement: Arrangement::Plain,
            },
            b: FileTensor {
                name: name("B"),
                shape: vec![outputs, rank],
                range: middle..end,
                arrangement,
            },
        });
        (self.len, self.base_len) = (end, base.end);
        Some(())
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the factor of `B · A`: alpha / rank.
    #[cfg(feature = "cuda")]
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// A and B of each target, in the order of the targets in the model's buffer.
    pub(crate) fn parts(&self) -> &[AdapterPart] {
        &self.parts
    }

    /// Returns all tensors in order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &FileTensor> {
        self.parts.iter().flat_map(|part| [&part.a, &part.b])
    }

    /// Returns the initial values: A is uniform in ±1/√inputs (Kaiming's, with PEFT's slope of √5), and B is zero.
    #[expect(clippy::cast_precision_loss, reason = "sides are far below 2^53")]
    pub(crate) fn initial(&self, seed: u64) -> Result<Vec<f32>, Error> {
        let mut numbers = initial::zeros(self.len)?;
        for (stream, part) in (0..).zip(&self.parts) {
            let bound = 1.0 / (part.inputs() as f64).sqrt();
            let mut uniform = Normal::new(seed, stream);
            let values = &mut numbers[part.a.range.clone()];
            values.iter_mut().zip(uniform.uniforms(bound)).for_each(|(to, from)| *to = from);
        }
        Ok(numbers)
    }

    /// Copies the targets out of a model's buffer.
    pub(crate) fn base(&self, parameters: &[f32]) -> Result<Vec<f32>, Error> {
        let mut base = initial::zeros(self.base_len)?;
        for part in &self.parts {
            base[part.base.clone()].copy_from_slice(&parameters[part.weight.clone()]);
        }
        Ok(base)
    }

    /// Replaces every target by `W + s · B · A`.
    pub(crate) fn merge<F: Number>(&self, base: &[F], numbers: &[F], parameters: &mut [F]) {
        for part in &self.parts {
            let merged = &mut parameters[part.weight.clone()];
            self.low_rank(part, numbers).merge(&base[part.base.clone()], merged);
        }
    }

    fn low_rank<'a, F: Number>(&self, part: &AdapterPart, numbers: &'a [F]) -> LowRank<'a, F> {
        let (a, b) = (&numbers[part.a.range.clone()], &numbers[part.b.range.clone()]);
        LowRank { a, b, rank: self.rank, scale: F::of(self.scale) }
    }

    /// Returns the targets within this range of the model's buffer.
    pub(crate) fn within(&self, weight: &Range<usize>) -> &[AdapterPart] {
        let place = |end: usize| self.parts.partition_point(|part| part.weight.start < end);
        &self.parts[place(weight.start)..place(weight.end)]
    }
}

impl<F: Number> AdapterGradients<'_, F> {
    /// Adds the gradients of the targets that are rows of the matrix `weight` \[outputs, inputs\], for x
    /// \[rows, inputs\] and the gradient dy \[rows, outputs\] of what it gives.
    pub(crate) fn add_linear(&mut self, weight: &Range<usize>, outputs: usize, x: &[F], dy: &[F]) {
        for part in self.layout.within(weight) {
            let first = (part.weight.start - weight.start) / part.inputs();
            let low_rank = self.layout.low_rank(part, self.numbers);
            let (da, db) = sides(self.gradients, part);
            low_rank.backward(x, &dy[first..], outputs, da, db);
        }
    }

    /// Adds the adapter's gradients, computed from the gradients of all parameters of the model.
    pub(crate) fn add_whole(&mut self, gradients: &[F]) {
        for part in &self.layout.parts {
            let low_rank = self.layout.low_rank(part, self.numbers);
            let (da, db) = sides(self.gradients, part);
            low_rank.backward_of(&gradients[part.weight.clone()], da, db);
        }
    }
}

/// Returns A and B of a part of the adapter's buffer.
fn sides<'a, F>(numbers: &'a mut [F], part: &AdapterPart) -> (&'a mut [F], &'a mut [F]) {
    numbers[part.a.range.start..part.b.range.end].split_at_mut(part.a.range.len())
}

/// Returns the matrices of all blocks with the names of their modules.
fn matrices(config: &ModelConfig, layout: &Layout) -> Vec<(String, FileTensor)> {
    let is_in_block = |range: &Range<usize>| {
        let first =
            layout.blocks.first().map_or(layout.len, |block| block.attention_norm.weight.start);
        (first..layout.last_norm.weight.start).contains(&range.start)
    };
    let all = tensors(config, layout).into_iter();
    all.filter(|tensor| tensor.shape.len() == 2 && is_in_block(&tensor.range))
        .filter_map(|tensor| Some((tensor.name.strip_suffix(".weight")?.to_owned(), tensor)))
        .collect()
}

/// The name of the adapter's folder in a checkpoint or in best/.
pub(crate) const ADAPTER_FOLDER: &str = "adapter";
/// The file that describes an adapter.
pub(crate) const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// The description of an adapter without its parameters, for the thread that writes it.
#[derive(Clone)]
pub(crate) struct AdapterFiles {
    layout: AdapterLayout,
    config: Value,
}

impl AdapterFiles {
    /// Those of a run of `config`, whose paths are resolved.
    ///
    /// # Errors
    /// The working directory no longer exists.
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

    /// Writes the folder `adapter` into a folder that no reader uses yet, and syncs it to the disk.
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

#[cfg(test)]
#[path = "adapter/adapter_tests.rs"]
mod tests;
