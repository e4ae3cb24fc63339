//! Values as Python's `str` and `repr` write them.

use crate::error::{Result, fail};
use crate::run::call::Callable;
use crate::values::number::repr_float;
use crate::values::text::{Origin, Text, TextBuilder};
use crate::values::value::Value;

/// The deepest accepted nesting of values; Python's stack has a limit, too.
pub(crate) const MAX_NESTING: usize = 200;

/// Python's `str`: a string unchanged, every other value as `repr` writes it.
pub(crate) fn str_of(value: &Value) -> Result<Text> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        Value::Undefined(_) => Ok(Text::from("")),
        _ => repr(value),
    }
}

/// Python's `repr`.
pub(crate) fn repr(value: &Value) -> Result<Text> {
    let mut out = TextBuilder::default();
    write(&mut out, value, 0)?;
    out.finish()
}

fn write(out: &mut TextBuilder, value: &Value, depth: usize) -> Result<()> {
    if depth > MAX_NESTING {
        return fail(format!("more than {MAX_NESTING} values within each other"));
    }
    match value {
        Value::Undefined(_) => out.push_own("Undefined"),
        Value::None => out.push_own("None"),
        Value::Bool(true) => out.push_own("True"),
        Value::Bool(false) => out.push_own("False"),
        Value::Int(number) => out.push_own(&number.to_string()),
        Value::Float(number) => out.push_own(&repr_float(*number)),
        Value::Str(text) => write_string(out, text),
        Value::List(items) => write_items(out, ("[", "]"), items, depth)?,
        Value::Tuple(items) if items.len() == 1 => write_items(out, ("(", ",)"), items, depth)?,
        Value::Tuple(items) => write_items(out, ("(", ")"), items, depth)?,
        Value::View(name, items) => {
            out.push_own(name);
            write_items(out, ("([", "])"), items, depth)?;
        }
        Value::Dict(dict) => write_entries(out, dict.entries(), depth)?,
        Value::Namespace(own) => {
            out.push_own("<Namespace ");
            write_entries(out, own.borrow().entries(), depth)?;
            out.push_own(">");
        }
        Value::Loop(state) => out.push_own(&state.description()),
        Value::Callable(callable) => match &**callable {
            Callable::Macro(own) => out.push_own(&format!("<Macro '{}'>", own.def.name)),
            _ => return fail("a function was to be written as text; call it with ()"),
        },
        Value::Iterator(..) => return fail("a generator was to be written as text; use `| list`"),
    }
    Ok(())
}

fn write_items(
    out: &mut TextBuilder,
    (open, close): (&str, &str),
    items: &[Value],
    depth: usize,
) -> Result<()> {
    out.push_own(open);
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push_own(", ");
        }
        write(out, item, depth + 1)?;
    }
    out.push_own(close);
    Ok(())
}

fn write_entries(out: &mut TextBuilder, entries: &[(Value, Value)], depth: usize) -> Result<()> {
    out.push_own("{");
    for (place, (key, value)) in entries.iter().enumerate() {
        if place > 0 {
            out.push_own(", ");
        }
        write(out, key, depth + 1)?;
        out.push_own(": ");
        write(out, value, depth + 1)?;
    }
    out.push_own("}");
    Ok(())
}

fn write_string(out: &mut TextBuilder, text: &Text) {
    let own = text.as_str();
    let quote = if own.contains('\'') && !own.contains('"') { '"' } else { '\'' };
    out.push_char(quote, Origin::default());
    for (c, origin) in text.chars() {
        match c {
            '\\' => out.push_str("\\\\", origin),
            '\n' => out.push_str("\\n", origin),
            '\r' => out.push_str("\\r", origin),
            '\t' => out.push_str("\\t", origin),
            c if c == quote => {
                out.push_char('\\', origin);
                out.push_char(c, origin);
            }
            c if is_printable(c) => out.push_char(c, origin),
            c => {
                let code = u32::from(c);
                let escaped = match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                out.push_str(&escaped, origin);
            }
        }
    }
    out.push_char(quote, Origin::default());
}

/// Python's `str.isprintable` of a character.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // After another character, the standard library escapes unprintable characters but not combining marks.
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().nth(1) == Some(c)
}

/// Returns whether Python treats a character as white space.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected texts are what Python 3.11's repr prints.
    #[test]
    fn values_are_written_as_python_writes_them() {
        let json = r#"[1e-5, "it's", "say \"it's\"", "a\n\u0001\u00a0é", {"k": null, "e\u0301": [true, {}]}, 1e22]"#;
        let value = crate::values::json::parse(json).unwrap();
        let expected = "[1e-05, \"it's\", 'say \"it\\'s\"', 'a\\n\\x01\\xa0é', \
             {'k': None, 'e\u{301}': [True, {}]}, 1e+22]";
        assert_eq!(repr(&value).unwrap().as_str(), expected);
        let one = Value::tuple(vec![Value::Int(1)]);
        assert_eq!(repr(&one).unwrap().as_str(), "(1,)");
        assert_eq!(str_of(&Value::foreign("it's")).unwrap().as_str(), "it's");
        let text = repr(&value).unwrap();
        assert!(text.origin_at(text.as_str().find("it's").unwrap()).foreign);
        assert!(!text.origin_at(0).foreign);
    }
}
