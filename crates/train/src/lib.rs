//! The trainer: models, optimiser, evaluation and checkpoints.
//!
//! A [`RunConfig`] (RUN.toml) names a model, a mixture and what is measured; a [`Trainer`] runs it in
//! a folder, from its last checkpoint on if there is one. [`Model`] is a decoder of one of the
//! [`Family`]s in Hugging Face's names and files; [`evaluate`] measures it on a corpus.
//!
//! Everything is f32 on the CPU; the feature `cuda` adds NVIDIA GPUs, with products in bf16 where that is asked for.
//! Weights, losses and checkpoints are the same bits for any number
//! of threads and any number of interruptions: every sum has a fixed order.
//!
//! A model's parameters, gradients and moments are one flat buffer each (layout.rs). The fast path
//! (decoder, kernels) computes forward and backward by hand; the reference path composes candle's
//! operations and is what the fast path is checked against.

mod adamw;
mod adapter;
mod adapter_file;
mod average;
mod checkpoint;
mod checkpoint_writer;
#[cfg(feature = "cuda")]
mod cuda;
mod decoder;
mod device_choice;
mod engine;
mod entry;
mod error;
mod evaluate;
mod files;
mod finetune;
mod flops;
mod freeze;
mod generate;
#[cfg(test)]
mod golden_tests;
mod hugging_face;
mod initial;
mod inputs;
mod kernels;
mod layout;
mod lora;
mod memory;
mod model;
mod model_choice;
mod model_config;
mod model_folder;
mod model_place;
mod model_shape;
mod precision;
mod preview;
mod progress;
mod ranks;
mod reference;
mod resident;
mod rows;
mod run_base;
mod run_config;
mod run_file;
mod samples;
mod sampling;
mod schedule;
mod sequence_bytes;
mod step;
mod summary;
mod sums;
#[cfg(test)]
mod test_corpus;
mod trained;
mod trainer;
mod weights_file;

pub use adamw::{AdamW, AdamWOptions};
pub use device_choice::DeviceChoice;
pub use error::Error;
pub use evaluate::{Attention, Evaluation, Part, evaluate};
pub use finetune::{adapter_rate, finetuning_rate};
pub use flops::{peak_flops, training_flops};
pub use generate::{Ending, GenerateOptions, Generated, generate, generate_until};
pub use lora::{LoraConfig, LoraPreset, LoraTargets};
pub use memory::Estimate;
pub use model::{ComputePath, Model, PassOptions, Recompute};
pub use model_choice::{FreshFamily, FreshModel, ModelChoice};
pub use model_config::{
    Activation, Family, ModelConfig, Norm, Positions, RotaryConfig, RotaryScaling,
};
pub use model_place::ModelPlace;
pub use model_shape::TokenizerFingerprint;
pub use precision::Precision;
pub use preview::Preview;
pub use progress::{BestSoFar, Progress, RunName};
pub use ranks::World;
pub use run_base::RunBase;
pub use run_config::{EvalConfig, EvalCorpus, RunConfig, TrainConfig};
pub use run_file::Changes;
pub use samples::{Prompt, SamplesConfig, TextCodec};
pub use sampling::Sampling;
pub use schedule::{LearningRate, Schedule};
pub use trainer::Trainer;
