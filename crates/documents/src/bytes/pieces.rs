//! Files that are read from their beginning and split into records by their content.

use std::ops::Range;

use crate::bytes::text_pieces::TextSplitter;
use crate::json::pieces::JsonSplitter;
use crate::tables::pieces::RowSplitter;

/// The rule that separates the records of such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PieceRule {
    /// Items of a JSON array, or JSON values one after another.
    Json,
    /// Rows of a table.
    Rows {
        /// The separator between cells.
        delimiter: u8,
        /// The cells of the header.
        columns: Vec<String>,
    },
    /// Parts of a text between separators.
    Separator(String),
}

impl PieceRule {
    /// Returns a splitter at the file's first byte.
    pub(crate) fn splitter(&self) -> Splitter {
        match self {
            Self::Json => Splitter::Json(JsonSplitter::new()),
            Self::Rows { delimiter, .. } => Splitter::Rows(RowSplitter::new(*delimiter)),
            Self::Separator(separator) => Splitter::Text(Box::new(TextSplitter::new(separator))),
        }
    }
}

/// The result of a splitter's search in a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record.
    Piece(Range<usize>),
    /// More bytes are needed.
    More,
    /// There are no more records.
    End,
}

/// A splitter that finds one record after another in a buffer that grows at its end and is cut at its front.
#[derive(Debug)]
pub(crate) enum Splitter {
    /// A splitter of a JSON text.
    Json(JsonSplitter),
    /// A splitter of a table.
    Rows(RowSplitter),
    /// A splitter of a text with separators.
    Text(Box<TextSplitter>),
}

impl Splitter {
    /// Finds the next record. The first buffer must begin with the first bytes of the file.
    pub(crate) fn next(&mut self, buffer: &[u8], at_end: bool) -> Found {
        match self {
            Self::Json(splitter) => splitter.next(buffer, at_end),
            Self::Rows(splitter) => splitter.next(buffer, at_end),
            Self::Text(splitter) => splitter.next(buffer, at_end),
        }
    }

    /// Returns the position before which the buffer is no longer needed.
    pub(crate) fn start(&self) -> usize {
        match self {
            Self::Json(splitter) => splitter.start(),
            Self::Rows(splitter) => splitter.start(),
            Self::Text(splitter) => splitter.start(),
        }
    }

    /// Records that `len` bytes were taken from the front of the buffer.
    pub(crate) fn shift(&mut self, len: usize) {
        match self {
            Self::Json(splitter) => splitter.shift(len),
            Self::Rows(splitter) => splitter.shift(len),
            Self::Text(splitter) => splitter.shift(len),
        }
    }
}

/// Returns the length of the byte order mark at the beginning of a file, which is not part of its text.
pub(crate) fn strip_mark(buffer: &[u8]) -> usize {
    if buffer.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The pieces of a text, which must not depend on the sizes of the reads.
    pub(crate) fn pieces_of(text: &str, splitter: &mut dyn FnMut() -> Splitter) -> Vec<String> {
        let whole = pieces_by(text, text.len().max(4), &mut splitter());
        for step in [4, 5, 7, 11] {
            assert_eq!(pieces_by(text, step, &mut splitter()), whole, "{text:?} by {step}");
        }
        whole
    }

    /// Reads `step` bytes at a time, and removes unneeded bytes from the front.
    fn pieces_by(text: &str, step: usize, splitter: &mut Splitter) -> Vec<String> {
        let mut given = step.min(text.len());
        let (mut buffer, mut pieces) = (text.as_bytes()[..given].to_vec(), Vec::new());
        loop {
            match splitter.next(&buffer, given == text.len()) {
                Found::Piece(piece) => {
                    pieces.push(String::from_utf8(buffer[piece].to_vec()).unwrap());
                }
                Found::End => return pieces,
                Found::More => {
                    assert!(given < text.len(), "{text:?} asks for more than there is");
                    let cut = splitter.start().min(buffer.len());
                    splitter.shift(cut);
                    buffer.drain(..cut);
                    let next = (given + step).min(text.len());
                    buffer.extend_from_slice(&text.as_bytes()[given..next]);
                    given = next;
                }
            }
        }
    }
}
