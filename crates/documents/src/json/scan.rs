//! A scanner of one JSON value that checks all of it and records positions, without building anything.
//!
//! It accepts exactly what `serde_json` accepts when it ignores values; `serde_json` also provides the message for what
//! it refuses. A general parser pays for a callback per value and copies strings twice, which is too slow beside a fast
//! tokenizer.

use std::ops::Range;

use crate::json::marks::{BLOCK, Marks, backslashes, block_of};

/// A key and its value in an object, as ranges of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key without its quotes, with its escapes.
    pub(crate) key: Range<usize>,
    /// The value from its first byte to its last.
    pub(crate) value: Range<usize>,
}

/// Writes the entries of the object `text` into `entries`, in order. Returns `None` unless `text` is one whole JSON
/// object; the content of `entries` is then unspecified.
pub(crate) fn scan_object(text: &str, entries: &mut Vec<Entry>) -> Option<()> {
    entries.clear();
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    scanner.object(entries)?;
    scanner.space();
    scanner.peek().is_none().then_some(())
}

/// The extent of the object at the beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The object ends at this byte.
    Whole(usize),
    /// The object continues after the end of the text.
    Cut,
    /// The text does not begin with an object.
    NotAnObject,
}

/// Scans the object at the beginning of `text`. `entries` holds its known entries; the value of the last one may be
/// cut.
pub(crate) fn scan_beginning(text: &str, entries: &mut Vec<Entry>) -> Beginning {
    entries.clear();
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    match scanner.object(entries) {
        Some(()) => Beginning::Whole(scanner.at),
        None if scanner.at == text.len() => Beginning::Cut,
        None => Beginning::NotAnObject,
    }
}

struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn eat(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn eat_if(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn object(&mut self, entries: &mut Vec<Entry>) -> Option<()> {
        self.space();
        self.eat(b'{')?;
        self.space();
        if self.eat_if(b'}') {
            return Some(());
        }
        loop {
            let key = self.key()?;
            self.space();
            let start = self.at;
            entries.push(Entry { key, value: start..start });
            self.value()?;
            if let Some(entry) = entries.last_mut() {
                entry.value.end = self.at;
            }
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Scans a key and its colon.
    fn key(&mut self) -> Option<Range<usize>> {
        self.space();
        self.eat(b'"')?;
        let start = self.at;
        self.string()?;
        let end = self.at - 1;
        self.space();
        self.eat(b':')?;
        Some(start..end)
    }

    /// Scans any value. Nesting is kept on the heap: a line of a million brackets must not overflow the stack.
    fn value(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            self.space();
            let start = self.next()?;
            match start {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    self.space();
                    if !self.eat_if(if start == b'{' { b'}' } else { b']' }) {
                        open.push(start);
                        if start == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' | b'0'..=b'9' => self.number(start)?,
                _ => return None,
            }
            if self.close(&mut open)? {
                return Some(());
            }
        }
    }

    /// Scans the text after a value; returns whether it was the outermost one or another one begins.
    fn close(&mut self, open: &mut Vec<u8>) -> Option<bool> {
        while let Some(&innermost) = open.last() {
            self.space();
            match (innermost, self.next()?) {
                (b'{', b'}') | (b'[', b']') => {
                    open.pop();
                }
                (b'{', b',') => return self.key().map(|_| false),
                (b'[', b',') => return Some(false),
                _ => return None,
            }
        }
        Some(true)
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        rest.iter().try_for_each(|&byte| self.eat(byte))
    }

    /// Scans the rest of a number: no leading zeros, digits on both sides of the point.
    fn number(&mut self, start: u8) -> Option<()> {
        let first = if start == b'-' { self.next()? } else { start };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.eat_if(b'.') {
            self.digit()?;
            self.digits();
        }
        if self.eat_if(b'e') || self.eat_if(b'E') {
            let _sign = self.eat_if(b'+') || self.eat_if(b'-');
            self.digit()?;
            self.digits();
        }
        // The check of the next byte refuses `01` and `1a`.
        Some(())
    }

    fn digit(&mut self) -> Option<()> {
        self.next()?.is_ascii_digit().then_some(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Scans a string after its opening quote, up to and including the closing one.
    fn string(&mut self) -> Option<()> {
        let mut marks = Marks::new(self.bytes, self.at);
        loop {
            let at = marks.next();
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Some(());
                }
                Some(b'\\') => match self.escape_len(at) {
                    Some(len) => marks.pass(at + len),
                    None => return self.give_up(at),
                },
                _ => return self.give_up(at),
            }
        }
    }

    /// Records whether a string is cut by the end of the text or is wrong before it.
    fn give_up(&mut self, at: usize) -> Option<()> {
        const LONGEST_ESCAPE: usize = 6;
        let is_cut = match self.bytes.get(at) {
            Some(b'\\') => at + LONGEST_ESCAPE > self.bytes.len(),
            other => other.is_none(),
        };
        self.at = if is_cut { self.bytes.len() } else { at };
        None
    }

    fn escape_len(&self, at: usize) -> Option<usize> {
        match self.bytes.get(at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
            b'u' => {
                let digits = self.bytes.get(at + 2..at + 6)?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(6)
            }
            _ => None,
        }
    }
}

/// Returns the text of a string between its quotes. A lone surrogate does not represent a character and becomes U+FFFD.
/// `text` is a string that the scanner has checked.
///
/// 64 bytes are copied at a time, even if fewer are needed: a copy of variable length for each run between two escapes
/// costs more.
pub(crate) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = vec![0; bytes.len() + BLOCK];
    let (mut from, mut to) = (0, 0);
    while let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) {
        let block = block_of(rest);
        if let Some(out) = out.get_mut(to..).and_then(<[u8]>::first_chunk_mut) {
            *out = block;
        }
        let plain = backslashes(&block).trailing_zeros() as usize;
        let plain = plain.min(rest.len());
        (from, to) = (from + plain, to + plain);
        let Some(escape) = rest.get(plain + 1).filter(|_| plain < BLOCK) else {
            if plain == 0 {
                break;
            }
            continue;
        };
        from += 2;
        let simple = match escape {
            b'n' => b'\n',
            b'b' => 8,
            b'f' => 12,
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unicode = text.get(from - 2..).and_then(unicode);
                let (character, pairs) = unicode.unwrap_or((char::REPLACEMENT_CHARACTER, 1));
                from += 6 * pairs - 2;
                let spelled = out.get_mut(to..to + character.len_utf8()).unwrap_or_default();
                to += character.encode_utf8(spelled).len();
                continue;
            }
            &other => other,
        };
        if let Some(out) = out.get_mut(to) {
            *out = simple;
        }
        to += 1;
    }
    out.truncate(to);
    // The output consists of whole runs of a valid text and whole characters.
    String::from_utf8(out).unwrap_or_default()
}

fn split(text: &str, at: Option<usize>) -> (&str, &str) {
    at.and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

/// Returns the character of the `\u` escape at the start of `text`, and the number of escapes that it takes; `None` if
/// it is not one.
fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let units = [Some(unit(0)?), unit(6)].into_iter().map_while(|unit| unit);
    Some(match char::decode_utf16(units).next()? {
        Ok(character) => (character, character.len_utf16()),
        Err(_) => (char::REPLACEMENT_CHARACTER, 1),
    })
}

/// Returns a JSON text with U+FFFD for lone surrogates, for parsers that refuse them.
pub(crate) fn mend_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (plain, escape) = split(rest, Some(at));
        out.push_str(plain);
        let (replacement, len) = match escape.as_bytes().get(1) {
            Some(b'u') => match unicode(escape) {
                Some((char::REPLACEMENT_CHARACTER, _)) => (Some("\\ufffd"), 6),
                Some((_, pairs)) => (None, 6 * pairs),
                None => (None, 2),
            },
            _ => (None, 2),
        };
        let (own, after) = split(escape, Some(len));
        out.push_str(replacement.unwrap_or(own));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain_len(bytes: &[u8]) -> usize {
        Marks::new(bytes, 0).next()
    }

    fn accepts(text: &str) -> bool {
        scan_object(text, &mut Vec::new()).is_some()
    }

    /// The verdict of `serde_json` when it ignores values, as an earlier reader did.
    fn accepted_by_serde(text: &str) -> bool {
        use serde::de::IgnoredAny;
        serde_json::from_str::<std::collections::BTreeMap<String, IgnoredAny>>(&mend_surrogates(
            text,
        ))
        .is_ok()
    }

    #[test]
    fn plain_runs_end_where_they_should() {
        for len in 0..100_usize {
            for special in [b'"', b'\\', 0, 0x1f, b'\n'] {
                for filler in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff, 0xa2, 0xdc] {
                    let mut bytes = vec![filler; len];
                    assert_eq!(plain_len(&bytes), len, "{filler}");
                    bytes.push(special);
                    bytes.extend([filler; 40]);
                    assert_eq!(plain_len(&bytes), len, "{filler} {special}");
                }
            }
        }
    }

    /// Every damaged byte in some lines gets the same verdict from `serde_json`.
    #[test]
    fn damage_is_seen_as_serde_json_sees_it() {
        let lines = [
            r#"{"text":"a\nb\u00e9\ud83d\ude00","n":[1,-0.5e+3,0],"m":{"a":null,"b":[]},"t":true}"#,
            r#" { "a" : { } , "b" : [ [ ] , { "c" : "" } ] , "c" : false , "d" : 10 } "#,
            "{}",
            r#"{"":"","\"\\\/\b\f\n\r\t":0}"#,
        ];
        let replacements = b"\"\\{}[]:,0 1-+.eEtfnu\n\x01a\x7f";
        for line in lines {
            assert!(accepts(line), "{line}");
            for at in 0..line.len() {
                let (left, right) = line.split_at(at);
                let cut = [left, &right[1..]].concat();
                assert_eq!(accepts(&cut), accepted_by_serde(&cut), "{cut}");
                assert_eq!(accepts(left), accepted_by_serde(left), "{left}");
                for &byte in replacements {
                    let other = char::from(byte).to_string();
                    for text in [[left, &other, &right[1..]], [left, &other, right]] {
                        let text = text.concat();
                        assert_eq!(accepts(&text), accepted_by_serde(&text), "{text:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_keys_of_a_cut_object_are_known() {
        let line = r#"{"id": 1, "meta": {"a": [1, "x\u00e9"]}, "text": "long \\ text", "z": 0}"#;
        let keys = |text: &str| {
            let mut entries = Vec::new();
            let beginning = scan_beginning(text, &mut entries);
            let names: Vec<_> =
                entries.into_iter().map(|entry| text[entry.key].to_owned()).collect();
            (beginning, names)
        };
        for end in 1..line.len() {
            let (beginning, names) = keys(&line[..end]);
            assert_eq!(beginning, Beginning::Cut, "{}", &line[..end]);
            let seen = ["id", "meta", "text", "z"].into_iter().filter(|key| {
                line.find(&format!("\"{key}\":")).is_some_and(|at| at + key.len() + 3 <= end)
            });
            assert!(names.iter().eq(seen), "{}: {names:?}", &line[..end]);
        }
        assert_eq!(keys(line).0, Beginning::Whole(line.len()));
        assert_eq!(keys("{} {").0, Beginning::Whole(2));
        for text in ["{x: 1} ", "{\"a\": \u{1} }", "[1] ", "text ", "{\"a\" 1}"] {
            assert_eq!(keys(text).0, Beginning::NotAnObject, "{text}");
        }
    }

    #[test]
    fn deep_nesting_takes_no_stack() {
        let deep = 1_000_000;
        let text = format!("{{\"a\":{}{}}}", "[".repeat(deep), "]".repeat(deep));
        assert!(accepts(&text));
        assert!(!accepts(&text[..text.len() - 2]));
        let objects = format!("{{\"a\":{}1{}}}", "{\"b\":".repeat(deep), "}".repeat(deep));
        assert!(accepts(&objects));
    }

    #[test]
    fn escapes_become_text_and_lone_surrogates_the_replacement() {
        let cases = [
            (r"a\n\t\r\b\f\/\\\u0000\u001f\u00e9", "a\n\t\r\u{8}\u{c}/\\\0\u{1f}é"),
            (r"\ud83d\ude00", "😀"),
            (r"\uD83D\uDE00!", "😀!"),
            (r"\ud83d", "\u{fffd}"),
            (r"x\ud83dy\ude00z", "x\u{fffd}y\u{fffd}z"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\ud83d\n\u0041", "\u{fffd}\nA"),
            (r"\ufffd\\ud83d", "\u{fffd}\\ud83d"),
        ];
        for (raw, expected) in cases {
            assert_eq!(unescape(raw), expected, "{raw}");
            let mended = format!("\"{}\"", mend_surrogates(raw));
            assert_eq!(serde_json::from_str::<String>(&mended).unwrap(), expected, "{mended}");
        }
    }
}
