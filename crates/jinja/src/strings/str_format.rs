//! Python's `str.format`, with its fields and their formats.

use crate::error::{Error, Result, fail};
use crate::run::call::Arguments;
use crate::run::operators::{attribute, item};
use crate::values::number::as_float;
use crate::values::python_text::{repr, str_of};
use crate::values::text::{MAX_TEXT_BYTES, Origin, Text, TextBuilder};
use crate::values::value::Value;

/// `format.format(...)`.
pub(crate) fn format_method(format: &Text, arguments: Arguments) -> Result<Text> {
    let own = format.as_str();
    let mut out = TextBuilder::default();
    let (mut at, mut next) = (0, 0);
    while let Some(brace) = own.get(at..).and_then(|rest| rest.find(['{', '}'])) {
        let brace = at + brace;
        out.push_slice(format, at..brace);
        let rest = own.get(brace..).unwrap_or_default();
        if rest.starts_with("{{") || rest.starts_with("}}") {
            out.push_slice(format, brace..brace + 1);
            at = brace + 2;
            continue;
        }
        if rest.starts_with('}') {
            return fail("Single '}' encountered in format string");
        }
        let Some(end) = end_of_field(rest) else {
            return fail("expected '}' before end of string");
        };
        let field = rest.get(1..end).unwrap_or_default();
        out.push(&field_text(field, &arguments, &mut next)?);
        at = brace + end + 1;
    }
    out.push_slice(format, at..own.len());
    out.finish()
}

fn end_of_field(rest: &str) -> Option<usize> {
    let mut open = 0;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

/// Returns the text of a field between braces.
fn field_text(field: &str, arguments: &Arguments, next: &mut usize) -> Result<Text> {
    let (head, spec) = field.split_once(':').unwrap_or((field, ""));
    let (name, conversion) =
        head.rsplit_once('!').map_or((head, None), |(name, conversion)| (name, Some(conversion)));
    let value = field_value(name, arguments, next)?;
    let value = match conversion {
        None => value,
        Some("s") => Value::Str(str_of(&value)?),
        Some("r" | "a") => Value::Str(repr(&value)?),
        Some(other) => return fail(format!("Unknown conversion specifier '{other}'")),
    };
    let spec = if spec.contains('{') {
        let inner = spec.trim_start_matches('{').trim_end_matches('}');
        str_of(&field_value(inner, arguments, next)?)?.as_str().to_owned()
    } else {
        spec.to_owned()
    };
    FormatSpec::parse(&spec)?.apply(&value)
}

fn field_value(name: &str, arguments: &Arguments, next: &mut usize) -> Result<Value> {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(end);
    let place = if first.is_empty() {
        *next += 1;
        Some(*next - 1)
    } else {
        first.parse().ok()
    };
    let mut value = match place {
        Some(place) => arguments.positional.get(place).cloned(),
        None => {
            let found = arguments.named.iter().find(|(own, _)| **own == *first);
            found.map(|(_, value)| value.clone())
        }
    }
    .ok_or_else(|| Error::new(format!("no value for the field '{name}'")))?;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('.') {
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            let (name, behind) = behind.split_at(end);
            value = attribute(&value, name)?;
            rest = behind;
        } else {
            let Some((key, behind)) = rest.get(1..).and_then(|rest| rest.split_once(']')) else {
                return fail("Missing ']' in format string");
            };
            let key = key.parse().map_or_else(|_| Value::own(key), Value::Int);
            value = item(&value, &key)?;
            rest = behind;
        }
    }
    Ok(value)
}

/// `[[fill]align][sign][#][0][width][,][.precision][type]`
struct FormatSpec {
    fill: char,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl FormatSpec {
    fn parse(spec: &str) -> Result<Self> {
        let chars: Vec<char> = spec.chars().collect();
        let is_align = |c: Option<&char>| matches!(c, Some('<' | '>' | '^' | '='));
        let (fill, align, mut at) = match (chars.first(), chars.get(1)) {
            (Some(&fill), align) if is_align(align) => (fill, align.copied(), 2),
            (align, _) if is_align(align) => (' ', align.copied(), 1),
            _ => (' ', None, 0),
        };
        let mut take = |wanted: &[char]| {
            let found = chars.get(at).copied().filter(|c| wanted.contains(c));
            at += usize::from(found.is_some());
            found
        };
        let sign = take(&['+', '-', ' ']);
        let alternate = take(&['#']).is_some();
        let zero = take(&['0']).is_some();
        let digits = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
        let number = |take: &mut dyn FnMut(&[char]) -> Option<char>| {
            let mut number: Option<usize> = None;
            while let Some(digit) = take(&digits).and_then(|digit| digit.to_digit(10)) {
                let digit = usize::try_from(digit).unwrap_or(0);
                number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            }
            number
        };
        let width = number(&mut take).unwrap_or(0);
        let grouping = take(&[',', '_']);
        let precision = if take(&['.']).is_some() { number(&mut take) } else { None };
        let kinds = ['s', 'd', 'n', 'b', 'o', 'x', 'X', 'c', 'e', 'E', 'f', 'F', 'g', 'G', '%'];
        let kind = take(&kinds);
        if at != chars.len() {
            return fail(format!("Invalid format specifier '{spec}'"));
        }
        if width.max(precision.unwrap_or(0)) > MAX_TEXT_BYTES {
            return fail(format!("expected a width of at most {MAX_TEXT_BYTES}, got more"));
        }
        Ok(Self { fill, align, sign, alternate, zero, width, grouping, precision, kind })
    }

    fn apply(&self, value: &Value) -> Result<Text> {
        let is_number = as_float(value).is_some() && !matches!(value, Value::Bool(_));
        let (text, number) = match self.kind {
            None | Some('s') if !is_number || self.kind == Some('s') => {
                if self.kind == Some('s') && is_number {
                    return fail("Unknown format code 's' for a number");
                }
                let text = str_of(value)?;
                let end = self.precision.and_then(|len| text.as_str().char_indices().nth(len));
                (end.map_or_else(|| text.clone(), |(end, _)| text.slice(0..end)), false)
            }
            _ => (Text::from(self.number(value)?.as_str()), true),
        };
        let missing = self.width.saturating_sub(text.as_str().chars().count());
        let zeros = number && self.zero && self.align.is_none();
        let align = self.align.unwrap_or(if zeros {
            '='
        } else if number {
            '>'
        } else {
            '<'
        });
        let fill = if zeros { "0".to_owned() } else { self.fill.to_string() };
        let own = text.as_str();
        let sign = if align == '=' {
            own.len() - own.trim_start_matches(['-', '+', ' ']).len()
        } else {
            0
        };
        let left = match align {
            '<' => 0,
            '^' => missing / 2,
            _ => missing,
        };
        let mut out = TextBuilder::default();
        out.push_slice(&text, 0..sign);
        out.push_repeated(&fill, left, Origin::default());
        out.push_slice(&text, sign..own.len());
        out.push_repeated(&fill, missing - left, Origin::default());
        out.finish()
    }

    fn number(&self, value: &Value) -> Result<String> {
        let kind = self.kind.unwrap_or(if matches!(value, Value::Float(_)) { 'r' } else { 'd' });
        let (negative, digits) = match (value.as_int(), kind) {
            (Some(number), 'd' | 'n' | 'b' | 'o' | 'x' | 'X') => {
                let size = number.unsigned_abs();
                let (prefix, digits) = match kind {
                    'b' => ("0b", format!("{size:b}")),
                    'o' => ("0o", format!("{size:o}")),
                    'x' => ("0x", format!("{size:x}")),
                    'X' => ("0X", format!("{size:X}")),
                    _ => ("", grouped(&size.to_string(), self.grouping)),
                };
                let prefix = if self.alternate { prefix } else { "" };
                (number < 0, format!("{prefix}{digits}"))
            }
            (Some(_), 'c') => return fail("Unknown format code 'c'"),
            (_, 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%' | 'r' | 'n')
                if as_float(value).is_some() =>
            {
                let number = as_float(value).unwrap_or_default();
                (number.is_sign_negative(), self.float(number.abs(), kind))
            }
            _ => {
                let name = value.type_name();
                return fail(format!("Unknown format code '{kind}' for object of type '{name}'"));
            }
        };
        let sign = match (negative, self.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            _ => "",
        };
        Ok(format!("{sign}{digits}"))
    }

    fn float(&self, number: f64, kind: char) -> String {
        let precision = self.precision.unwrap_or(6);
        let text = match kind {
            'r' if self.precision.is_none() => crate::values::number::repr_float(number),
            'r' | 'g' | 'G' | 'n' => grouped_general(number, precision, self.alternate),
            '%' => float_digits(number * 100.0, 'f', precision) + "%",
            _ => float_digits(number, kind.to_ascii_lowercase(), precision),
        };
        let text = match text.split_once('.') {
            Some((whole, rest)) => format!("{}.{rest}", grouped(whole, self.grouping)),
            None if text.contains(['e', 'i', 'n']) => text,
            None => grouped(&text, self.grouping),
        };
        if kind.is_ascii_uppercase() { text.to_uppercase() } else { text }
    }
}

/// Groups digits by three.
fn grouped(digits: &str, separator: Option<char>) -> String {
    let Some(separator) = separator else { return digits.to_owned() };
    let mut out = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digit.is_ascii_digit() {
            out.push(separator);
        }
        out.push(digit);
    }
    out
}

/// C's `%f` and `%e` of a number without its sign.
pub(crate) fn float_digits(number: f64, kind: char, precision: usize) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "nan" } else { "inf" }.to_owned();
    }
    // After a thousand digits a float has only zeros, and the standard library accepts no larger precision.
    let digits = precision.min(1000);
    let zeros = "0".repeat(precision - digits);
    if kind == 'f' {
        return format!("{number:.digits$}{zeros}");
    }
    let text = format!("{number:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) =
        exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{mantissa}{zeros}e{sign}{exponent:0>2}")
}

/// C's `%g` of a number without its sign.
pub(crate) fn grouped_general(number: f64, precision: usize, keep_zeros: bool) -> String {
    let precision = precision.clamp(1, 1000);
    let scientific = float_digits(number, 'e', precision - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |digits: &str| {
        if keep_zeros || !digits.contains('.') {
            return digits.to_owned();
        }
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    if power < -4 || power >= limit {
        return format!("{}e{exponent}", trimmed(mantissa));
    }
    let digits = usize::try_from(limit - 1 - power).unwrap_or(0);
    trimmed(&float_digits(number, 'f', digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected texts are what Python 3.11 prints.
    #[test]
    fn formats_are_pythons() {
        let arguments = || Arguments {
            positional: vec![Value::Float(1234.5), Value::Int(-7), Value::foreign("ab")],
            named: vec![("d".into(), crate::values::json::parse(r#"{"k":[1e-5,2]}"#).unwrap())],
        };
        for (format, expected) in [
            ("{} {} {}", "1234.5 -7 ab"),
            ("{2}{0:.1f}{{x}}", "ab1234.5{x}"),
            ("{0:,.2f}|{1:+d}|{2:>5}|{2:^5}|{2:*<4}", "1,234.50|-7|   ab| ab  |ab**"),
            ("{1:05d}|{0:e}|{0:g}|{1:x}", "-0007|1.234500e+03|1234.5|-7"),
            ("{d[k][0]}|{d[k][1]:03}|{2!r}", "1e-05|002|'ab'"),
            ("{0:%}|{0:.3}", "123450.000000%|1.23e+03"),
        ] {
            let text = format_method(&Text::from(format), arguments());
            assert_eq!(text.unwrap().as_str(), expected, "{format}");
        }
        for format in ["{", "}", "{5}", "{x}", "{0:q}", "{2:d}", "{0!x}"] {
            assert!(format_method(&Text::from(format), arguments()).is_err(), "{format}");
        }
    }
}
