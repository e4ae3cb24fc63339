//! A splitter for a text of several documents with a separator between them.

use memchr::memmem::Finder;

use crate::bytes::pieces::{Found, strip_mark};

/// The state between two searches in a growing buffer.
#[derive(Debug)]
pub(crate) struct TextSplitter {
    separator: Finder<'static>,
    /// Whether the separator has no line break and so may be alone on its line.
    takes_breaks: bool,
    /// The start of the current document.
    start: usize,
    /// The start of the next search for a separator.
    at: usize,
    /// Whether a line break at the start may still belong to the separator.
    after_separator: bool,
    begun: bool,
}

impl TextSplitter {
    pub(crate) fn new(separator: &str) -> Self {
        Self {
            separator: Finder::new(separator).into_owned(),
            takes_breaks: !separator.contains('\n'),
            start: 0,
            at: 0,
            after_separator: false,
            begun: false,
        }
    }

    /// Returns the position before which the buffer is no longer needed.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Records that `len` bytes were taken from the front of the buffer.
    pub(crate) fn shift(&mut self, len: usize) {
        self.start = self.start.saturating_sub(len);
        self.at = self.at.saturating_sub(len);
    }

    /// Finds the next document that is more than white space.
    pub(crate) fn next(&mut self, buffer: &[u8], at_end: bool) -> Found {
        if !std::mem::replace(&mut self.begun, true) {
            (self.start, self.at) = (strip_mark(buffer), strip_mark(buffer));
        }
        loop {
            if self.after_separator {
                match buffer.get(self.start..).unwrap_or_default() {
                    [] | [b'\r'] if !at_end => return Found::More,
                    [b'\n', ..] => self.start += 1,
                    [b'\r', b'\n', ..] => self.start += 2,
                    _ => {}
                }
                (self.after_separator, self.at) = (false, self.start);
            }
            let rest = buffer.get(self.at..).unwrap_or_default();
            let (end, next) = match self.separator.find(rest) {
                Some(place) => {
                    let end = self.at + place;
                    (end, end + self.separator.needle().len())
                }
                None if at_end && self.start >= buffer.len() => return Found::End,
                None if at_end => (buffer.len(), buffer.len()),
                None => {
                    // The buffer may end within a separator.
                    let begun = self.separator.needle().len().saturating_sub(1);
                    self.at = self.at.max(buffer.len().saturating_sub(begun));
                    return Found::More;
                }
            };
            let piece = self.start..self.end_of(buffer, end);
            (self.start, self.at) = (next, next);
            self.after_separator = self.takes_breaks;
            let text = buffer.get(piece.clone()).unwrap_or_default();
            if !text.trim_ascii().is_empty() {
                return Found::Piece(piece);
            }
        }
    }

    /// Returns the end of the document before a separator, without the separator's own line break, or the carriage
    /// return of a line.
    fn end_of(&self, buffer: &[u8], end: usize) -> usize {
        let text = buffer.get(self.start..end).unwrap_or_default();
        let line = match self.takes_breaks {
            true => text.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line)),
            false => text.strip_suffix(b"\r"),
        };
        self.start + line.unwrap_or(text).len()
    }
}

/// Returns the name of a document in a separated text: the file's name and the document's first byte.
pub(crate) fn piece_name(file: &str, offset_bytes: u64) -> String {
    format!("{file}:{offset_bytes}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::pieces::tests::pieces_of;

    fn texts(text: &str, separator: &str) -> Vec<String> {
        pieces_of(text, &mut || {
            crate::bytes::pieces::Splitter::Text(Box::new(TextSplitter::new(separator)))
        })
    }

    #[test]
    fn documents_stand_between_separators() {
        let end = "<|endoftext|>";
        let cases: [(&str, &str, &[&str]); 10] = [
            ("one\ntwo\n<|endoftext|>\nthree\n", end, &["one\ntwo", "three"]),
            ("one<|endoftext|>two", end, &["one", "two"]),
            ("one\r\n<|endoftext|>\r\ntwo\r\n", end, &["one", "two"]),
            ("\u{feff}one\n\n<|endoftext|>\n\ntwo", end, &["one\n", "\ntwo"]),
            ("<|endoftext|>\n \n<|endoftext|>", end, &[]),
            ("one\n<|endoftext|", end, &["one\n<|endoftext|"]),
            ("a\nb\r\n\nc", "\n", &["a", "b", "c"]),
            ("a\nb\n\nc\n\n\nd\n", "\n\n", &["a\nb", "c", "\nd\n"]),
            ("", "\n", &[]),
            ("a---b", "--", &["a", "-b"]),
        ];
        for (text, separator, expected) in cases {
            assert_eq!(texts(text, separator), expected, "{text:?}");
        }
    }
}
