//! One run as a row of a table, which the scaling laws are fitted to.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::tables::fields::Fields;

/// One finetuning run, read at the checkpoint of least target validation loss.
///
/// The first fourteen columns are required of every table; the recipe after them may be absent in tables from
/// elsewhere, as a column or in single rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Unique name of the run within its table.
    pub run_id: String,
    /// Name of the target domain.
    pub domain: String,
    /// N: parameters, embeddings counted.
    pub model_size: u64,
    /// N without embeddings.
    pub non_embedding_parameters: u64,
    /// D: unique target tokens.
    pub target_tokens: u64,
    /// Requested share of pretraining sequences, in [0, 1).
    pub p_requested: f64,
    /// Share of pretraining sequences delivered up to the best step, in [0, 1]: after one step of a
    /// small batch it can be all of them.
    pub p_realised: f64,
    /// Step of least target validation loss.
    pub best_step: u64,
    /// Target validation loss there, nats per token.
    pub target_loss: f64,
    /// Pretraining validation loss there, nats per token.
    pub pretraining_loss: f64,
    /// Pretraining validation loss before finetuning, nats per token.
    pub pretraining_loss_before: f64,
    /// Tokens of each evaluation.
    pub evaluation_tokens: u64,
    /// Seed of the mixture.
    pub seed: u64,
    /// Fingerprint of the data and settings, 64 hex digits for runs of mixdown.
    pub fingerprint: String,
    /// Peak learning rate.
    #[serde(default)]
    pub learning_rate: Option<f64>,
    /// Learning-rate schedule by name.
    #[serde(default)]
    pub schedule: Option<String>,
    /// Steps of the whole schedule.
    #[serde(default)]
    pub horizon_steps: Option<u64>,
    /// Warm-up steps.
    #[serde(default)]
    pub warmup_steps: Option<u64>,
    /// Target tokens of one batch.
    #[serde(default)]
    pub batch_tokens: Option<u64>,
    /// Tokens of one sequence.
    #[serde(default)]
    pub sequence_length: Option<u64>,
    /// Weight decay.
    #[serde(default)]
    pub weight_decay: Option<f64>,
    /// Optimizer by name.
    #[serde(default)]
    pub optimizer: Option<String>,
    /// What was trained ("full", "lora", …).
    #[serde(default)]
    pub method: Option<String>,
    /// Fingerprint of the tokenizer: losses per token of different tokenizers do not compare.
    #[serde(default)]
    pub tokenizer: Option<String>,
    /// Tokens that the base model was pretrained on, if known.
    #[serde(default)]
    pub base_tokens: Option<u64>,
}

impl RunRow {
    /// The columns of a table in their order.
    pub const COLUMNS: [&str; 25] = [
        "run_id",
        "domain",
        "model_size",
        "non_embedding_parameters",
        "target_tokens",
        "p_requested",
        "p_realised",
        "best_step",
        "target_loss",
        "pretraining_loss",
        "pretraining_loss_before",
        "evaluation_tokens",
        "seed",
        "fingerprint",
        "learning_rate",
        "schedule",
        "horizon_steps",
        "warmup_steps",
        "batch_tokens",
        "sequence_length",
        "weight_decay",
        "optimizer",
        "method",
        "tokenizer",
        "base_tokens",
    ];

    /// The number of [`Self::COLUMNS`], from the first, that every table must have.
    pub const REQUIRED_COLUMNS: usize = 14;

    /// Returns the forgetting in nats per token: the pretraining loss minus its value before finetuning.
    ///
    /// ```
    /// # let row = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_row.in"));
    /// let row = row(0.01, 0, 3.25);
    /// assert_eq!(row.forgetting(), 0.25);
    /// ```
    pub fn forgetting(&self) -> f64 {
        self.pretraining_loss - self.pretraining_loss_before
    }

    pub(crate) fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let row = Self {
            run_id: fields.text("run_id")?,
            domain: fields.text_or_nothing("domain")?,
            model_size: fields.count("model_size")?,
            non_embedding_parameters: fields.count("non_embedding_parameters")?,
            target_tokens: fields.count("target_tokens")?,
            p_requested: fields.number("p_requested")?,
            p_realised: fields.number("p_realised")?,
            best_step: fields.count("best_step")?,
            target_loss: fields.number("target_loss")?,
            pretraining_loss: fields.number("pretraining_loss")?,
            pretraining_loss_before: fields.number("pretraining_loss_before")?,
            evaluation_tokens: fields.count("evaluation_tokens")?,
            seed: fields.count("seed")?,
            fingerprint: fields.text_or_absent("fingerprint")?,
            learning_rate: fields.optional("learning_rate", Fields::number)?,
            schedule: fields.optional("schedule", Fields::text)?,
            horizon_steps: fields.optional("horizon_steps", Fields::count)?,
            warmup_steps: fields.optional("warmup_steps", Fields::count)?,
            batch_tokens: fields.optional("batch_tokens", Fields::count)?,
            sequence_length: fields.optional("sequence_length", Fields::count)?,
            weight_decay: fields.optional("weight_decay", Fields::number)?,
            optimizer: fields.optional("optimizer", Fields::text)?,
            method: fields.optional("method", Fields::text)?,
            tokenizer: fields.optional("tokenizer", Fields::text)?,
            base_tokens: fields.optional("base_tokens", Fields::count)?,
        };
        row.check(fields.path, fields.row)?;
        Ok(row)
    }

    /// Refuses values that no run can have; it is called before writing and after reading.
    pub(crate) fn check(&self, path: &Path, row: u64) -> Result<(), Error> {
        let bad = |column, expected, got: String| {
            Err(Error::BadValue { path: path.to_path_buf(), row, column, expected, got })
        };
        if self.run_id.is_empty() {
            return bad("run_id", "a name", "an empty cell".to_owned());
        }
        for (column, count) in
            [("model_size", self.model_size), ("target_tokens", self.target_tokens)]
        {
            if count == 0 {
                return bad(column, "a count above 0", "0".to_owned());
            }
        }
        if !(0.0..1.0).contains(&self.p_requested) {
            return bad("p_requested", "a share in [0, 1)", self.p_requested.to_string());
        }
        if !(0.0..=1.0).contains(&self.p_realised) {
            return bad("p_realised", "a share in [0, 1]", self.p_realised.to_string());
        }
        for (column, loss) in self.losses() {
            if !(loss.is_finite() && loss >= 0.0) {
                return bad(column, "a finite loss of at least 0 nats per token", loss.to_string());
            }
        }
        for (column, value) in
            [("learning_rate", self.learning_rate), ("weight_decay", self.weight_decay)]
        {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                return bad(column, "a finite number", value.to_string());
            }
        }
        Ok(())
    }

    fn losses(&self) -> [(&'static str, f64); 3] {
        [
            ("target_loss", self.target_loss),
            ("pretraining_loss", self.pretraining_loss),
            ("pretraining_loss_before", self.pretraining_loss_before),
        ]
    }
}
