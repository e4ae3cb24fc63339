//! One evaluation of one corpus.

use serde::{Deserialize, Serialize};

/// Loss of a model on the fixed held-out sequences of one corpus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Name of the corpus in the run's settings.
    pub corpus: String,
    /// Mean loss in nats per token.
    pub loss: f64,
    /// Standard error of that mean, in nats per token; none where one sequence alone has targets.
    #[serde(default)]
    pub standard_error: Option<f64>,
    /// The same loss in bits per byte of text.
    pub bits_per_byte: f64,
    /// Targets that counted.
    pub tokens: u64,
    /// Sequences evaluated.
    pub sequences: u64,
    /// Documents that the targets are of; none in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// The units that the standard errors take as independent; none in records of earlier versions, where they
    /// are sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_unit: Option<ErrorUnit>,
    /// The mean loss of other sequences of the corpus, by which the best step is chosen: a loss that
    /// chose it would be too low to report. It is that of the same sequences where there are too few to part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_loss: Option<f64>,
    /// Against the same sequences before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<LossChange>,
}

/// What a standard error takes as drawn independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorUnit {
    /// Documents, each with all of its targets in whatever sequences they lie.
    Documents,
    /// Sequences: all are of one document, or documents are not known.
    Sequences,
}

/// How a loss changed, sequence by sequence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossChange {
    /// The mean loss less that before, in nats per token.
    pub mean: f64,
    /// Standard error of that difference: much smaller than that of either loss; none where one sequence alone has
    /// targets.
    #[serde(default)]
    pub standard_error: Option<f64>,
}

impl EvalRecord {
    /// The record of the corpus with that name, if there is one.
    pub fn find<'a>(records: &'a [Self], corpus: &str) -> Option<&'a Self> {
        records.iter().find(|record| record.corpus == corpus)
    }

    /// Whether the loss chose the best step itself, as there were too few sequences to part them.
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
