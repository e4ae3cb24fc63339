//! Escapes in a template's string constants, with Python's rules.

use crate::values::python_text::is_space;

/// Returns the value of a string constant without its quotes. A backslash before any other character stays.
pub(crate) fn unescape(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let mut chars = rest.chars();
        let Some(c) = chars.next() else {
            out.push('\\');
            break;
        };
        rest = chars.as_str();
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            'x' => rest = code(rest, 2, &mut out)?,
            'u' => rest = code(rest, 4, &mut out)?,
            'U' => rest = code(rest, 8, &mut out)?,
            '0'..='7' => rest = octal(c, rest, &mut out),
            'N' => return Err("an escape \\N{...}, which names a character; write \\u".to_owned()),
            _ => {
                out.push('\\');
                out.push(c);
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Reads a character given by hexadecimal digits, and returns the rest.
fn code<'s>(rest: &'s str, digits: usize, out: &mut String) -> Result<&'s str, String> {
    let text = rest.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let Some(text) = text else {
        return Err(format!(
            "an escape sequence of a string, expected {digits} hexadecimal digits"
        ));
    };
    let high = u32::from_str_radix(text, 16).unwrap_or(u32::MAX);
    let behind = rest.get(digits..).unwrap_or_default();
    out.push(
        char::from_u32(high)
            .ok_or_else(|| format!("an escape sequence that is no character: {text}"))?,
    );
    Ok(behind)
}

/// Reads a character of up to three octal digits, of which the first is known.
fn octal<'s>(first: char, rest: &'s str, out: &mut String) -> &'s str {
    let len = rest.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    let (more, behind) = rest.split_at(len);
    let digits = format!("{first}{more}");
    let c = u32::from_str_radix(&digits, 8).ok().and_then(char::from_u32);
    out.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
    behind
}

/// Splits at white space, as Python's `str.split` without a separator: no piece is empty.
pub(crate) fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_pythons() {
        for (source, expected) in [
            (r"a\n\t\\\'\x41\u00e9\U0001F600\101\0", "a\n\t\\'Aé😀A\0"),
            (r"\d\é\", "\\d\\é\\"),
            ("a\\\nb", "ab"),
            ("plain é", "plain é"),
        ] {
            assert_eq!(unescape(source).as_deref(), Ok(expected), "{source}");
        }
        for source in [r"\x4", r"\u12g4", r"\ud800", r"\N{BULLET}"] {
            assert!(unescape(source).is_err(), "{source}");
        }
    }
}
