//! What a training run leaves: rows, metrics, summaries and their folder.
//!
//! A run's folder ([`RunFolder`]) holds `run.toml` (the resolved settings), `metrics.jsonl` (one
//! [`MetricsRecord`] a line), `tensorboard/` (the same numbers, [`TensorBoard`]), `samples.jsonl` (one
//! [`SampleRecord`] a line, where they are asked for), `checkpoints/step-N/`, `best/`, `losses.json` (the losses of
//! the chosen checkpoint by sequence, [`LossesRecord`]), `summary.json` ([`Summary`]) and `report.html`. Many runs
//! together are a [`RunsTable`] of [`RunRow`]s: the input of every fit.
//!
//! Losses are in nats per token throughout; a share p lies in [0, 1), a delivered one in [0, 1].
#![deny(clippy::indexing_slicing)]
#![forbid(unsafe_code)]

mod comparable;
mod error;
mod eval_record;
mod fields;
mod files;
mod folder;
mod hold;
mod json_lines;
mod losses;
mod metrics;
mod metrics_tail;
mod parquet;
mod progress;
mod row;
mod sample;
mod summary;
mod table;
mod tensorboard;

pub use crate::comparable::{CommonRecipe, Recipe, baseline, differences};
pub use crate::error::Error;
pub use crate::eval_record::{ErrorUnit, EvalRecord, LossChange};
pub use crate::folder::RunFolder;
pub use crate::hold::FolderHold;
pub use crate::losses::{
    CorpusLosses, DocumentLoss, LossesRecord, MeanLoss, SequenceLoss, Unpaired, paired,
};
pub use crate::metrics::{MetricsRecord, SourceLoss};
pub use crate::metrics_tail::{Growth, MetricsTail};
pub use crate::progress::{ProgressLost, progress_lost};
pub use crate::row::RunRow;
pub use crate::sample::SampleRecord;
pub use crate::summary::{ShareRecord, Summary};
pub use crate::table::RunsTable;
pub use crate::tensorboard::TensorBoard;
