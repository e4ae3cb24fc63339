//! A parallel pipeline from documents to a token corpus, with the same bytes for any number of threads.
//!
//! [`prepare`] tokenizes inputs into a corpus folder, [`train_tokenizer`] makes a tokenizer for
//! it, and [`Tokenizer`] turns text into ids and back.
//!
//! ```no_run
//! use mixdown_base::observer::Observer;
//! use mixdown_tokenize::{PrepareOptions, prepare};
//! # fn main() -> Result<(), mixdown_tokenize::Error> {
//! let options = PrepareOptions { holdout: "1%".parse()?, ..PrepareOptions::default() };
//! let report = prepare(
//!     &["general.jsonl.zst".into()],
//!     "tokenizer.json".as_ref(),
//!     "corpora/general".as_ref(),
//!     &options,
//!     Observer::silent(),
//! )?;
//! assert!(report.train_tokens > report.holdout_tokens);
//! # Ok(())
//! # }
//! ```

mod encode;
mod error;
#[cfg(test)]
mod golden_tests;
mod near_duplicates;
mod parallel;
mod plan;
mod prepare;
mod shards;
mod spill;
mod tokenizer;
mod train_tokenizer;

pub use error::Error;
pub use mixdown_documents::{ChatTurn, ReadOptions};
pub use plan::task::Task;
pub use prepare::options::{
    BeginningOfText, Deduplication, Holdout, NearDuplicates, PrepareOptions, Shuffle, SpecialText,
    YieldingSide,
};
pub use prepare::options::{ChatOptions, PackOptions, TooLong};
pub use prepare::progress::{DiskEstimate, InputRemarks, PrepareProgress, PrepareStage};
pub use prepare::{PrepareReport, TaskReport, finish, prepare, prepare_task};
pub use tokenizer::Tokenizer;
pub use tokenizer::chat_prompt::{ChatPrompt, encode_with_special_tokens};
pub use train_tokenizer::{TrainTokenizerOptions, TrainTokenizerReport, train_tokenizer};
