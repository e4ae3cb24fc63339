//! Text tables with a header: the ends of rows, and their cells.
//!
//! The parser is as strict as RFC 4180: the csv crate reads `"a" b` as `a b` and an unclosed quote to the end of the
//! file, which silently changes a text. Here both are bad records.

use std::borrow::Cow;

use crate::bytes::pieces::{Found, strip_mark};

/// The state between two searches in a growing buffer.
#[derive(Debug)]
pub(crate) struct RowSplitter {
    delimiter: u8,
    at: usize,
    /// The start of the current row.
    row: Option<usize>,
    at_cell_start: bool,
    in_quotes: bool,
    header_passed: bool,
    begun: bool,
}

impl RowSplitter {
    pub(crate) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            at: 0,
            row: None,
            at_cell_start: true,
            in_quotes: false,
            header_passed: false,
            begun: false,
        }
    }

    /// Returns a splitter whose first row is the header.
    pub(crate) fn of_header(delimiter: u8) -> Self {
        Self { header_passed: true, ..Self::new(delimiter) }
    }

    /// Returns the position before which the buffer is no longer needed.
    pub(crate) fn start(&self) -> usize {
        self.row.unwrap_or(self.at)
    }

    /// Records that `len` bytes were taken from the front of the buffer.
    pub(crate) fn shift(&mut self, len: usize) {
        self.at = self.at.saturating_sub(len);
        self.row = self.row.map(|row| row.saturating_sub(len));
    }

    /// Finds the next row after the header, without its line end. Blank lines are not rows.
    pub(crate) fn next(&mut self, buffer: &[u8], at_end: bool) -> Found {
        if !std::mem::replace(&mut self.begun, true) {
            self.at = strip_mark(buffer);
        }
        loop {
            if self.row.is_none() {
                let rest = buffer.get(self.at..).unwrap_or_default();
                let blank = |byte: &u8| matches!(byte, b'\n' | b'\r');
                self.at += rest.iter().take_while(|byte| blank(byte)).count();
                if self.at >= buffer.len() {
                    return if at_end { Found::End } else { Found::More };
                }
                (self.row, self.at_cell_start) = (Some(self.at), true);
            }
            let Some(end) = self.row_end(buffer, at_end) else { return Found::More };
            let start = self.row.take().unwrap_or(end);
            self.in_quotes = false;
            if std::mem::replace(&mut self.header_passed, true) {
                return Found::Piece(start..end);
            }
        }
    }

    fn row_end(&mut self, buffer: &[u8], at_end: bool) -> Option<usize> {
        loop {
            let rest = buffer.get(self.at..).unwrap_or_default();
            let found = match rest.first() {
                None => None,
                Some(_) if self.in_quotes => match memchr::memchr(b'"', rest) {
                    Some(len) if rest.get(len + 1) == Some(&b'"') => Some(len + 2),
                    Some(len) if rest.len() == len + 1 && !at_end => {
                        // The next byte shows whether the cell ends.
                        self.at += len;
                        return None;
                    }
                    Some(len) => {
                        self.in_quotes = false;
                        Some(len + 1)
                    }
                    None => Some(rest.len()),
                },
                Some(b'"') if self.at_cell_start => {
                    (self.in_quotes, self.at_cell_start) = (true, false);
                    Some(1)
                }
                Some(_) => {
                    let end = memchr::memchr2(self.delimiter, b'\n', rest);
                    if end.is_some_and(|len| rest.get(len) == Some(&b'\n')) {
                        self.at += end.unwrap_or(0);
                        return Some(self.at);
                    }
                    self.at_cell_start = end.is_some();
                    Some(end.map_or(rest.len(), |len| len + 1))
                }
            };
            match found {
                Some(len) => self.at += len,
                None => return at_end.then_some(buffer.len()),
            }
        }
    }
}

/// Returns the cells of a row, or its fault.
pub(crate) fn cells(row: &str, delimiter: char) -> Result<Vec<Cow<'_, str>>, &'static str> {
    let (mut cells, mut rest) = (Vec::new(), row.strip_suffix('\r').unwrap_or(row));
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (cell, after) = rest.split_at(rest.find(delimiter).unwrap_or(rest.len()));
                (Cow::Borrowed(cell), after)
            }
        };
        cells.push(cell);
        match after.strip_prefix(delimiter) {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(cells),
            None => return Err("text after the closing quote of a cell"),
        }
    }
}

/// Returns a cell after its opening quote, and the text after its closing one.
fn unquoted(quoted: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let mut cell = Cow::Borrowed("");
    let mut rest = quoted;
    loop {
        let (part, after) =
            rest.split_once('"').ok_or("a quoted cell without its closing quote")?;
        match after.strip_prefix('"') {
            Some(next) => {
                let cell = cell.to_mut();
                cell.push_str(part);
                cell.push('"');
                rest = next;
            }
            None if cell.is_empty() => return Ok((Cow::Borrowed(part), after)),
            None => {
                cell.to_mut().push_str(part);
                return Ok((cell, after));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::pieces::tests::pieces_of;

    fn rows(text: &str) -> Vec<String> {
        pieces_of(text, &mut || crate::bytes::pieces::Splitter::Rows(RowSplitter::new(b',')))
    }

    #[test]
    fn rows_end_outside_of_quotes() {
        let cases: [(&str, &[&str]); 7] = [
            ("a,b\n1,2\n\r\n3,4", &["1,2", "3,4"]),
            ("\u{feff}a,b\r\n1,\"x\ny\"\r\n\"\"\"\n\",2\r\n", &["1,\"x\ny\"\r", "\"\"\"\n\",2\r"]),
            ("a\n", &[]),
            ("a", &[]),
            ("a\nsix\" pipe\nb", &["six\" pipe", "b"]),
            ("a,\"b\nc\"\n1,2\n", &["1,2"]),
            ("a\n\"never closed\n1\n2\n", &["\"never closed\n1\n2\n"]),
        ];
        for (text, expected) in cases {
            assert_eq!(rows(text), expected, "{text}");
        }
    }

    #[test]
    fn cells_are_what_was_written() {
        let cases: [(&str, &[&str]); 6] = [
            ("1,two,", &["1", "two", ""]),
            ("\"a,b\",\"say \"\"hi\"\"\"\r", &["a,b", "say \"hi\""]),
            ("\"\",\"\"\"\"", &["", "\""]),
            ("6\" pipe, x ", &["6\" pipe", " x "]),
            ("", &[""]),
            ("\"x\ny\"", &["x\ny"]),
        ];
        for (row, expected) in cases {
            assert_eq!(cells(row, ',').unwrap(), expected, "{row}");
        }
        for row in ["\"a\" b,c", "\"a", "x,\"", "\"a\"\"b"] {
            assert!(cells(row, ',').is_err(), "{row}");
        }
        assert_eq!(cells("a,b\tc", '\t').unwrap(), ["a,b", "c"]);
    }
}
