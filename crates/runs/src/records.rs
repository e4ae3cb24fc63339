//! The records that a run writes while it trains and at its end: lines of `metrics.jsonl` and `samples.jsonl`, and
//! `summary.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::tables::row::RunRow;

pub(crate) mod json_lines;
pub(crate) mod losses;
pub(crate) mod metrics_tail;
pub(crate) mod tensorboard;

/// The numbers after a step: training numbers, evaluations, or both.
///
/// Step 0 is the state before the first update; its record has evaluations only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsRecord {
    /// Updates done so far.
    pub step: u64,
    /// Training loss of that step's batch in nats per token; `None` before the first step and for a step whose batch
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

/// The training loss on the sequences of one source in a batch.
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
    /// Refuses numbers that are not finite, because JSON has no NaN and they would be read as absent.
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

/// Returns the first range of steps that are missing from records that should have every step up to `last`.
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

/// The loss of a model on the fixed held-out sequences of one corpus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Name of the corpus in the run's settings.
    pub corpus: String,
    /// Mean loss in nats per token.
    pub loss: f64,
    /// Standard error of that mean, in nats per token; `None` if only one sequence has targets.
    #[serde(default)]
    pub standard_error: Option<f64>,
    /// The same loss in bits per byte of text.
    pub bits_per_byte: f64,
    /// Targets that counted.
    pub tokens: u64,
    /// Sequences evaluated.
    pub sequences: u64,
    /// Documents that the targets belong to; `None` in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// The units that the standard errors assume to be independent; `None` in records of earlier versions, where they
    /// are sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_unit: Option<ErrorUnit>,
    /// The mean loss of other sequences of the corpus, by which the best step is chosen, because the loss that chooses
    /// it is too low to report. It is the loss of the same sequences if there are too few to divide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_loss: Option<f64>,
    /// The change on the same sequences since before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<LossChange>,
}

/// The unit that a standard error assumes to be drawn independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorUnit {
    /// Documents, each with all of its targets in all sequences.
    Documents,
    /// Sequences, because all are from one document or documents are not known.
    Sequences,
}

/// The change of a loss, sequence by sequence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossChange {
    /// The mean loss minus the mean loss before, in nats per token.
    pub mean: f64,
    /// Standard error of that difference, which is much smaller than that of either loss; `None` if only one sequence
    /// has targets.
    #[serde(default)]
    pub standard_error: Option<f64>,
}

impl EvalRecord {
    /// Returns the record of the corpus with that name, if there is one.
    ///
    /// ```
    /// use mixdown_runs::EvalRecord;
    ///
    /// let record = |name: &str, loss| EvalRecord { corpus: name.to_owned(), loss, ..EvalRecord::default() };
    /// let records = [record("math", 2.5), record("web", 3.0)];
    /// assert_eq!(EvalRecord::find(&records, "web").map(|found| found.loss), Some(3.0));
    /// ```
    pub fn find<'a>(records: &'a [Self], corpus: &str) -> Option<&'a Self> {
        records.iter().find(|record| record.corpus == corpus)
    }

    /// Returns whether the same sequences chose the best step, because there were too few to divide.
    pub fn chose_itself(&self) -> bool {
        self.selection_loss.is_some_and(|chosen| chosen.to_bits() == self.loss.to_bits())
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> {
        [
            ("evaluation loss", Some(self.loss)),
            ("standard error", self.standard_error),
            ("bits per byte", Some(self.bits_per_byte)),
            ("selection loss", self.selection_loss),
            ("change of the loss", self.change.map(|change| change.mean)),
            ("standard error of the change", self.change.and_then(|change| change.standard_error)),
        ]
        .into_iter()
    }
}

/// The text that a model generated from a prompt at an evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// Updates done so far.
    pub step: u64,
    /// The prompt.
    pub prompt: String,
    /// The generated text.
    pub text: String,
    /// The ids of that text.
    pub ids: Vec<u32>,
    /// The reason why it ends: `end_of_text`, `max_tokens` or `context_full`.
    pub ending: String,
}

/// The share of one source in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareRecord {
    /// Name of the source.
    pub source: String,
    /// Requested share of the sequences, in [0, 1].
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

/// The results of a finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The id of the run in tables.
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
    /// The shares of the sources.
    pub shares: Vec<ShareRecord>,
    /// The row for the runs table; `None` for a run without held-out pretraining data.
    pub row: Option<RunRow>,
    /// Parameters, embeddings counted once.
    pub model_parameters: u64,
    /// Mean training rate.
    pub tokens_per_second: f64,
    /// Wall time of training and evaluation, over all restarts.
    pub seconds: f64,
}

/// Whether the count is left out, so that summaries of runs in which every step had targets stay the same.
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
