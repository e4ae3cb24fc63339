//! A document, its place in the inputs, and a record that is none.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::chat::labeler::{LabelFields, TrainOn};
use crate::inputs::selection::Selection;

/// How records are turned into documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOptions {
    /// Field of a record that holds the text; dots lead into nested fields (`meta.text`) unless a
    /// field bears the whole name. `None` is the field `text`, and plain texts, which have no fields,
    /// are read as well; where a field is asked for they are refused.
    pub text_field: Option<String>,
    /// What parts the documents of a plain text; `None` reads the whole text as one document. A
    /// separator without a line break includes one before and one after it, so that it may be
    /// alone on its line. Parts with only white space are not documents.
    pub text_separator: Option<String>,
    /// Field that holds the document's own id, a string or an integer. The id of a plain text file
    /// is its name in the list; that of a separated text's part is the name, a colon and the byte
    /// that the part begins at.
    pub id_field: Option<String>,
    /// Field whose equal values keep documents on one side of the holdout: a repository, a URL, a
    /// conversation; a string or an integer. Each plain text file is its own group.
    pub group_field: Option<String>,
    /// Bad records that are counted and passed over; 0 refuses the first one.
    pub skip_bad: u64,
    /// The most bytes of a record (a line, a row, a text that is one document); a longer one is an error.
    /// `None` is [`USUAL_RECORD_BYTES`](crate::USUAL_RECORD_BYTES).
    pub max_record_bytes: Option<u64>,
    /// Which files of folders are read.
    pub selection: Selection,
    /// What becomes of files of folders that cannot be read or are damaged where they are listed.
    pub unreadable: Unreadable,
    /// Where labeled records hold their text, instead of `text_field`: a
    /// [`Labeler`](crate::Labeler) made for these fields goes with them.
    pub labels: Option<LabelFields>,
}

/// What becomes of files of folders that cannot be read.
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

/// Where a document stands in an [`InputList`](crate::InputList): its identity in every order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Ordinal of the file in the list.
    pub input: u32,
    /// Where the record starts in the decompressed file, in bytes; 0 for a whole text file; the row
    /// from 0 in a columnar file.
    pub offset: u64,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The text, which may be empty; a chat as its template renders it.
    pub text: String,
    /// Where it stands.
    pub place: Place,
    /// Its own id, where one was asked for.
    pub id: Option<String>,
    /// The value that decides its side of the holdout, where one was asked for.
    pub group: Option<String>,
    /// What in the text is a loss target; `None` where all of it is.
    pub labels: Option<Labels>,
}

/// What in a document's text is a loss target, and what in it is nobody's markup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Byte ranges of the text whose tokens are loss targets, in order, apart from each other.
    pub targets: Vec<Range<usize>>,
    /// Byte positions inside spellings of special tokens that stood in the content: no special
    /// token may reach across one. Everywhere else the text is the template's own and its special
    /// tokens count as such.
    pub plain: Vec<usize>,
}

/// A record that yields no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Where it stands.
    pub place: Place,
    /// What is wrong with it.
    pub fault: RecordFault,
}

/// Where a record is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPlace {
    /// A line of a decompressed file, from 1, and the byte that the record starts at.
    Line {
        /// The line.
        line: u64,
        /// The byte.
        offset_bytes: u64,
    },
    /// A row of a columnar file, from 0.
    Row(u64),
    /// A byte of what cannot be read a second time to count lines.
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

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordFault {
    /// The line is not one JSON object.
    NotJson {
        /// The parser's own words.
        got: String,
    },
    /// The record lacks a field.
    NoField {
        /// The field that was looked for.
        expected: String,
        /// The fields that it has, quoted.
        got: String,
    },
    /// A row of a table has not one cell for each column.
    NotARow {
        /// Columns of the header.
        expected: u64,
        /// What it is instead.
        got: String,
    },
    /// The text field holds something else than a string.
    NotAString {
        /// The field that was looked for.
        field: String,
        /// The kind of value found there.
        got: &'static str,
    },
    /// A field on the way to a nested one holds something else than an object.
    NotAnObject {
        /// The field on the way.
        field: String,
        /// The kind of value found there.
        got: &'static str,
    },
    /// The field of an id or a group holds something else than a string or an integer.
    NotAKey {
        /// The field that was looked for.
        field: String,
        /// The kind of value found there.
        got: &'static str,
    },
    /// A column's type cannot be said in JSON.
    NotJsonLike {
        /// The field that was looked for.
        field: String,
        /// The column's type.
        got: String,
    },
    /// A field of a columnar file is no valid UTF-8.
    InvalidUtf8InField {
        /// The field.
        field: String,
        /// The first invalid byte's place in the value.
        offset_bytes: u64,
        /// That byte.
        got: u8,
    },
    /// The record is no valid UTF-8.
    InvalidUtf8 {
        /// The first invalid byte's place in the decompressed file.
        offset_bytes: u64,
        /// That byte.
        got: u8,
    },
    /// A conversation is not of the shape that chat templates expect.
    Chat {
        /// The place in the record: `messages[2].role`.
        place: Box<str>,
        /// What must stand there.
        expected: &'static str,
        /// What stands there.
        got: Box<str>,
    },
    /// The chat template fails on a conversation, or refuses it.
    ChatTemplate {
        /// The template's line, where it is known.
        line: Option<u64>,
        /// Its words.
        got: String,
    },
    /// The text of a turn is no part of the whole conversation's text, as later turns change it.
    EarlierTextChanges {
        /// The turn, from 0.
        turn: u64,
        /// Where the texts differ first.
        offset_bytes: u64,
        /// What was to be trained on.
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
