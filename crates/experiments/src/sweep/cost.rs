//! The cost of a sweep: tokens and floating point operations of its base models and runs.

use std::path::Path;

use mixdown_train::{ModelChoice, ModelConfig, RunConfig, training_flops};
use serde::Serialize;

use super::plan::{BaseOrigin, BasePlan, RunPlan};
use crate::error::Error;

/// The largest cost of one pretraining or finetuning run, which may end before its horizon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct RunCost {
    /// The tokens trained on.
    pub tokens: u64,
    /// The tokens evaluated.
    pub evaluation_tokens: u64,
    /// The floating point operations of both.
    pub flops: f64,
}

impl RunCost {
    /// Returns the cost of `config` with a model of that shape.
    pub(crate) fn new(config: &RunConfig, model: &ModelConfig) -> Self {
        let (steps, length) = (config.train.steps, config.mixture.sequence_length);
        let tokens = steps.saturating_mul(config.mixture.batch_size).saturating_mul(length);
        let evaluations = steps.div_ceil(config.eval.every_steps.max(1)).saturating_add(1);
        let corpora = u64::try_from(config.eval.corpus.len()).unwrap_or(u64::MAX);
        let evaluation_tokens = [config.eval.sequences, corpora, length]
            .into_iter()
            .fold(evaluations, u64::saturating_mul);
        // A forward pass is a third of a training step.
        let flops = training_flops(model, length, tokens)
            + training_flops(model, length, evaluation_tokens) / 3.0;
        Self { tokens, evaluation_tokens, flops }
    }

    /// Returns the sum of two costs.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            evaluation_tokens: self.evaluation_tokens.saturating_add(other.evaluation_tokens),
            flops: self.flops + other.flops,
        }
    }

    /// Returns the cost of making a base model; that of an existing one is zero.
    ///
    /// # Errors
    /// As [`shape`].
    pub(crate) fn of_base(base: &BasePlan) -> Result<Self, Error> {
        match &base.origin {
            BaseOrigin::Given(..) => Ok(Self::default()),
            BaseOrigin::Pretrained(config) => Ok(Self::new(config, &shape(base)?)),
        }
    }

    /// Returns the cost of a run without that of its base model.
    ///
    /// # Errors
    /// As [`shape`].
    pub(crate) fn of_run(run: &RunPlan, base: &BasePlan) -> Result<Self, Error> {
        Ok(Self::new(&run.config, &shape(base)?))
    }
}

/// Returns the shape of a base model, even if it does not exist yet.
///
/// # Errors
/// A given folder without a readable config.json.
pub fn shape(base: &BasePlan) -> Result<ModelConfig, Error> {
    match &base.origin {
        BaseOrigin::Given(folder, _) => shape_of_folder(folder),
        BaseOrigin::Pretrained(config) => match &config.model {
            ModelChoice::Fresh(fresh) => Ok(fresh.config(config.mixture.sequence_length)),
            ModelChoice::Init(folder) => shape_of_folder(folder),
        },
    }
}

fn shape_of_folder(folder: &Path) -> Result<ModelConfig, Error> {
    Ok(ModelConfig::read(folder)?)
}
