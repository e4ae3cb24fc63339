//! Python's `%` operator, which formats values.

use std::iter::Peekable;
use std::str::CharIndices;

use crate::error::{Error, Result, fail};
use crate::strings::str_format::{float_digits, grouped_general};
use crate::values::number::{as_float, integer_of};
use crate::values::python_text::{repr, str_of};
use crate::values::text::{MAX_TEXT_BYTES, Origin, Text, TextBuilder};
use crate::values::value::Value;

/// `format % values`: takes a tuple's items by position, a dictionary's by key.
pub(crate) fn percent(format: &Text, values: &Value) -> Result<Text> {
    let mut source = Values { values, next: 0 };
    let own = format.as_str();
    let mut chars = own.char_indices().peekable();
    let mut out = TextBuilder::default();
    while let Some((at, c)) = chars.next() {
        if c == '%' {
            let spec = PrintfSpec::parse(own, &mut chars, &mut source)?;
            spec.write(&mut out, &mut source)?;
        } else {
            out.push_char(c, format.origin_at(at));
        }
    }
    source.check_all_used()?;
    out.finish()
}

/// The values that a format consumes.
struct Values<'v> {
    values: &'v Value,
    next: usize,
}

impl Values<'_> {
    fn next(&mut self) -> Result<Value> {
        let value = match self.values {
            Value::Tuple(items) => items.get(self.next).cloned(),
            other => (self.next == 0).then(|| other.clone()),
        };
        self.next += 1;
        value.ok_or_else(|| Error::new("not enough arguments for format string"))
    }

    fn named(&mut self, name: &str) -> Result<Value> {
        let Value::Dict(dict) = self.values else { return fail("format requires a mapping") };
        self.next = 1;
        dict.get_str(name).cloned().ok_or_else(|| Error::new(format!("no key '{name}'")))
    }

    fn check_all_used(&self) -> Result<()> {
        let left = match self.values {
            Value::Tuple(items) => self.next < items.len(),
            // Python does not require that these are used up.
            Value::Dict(_) | Value::List(_) => false,
            _ => self.next == 0,
        };
        if left { fail("not all arguments converted during string formatting") } else { Ok(()) }
    }
}

#[derive(Default)]
struct PrintfSpec {
    key: Option<String>,
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl PrintfSpec {
    /// Parses the conversion after a percent sign.
    fn parse(
        own: &str,
        chars: &mut Peekable<CharIndices<'_>>,
        values: &mut Values<'_>,
    ) -> Result<Self> {
        let mut spec = Self::default();
        if let Some((at, _)) = chars.next_if(|(_, c)| *c == '(') {
            let mut open = 1;
            let end = chars.by_ref().find(|(_, c)| {
                open += i32::from(*c == '(') - i32::from(*c == ')');
                open == 0
            });
            let Some((end, _)) = end else { return fail("incomplete format key") };
            spec.key = own.get(at + 1..end).map(str::to_owned);
        }
        while let Some((_, flag)) = chars.next_if(|(_, c)| matches!(c, '-' | '0' | '+' | ' ' | '#'))
        {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                _ => spec.alternate = true,
            }
        }
        if let Some(width) = number(chars, values)? {
            spec.left |= width < 0;
            spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        }
        if chars.next_if(|(_, c)| *c == '.').is_some() {
            let precision = number(chars, values)?.unwrap_or(0).max(0);
            spec.precision = Some(usize::try_from(precision).unwrap_or(usize::MAX));
        }
        while chars.next_if(|(_, c)| matches!(c, 'h' | 'l' | 'L')).is_some() {}
        match chars.next() {
            Some((_, conversion)) => spec.conversion = conversion,
            None => return fail("incomplete format"),
        }
        if spec.width.max(spec.precision.unwrap_or(0)) > MAX_TEXT_BYTES {
            return fail(format!("expected a width of at most {MAX_TEXT_BYTES}, got more"));
        }
        Ok(spec)
    }

    fn write(&self, out: &mut TextBuilder, values: &mut Values<'_>) -> Result<()> {
        if self.conversion == '%' {
            out.push_own("%");
            return Ok(());
        }
        let value = match &self.key {
            Some(key) => values.named(key)?,
            None => values.next()?,
        };
        let text = match self.conversion {
            's' => self.cut(str_of(&value)?),
            'r' | 'a' => self.cut(repr(&value)?),
            'c' => match (&value, value.as_int()) {
                (Value::Str(text), _) if text.as_str().chars().count() == 1 => text.clone(),
                (_, Some(code)) => {
                    let c = u32::try_from(code).ok().and_then(char::from_u32);
                    let c = c.ok_or_else(|| Error::new("%c arg not in range(0x110000)"))?;
                    Text::from(c.to_string().as_str())
                }
                _ => return fail("%c requires an int or a unicode character"),
            },
            'd' | 'i' | 'u' | 'o' | 'x' | 'X' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let digits = self.number(&value)?;
                return self.pad_number(out, &digits);
            }
            other => return fail(format!("unsupported format character '{other}'")),
        };
        let missing = self.width.saturating_sub(text.as_str().chars().count());
        if !self.left {
            out.push_repeated(" ", missing, Origin::default());
        }
        out.push(&text);
        if self.left {
            out.push_repeated(" ", missing, Origin::default());
        }
        Ok(())
    }

    fn cut(&self, text: Text) -> Text {
        let end = self.precision.and_then(|len| text.as_str().char_indices().nth(len));
        end.map_or_else(|| text.clone(), |(end, _)| text.slice(0..end))
    }

    /// Formats a number with its sign, without padding.
    fn number(&self, value: &Value) -> Result<String> {
        let is_integer = matches!(self.conversion, 'd' | 'i' | 'u' | 'o' | 'x' | 'X');
        let (negative, digits) = if is_integer {
            let number = match (value, self.conversion) {
                (Value::Float(number), 'd' | 'i' | 'u') => integer_of(*number)?,
                _ => value.as_int().ok_or_else(|| self.wrong(value, "an integer"))?,
            };
            let size = number.unsigned_abs();
            let (prefix, digits) = match self.conversion {
                'o' => ("0o", format!("{size:o}")),
                'x' => ("0x", format!("{size:x}")),
                'X' => ("0X", format!("{size:X}")),
                _ => ("", size.to_string()),
            };
            let zeros = self.precision.unwrap_or(0).saturating_sub(digits.len());
            let prefix = if self.alternate { prefix } else { "" };
            (number < 0, format!("{prefix}{}{digits}", "0".repeat(zeros)))
        } else {
            let number = as_float(value).ok_or_else(|| self.wrong(value, "a real number"))?;
            let kind = self.conversion.to_ascii_lowercase();
            let precision = self.precision.unwrap_or(6);
            let digits = if kind == 'g' {
                grouped_general(number.abs(), precision, self.alternate)
            } else {
                float_digits(number.abs(), kind, precision)
            };
            let upper = self.conversion.is_ascii_uppercase();
            (number.is_sign_negative(), if upper { digits.to_uppercase() } else { digits })
        };
        let sign = match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (.., true) => " ",
            _ => "",
        };
        Ok(format!("{sign}{digits}"))
    }

    fn wrong(&self, value: &Value, expected: &str) -> Error {
        let (conversion, got) = (self.conversion, value.type_name());
        Error::new(format!("%{conversion} format: {expected} is required, not {got}"))
    }

    fn pad_number(&self, out: &mut TextBuilder, digits: &str) -> Result<()> {
        let missing = self.width.saturating_sub(digits.len());
        let zeros = self.zero && !self.left;
        if !self.left && !zeros {
            out.push_repeated(" ", missing, Origin::default());
        }
        let sign = usize::from(digits.starts_with(['-', '+', ' ']));
        let (sign, digits) = digits.split_at(sign);
        out.push_own(sign);
        if zeros {
            out.push_repeated("0", missing, Origin::default());
        }
        out.push_own(digits);
        if self.left {
            out.push_repeated(" ", missing, Origin::default());
        }
        Ok(())
    }
}

/// Reads a width or precision: digits, or a value in their place.
fn number(chars: &mut Peekable<CharIndices<'_>>, values: &mut Values<'_>) -> Result<Option<i128>> {
    if chars.next_if(|(_, c)| *c == '*').is_some() {
        let value = values.next()?;
        return value.as_int().map(Some).ok_or_else(|| Error::new("* wants int"));
    }
    let mut number: Option<i128> = None;
    while let Some((_, digit)) = chars.next_if(|(_, c)| c.is_ascii_digit()) {
        let digit = i128::from(digit.to_digit(10).unwrap_or(0));
        number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected texts are what Python 3.11 prints.
    #[test]
    fn formats_are_pythons() {
        let values = || {
            let a = vec![Value::foreign("a"), Value::Int(-5), Value::Float(2.5)];
            Value::tuple(a)
        };
        for (format, expected) in [
            ("%s|%d|%.3f", "a|-5|2.500"),
            ("%5s|%-5d|%08.2f", "    a|-5   |00002.50"),
            ("%r|%x|%e", "'a'|-5|2.500000e+00"),
            ("%.0s|%+d|%g%%", "|-5|2.5%"),
        ] {
            assert_eq!(percent(&Text::from(format), &values()).unwrap().as_str(), expected);
        }
        let dict = crate::values::json::parse(r#"{"k":1e-5}"#).unwrap();
        let text = percent(&Text::from("%(k)s %(k)g"), &dict).unwrap();
        assert_eq!(text.as_str(), "1e-05 1e-05");
        for (format, words) in [
            ("%s", "not all"),
            ("%s%s%s%s", "not enough"),
            ("%4000000000d", "at most"),
            ("%q", "unsupported"),
            ("%x%d%d", "an integer"),
            ("%", "incomplete"),
        ] {
            let error = percent(&Text::from(format), &values());
            let error = if format == "%4000000000d" {
                percent(&Text::from(format), &Value::Int(1))
            } else {
                error
            };
            assert!(error.unwrap_err().to_string().contains(words), "{format}");
        }
    }
}
