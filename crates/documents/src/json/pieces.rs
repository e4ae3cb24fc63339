//! A splitter for JSON texts other than JSON lines: the records are the items of an array, or consecutive values over
//! any number of lines.
//!
//! Only the end of each value is determined here; decoding checks each record.

use std::ops::Range;

use crate::bytes::pieces::{Found, strip_mark};

/// The splitter's position in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanPosition {
    /// Before the first byte.
    Start,
    /// Between consecutive values.
    Sequence,
    /// In an array, before its first item or its end.
    First,
    /// In an array after a comma.
    Item,
    /// In an array after an item.
    Comma,
    /// After an array.
    After,
}

/// A value whose end is not yet known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    start: usize,
    kind: ContainerKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContainerKind {
    /// An object or an array at a depth of brackets, possibly within a string; or a string at depth 0.
    Nested { depth: usize, in_string: bool },
    /// A number or a word.
    Bare,
    /// Invalid text, up to the end of its line.
    Line,
}

/// The state between two searches in a growing buffer.
#[derive(Debug)]
pub(crate) struct JsonSplitter {
    place: ScanPosition,
    at: usize,
    open: Option<Open>,
}

impl JsonSplitter {
    pub(crate) fn new() -> Self {
        Self { place: ScanPosition::Start, at: 0, open: None }
    }

    /// Returns the position before which the buffer is no longer needed.
    pub(crate) fn start(&self) -> usize {
        self.open.map_or(self.at, |open| open.start)
    }

    /// Records that `len` bytes were taken from the front of the buffer.
    pub(crate) fn shift(&mut self, len: usize) {
        self.at = self.at.saturating_sub(len);
        if let Some(open) = &mut self.open {
            open.start = open.start.saturating_sub(len);
        }
    }

    /// Finds the next record. Invalid text, an unfinished record and an unfinished array are returned as records, too:
    /// decoding refuses them with their place.
    pub(crate) fn next(&mut self, buffer: &[u8], at_end: bool) -> Found {
        if self.place == ScanPosition::Start && self.at == 0 {
            self.at = strip_mark(buffer);
        }
        loop {
            if let Some(open) = self.open {
                return self.close(open, buffer, at_end);
            }
            let rest = buffer.get(self.at..).unwrap_or_default();
            self.at += rest.len() - rest.trim_ascii_start().len();
            let Some(&byte) = buffer.get(self.at) else {
                return if at_end { self.end(buffer.len()) } else { Found::More };
            };
            if let Some(piece) = self.step(byte) {
                return Found::Piece(piece);
            }
        }
    }

    /// Skips the text between values, or begins a value.
    fn step(&mut self, byte: u8) -> Option<Range<usize>> {
        let at = self.at;
        match (self.place, byte) {
            (ScanPosition::Start | ScanPosition::After, b'[') => {
                (self.place, self.at) = (ScanPosition::First, at + 1)
            }
            (ScanPosition::Start, _) => self.place = ScanPosition::Sequence,
            (ScanPosition::First | ScanPosition::Comma, b']') => {
                (self.place, self.at) = (ScanPosition::After, at + 1)
            }
            (ScanPosition::Comma, b',') => (self.place, self.at) = (ScanPosition::Item, at + 1),
            (ScanPosition::Item, b']') => {
                (self.place, self.at) = (ScanPosition::After, at + 1);
                return Some(at..at + 1);
            }
            (ScanPosition::First | ScanPosition::Item | ScanPosition::Sequence, _)
                if !b",]}:".contains(&byte) =>
            {
                let kind = match byte {
                    b'{' | b'[' => ContainerKind::Nested { depth: 1, in_string: false },
                    b'"' => ContainerKind::Nested { depth: 0, in_string: true },
                    _ => ContainerKind::Bare,
                };
                self.open = Some(Open { start: at, kind });
                self.at = at + 1;
                if self.place != ScanPosition::Sequence {
                    self.place = ScanPosition::Comma;
                }
            }
            _ => self.open = Some(Open { start: at, kind: ContainerKind::Line }),
        }
        None
    }

    fn close(&mut self, open: Open, buffer: &[u8], at_end: bool) -> Found {
        let rest = buffer.get(self.at..).unwrap_or_default();
        let end = match open.kind {
            ContainerKind::Line => memchr::memchr(b'\n', rest).map(|len| self.at + len),
            ContainerKind::Bare => rest
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || b",]}{[\"".contains(byte))
                .map(|len| self.at + len),
            ContainerKind::Nested { depth, in_string } => {
                self.nested_end(open, depth, in_string, buffer)
            }
        };
        if let Some(end) = end {
            (self.open, self.at) = (None, end);
            return Found::Piece(open.start..end);
        }
        if !at_end {
            // A nested value has its own position.
            if !matches!(open.kind, ContainerKind::Nested { .. }) {
                self.at = buffer.len();
            }
            return Found::More;
        }
        if matches!(open.kind, ContainerKind::Nested { .. }) {
            // Its array is unfinished, too; that counts as one fault.
            self.place = ScanPosition::After;
        }
        (self.open, self.at) = (None, buffer.len());
        Found::Piece(open.start..buffer.len())
    }

    /// Returns where a nested value ends, if it ends in this buffer.
    fn nested_end(
        &mut self,
        open: Open,
        mut depth: usize,
        mut in_string: bool,
        buffer: &[u8],
    ) -> Option<usize> {
        let mut at = self.at;
        while let Some(&byte) = buffer.get(at) {
            if in_string {
                let rest = buffer.get(at..).unwrap_or_default();
                at += match memchr::memchr2(b'"', b'\\', rest) {
                    Some(len) if rest.get(len) == Some(&b'\\') => len + 2,
                    Some(len) => {
                        in_string = false;
                        len + 1
                    }
                    None => rest.len(),
                };
                if !in_string && depth == 0 {
                    return Some(at);
                }
                continue;
            }
            at += 1;
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 1 => return Some(at),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        self.at = at;
        self.open = Some(Open { kind: ContainerKind::Nested { depth, in_string }, ..open });
        None
    }

    fn end(&mut self, len: usize) -> Found {
        match self.place {
            ScanPosition::First | ScanPosition::Item | ScanPosition::Comma => {
                self.place = ScanPosition::After;
                Found::Piece(len..len)
            }
            _ => Found::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::pieces::tests::pieces_of;

    fn pieces(text: &str) -> Vec<String> {
        pieces_of(text, &mut || crate::bytes::pieces::Splitter::Json(JsonSplitter::new()))
    }

    #[test]
    fn items_of_arrays_and_values_in_a_row() {
        let cases: [(&str, &[&str]); 9] = [
            ("[{\"a\":1},{\"b\":[2]}]", &["{\"a\":1}", "{\"b\":[2]}"]),
            (" [\n {\n \"a\": \"}]\\\"\"\n }\n ,\n{}\n]\n", &["{\n \"a\": \"}]\\\"\"\n }", "{}"]),
            ("\u{feff}[]", &[]),
            ("{\n\"a\": {}}\n{}\n{ }", &["{\n\"a\": {}}", "{}", "{ }"]),
            ("{}{}", &["{}", "{}"]),
            ("[1, \"a,]\", null, true]", &["1", "\"a,]\"", "null", "true"]),
            ("[{}]\n[{\"a\":1}]", &["{}", "{\"a\":1}"]),
            ("[\"é\\\\\",{}]", &["\"é\\\\\"", "{}"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }

    /// Nothing is skipped: each fault is a piece that cannot become a record.
    #[test]
    fn faults_are_pieces_too() {
        let cases: [(&str, &[&str]); 8] = [
            ("[{\"a\":1}", &["{\"a\":1}", ""]),
            ("[{\"a\":1},", &["{\"a\":1}", ""]),
            ("[{\"a\":1},]", &["{\"a\":1}", "]"]),
            ("[{\"a\":1", &["{\"a\":1"]),
            ("[{} {}\n]", &["{}", "{}"]),
            ("[{}] more\n", &["{}", "more"]),
            ("{},\n{}", &["{}", ",", "{}"]),
            ("[{\"a\": \"x]}", &["{\"a\": \"x]}"]),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }
}
