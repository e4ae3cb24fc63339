//! One record of any format: its fields, and the document that it becomes.

use std::borrow::Cow;

use mixdown_jinja::{Value, from_json};

use crate::bytes::text_pieces::piece_name;
use crate::chat::labeler::Labeler;
use crate::json::line::{JsonLine, kind, string_of};
use crate::reading::document::{Document, Place, ReadOptions, RecordFault};
use crate::tables::columns::Columns;

/// An undecoded record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record<'r> {
    /// A whole text file, which has no fields.
    Text {
        /// The content.
        text: &'r str,
        /// The file's name in the list.
        name: &'r str,
    },
    /// A document of a text file that holds several; it has no fields either.
    Part {
        /// The content.
        text: &'r str,
        /// The file's name in the list.
        name: &'r str,
        /// Its first byte in the decompressed file.
        offset_bytes: u64,
    },
    /// A JSON object on one line or several.
    Line(JsonLine<'r>),
    /// A row of a table.
    Cells {
        /// The header.
        columns: &'r [String],
        /// The row's cells, one per column.
        cells: &'r [Cow<'r, str>],
    },
    /// A row of a columnar file.
    Row {
        /// The columns of the requested fields.
        columns: &'r Columns<'r>,
        /// The row, counted within its chunk.
        row: usize,
    },
}

impl Record<'_> {
    /// Converts the record to a document.
    pub(crate) fn document(
        &self,
        options: &ReadOptions,
        labeler: Option<&Labeler>,
        place: Place,
    ) -> Result<Document, RecordFault> {
        let (text, labels) = match labeler {
            Some(labeler) => labeler.label(self).map(|(text, labels)| (text, Some(labels)))?,
            None => (self.string(options.text_field())?, None),
        };
        let key = |field: &Option<String>| field.as_ref().map(|field| self.key(field)).transpose();
        let group = match (self, &options.group_field) {
            // The documents of a file stay together.
            (Self::Part { name, .. }, Some(_)) => Some((*name).to_owned()),
            (_, field) => key(field)?,
        };
        let id = key(&options.id_field)?;
        Ok(Document { text, place, id, group, labels })
    }

    /// Returns the string in `field`; for a text file, the whole text.
    pub(crate) fn string(&self, field: &str) -> Result<String, RecordFault> {
        match self {
            Self::Text { text, .. } | Self::Part { text, .. } => Ok((*text).to_owned()),
            Self::Cells { columns, cells } => {
                let cell = cell(columns, cells, field).ok_or_else(|| self.missing(field))?;
                Ok(cell.to_owned())
            }
            Self::Line(line) => {
                let json = line.find(field)?.ok_or_else(|| self.missing(field))?;
                string_of(json).ok_or_else(|| not_a_string(field, kind(json)))
            }
            Self::Row { columns, row } => columns.string(field, *row).map(str::to_owned),
        }
    }

    /// Returns the string or integer in `field` as a string; for a text file, its name.
    pub(crate) fn key(&self, field: &str) -> Result<String, RecordFault> {
        match self {
            Self::Text { name, .. } => Ok((*name).to_owned()),
            Self::Part { name, offset_bytes, .. } => Ok(piece_name(name, *offset_bytes)),
            Self::Cells { .. } => self.string(field),
            Self::Line(line) => {
                let json = line.find(field)?.ok_or_else(|| self.missing(field))?;
                let integer = || is_integer(json).then(|| json.to_owned());
                string_of(json).or_else(integer).ok_or_else(|| not_a_key(field, kind(json)))
            }
            Self::Row { columns, row } => columns.key(field, *row),
        }
    }

    /// Returns the value in `field`, with the keys of its objects in order; `None` if the record has no such field or
    /// is a text file. The field must be one of [`ReadOptions::wanted`], because a columnar file reads only those.
    pub(crate) fn value(&self, field: &str) -> Result<Option<Value>, RecordFault> {
        match self {
            Self::Text { .. } | Self::Part { .. } => Ok(None),
            Self::Cells { columns, cells } => Ok(cell(columns, cells, field).map(Value::foreign)),
            Self::Line(line) => {
                let parsed = |json| from_json(json).map_err(|got| RecordFault::NotJson { got });
                line.find(field)?.map(parsed).transpose()
            }
            Self::Row { columns, row } => columns.value(field, *row).map(Some),
        }
    }
}

impl Record<'_> {
    /// Returns the fault of a record that lacks `field`, with the existing fields.
    pub(crate) fn missing(&self, field: &str) -> RecordFault {
        let names = match self {
            Self::Line(line) => line.names(),
            Self::Cells { columns, .. } => columns.to_vec(),
            Self::Text { .. } | Self::Part { .. } | Self::Row { .. } => Vec::new(),
        };
        RecordFault::NoField { expected: field.to_owned(), got: quoted_names(&names) }
    }
}

/// Returns the cell in the column of that name.
fn cell<'r>(columns: &[String], cells: &'r [Cow<'r, str>], field: &str) -> Option<&'r str> {
    let column = columns.iter().position(|column| column == field)?;
    cells.get(column).map(AsRef::as_ref)
}

/// Returns names quoted for messages, limited to a readable number.
pub(crate) fn quoted_names(names: &[String]) -> String {
    const NAMES_AT_MOST: usize = 20;
    let quoted = names.iter().take(NAMES_AT_MOST);
    let mut quoted: Vec<_> = quoted.map(|name| format!("\"{}\"", name.escape_debug())).collect();
    if names.len() > NAMES_AT_MOST {
        quoted.push("...".to_owned());
    }
    if quoted.is_empty() { "none at all".to_owned() } else { quoted.join(", ") }
}

fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn not_a_string(field: &str, got: &'static str) -> RecordFault {
    RecordFault::NotAString { field: field.to_owned(), got }
}

fn not_a_key(field: &str, got: &'static str) -> RecordFault {
    RecordFault::NotAKey { field: field.to_owned(), got }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_fault(line: &str, read: impl Fn(&Record<'_>) -> Option<RecordFault>) -> String {
        let mut entries = Vec::new();
        let line = JsonLine::parse(line, &mut entries).unwrap();
        read(&Record::Line(line)).unwrap().to_string()
    }

    #[test]
    fn every_other_value_says_what_it_is() {
        let cases = [
            (r#"{"text":1}"#, "expected a string in \"text\", got a number"),
            (r#"{"text":null}"#, "expected a string in \"text\", got null"),
            (r#"{"text":["a"]}"#, "expected a string in \"text\", got a list"),
            (r#"{"text":{"a":"b"}}"#, "expected a string in \"text\", got an object"),
            (r#"{"text":true}"#, "expected a string in \"text\", got a boolean"),
            (
                r#"{"content":"a","x":{}}"#,
                "the field \"text\" is missing, the record has \"content\", \"x\"",
            ),
            ("{}", "the field \"text\" is missing, the record has none at all"),
        ];
        for (line, expected) in cases {
            assert_eq!(line_fault(line, |record| record.string("text").err()), expected);
        }
        for (line, got) in [(r#"{"id":1.5}"#, "a number"), (r#"{"id":null}"#, "null")] {
            let expected = format!("expected a string or an integer in \"id\", got {got}");
            assert_eq!(line_fault(line, |record| record.key("id").err()), expected);
        }
    }

    #[test]
    fn ids_are_strings_or_integers() {
        for (json, expected) in [("\"a\\n\"", "a\n"), ("-12", "-12"), ("\"7\"", "7")] {
            let line = format!("{{\"meta\":{{\"id\":{json}}}}}");
            let mut entries = Vec::new();
            let record = Record::Line(JsonLine::parse(&line, &mut entries).unwrap());
            assert_eq!(record.key("meta.id").unwrap(), expected);
        }
    }
}
