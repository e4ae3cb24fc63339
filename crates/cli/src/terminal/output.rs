//! Results on standard output: a table for people or one JSON object for programs.
//!
//! With `--json` a command writes exactly one object, also when it fails: its result, its error as `"error"`, or
//! both. Streams (the order and the batches of a mixture, lines of `watch`, the answers of a chat) are the exception.

use std::borrow::Cow;
use std::io::{BufWriter, ErrorKind, IsTerminal, StdoutLock, Write, stdout};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use comfy_table::{CellAlignment, LineStyle, Table, presets};
pub use mixdown_base::display::{duration, percent, thousands};
use mixdown_base::display::{escaped, escaped_json, escaped_lines};
use serde::Serialize;

use crate::error::{Error, ErrorRecord};

/// The format of a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Tables and sentences.
    Text,
    /// One JSON object.
    Json,
}

/// The result for programs; it is printed at the end, together with a possible error.
static RESULT: Mutex<Option<String>> = Mutex::new(None);

/// Whether standard output is a stream, to which no object is appended.
static IS_STREAM: AtomicBool = AtomicBool::new(false);

/// Declares that standard output is a stream from now on.
pub fn begin_stream() {
    IS_STREAM.store(true, Ordering::Relaxed);
}

impl Output {
    /// The format that the command line asks for.
    pub fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    /// Prints the text that `text` makes of `value`, or keeps `value` as the object of [`finish`](Self::finish).
    ///
    /// Names and texts from outside cannot steer the terminal: control characters of the text are escaped.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        match self {
            Self::Json => {
                let object = json(value)?;
                *RESULT.lock().unwrap_or_else(PoisonError::into_inner) = Some(object);
                Ok(())
            }
            Self::Text => print_line(&escaped_lines(&text(value))),
        }
    }

    /// Prints the object of a command that succeeded.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        match RESULT.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(object) => print_line(&object),
            None => Ok(()),
        }
    }

    /// Prints the object of a command that failed, and returns the error.
    ///
    /// # Errors
    /// Always: the error itself, or that standard output cannot be written.
    pub fn fail(self, error: Error) -> Result<(), Error> {
        let record = error.record();
        if self == Self::Json && !IS_STREAM.load(Ordering::Relaxed) && !record.message.is_empty() {
            self.error(&record)?;
        }
        Err(error)
    }

    /// Prints an error as an object, together with the stored result, if there is one.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn error(self, record: &ErrorRecord) -> Result<(), Error> {
        let kept = RESULT.lock().unwrap_or_else(PoisonError::into_inner).take();
        let error = json(record)?;
        let fields = kept.as_deref().and_then(|object| object.strip_suffix('}')).unwrap_or("{");
        let comma = if fields.len() > 1 { "," } else { "" };
        print_line(&format!("{fields}{comma}\"error\":{error}}}"))
    }
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    let json = serde_json::to_string(value).map_err(|error| unwritable(error.into()))?;
    Ok(match escaped_json(&json) {
        Cow::Borrowed(_) => json,
        Cow::Owned(escaped) => escaped,
    })
}

fn print_line(line: &str) -> Result<(), Error> {
    let mut stdout = stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    reader_is_there(written).map(|_| ())
}

/// A text of a model or a document for standard output: escaped for a terminal, unchanged for a file or a program.
pub fn for_reader(text: &str) -> Cow<'_, str> {
    if stdout().is_terminal() { escaped_lines(text) } else { Cow::Borrowed(text) }
}

/// JSON lines on standard output.
pub struct Lines {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Lines {
    /// Standard output, buffered.
    pub fn new() -> Self {
        begin_stream();
        Self { stdout: BufWriter::new(stdout().lock()) }
    }

    /// Writes one object; breaks if the reader has closed the pipe (`| head`).
    ///
    /// # Errors
    /// When standard output cannot be written for another reason.
    pub fn write<T: Serialize>(&mut self, value: &T) -> Result<ControlFlow<()>, Error> {
        let line = json(value)?;
        reader_is_there(writeln!(self.stdout, "{line}"))
    }

    /// Writes the buffer; breaks if the reader has closed the pipe.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> Result<ControlFlow<()>, Error> {
        reader_is_there(self.stdout.flush())
    }

    /// Writes the buffer.
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(mut self) -> Result<(), Error> {
        self.flush().map(|_| ())
    }
}

/// Breaks if the reader of standard output has closed the pipe (`| head`).
///
/// # Errors
/// When standard output cannot be written for another reason.
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
    // A line end in a name would break the row.
    let cells = |row: &Vec<String>| row.iter().map(|cell| escaped(cell).into_owned()).collect();
    table.add_rows(rows.iter().map(cells).collect::<Vec<Vec<String>>>());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    // Trailing blanks would make a copied table hard to compare.
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
