//! Values as Python's `json.dumps` writes them.

use crate::error::{Result, fail};
use crate::run::call::Arguments;
use crate::values::number::repr_float;
use crate::values::python_text::MAX_NESTING;
use crate::values::text::{Origin, Text, TextBuilder};
use crate::values::value::Value;

/// The `tojson` filter, with the arguments that `transformers` gives it.
pub(crate) fn tojson(value: &Value, arguments: Arguments) -> Result<Text> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sorted] = arguments.bind("tojson", names)?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.as_str().to_owned()),
        Some(other) => match other.as_int() {
            Some(spaces) => Some(" ".repeat(usize::try_from(spaces).unwrap_or(0).min(64))),
            None => return fail("tojson: indent is neither a number nor a string"),
        },
    };
    let default = (if indent.is_some() { "," } else { ", " }).to_owned();
    let (item, key) = match &separators {
        None | Some(Value::None) => (default, ": ".to_owned()),
        Some(separators) => match separators.as_items() {
            Some([Value::Str(item), Value::Str(key)]) => {
                (item.as_str().to_owned(), key.as_str().to_owned())
            }
            _ => return fail("tojson: separators are not two strings"),
        },
    };
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let style = Style { ascii: is_true(ascii), sorted: is_true(sorted), indent, item, key };
    let mut out = TextBuilder::default();
    write(&mut out, value, &style, 0)?;
    out.finish()
}

struct Style {
    ascii: bool,
    sorted: bool,
    /// The indentation of one level, if every item has its own line.
    indent: Option<String>,
    item: String,
    key: String,
}

impl Style {
    fn new_line(&self, out: &mut TextBuilder, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push_own("\n");
            out.push_repeated(indent, depth, Origin::default());
        }
    }
}

fn write(out: &mut TextBuilder, value: &Value, style: &Style, depth: usize) -> Result<()> {
    if depth > MAX_NESTING {
        return fail(format!("tojson: more than {MAX_NESTING} values within each other"));
    }
    match value {
        Value::Str(text) => write_string(out, text, style.ascii),
        Value::List(items) | Value::Tuple(items) => {
            let items = items.iter().map(|item| (None, item));
            write_items(out, ('[', ']'), items, style, depth)?;
        }
        Value::Dict(dict) => {
            let mut items = Vec::with_capacity(dict.entries().len());
            for (key, value) in dict.entries() {
                items.push((Some(key_text(key)?), value));
            }
            if style.sorted {
                items.sort_by(|(a, _), (b, _)| {
                    a.as_ref().map(Text::as_str).cmp(&b.as_ref().map(Text::as_str))
                });
            }
            write_items(out, ('{', '}'), items.into_iter(), style, depth)?;
        }
        _ => match scalar(value) {
            Some(text) => out.push_own(&text),
            None => {
                let name = value.type_name();
                return fail(format!("Object of type {name} is not JSON serializable"));
            }
        },
    }
    Ok(())
}

/// Returns the JSON of a value that is not a string and has no items.
fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::None => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => "NaN".to_owned(),
        Value::Float(number) if number.is_infinite() => {
            if *number < 0.0 { "-Infinity" } else { "Infinity" }.to_owned()
        }
        Value::Float(number) => repr_float(*number),
        _ => return None,
    })
}

fn write_items<'v>(
    out: &mut TextBuilder,
    (open, close): (char, char),
    items: impl ExactSizeIterator<Item = (Option<Text>, &'v Value)>,
    style: &Style,
    depth: usize,
) -> Result<()> {
    out.push_char(open, Origin::default());
    let any = items.len() > 0;
    for (place, (key, item)) in items.enumerate() {
        if place > 0 {
            out.push_own(&style.item);
        }
        style.new_line(out, depth + 1);
        if let Some(key) = key {
            write_string(out, &key, style.ascii);
            out.push_own(&style.key);
        }
        write(out, item, style, depth + 1)?;
    }
    if any {
        style.new_line(out, depth);
    }
    out.push_char(close, Origin::default());
    Ok(())
}

fn key_text(key: &Value) -> Result<Text> {
    match key {
        Value::Str(text) => Ok(text.clone()),
        _ => scalar(key).map(|text| Text::from(text.as_str())).ok_or_else(|| {
            let name = key.type_name();
            crate::error::Error::new(format!(
                "keys must be str, int, float, bool or None, not {name}"
            ))
        }),
    }
}

fn write_string(out: &mut TextBuilder, text: &Text, ascii: bool) {
    out.push_char('"', Origin::default());
    for (c, origin) in text.chars() {
        match c {
            '"' => out.push_str("\\\"", origin),
            '\\' => out.push_str("\\\\", origin),
            '\n' => out.push_str("\\n", origin),
            '\r' => out.push_str("\\r", origin),
            '\t' => out.push_str("\\t", origin),
            '\u{8}' => out.push_str("\\b", origin),
            '\u{c}' => out.push_str("\\f", origin),
            c if c < ' ' || (ascii && !(' '..='~').contains(&c)) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"), origin);
                }
            }
            c => out.push_char(c, origin),
        }
    }
    out.push_char('"', Origin::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumps(json: &str, options: &[(&str, Value)]) -> Result<String> {
        let named = options.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let value = crate::values::json::parse(json).unwrap();
        let text = tojson(&value, Arguments { positional: Vec::new(), named })?;
        Ok(text.as_str().to_owned())
    }

    /// The expected texts are what Python 3.11's json.dumps prints.
    #[test]
    fn texts_are_pythons() {
        let json = r#"{"b":[1,-2.50,1e16,1e-5,123456789.125,0.0001,1e15,-0.0],"a":{"é\"\\\n\u0001😀":null,"t":true},"e":[],"o":{}}"#;
        let expected = r#"{"b": [1, -2.5, 1e+16, 1e-05, 123456789.125, 0.0001, 1000000000000000.0, -0.0], "a": {"é\"\\\n\u0001😀": null, "t": true}, "e": [], "o": {}}"#;
        assert_eq!(dumps(json, &[]).unwrap(), expected);
        let ascii = dumps(json, &[("ensure_ascii", Value::Bool(true))]).unwrap();
        assert_eq!(ascii, expected.replace('é', "\\u00e9").replace('😀', "\\ud83d\\ude00"));
        let separators = Value::tuple(vec![Value::own(","), Value::own(":")]);
        let options = [("separators", separators), ("sort_keys", Value::Bool(true))];
        assert_eq!(dumps(r#"{"b":1,"a":[1,2]}"#, &options).unwrap(), r#"{"a":[1,2],"b":1}"#);
        let indented = dumps(r#"{"b":[1,{}],"a":[]}"#, &[("indent", Value::Int(2))]).unwrap();
        assert_eq!(indented, "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n}");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert!(tojson(&Value::undefined("x"), Arguments::default()).is_err());
        assert!(dumps("1", &[("width", Value::Int(1))]).is_err());
        let deep = (0..600).fold(Value::Int(1), |inner, _| Value::list(vec![inner]));
        assert!(tojson(&deep, Arguments::default()).unwrap_err().to_string().contains("200"));
    }
}
