//! The trainer: models, optimizer, evaluation and checkpoints.
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

mod adapter;
mod checkpoint;
mod config;
mod engine;
mod error;
mod evaluate;
mod generate;
#[cfg(test)]
mod golden_tests;
mod model;
mod optim;
mod ranks;
#[cfg(test)]
mod test_corpus;
mod trainer;
mod weights;

pub use config::compute::DeviceChoice;
pub use config::compute::Precision;
pub use config::compute::{ComputePath, PassOptions, Recompute};
pub use config::lora::{LoraConfig, LoraPreset, LoraTargets};
pub use config::model_choice::{FreshFamily, FreshModel, ModelChoice};
pub use config::run_config::{EvalConfig, EvalCorpus, RunConfig, TrainConfig};
pub use config::run_file::AllowedChanges;
pub use config::run_file::RunBase;
pub use error::Error;
pub use evaluate::{Attention, Evaluation, EvaluationPart, evaluate};
pub use generate::samples::{Prompt, SamplesConfig, TextCodec};
pub use generate::sampling::Sampling;
pub use generate::{FinishReason, GenerateOptions, Generated, generate, generate_until};
pub use model::Model;
pub use model::config::{
    Activation, Family, ModelConfig, Norm, Positions, RotaryConfig, RotaryScaling,
};
pub use model::place::ModelPlace;
pub use model::shape::TokenizerFingerprint;
pub use optim::adamw::{AdamW, AdamWOptions};
pub use optim::schedule::{LearningRate, Schedule};
pub use optim::schedule::{adapter_rate, finetuning_rate};
pub use ranks::World;
pub use trainer::Trainer;
pub use trainer::estimate::Estimate;
pub use trainer::estimate::Preview;
pub use trainer::estimate::{peak_flops, training_flops};
pub use trainer::records::{BestSoFar, Progress, RunName};
pub use weights::sums::model_faults;
