//! One evaluation of one corpus.

use serde::{Deserialize, Serialize};

/// Loss of a model on the fixed held-out sequences of one corpus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Name of the corpus in the run's settings.
    pub corpus: String,
    /// Mean loss in nats per token.
    pub loss: f64,
    /// Standard error of that mean over sequences, in nats per token.
    pub standard_error: f64,
    /// The same loss in bits per byte of text.
    pub bits_per_byte: f64,
    /// Target tokens evaluated.
    pub tokens: u64,
    /// Sequences evaluated.
    pub sequences: u64,
    /// The mean loss of other sequences of the corpus, by which the best step is chosen: a loss that
    /// chose it would be too low to report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_loss: Option<f64>,
    /// Against the same sequences before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<LossChange>,
}

/// How a loss changed, sequence by sequence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossChange {
    /// The mean loss less that before, in nats per token.
    pub mean: f64,
    /// Standard error of that difference over sequences: much smaller than that of either loss.
    pub standard_error: f64,
}

impl EvalRecord {
    /// The record of the corpus with that name, if there is one.
    pub fn find<'a>(records: &'a [Self], corpus: &str) -> Option<&'a Self> {
        records.iter().find(|record| record.corpus == corpus)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> {
        [
            ("evaluation loss", Some(self.loss)),
            ("standard error", Some(self.standard_error)),
            ("bits per byte", Some(self.bits_per_byte)),
            ("selection loss", self.selection_loss),
            ("change of the loss", self.change.map(|change| change.mean)),
            ("standard error of the change", self.change.map(|change| change.standard_error)),
        ]
        .into_iter()
    }
}
