//! One line of `metrics.jsonl`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::records::eval_record::EvalRecord;

/// What is known after a step: training numbers, evaluations, or both.
///
/// Step 0 is the state before the first update; its record has evaluations only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsRecord {
    /// Updates done so far.
    pub step: u64,
    /// Training loss of that step's batch, nats per token; none before the first step, and none of a step whose batch
    /// has no target that counts.
    #[serde(default)]
    pub train_loss: Option<f64>,
    /// Learning rate of that step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    #[serde(default)]
    pub gradient_norm: Option<f64>,
    /// Targets delivered so far, whether they count for the loss or not: steps × sequences × T.
    pub tokens: u64,
    /// Training rate: a moving average over recent steps.
    #[serde(default)]
    pub tokens_per_second: Option<f64>,
    /// The share of recent steps' time that was spent waiting for data, in [0, 1].
    #[serde(default)]
    pub data_wait: Option<f64>,
    /// Model FLOP utilization: the model's operations a second, of recent steps, over those of a large
    /// matrix product on the same machine, in [0, 1].
    #[serde(default)]
    pub mfu: Option<f64>,
    /// The training loss by source: weighted with their targets they add up to `train_loss`.
    #[serde(default)]
    pub sources: Vec<SourceLoss>,
    /// Evaluations made at that step (often none).
    #[serde(default)]
    pub evals: Vec<EvalRecord>,
}

/// What one source's sequences of a batch lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceLoss {
    /// Name of the source.
    pub source: String,
    /// Mean loss in nats per token.
    pub loss: f64,
    /// Targets that counted.
    pub tokens: u64,
}

impl MetricsRecord {
    /// JSON has no NaN: such a number would come back as "absent", so it is refused on writing.
    pub(crate) fn check_finite(&self, path: &Path) -> Result<(), Error> {
        let own = [
            ("learning rate", Some(self.learning_rate)),
            ("training loss", self.train_loss),
            ("gradient norm", self.gradient_norm),
            ("rate", self.tokens_per_second),
            ("wait for data", self.data_wait),
            ("model FLOP utilization", self.mfu),
        ];
        let sources = self.sources.iter().map(|source| ("loss of a source", Some(source.loss)));
        let evals = self.evals.iter().flat_map(EvalRecord::numbers);
        check_finite(path, own.into_iter().chain(sources).chain(evals))
    }
}

/// The first steps that are missing from records, as a range, where there should be one of every step up to `last`.
pub(crate) fn first_gap(steps: impl Iterator<Item = u64>, last: u64) -> Option<(u64, u64)> {
    let mut expected = 0;
    for step in steps.filter(|step| *step <= last) {
        if step > expected {
            return Some((expected, step.saturating_sub(1)));
        }
        expected = step.saturating_add(1);
    }
    (expected <= last).then_some((expected, last))
}

/// Refuses the first number that is NaN or infinite.
pub(crate) fn check_finite(
    path: &Path,
    numbers: impl IntoIterator<Item = (&'static str, Option<f64>)>,
) -> Result<(), Error> {
    let bad = numbers.into_iter().find_map(|(field, value)| {
        value.filter(|value| !value.is_finite()).map(|value| (field, value))
    });
    match bad {
        Some((field, got)) => Err(Error::NotFinite { path: path.to_path_buf(), field, got }),
        None => Ok(()),
    }
}
