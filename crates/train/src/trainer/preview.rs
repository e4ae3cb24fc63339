//! What a run would do and need, without a step done.

use std::path::Path;

use serde::Serialize;

use crate::config::run_base::RunBase;
use crate::config::run_config::RunConfig;
use crate::config::run_file::resolved;
use crate::engine::resident;
use crate::error::Error;
use crate::model::shape::ModelShape;
use crate::optim::schedule::Schedule;
use crate::optim::trainable_state::TrainableSizes;
use crate::trainer::flops::{adapter_flops, training_flops};
use crate::trainer::inputs::Inputs;
use crate::trainer::memory::Estimate;

/// What a run would do and need, without a step done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The model's numbers.
    pub parameters: u64,
    /// Those that are trained, or those of the adapter that is trained in their place.
    pub trainable_parameters: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Target tokens of one step.
    pub batch_tokens: u64,
    /// Tokens of one sequence.
    pub sequence_length: u64,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Steps in which it rises.
    pub warmup_steps: u64,
    /// What follows.
    pub schedule: Schedule,
    /// Floating point operations of the whole run, evaluations left out.
    pub flops: f64,
    /// How long that takes at half of the rate of a large matrix product, measured now.
    pub seconds: f64,
    /// Memory and disk.
    pub estimate: Estimate,
}

impl Preview {
    /// What a run of `config` into `out` would do and need; nothing is written, and none of the model's numbers is
    /// read or drawn.
    ///
    /// # Errors
    /// As [`Trainer::open`](crate::Trainer::open), but for a folder of another run; too little memory or disk is none.
    pub fn new(config: &RunConfig, base: RunBase, out: &Path) -> Result<Self, Error> {
        config.check()?;
        let mut config = resolved(config, base.folder)?;
        let inputs = Inputs::open(&config)?;
        let shape = inputs.shape(&config, base.tokenizer)?;
        config.train.complete(&config.model, shape.config.parameters());
        let (steps, length) = (config.train.steps, config.mixture.sequence_length);
        let batch_tokens = config.mixture.batch_size.saturating_mul(length);
        let trainable = TrainableSizes::new(&shape, &config)?;
        let flops = if trainable.is_adapter() { adapter_flops } else { training_flops };
        let flops = flops(&shape.config, length, steps.saturating_mul(batch_tokens));
        Ok(Self {
            parameters: shape.config.parameters(),
            trainable_parameters: trainable.trainable,
            steps,
            batch_tokens,
            sequence_length: length,
            learning_rate: config.train.rate().peak,
            warmup_steps: config.train.warmup_steps,
            schedule: config.train.schedule,
            flops,
            seconds: flops / (0.5 * resident::peak_flops(&shape, config.train.pass())?),
            estimate: estimate(&config, &shape, out)?,
        })
    }
}

/// What training a model of this shape as `config` says takes.
///
/// # Errors
/// Patterns or targets that the model does not have.
pub(crate) fn estimate(
    config: &RunConfig,
    shape: &ModelShape,
    out: &Path,
) -> Result<Estimate, Error> {
    let rows = [config.mixture.sequence_length, config.mixture.batch_size];
    let trainable = TrainableSizes::new(shape, config)?;
    let (pass, keep_checkpoints) = (config.train.pass(), config.train.keep_checkpoints);
    Ok(Estimate::new(shape, trainable, rows, pass, keep_checkpoints, out))
}
