//! The end of a run in one file, `summary.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::records::eval_record::EvalRecord;
use crate::records::metrics::check_finite;
use crate::tables::row::RunRow;

/// What one source gave to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareRecord {
    /// Name of the source.
    pub source: String,
    /// Share of the sequences asked for, in [0, 1].
    pub requested: f64,
    /// Share delivered, in [0, 1].
    pub realised: f64,
    /// Sequences delivered.
    pub sequences: u64,
    /// Target tokens delivered (sequences × sequence length).
    pub tokens: u64,
    /// Distinct tokens among them.
    pub unique_tokens: u64,
    /// Passes over the source's data.
    pub epochs: f64,
}

/// What a finished run measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Identifies the run in tables.
    pub run_id: String,
    /// Name shown to people.
    pub title: String,
    /// Step of the checkpoint in `best/` (least target validation loss).
    pub best_step: u64,
    /// Steps done in all.
    pub steps: u64,
    /// Steps whose batch had no target that counts: they have no training loss.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub steps_without_targets: u64,
    /// Evaluations before the first step.
    pub before: Vec<EvalRecord>,
    /// Evaluations at `best_step`.
    pub best: Vec<EvalRecord>,
    /// Evaluations at the last step.
    pub last: Vec<EvalRecord>,
    /// What was in the mix.
    pub shares: Vec<ShareRecord>,
    /// The row for the runs table; none for a run without a pretraining yardstick.
    pub row: Option<RunRow>,
    /// Parameters, embeddings counted once.
    pub model_parameters: u64,
    /// Mean training rate.
    pub tokens_per_second: f64,
    /// Wall time of training and evaluation, over all restarts.
    pub seconds: f64,
}

/// Summaries of runs in which every step had targets stay as they were.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Summary {
    pub(crate) fn check_finite(&self, path: &Path) -> Result<(), Error> {
        let own = [("rate", self.tokens_per_second), ("wall time", self.seconds)];
        let evals = self.before.iter().chain(&self.best).chain(&self.last);
        let shares = self.shares.iter().flat_map(|share| {
            [("share", share.requested), ("share", share.realised), ("epochs", share.epochs)]
        });
        let own = own.into_iter().chain(shares).map(|(name, value)| (name, Some(value)));
        check_finite(path, own.chain(evals.flat_map(EvalRecord::numbers)))?;
        self.row.as_ref().map_or(Ok(()), |row| row.check(path, 1))
    }
}
