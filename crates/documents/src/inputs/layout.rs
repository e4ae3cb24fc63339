//! The layout of a columnar file, known when it is listed: its blocks of rows.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use mixdown_base::panics;

use crate::bytes::pieces::PieceRule;
use crate::error::{Damage, Error};
use crate::inputs::format::InputFormat;
use crate::tables::arrow_file::ArrowIndex;

/// Rows that are stored together: a row group or a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) rows: u64,
    /// The approximate bytes of text in them.
    pub(crate) text_bytes: u64,
}

/// The blocks of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Lines, or a text.
    Stream,
    /// Records whose borders are known only after reading from the beginning.
    Pieces(Arc<PieceRule>),
    /// Row groups. The footer is read again when the file is opened: all footers of a large data set would take too
    /// much memory.
    Parquet(Vec<Block>),
    /// Record batches.
    Arrow(Arc<ArrowIndex>),
}

impl Layout {
    pub(crate) fn blocks(&self) -> Vec<Block> {
        match self {
            Self::Stream | Self::Pieces(_) => Vec::new(),
            Self::Parquet(blocks) => blocks.clone(),
            Self::Arrow(index) => index.blocks(),
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.blocks().iter().fold(0, |rows, block| rows.saturating_add(block.rows))
    }

    pub(crate) fn text_bytes(&self) -> u64 {
        self.blocks().iter().fold(0, |bytes, block| bytes.saturating_add(block.text_bytes))
    }
}

/// The place of an error in a columnar file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// In the index.
    Index,
    /// At or after a row.
    Row(u64),
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("in its index"),
            Self::Row(row) => write!(f, "at or after row {row}"),
        }
    }
}

/// Runs a library on a file's bytes: a panic in it counts as damage.
pub(crate) fn guarded<T>(
    path: &Path,
    format: InputFormat,
    place: Where,
    work: impl FnOnce() -> Result<T, Damage>,
) -> Result<T, Error> {
    let panicked = |_| Err("the library that reads the format panicked on it".into());
    let result = panics::caught(work).unwrap_or_else(panicked);
    result.map_err(|source| match source.downcast::<io::Error>() {
        Ok(source) if source.raw_os_error().is_some() => Error::io(path, *source),
        Ok(source) => damaged(path, format, place, source),
        Err(source) => damaged(path, format, place, source),
    })
}

fn damaged(path: &Path, format: InputFormat, place: Where, source: Damage) -> Error {
    Error::Damaged { path: path.to_owned(), place: place.to_string(), format, source }
}
