//! A run's configuration from a few choices: what `train` without a file and the demo start from.

use std::path::PathBuf;

use mixdown_mixer::{MixtureConfig, SourceConfig, Weight, WindowOffset};
use mixdown_train::{EvalConfig, EvalCorpus, FreshModel, ModelChoice, RunConfig, Schedule, TrainConfig};

use crate::error::Error;
use crate::injection::Injection;

/// The name of the target's source and evaluation.
pub const TARGET: &str = "target";
/// The name of the pretraining data's source and evaluation.
pub const PRETRAINING: &str = "pretraining";

/// The choices.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// A Hugging Face folder to start from; without one, a fresh model.
    pub init: Option<PathBuf>,
    /// The fresh model's size.
    pub size: ModelSize,
    /// Entries of the tokenizer, for a fresh model.
    pub vocab_size: u64,
    /// The target corpus; without one, the run pretrains.
    pub target: Option<PathBuf>,
    /// The pretraining corpus.
    pub pretraining: PathBuf,
    /// p.
    pub inject: Injection,
    /// Unique target tokens at most.
    pub target_tokens: Option<u64>,
    /// Tokens a sequence.
    pub sequence_length: u64,
    /// Sequences a batch.
    pub batch_size: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps between two evaluations.
    pub eval_every: u64,
    /// Held-out sequences a corpus.
    pub eval_sequences: u64,
    /// Seed of weights and order.
    pub seed: u64,
}

/// The shape of a fresh model.
#[derive(Debug, Clone, Copy)]
pub struct ModelSize {
    /// Width.
    pub hidden_size: u64,
    /// Decoder blocks.
    pub layers: u64,
    /// Attention heads.
    pub heads: u64,
}

impl Recipe {
    /// The run's configuration; paths stay as they were given.
    ///
    /// # Errors
    /// Weights beyond what a mixture takes.
    pub fn run_config(&self) -> Result<RunConfig, Error> {
        Ok(RunConfig { model: self.model(), mixture: self.mixture()?, train: self.train(), eval: self.eval() })
    }

    fn model(&self) -> ModelChoice {
        todo()
    }

    fn mixture(&self) -> Result<MixtureConfig, Error> {
        Ok(MixtureConfig {
            sequence_length: self.sequence_length,
            batch_size: self.batch_size,
            seed: self.seed,
            window_offset: WindowOffset::default(),
            source: self.sources()?,
        })
    }

    fn sources(&self) -> Result<Vec<SourceConfig>, Error> {
        let source = |name: &str, corpus: &PathBuf, weight, max_tokens| -> Result<SourceConfig, Error> {
            let weight = Weight::from_integer(weight)?;
            Ok(SourceConfig { name: name.to_owned(), corpus: corpus.clone(), weight, max_tokens, max_epochs: None })
        };
        let (target_weight, pretraining_weight) = self.inject.weights();
        let Some(target) = &self.target else {
            return Ok(vec![source(PRETRAINING, &self.pretraining, 1, None)?]);
        };
        let mut sources = vec![source(TARGET, target, target_weight, self.target_tokens)?];
        if pretraining_weight > 0 {
            sources.push(source(PRETRAINING, &self.pretraining, pretraining_weight, None)?);
        }
        Ok(sources)
    }
}
