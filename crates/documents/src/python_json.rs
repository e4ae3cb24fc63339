//! Values as Python's `json.dumps` writes them: what chat templates get from `tojson`.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// The `tojson` filter with the arguments that templates give it in Python.
pub(crate) fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let style = Style::new(&options)?;
    let mut out = String::new();
    write(&mut out, value, &style, 0)?;
    Ok(out)
}

/// Nesting beyond this is refused, as in Python.
const MAX_DEPTH: usize = 500;

struct Style {
    ascii: bool,
    sorted: bool,
    /// What stands for one level, where every item has a line of its own.
    indent: Option<String>,
    item: String,
    key: String,
}

impl Style {
    fn new(options: &Kwargs) -> Result<Self, Error> {
        let indent = options.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none());
        let indent = indent.map(|indent| match (indent.as_str(), indent.as_i64()) {
            (Some(text), _) => Ok(text.to_owned()),
            (None, Some(spaces)) => Ok(" ".repeat(usize::try_from(spaces).unwrap_or(0).min(64))),
            (None, None) => Err(invalid("indent is neither a number nor a string".to_owned())),
        });
        let indent = indent.transpose()?;
        let default = |item: &str| (item.to_owned(), ": ".to_owned());
        let separators = options.get::<Option<Vec<String>>>("separators")?;
        let (item, key) = match separators.as_deref() {
            Some([item, key]) => (item.clone(), key.clone()),
            Some(_) => return Err(invalid("separators are not two strings".to_owned())),
            None => default(if indent.is_some() { "," } else { ", " }),
        };
        let flag = |name| options.get::<Option<bool>>(name).map(Option::unwrap_or_default);
        let style =
            Self { ascii: flag("ensure_ascii")?, sorted: flag("sort_keys")?, indent, item, key };
        options.assert_all_used()?;
        Ok(style)
    }

    fn new_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }
}

fn write(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("more than {MAX_DEPTH} values within each other")));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(out, value),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| (None, item)).collect();
            return write_items(out, ('[', ']'), items, style, depth);
        }
        ValueKind::Map => {
            let mut items = Vec::new();
            for key in value.try_iter()? {
                items.push((Some(key_text(&key)?), value.get_item(&key)?));
            }
            if style.sorted {
                items.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            return write_items(out, ('{', '}'), items, style, depth);
        }
        kind => return Err(invalid(format!("a value of type {kind} is no JSON"))),
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    (open, close): (char, char),
    items: Vec<(Option<String>, Value)>,
    style: &Style,
    depth: usize,
) -> Result<(), Error> {
    out.push(open);
    let any = !items.is_empty();
    for (place, (key, item)) in items.into_iter().enumerate() {
        if place > 0 {
            out.push_str(&style.item);
        }
        style.new_line(out, depth + 1);
        if let Some(key) = key {
            write_string(out, &key, style.ascii);
            out.push_str(&style.key);
        }
        write(out, &item, style, depth + 1)?;
    }
    if any {
        style.new_line(out, depth);
    }
    out.push(close);
    Ok(())
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => {
            let mut text = String::new();
            write_number(&mut text, key);
            Ok(text)
        }
        kind => Err(invalid(format!("a key of type {kind} is no JSON"))),
    }
}

fn write_number(out: &mut String, value: &Value) {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => write_float(out, number),
        _ => out.push_str(&value.to_string()),
    }
}

/// As Python's `repr`: the shortest digits, an exponent below 1e-4 and from 1e16 on.
fn write_float(out: &mut String, number: f64) {
    if !number.is_finite() {
        let sign = if number < 0.0 { "-" } else { "" };
        out.push_str(&if number.is_nan() { "NaN".to_owned() } else { format!("{sign}Infinity") });
        return;
    }
    let size = number.abs();
    if size.to_bits() == 0 || (1e-4..1e16).contains(&size) {
        // Infallible: a String takes everything.
        write!(out, "{number:?}").unwrap_or_default();
        return;
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) =
        exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    write!(out, "{digits}e{sign}{exponent:0>2}").unwrap_or_default();
}

fn write_string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && !(' '..='~').contains(&c)) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}").unwrap_or_default();
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumps(json: &str, options: &[(&str, Value)]) -> String {
        let value: Value = serde_json::from_str(json).unwrap();
        let options = options.iter().map(|(name, value)| (*name, value.clone()));
        tojson(&value, options.collect()).unwrap()
    }

    /// The expected texts are what Python 3.11's json.dumps prints.
    #[test]
    fn texts_are_pythons() {
        let json = r#"{"b":[1,-2.50,1e16,1e-5,123456789.125,0.0001,1e15,-0.0],"a":{"é\"\\\n\u0001😀":null,"t":true},"e":[],"o":{}}"#;
        let expected = r#"{"b": [1, -2.5, 1e+16, 1e-05, 123456789.125, 0.0001, 1000000000000000.0, -0.0], "a": {"é\"\\\n\u0001😀": null, "t": true}, "e": [], "o": {}}"#;
        assert_eq!(dumps(json, &[]), expected);
        let ascii = dumps(json, &[("ensure_ascii", true.into())]);
        assert_eq!(ascii, expected.replace('é', "\\u00e9").replace('😀', "\\ud83d\\ude00"));
        let options = [("separators", Value::from(vec![",", ":"])), ("sort_keys", true.into())];
        assert_eq!(dumps(r#"{"b":1,"a":[1,2]}"#, &options), r#"{"a":[1,2],"b":1}"#);
        let indented = dumps(r#"{"b":[1,{}],"a":[]}"#, &[("indent", 2.into())]);
        assert_eq!(indented, "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n}");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let refused = |value: &Value| tojson(value, Kwargs::from_iter::<[(String, Value); 0]>([]));
        assert!(refused(&Value::UNDEFINED).is_err());
        let options: Kwargs = [("width", Value::from(1))].into_iter().collect();
        assert!(tojson(&Value::from(1), options).is_err());
        let deep = (0..600).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        assert!(refused(&deep).unwrap_err().to_string().contains("500"));
    }
}
