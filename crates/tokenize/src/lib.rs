//! Documents to a token corpus, in parallel, with the same bytes for any number of threads.
//!
//! [`prepare`] tokenizes inputs into a corpus folder, [`train_tokenizer`] makes a tokenizer for
//! it, and [`Tokenizer`] turns text into ids and back.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use mixdown_tokenize::{PrepareOptions, prepare};
//! # fn main() -> Result<(), mixdown_tokenize::Error> {
//! let options = PrepareOptions { holdout: "1%".parse()?, ..PrepareOptions::default() };
//! let report = prepare(
//!     &["general.jsonl.zst".into()],
//!     "tokenizer.json".as_ref(),
//!     "corpora/general".as_ref(),
//!     &options,
//!     &|_progress| {},
//!     &AtomicBool::new(false),
//! )?;
//! assert!(report.train_tokens > report.holdout_tokens);
//! # Ok(())
//! # }
//! ```

mod agreement;
mod bucket;
mod canonical;
mod capped_read;
mod disk;
mod disputed;
#[cfg(test)]
mod disputed_tests;
mod encode;
mod end_of_text;
mod error;
mod error_kind;
mod fast;
mod finish;
#[cfg(test)]
mod first_error_tests;
mod follower;
#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod golden_tests;
mod label_options;
mod label_stage;
mod labels;
#[cfg(test)]
mod labels_golden;
#[cfg(test)]
mod labels_tests;
mod lane;
mod library;
mod limit;
mod model_folder;
mod model_template;
mod options;
#[cfg(test)]
mod options_tests;
mod order;
mod pack;
mod parallel;
mod part;
mod pieces;
mod plan;
mod prepare;
#[cfg(test)]
mod prepare_tests;
mod progress;
mod reference;
#[cfg(test)]
mod restart_tests;
mod rows;
mod shard_run;
mod spill;
mod spill_reader;
mod split;
mod task;
#[cfg(test)]
mod task_tests;
mod text_hash;
mod text_of_ids;
mod tokenize_stage;
mod tokenizer;
mod tokenizer_parts;
mod train_tokenizer;
mod training_record;
mod unit;
mod vocabulary;
mod work;
mod work_file;
mod work_folder;
mod write_stage;

pub use error::Error;
pub use label_options::{ChatOptions, PackOptions, TooLong};
pub use mixdown_documents::ReadOptions;
pub use options::{BeginningOfText, Holdout, PrepareOptions, Shuffle, SpecialText};
pub use prepare::{PrepareReport, TaskReport, finish, prepare, prepare_task};
pub use progress::{DiskEstimate, InputRemarks, Progress, Stage};
pub use task::Task;
pub use tokenizer::Tokenizer;
pub use train_tokenizer::{TrainTokenizerOptions, TrainTokenizerReport, train_tokenizer};
