//! A JSON parser with the behavior of Python's `json.loads`.

use crate::values::python_text::MAX_NESTING;
use crate::values::value::{Dict, Value};

/// Reads a JSON text as a value. Its strings count as foreign to every template, integers are exact, and the last value
/// of a repeated key counts.
///
/// # Errors
/// The text is not one JSON value; the message names the byte.
///
/// ```
/// let value = mixdown_jinja::from_json("[1, 2]").unwrap();
/// assert_eq!(value.as_items().unwrap().len(), 2);
/// assert!(mixdown_jinja::from_json("[1,").is_err());
/// ```
pub fn parse(json: &str) -> Result<Value, String> {
    let mut parser = JsonParser { json, at: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at == json.len() { Ok(value) } else { parser.bad("the end of the JSON") }
}

struct JsonParser<'j> {
    json: &'j str,
    at: usize,
}

impl JsonParser<'_> {
    fn rest(&self) -> &str {
        self.json.get(self.at..).unwrap_or_default()
    }

    fn bad<T>(&self, expected: &str) -> Result<T, String> {
        let got = self.rest().chars().next();
        let got = got.map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"));
        Err(format!("byte {}: expected {expected}, got {got}", self.at))
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest().starts_with(token);
        self.at += if taken { token.len() } else { 0 };
        taken
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_NESTING {
            return Err(format!(
                "byte {}: more than {MAX_NESTING} values within each other",
                self.at
            ));
        }
        self.skip_space();
        if self.take("{") {
            return self.object(depth);
        }
        if self.take("[") {
            return self.array(depth);
        }
        if self.rest().starts_with('"') {
            return Ok(Value::foreign(&self.string()?));
        }
        let words = [
            ("null", Value::None),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Float(f64::NAN)),
            ("Infinity", Value::Float(f64::INFINITY)),
            ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        ];
        for (word, value) in words {
            if self.take(word) {
                return Ok(value);
            }
        }
        self.number()
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        self.skip_space();
        if self.take("]") {
            return Ok(Value::list(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take("]") {
                return Ok(Value::list(items));
            }
            if !self.take(",") {
                return self.bad("',' or ']'");
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let mut dict = Dict::default();
        self.skip_space();
        if self.take("}") {
            return Ok(Value::dict([]));
        }
        loop {
            self.skip_space();
            if !self.rest().starts_with('"') {
                return self.bad("a key in double quotes");
            }
            let key = Value::foreign(&self.string()?);
            self.skip_space();
            if !self.take(":") {
                return self.bad("':'");
            }
            dict.insert(key, self.value(depth + 1)?);
            self.skip_space();
            if self.take("}") {
                return Ok(Value::Dict(dict.into()));
            }
            if !self.take(",") {
                return self.bad("',' or '}'");
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let Some(plain) = rest.find(['"', '\\']) else {
                self.at = self.json.len();
                return self.bad("'\"' behind a string");
            };
            let start = rest.get(..plain).unwrap_or_default();
            if start.contains(|c: char| c < ' ') {
                return self.bad("a string without control characters");
            }
            out.push_str(start);
            self.at += plain;
            if self.take("\"") {
                return Ok(out);
            }
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        for (token, c) in [
            ("\\n", '\n'),
            ("\\\"", '"'),
            ("\\\\", '\\'),
            ("\\/", '/'),
            ("\\t", '\t'),
            ("\\r", '\r'),
            ("\\b", '\u{8}'),
            ("\\f", '\u{c}'),
        ] {
            if self.take(token) {
                return Ok(c);
            }
        }
        let Some(high) = self.unit() else { return self.bad("an escape sequence of JSON") };
        let mut units = vec![high];
        if (0xd800..0xdc00).contains(&high) {
            let before = self.at;
            match self.unit() {
                Some(low) if (0xdc00..0xe000).contains(&low) => units.push(low),
                _ => self.at = before,
            }
        }
        let decoded = char::decode_utf16(units).next().and_then(Result::ok);
        // A lone surrogate: UTF-8 cannot encode it.
        Ok(decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Reads the UTF-16 unit after `\u`.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.rest().strip_prefix("\\u")?.get(..4)?;
        let unit = u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        self.at += 6;
        Some(unit)
    }

    fn number(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        let len = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let text = rest.get(..len.unwrap_or(rest.len())).unwrap_or_default().to_owned();
        let digits = text.strip_prefix('-').unwrap_or(&text);
        if !digits.starts_with(|c: char| c.is_ascii_digit())
            || (digits.len() > 1
                && digits.starts_with('0')
                && !digits.starts_with(['0', '.', 'e', 'E']))
        {
            return self.bad("a JSON value");
        }
        let value = if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let wide = |_| format!("byte {}: an integer of more than 127 bits", self.at);
            Value::Int(text.parse().map_err(wide)?)
        } else {
            match text.parse() {
                Ok(number) => Value::Float(number),
                Err(_) => return self.bad("a number"),
            }
        };
        self.at += text.len();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_exactly() {
        let json = " {\"a\": [1, -2.5e-3, 12345678901234567890123, true, null, {}, []], \
                    \"b\": \"\\u00e9\\n\\ud83d\\ude00\\ud800x\", \"a\": 1.0} ";
        let value = parse(json).unwrap();
        assert_eq!(format!("{value:?}"), "{'a': 1.0, 'b': 'é\\n😀\u{fffd}x'}");
        let value = parse("[1, -2.5e-3, 12345678901234567890123, NaN, {\"k\":[]}]").unwrap();
        assert_eq!(format!("{value:?}"), "[1, -0.0025, 12345678901234567890123, nan, {'k': []}]");
    }

    #[test]
    fn what_is_no_json_says_where() {
        for (json, expected) in [
            ("", "byte 0: expected a JSON value, got the end"),
            ("[1 2]", "byte 3: expected ',' or ']', got '2'"),
            ("{'a': 1}", "byte 1: expected a key in double quotes, got '\\''"),
            ("\"a", "byte 2: expected '\"' behind a string, got the end"),
            ("1 x", "byte 2: expected the end of the JSON, got 'x'"),
            ("\"\\x\"", "byte 1: expected an escape sequence of JSON, got '\\\\'"),
        ] {
            assert_eq!(parse(json).unwrap_err(), expected, "{json}");
        }
        assert!(parse(&"[".repeat(5000)).unwrap_err().contains("200"));
    }
}
