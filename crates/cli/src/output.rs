//! Results on standard output: a table for people or one JSON object for programs.

use std::io::Write;

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use serde::Serialize;

use crate::error::Error;

/// The form of a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Tables and sentences.
    Text,
    /// One JSON object.
    Json,
}

impl Output {
    /// Prints `value` as JSON, or the text that `text` makes of it.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        let mut line = match self {
            Self::Json => serde_json::to_string(value).map_err(|error| unwritable(error.into()))?,
            Self::Text => text(value),
        };
        line.push('\n');
        write(&line)
    }
}

/// Writes to standard output as it is; a reader that closed the pipe (`| head`) is no error.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub fn write(text: &str) -> Result<(), Error> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unwritable(error)),
        _ => Ok(()),
    }
}

fn unwritable(error: std::io::Error) -> Error {
    Error::io(std::path::Path::new("standard output"), error)
}

/// A table with a header; every column but the first is aligned right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─')))
        .set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    // Trailing blanks would make a copied table hard to compare.
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// `1234567` as `1,234,567`.
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage without trailing zeros: `0.01` as `1 %`.
pub fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(percent(0.01), "1 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.001_25), "0.125 %");
    }
}
