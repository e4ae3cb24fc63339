//! One JSON line to its text, without building a value for the rest of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::document::RecordFault;

/// The string in `field` of the JSON object on `line`. Of a repeated field the last one counts,
/// as in most JSON readers.
pub(crate) fn text_of(line: &str, field: &str) -> Result<String, RecordFault> {
    let mut parser = serde_json::Deserializer::from_str(line);
    let found = parser
        .deserialize_any(ObjectVisitor { field })
        .and_then(|found| parser.end().map(|()| found))
        .map_err(|error| RecordFault::NotJson { got: not_json(line, &error) })?;
    match found {
        Some(FieldValue::Text(text)) => Ok(text),
        Some(FieldValue::Other(got)) => {
            Err(RecordFault::NotAString { field: field.to_owned(), got })
        }
        None => Err(RecordFault::NoField { expected: field.to_owned() }),
    }
}

/// The parser's words, less its "line 1", which is always the line at hand.
fn not_json(line: &str, error: &serde_json::Error) -> String {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    let words = words.split(", expected a JSON object").next().unwrap_or_default();
    let start: String = line.trim_start().chars().take(24).collect();
    format!("\"{}\" ({words}, column {})", start.escape_debug(), error.column())
}

enum FieldValue {
    Text(String),
    Other(&'static str),
}

struct ObjectVisitor<'f> {
    field: &'f str,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Option<FieldValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == self.field {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A key, borrowed from the line unless it holds escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = FieldValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<FieldValue, E> {
        Ok(FieldValue::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<FieldValue, E> {
        Ok(FieldValue::Text(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<FieldValue, E> {
        Ok(FieldValue::Other("a boolean"))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<FieldValue, E> {
        Ok(FieldValue::Other("a number"))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<FieldValue, E> {
        Ok(FieldValue::Other("a number"))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<FieldValue, E> {
        Ok(FieldValue::Other("a number"))
    }

    fn visit_unit<E: de::Error>(self) -> Result<FieldValue, E> {
        Ok(FieldValue::Other("null"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other("an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FieldValue, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other("a list"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_found_among_other_fields() {
        let lines = [
            r#"{"text":"a"}"#,
            r#" { "meta" : {"text":"no","n":[1,{"a":null}]}, "text" : "a" , "x":1e3} "#,
            r#"{"te\u0078t":"a"}"#,
            r#"{"text":1,"text":"a"}"#,
        ];
        for line in lines {
            assert_eq!(text_of(line, "text"), Ok("a".to_owned()), "{line}");
        }
        assert_eq!(text_of(r#"{"text":"\u00e9\n\ud83d\ude00"}"#, "text"), Ok("é\n😀".to_owned()));
    }

    #[test]
    fn every_other_line_says_what_it_is() {
        let cases = [
            (r#"{"text":1}"#, "expected a string in \"text\", got a number"),
            (r#"{"text":null}"#, "expected a string in \"text\", got null"),
            (r#"{"text":["a"]}"#, "expected a string in \"text\", got a list"),
            (r#"{"text":{"a":"b"}}"#, "expected a string in \"text\", got an object"),
            (r#"{"text":true}"#, "expected a string in \"text\", got a boolean"),
            (r#"{"content":"a"}"#, "the field \"text\" is missing"),
            ("{}", "the field \"text\" is missing"),
        ];
        for (line, expected) in cases {
            assert_eq!(text_of(line, "text").unwrap_err().to_string(), expected);
        }
        for line in ["", "hello", "[1]", "\"text\"", "12", "null", r#"{"text":"a"#, "{} {}"] {
            let fault = text_of(line, "text").unwrap_err();
            assert!(matches!(fault, RecordFault::NotJson { .. }), "{line}: {fault}");
            assert!(fault.to_string().starts_with("expected a JSON object, got "), "{fault}");
        }
    }
}
