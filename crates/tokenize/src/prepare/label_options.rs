//! What `prepare` can be told of chats and rows.

use std::path::PathBuf;

use mixdown_documents::TemplateDate;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How conversations are rendered, with
/// [`LabelFields::Chat`](mixdown_documents::LabelFields::Chat).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatOptions {
    /// A template in a file of its own; `None` for the one that comes with the tokenizer.
    pub template: Option<PathBuf>,
    /// The day that the template is told; without one it finds no clock at all.
    pub date: Option<TemplateDate>,
}

/// Rows that hold whole documents, filled up with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackOptions {
    /// T: a row holds T + 1 ids, for T inputs and T targets.
    pub sequence_length: u64,
    /// What becomes of a document that is longer than a row.
    pub too_long: TooLong,
}

/// What becomes of a document that is longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    /// Nothing: it is an error.
    #[default]
    Error,
    /// It is left out and counted.
    Drop,
    /// Its end is cut off, and it is counted.
    Truncate,
}

/// The longest row, longer than any model's context: rows are padded to their length in memory and on disk.
const MAX_ROW_TOKENS: u64 = (1 << 24) + 1;

impl PackOptions {
    /// Ids of a row.
    pub(crate) fn row_tokens(self) -> u64 {
        self.sequence_length.saturating_add(1)
    }

    /// Refuses rows that hold no input, or more than any model takes.
    pub(crate) fn check(self) -> Result<(), Error> {
        if (2..=MAX_ROW_TOKENS).contains(&self.row_tokens()) {
            return Ok(());
        }
        let (option, expected) = ("pack", "1 to 16777216 inputs a row");
        Err(Error::Option { option, expected, got: self.sequence_length.to_string() })
    }
}
