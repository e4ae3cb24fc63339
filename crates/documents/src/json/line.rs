//! A parser of the requested fields of one JSON line, in one pass.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use crate::json::scan::{Entry, mend_surrogates, scan_object, unescape};
use crate::reading::document::RecordFault;

/// A JSON object that was checked completely.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonLine<'l> {
    line: &'l str,
    entries: &'l [Entry],
}

impl<'l> JsonLine<'l> {
    /// Checks the line; `entries` is a buffer that is reused for every line.
    pub(crate) fn parse(line: &'l str, entries: &'l mut Vec<Entry>) -> Result<Self, RecordFault> {
        match scan_object(line, entries) {
            Some(()) => Ok(Self { line, entries }),
            None => Err(RecordFault::NotJson { got: not_json(line) }),
        }
    }

    /// Returns its keys, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let key = |entry: &Entry| self.line.get(entry.key.clone()).map(unescape);
        self.entries.iter().filter_map(key).collect()
    }

    /// Returns the JSON of `field`: the key of that exact name, or else its parts between dots as nested keys. The last
    /// value of a repeated key counts, as in most JSON readers.
    pub(crate) fn find(&self, field: &str) -> Result<Option<&'l str>, RecordFault> {
        let (mut object, mut entries) = (self.line, Cow::Borrowed(self.entries));
        let mut rest = field;
        loop {
            if let Some(value) = last(object, &entries, rest) {
                return Ok(Some(value));
            }
            let Some((head, tail)) = rest.split_once('.') else { return Ok(None) };
            let Some(inner) = last(object, &entries, head) else { return Ok(None) };
            let path = field.get(..field.len() - tail.len() - 1).unwrap_or_default();
            let mut below = Vec::new();
            scan_object(inner, &mut below).ok_or_else(|| RecordFault::NotAnObject {
                field: path.to_owned(),
                got: kind(inner),
            })?;
            (object, entries, rest) = (inner, Cow::Owned(below), tail);
        }
    }
}

/// Returns the last value of a key.
fn last<'l>(object: &'l str, entries: &[Entry], key: &str) -> Option<&'l str> {
    let found = entries.iter().rev().find(|entry| is_key(object, entry, key))?;
    object.get(found.value.clone())
}

fn is_key(object: &str, entry: &Entry, key: &str) -> bool {
    let own = object.get(entry.key.clone()).unwrap_or_default();
    own == key || (own.contains('\\') && unescape(own) == key)
}

/// Returns the value of a JSON string, if it is one.
pub(crate) fn string_of(json: &str) -> Option<String> {
    json.strip_prefix('"')?.strip_suffix('"').map(unescape)
}

/// Returns the kind of a checked JSON value, for messages.
pub(crate) fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Returns why a line is not one JSON object, in the words of a more informative parser.
fn not_json(line: &str) -> String {
    let mended = mend_surrogates(line);
    match serde_json::from_str::<BTreeMap<String, IgnoredAny>>(&mended) {
        Ok(_) => start_of(line),
        Err(error) => words(line, &error),
    }
}

/// Returns the parser's message without its "line 1", which is always the current line.
fn words(line: &str, error: &serde_json::Error) -> String {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    let words = words.split(", expected a ").next().unwrap_or_default();
    format!("{} ({words}, column {})", start_of(line), error.column())
}

fn start_of(line: &str) -> String {
    let start: String = line.trim_start().chars().take(24).collect();
    format!("\"{}\"", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(line: &str, field: &str) -> Result<Option<String>, RecordFault> {
        let mut entries = Vec::new();
        let found = JsonLine::parse(line, &mut entries)?.find(field)?;
        Ok(found.map(str::to_owned))
    }

    fn text(line: &str, field: &str) -> String {
        string_of(&find(line, field).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn the_text_is_found_among_other_fields() {
        let lines = [
            r#"{"text":"a"}"#,
            r#" { "meta" : {"text":"no","n":[1,{"a":null}]}, "text" : "a" , "x":1e3} "#,
            r#"{"te\u0078t":"a"}"#,
            r#"{"text":1,"text":"a"}"#,
        ];
        for line in lines {
            assert_eq!(text(line, "text"), "a", "{line}");
        }
        assert_eq!(text(r#"{"text":"\u00e9\n\ud83d\ude00"}"#, "text"), "é\n😀");
    }

    #[test]
    fn dots_lead_into_objects_and_a_key_of_the_whole_name_wins() {
        let line =
            r#"{"a":{"b":{"c":"deep"},"b.d":"half"},"a.b.c":"whole","x":{"y":1},"x":{"z":2}}"#;
        assert_eq!(text(line, "a.b.c"), "whole");
        assert_eq!(text(line, "a.b.d"), "half");
        assert_eq!(text(&line.replace("\"a.b.c\"", "\"other\""), "a.b.c"), "deep");
        assert_eq!(find(line, "x.y"), Ok(None));
        assert_eq!(find(line, "x.z"), Ok(Some("2".to_owned())));
        assert_eq!(find(line, "a.b.x"), Ok(None));
        assert_eq!(find(line, "."), Ok(None));
        let error = find(r#"{"a":{"b":7}}"#, "a.b.c").unwrap_err();
        assert_eq!(error.to_string(), "expected an object in \"a.b\", got a number");
    }

    #[test]
    fn a_line_that_is_no_object_says_what_it_is() {
        for line in ["", "hello", "[1]", "\"text\"", "12", "null", r#"{"text":"a"#, "{} {}"] {
            let fault = find(line, "text").unwrap_err();
            assert!(matches!(fault, RecordFault::NotJson { .. }), "{line}: {fault}");
            assert!(fault.to_string().starts_with("expected a JSON object, got \""), "{fault}");
        }
        let fault = find("{\"text\":\"a\u{1}\"}", "text").unwrap_err().to_string();
        assert!(fault.contains("control character") && fault.ends_with("column 10)"), "{fault}");
        let fault = find(r#"{"text":"a","b":01}"#, "text").unwrap_err().to_string();
        assert!(fault.ends_with("(invalid number, column 18)"), "{fault}");
    }
}
