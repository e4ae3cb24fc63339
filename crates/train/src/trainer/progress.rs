//! What a run is called, and what it tells while it goes on.

use mixdown_runs::{EvalRecord, SampleRecord};

/// How a run is called in its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunName {
    /// Unique within a table of runs.
    pub run_id: String,
    /// What a reader sees.
    pub title: String,
}

/// Where a run is, told after every step and every evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Target tokens a second of training, of late.
    pub tokens_per_second: f64,
    /// The loss of the last step's batch, nats per token; none before the first step, and none of a batch without a
    /// target that counts.
    pub train_loss: Option<f64>,
    /// Fresh results, after an evaluation.
    pub evals: Option<Vec<EvalRecord>>,
    /// The best evaluation so far, these results included.
    pub best: Option<BestSoFar>,
    /// What the model made of the prompts, with the results.
    pub samples: Vec<SampleRecord>,
}

/// The evaluation whose checkpoint is in best/ so far.
#[derive(Debug, Clone, PartialEq)]
pub struct BestSoFar {
    /// Its step.
    pub step: u64,
    /// The corpus whose loss chooses.
    pub select: String,
    /// Its results.
    pub evals: Vec<EvalRecord>,
}
