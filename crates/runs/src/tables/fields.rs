//! The cells of one table row, for every format of tables.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Error;

/// The largest whole number up to which a double is exact, 2^53.
const LARGEST_EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// Named cells. CSV cells are strings; JSON cells have the type of their value.
pub(crate) struct Fields<'a> {
    pub path: &'a Path,
    /// Row, counted from 1 without the header.
    pub row: u64,
    pub cells: &'a Map<String, Value>,
}

impl Fields<'_> {
    /// Returns the cell as text; numbers are kept as they are written.
    pub fn text(&self, column: &'static str) -> Result<String, Error> {
        match self.cell(column)? {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(self.bad(column, "text", other)),
        }
    }

    /// Returns the cell as a whole number; `3e6` and `3000000.0`, as data frames write them, are accepted too.
    pub fn count(&self, column: &'static str) -> Result<u64, Error> {
        let cell = self.cell(column)?;
        let count = match cell {
            Value::Number(number) => {
                number.as_u64().or_else(|| number.as_f64().and_then(whole_number))
            }
            Value::String(text) => {
                let text = text.trim();
                text.parse().ok().or_else(|| text.parse().ok().and_then(whole_number))
            }
            _ => None,
        };
        count.ok_or_else(|| self.bad(column, "a whole number of at least 0", cell))
    }

    /// Returns the cell as a finite number.
    pub fn number(&self, column: &'static str) -> Result<f64, Error> {
        let cell = self.cell(column)?;
        let number = match cell {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| self.bad(column, "a finite number", cell))
    }

    /// Returns the cell as text; a cell without a value is an empty text. Words such as "NA" are names here.
    pub fn text_or_nothing(&self, column: &'static str) -> Result<String, Error> {
        match self.cell(column)? {
            Value::Null => Ok(String::new()),
            Value::String(text) if text == "NaN" => Ok(String::new()),
            _ => self.text(column),
        }
    }

    /// Returns the cell of a required column as text; a cell without a value, in any spelling, is an empty text.
    pub fn text_or_absent(&self, column: &'static str) -> Result<String, Error> {
        if is_absent(self.cell(column)?) { Ok(String::new()) } else { self.text(column) }
    }

    /// Returns a cell that may be absent, null or empty.
    pub fn optional<T>(
        &self,
        column: &'static str,
        read: impl Fn(&Self, &'static str) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.cells.get(column) {
            Some(cell) if !is_absent(cell) => read(self, column).map(Some),
            _ => Ok(None),
        }
    }

    fn cell(&self, column: &'static str) -> Result<&Value, Error> {
        self.cells.get(column).ok_or_else(|| Error::MissingColumn {
            path: self.path.to_path_buf(),
            row: self.row,
            column,
            got: list_columns(self.cells.keys().map(String::as_str)),
        })
    }

    fn bad(&self, column: &'static str, expected: &'static str, got: &Value) -> Error {
        let got = match got {
            Value::Null => "an empty cell".to_owned(),
            Value::String(text) if text.trim().is_empty() => "an empty cell".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            other => shorten(&other.to_string()),
        };
        Error::BadValue { path: self.path.to_path_buf(), row: self.row, column, expected, got }
    }
}

/// Returns whether a cell means that there is no value, in the words that data frames and spreadsheets write for it.
fn is_absent(cell: &Value) -> bool {
    const WORDS: [&str; 9] = ["", "nan", "none", "null", "na", "n/a", "<na>", "nat", "#n/a"];
    match cell {
        Value::Null => true,
        Value::String(text) => WORDS.iter().any(|word| text.trim().eq_ignore_ascii_case(word)),
        _ => false,
    }
}

/// Column names for a message, at most 40 of them.
pub(crate) fn list_columns<'a>(columns: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = columns.take(40).map(shorten).collect();
    if names.is_empty() { "no column".to_owned() } else { names.join(", ") }
}

/// At most 80 characters of a text from outside.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn whole_number(value: f64) -> Option<u64> {
    let whole = (0.0..=LARGEST_EXACT_FLOAT).contains(&value) && value.fract() == 0.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number in 0..=2^53, checked in the line above"
    )]
    whole.then_some(value as u64)
}
