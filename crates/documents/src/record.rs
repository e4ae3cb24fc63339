//! One record of any format: its fields, and the document it becomes.

use mixdown_jinja::{Value, from_json};

use crate::columns::Columns;
use crate::document::{Document, Place, ReadOptions, RecordFault};
use crate::json_line::{JsonLine, kind, string_of};
use crate::labeller::Labeller;

/// A record before it is a document.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record<'r> {
    /// A whole text file, which has no fields.
    Text {
        /// What it holds.
        text: &'r str,
        /// The file's name in the list.
        name: &'r str,
    },
    /// A line of JSON.
    Line(JsonLine<'r>),
    /// A row of a columnar file.
    Row {
        /// The columns of the fields that are read.
        columns: &'r Columns<'r>,
        /// The row, counted within its chunk.
        row: usize,
    },
}

impl Record<'_> {
    /// The document that the record becomes.
    pub(crate) fn document(
        &self,
        options: &ReadOptions,
        labeller: Option<&Labeller>,
        place: Place,
    ) -> Result<Document, RecordFault> {
        let (text, labels) = match labeller {
            Some(labeller) => labeller.label(self).map(|(text, labels)| (text, Some(labels)))?,
            None => (self.string(&options.text_field)?, None),
        };
        let key = |field: &Option<String>| field.as_ref().map(|field| self.key(field)).transpose();
        let (id, group) = (key(&options.id_field)?, key(&options.group_field)?);
        Ok(Document { text, place, id, group, labels })
    }

    /// The string in `field`; the whole of a text file.
    pub(crate) fn string(&self, field: &str) -> Result<String, RecordFault> {
        match self {
            Self::Text { text, .. } => Ok((*text).to_owned()),
            Self::Line(line) => {
                let json = line.find(field)?.ok_or_else(|| missing(field))?;
                string_of(json).ok_or_else(|| not_a_string(field, kind(json)))
            }
            Self::Row { columns, row } => columns.string(field, *row).map(str::to_owned),
        }
    }

    /// The string or integer in `field`, as a string; a text file's name.
    pub(crate) fn key(&self, field: &str) -> Result<String, RecordFault> {
        match self {
            Self::Text { name, .. } => Ok((*name).to_owned()),
            Self::Line(line) => {
                let json = line.find(field)?.ok_or_else(|| missing(field))?;
                let integer = || is_integer(json).then(|| json.to_owned());
                string_of(json).or_else(integer).ok_or_else(|| not_a_key(field, kind(json)))
            }
            Self::Row { columns, row } => columns.key(field, *row),
        }
    }

    /// Whatever stands in `field`, with the keys of its objects in their order: `None` where the
    /// record has no such field or is a text file. The field must be one of
    /// [`ReadOptions::wanted`], or a columnar file does not read it.
    pub(crate) fn value(&self, field: &str) -> Result<Option<Value>, RecordFault> {
        match self {
            Self::Text { .. } => Ok(None),
            Self::Line(line) => {
                let parsed = |json| from_json(json).map_err(|got| RecordFault::NotJson { got });
                line.find(field)?.map(parsed).transpose()
            }
            Self::Row { columns, row } => columns.value(field, *row).map(Some),
        }
    }
}

fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

pub(crate) fn missing(field: &str) -> RecordFault {
    RecordFault::NoField { expected: field.to_owned() }
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
            (r#"{"content":"a"}"#, "the field \"text\" is missing"),
            ("{}", "the field \"text\" is missing"),
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
