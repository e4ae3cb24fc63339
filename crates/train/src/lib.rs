//! The candle trainer: model, optimiser, evaluation and checkpoints.
//!
//! A [`RunConfig`] (RUN.toml) names a model, a mixture and what is measured; a [`Trainer`] runs it in
//! a folder, from its last checkpoint on if there is one. [`Model`] is a Llama-style decoder in
//! Hugging Face's names and files; [`evaluate`] measures it on a corpus.
//!
//! Everything is f32 on the CPU. Weights, losses and checkpoints are the same bits for any number
//! of threads and any number of interruptions: every sum has a fixed order, and work is parted by
//! shapes alone.

mod adamw;
mod checkpoint;
mod error;
mod evaluate;
mod files;
mod gradients;
mod graph;
mod initial;
mod inputs;
mod model;
mod model_choice;
mod model_config;
mod model_folder;
mod ops;
mod run_config;
mod run_file;
mod schedule;
mod summary;
#[cfg(test)]
mod test_corpus;
mod trainer;
mod weights_file;

pub use adamw::{AdamW, AdamWOptions};
pub use error::Error;
pub use evaluate::{Evaluation, evaluate};
pub use gradients::{Gradients, Loss};
pub use model::{Model, Parameter};
pub use model_choice::{FreshModel, ModelChoice};
pub use model_config::ModelConfig;
pub use run_config::{EvalConfig, EvalCorpus, RunConfig, TrainConfig};
pub use run_file::Changes;
pub use schedule::{LearningRate, Schedule};
pub use trainer::{Progress, RunName, Trainer};
