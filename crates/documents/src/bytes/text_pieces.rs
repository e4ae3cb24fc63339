//! A text of many documents, which a separator parts.

use memchr::memmem::Finder;

use crate::bytes::pieces::{Found, strip_mark};

/// The state between two looks at a growing buffer.
#[derive(Debug)]
pub(crate) struct TextSplitter {
    separator: Finder<'static>,
    /// A separator without a line break may be alone on its line.
    takes_breaks: bool,
    /// Where the document at hand begins.
    start: usize,
    /// Where the next look for a separator begins.
    at: usize,
    /// Whether a line break at the start may still be the separator's.
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

    /// Before which byte nothing is needed any more.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Notes the number of bytes that were taken from the buffer's front.
    pub(crate) fn shift(&mut self, len: usize) {
        self.start = self.start.saturating_sub(len);
        self.at = self.at.saturating_sub(len);
    }

    /// The next document that holds more than white space.
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
                    // The separator may have begun.
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

    /// The end of the document before a separator, without the separator's own line break, or the
    /// carriage return of a line.
    fn end_of(&self, buffer: &[u8], end: usize) -> usize {
        let text = buffer.get(self.start..end).unwrap_or_default();
        let line = match self.takes_breaks {
            true => text.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line)),
            false => text.strip_suffix(b"\r"),
        };
        self.start + line.unwrap_or(text).len()
    }
}

/// What a document of a separated text is called: the file's name and where the document begins.
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
