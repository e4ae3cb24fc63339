//! The records of a training run: metrics, summary, table row, and the folder that holds them.
//!
//! A run's folder ([`RunFolder`]) holds `run.toml` (the resolved settings), `metrics.jsonl` (one
//! [`MetricsRecord`] a line), `tensorboard/` (the same numbers, [`TensorBoard`]), `samples.jsonl` (one
//! [`SampleRecord`] a line, if they are asked for), `checkpoints/step-N/`, `best/`, `losses.json` (the losses of
//! the chosen checkpoint by sequence, [`LossesRecord`]), `summary.json` ([`Summary`]) and `report.html`. Many runs
//! together are a [`RunsTable`] of [`RunRow`]s, the input of every fit.
//!
//! Losses are in nats per token throughout; a share p lies in [0, 1), a delivered one in [0, 1].
#![deny(clippy::indexing_slicing)]
#![forbid(unsafe_code)]

mod error;
mod folder;
mod progress;
mod records;
mod run_sums;
pub mod sums;
mod tables;

pub use crate::error::Error;
pub use crate::folder::RunFolder;
pub use crate::folder::lock::RunLock;
pub use crate::progress::{ProgressLost, progress_lost};
pub use crate::records::SampleRecord;
pub use crate::records::losses::{
    CorpusLosses, DocumentLoss, LossesRecord, MeanLoss, SequenceLoss, Unpaired, paired,
};
pub use crate::records::metrics_tail::{MetricsTail, TailUpdate};
pub use crate::records::tensorboard::TensorBoard;
pub use crate::records::{ErrorUnit, EvalRecord, LossChange};
pub use crate::records::{MetricsRecord, SourceLoss};
pub use crate::records::{ShareRecord, Summary};
pub use crate::run_sums::{RECORDS_FILE, RecordLengths};
pub use crate::tables::RunsTable;
pub use crate::tables::comparable::{CommonRecipe, Recipe, baseline, differences};
pub use crate::tables::row::RunRow;
