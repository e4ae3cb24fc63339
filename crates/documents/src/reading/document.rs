//! A document, its place in the inputs, and records that are not documents.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::chat::labeler::{LabelFields, TrainOn};
use crate::inputs::selection::Selection;

/// The options for turning records into documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOptions {
    /// Field of a record that holds the text; dots lead into nested fields (`meta.text`) unless a field has the whole
    /// name. `None` is the field `text`, and plain texts, which have no fields, are read as well; if a field is
    /// requested, they are refused.
    pub text_field: Option<String>,
    /// The separator between the documents of a plain text; `None` reads the whole text as one document. A separator
    /// without a line break includes one before and one after it, so that it may be alone on its line. Parts with only
    /// white space are not documents.
    pub text_separator: Option<String>,
    /// Field that holds the document's own id, a string or an integer. The id of a plain text file is its name in the
    /// list; that of a part of a separated text is the name, a colon and the part's first byte.
    pub id_field: Option<String>,
    /// Field whose equal values keep documents on the same side of the holdout: a repository, a URL, a conversation; a
    /// string or an integer. Each plain text file is a separate group.
    pub group_field: Option<String>,
    /// The number of bad records that are counted and skipped; 0 refuses the first one.
    pub skip_bad: u64,
    /// The maximum size of a record in bytes (a line, a row, a text that is one document); a longer one is an error.
    /// `None` is [`USUAL_RECORD_BYTES`](crate::USUAL_RECORD_BYTES).
    pub max_record_bytes: Option<u64>,
    /// The selection of files in folders.
    pub selection: Selection,
    /// The treatment of files in folders that are unreadable, or damaged where listing reads them.
    pub unreadable: Unreadable,
    /// The fields that hold labeled records' text, instead of `text_field`; a [`Labeler`](crate::Labeler) made for
    /// these fields must be used with them.
    pub labels: Option<LabelFields>,
}

/// The treatment of unreadable files in folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unreadable {
    /// The first one is an error.
    #[default]
    Refuse,
    /// They are left out, counted and named.
    LeaveOut,
}

impl ReadOptions {
    /// Returns the field that holds the text: `text_field`, or `text` if it is not set.
    ///
    /// ```
    /// use mixdown_documents::ReadOptions;
    ///
    /// assert_eq!(ReadOptions::default().text_field(), "text");
    /// ```
    #[must_use]
    pub fn text_field(&self) -> &str {
        self.text_field.as_deref().unwrap_or("text")
    }
}

/// The place of a document in an [`InputList`](crate::InputList): its identity in every order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The index of the file in the list.
    pub input: u32,
    /// The start of the record in the decompressed file, in bytes; 0 for a whole text file; in a columnar file, the row
    /// counted from 0.
    pub offset: u64,
}

/// One text with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The text, which may be empty; a chat as its template renders it.
    pub text: String,
    /// Its place.
    pub place: Place,
    /// Its own id, if requested.
    pub id: Option<String>,
    /// The value that decides its side of the holdout, if requested.
    pub group: Option<String>,
    /// The loss targets; `None` if all of the text is a target.
    pub labels: Option<Labels>,
}

/// The loss targets of a document's text, and the parts of it that are not markup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Byte ranges of the text whose tokens are loss targets, in order and disjoint.
    pub targets: Vec<Range<usize>>,
    /// Byte positions inside spellings of special tokens in the content: no special token may cross one. Everywhere
    /// else the text comes from the template, and its special tokens count as such.
    pub plain: Vec<usize>,
}

/// A record that cannot become a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Its place.
    pub place: Place,
    /// Its fault.
    pub fault: RecordFault,
}

/// The place of a record, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPlace {
    /// A line of a decompressed file, counted from 1, and the first byte of the record.
    Line {
        /// The line.
        line: u64,
        /// The byte.
        offset_bytes: u64,
    },
    /// A row of a columnar file, counted from 0.
    Row(u64),
    /// A byte of an input that cannot be read again to count lines.
    Byte(u64),
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, offset_bytes } => write!(f, "line {line}, byte {offset_bytes}"),
            Self::Row(row) => write!(f, "row {row}"),
            Self::Byte(offset_bytes) => write!(f, "byte {offset_bytes}"),
        }
    }
}

/// The fault of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordFault {
    /// The line is not one JSON object.
    NotJson {
        /// The parser's message.
        got: String,
    },
    /// The record lacks a field.
    NoField {
        /// The missing field.
        expected: String,
        /// The existing fields, quoted.
        got: String,
    },
    /// A row of a table does not have one cell for each column.
    NotARow {
        /// Columns of the header.
        expected: u64,
        /// The row's actual form.
        got: String,
    },
    /// The text field holds a value other than a string.
    NotAString {
        /// The field.
        field: String,
        /// The kind of value found there.
        got: &'static str,
    },
    /// A field on the path to a nested one holds a value other than an object.
    NotAnObject {
        /// The field on the path.
        field: String,
        /// The kind of value found there.
        got: &'static str,
    },
    /// The field of an id or a group holds a value other than a string or an integer.
    NotAKey {
        /// The field.
        field: String,
        /// The kind of value found there.
        got: &'static str,
    },
    /// A column's type has no JSON form.
    NotJsonLike {
        /// The field.
        field: String,
        /// The column's type.
        got: String,
    },
    /// A field of a columnar file is not valid UTF-8.
    InvalidUtf8InField {
        /// The field.
        field: String,
        /// The position of the first invalid byte in the value.
        offset_bytes: u64,
        /// That byte.
        got: u8,
    },
    /// The record is not valid UTF-8.
    InvalidUtf8 {
        /// The position of the first invalid byte in the decompressed file.
        offset_bytes: u64,
        /// That byte.
        got: u8,
    },
    /// A conversation does not have the shape that chat templates expect.
    Chat {
        /// The place in the record: `messages[2].role`.
        place: Box<str>,
        /// The expected value.
        expected: &'static str,
        /// The actual value.
        got: Box<str>,
    },
    /// The chat template fails on a conversation, or refuses it.
    ChatTemplate {
        /// The template's line, if it is known.
        line: Option<u64>,
        /// Its message.
        got: String,
    },
    /// The text of a turn is not part of the whole conversation's text, because later turns change it.
    EarlierTextChanges {
        /// The turn, counted from 0.
        turn: u64,
        /// The first position where the texts differ.
        offset_bytes: u64,
        /// The requested targets.
        train_on: TrainOn,
    },
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { got } => write!(f, "expected a JSON object, got {got}"),
            Self::NoField { expected, got } => {
                let expected = expected.escape_debug();
                write!(f, "the field \"{expected}\" is missing, the record has {got}")
            }
            Self::NotARow { expected, got } => {
                write!(f, "expected {expected} cells, as the header has, got {got}")
            }
            Self::InvalidUtf8InField { field, offset_bytes, got } => {
                let field = field.escape_debug();
                write!(f, "invalid UTF-8 in \"{field}\", at its byte {offset_bytes} (0x{got:02x})")
            }
            Self::NotAString { field, got } => {
                write!(f, "expected a string in \"{}\", got {got}", field.escape_debug())
            }
            Self::NotAnObject { field, got } => {
                write!(f, "expected an object in \"{}\", got {got}", field.escape_debug())
            }
            Self::NotAKey { field, got } => {
                let field = field.escape_debug();
                write!(f, "expected a string or an integer in \"{field}\", got {got}")
            }
            Self::NotJsonLike { field, got } => {
                let field = field.escape_debug();
                write!(f, "expected text, numbers, lists or structs in \"{field}\", got {got}")
            }
            Self::InvalidUtf8 { offset_bytes, got } => {
                write!(f, "invalid UTF-8 at byte {offset_bytes} (0x{got:02x})")
            }
            Self::Chat { place, expected, got } => {
                write!(f, "expected {expected} in \"{}\", got {got}", place.escape_debug())
            }
            Self::ChatTemplate { line, got } => {
                let line = line.map(|line| format!(" in its line {line}")).unwrap_or_default();
                write!(f, "the chat template refuses it{line}: {got}")
            }
            Self::EarlierTextChanges { turn, offset_bytes, train_on } => {
                let fix = match train_on {
                    TrainOn::Assistant => {
                        "train on the last turn alone (the option train_on: last-turn)"
                    }
                    _ => "use a template with {% generation %} blocks (the option chat_template)",
                };
                write!(
                    f,
                    "the chat template writes turn {turn} otherwise with and without what stands \
                     around it, expected the same text (they differ from byte {offset_bytes} on): \
                     {fix}"
                )
            }
        }
    }
}
