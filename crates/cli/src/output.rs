//! Results on standard output: a table for people or one JSON object for programs.

use std::io::{BufWriter, ErrorKind, StdoutLock, Write};
use std::ops::ControlFlow;
use std::path::Path;

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
        let text = match self {
            Self::Json => serde_json::to_string(value).map_err(|error| unwritable(error.into()))?,
            Self::Text => text(value),
        };
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        reader_is_there(written).map(|_| ())
    }
}

/// JSON lines on standard output.
pub struct Lines {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Lines {
    /// Standard output, buffered.
    pub fn new() -> Self {
        Self { stdout: BufWriter::new(std::io::stdout().lock()) }
    }

    /// Writes one object; breaks where the reader has gone (`| head`).
    ///
    /// # Errors
    /// When standard output cannot be written for another reason.
    pub fn write<T: Serialize>(&mut self, value: &T) -> Result<ControlFlow<()>, Error> {
        let line = serde_json::to_string(value).map_err(|error| unwritable(error.into()))?;
        reader_is_there(writeln!(self.stdout, "{line}"))
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(mut self) -> Result<(), Error> {
        reader_is_there(self.stdout.flush()).map(|_| ())
    }
}

/// Breaks where the reader of standard output has gone (`| head`).
///
/// # Errors
/// When it cannot be written for another reason.
pub fn reader_is_there(written: std::io::Result<()>) -> Result<ControlFlow<()>, Error> {
    match written {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(unwritable(error)),
    }
}

fn unwritable(error: std::io::Error) -> Error {
    Error::io(Path::new("standard output"), "write", error)
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

/// Seconds in the largest unit that leaves at least two of it.
pub fn duration(seconds: f64) -> String {
    for (unit, length) in [("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)] {
        if seconds >= 2.0 * length {
            return format!("{:.0} {unit}", seconds / length);
        }
    }
    format!("{seconds:.0} seconds")
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

    #[test]
    fn durations_have_a_unit_that_fits() {
        for (seconds, text) in [
            (0.4, "0 seconds"),
            (119.0, "119 seconds"),
            (150.0, "2 minutes"),
            (1e5, "28 hours"),
            (1e6, "12 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
