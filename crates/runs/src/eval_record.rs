//! One evaluation of one corpus.

use serde::{Deserialize, Serialize};

/// Loss of a model on the fixed held-out sequences of one corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
}

impl EvalRecord {
    /// The record of the corpus with that name, if there is one.
    pub fn find<'a>(records: &'a [Self], corpus: &str) -> Option<&'a Self> {
        records.iter().find(|record| record.corpus == corpus)
    }

    pub(crate) fn numbers(&self) -> [(&'static str, f64); 3] {
        [
            ("evaluation loss", self.loss),
            ("standard error", self.standard_error),
            ("bits per byte", self.bits_per_byte),
        ]
    }
}
