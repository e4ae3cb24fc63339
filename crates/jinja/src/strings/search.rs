//! Python's string methods that search for a substring.

use crate::error::{Result, fail};
use crate::run::call::{Arguments, integer, required};
use crate::strings::methods::string;
use crate::values::text::Text;
use crate::values::value::Value;

/// Runs a method that searches for a substring.
pub(crate) fn search(own: &str, name: &str, arguments: Arguments) -> Result<Value> {
    let [sub, start, end] = arguments.bind(name, ["sub", "start", "end"])?;
    let sub = required(sub, name, "sub")?;
    let len = i128::try_from(own.chars().count()).unwrap_or(i128::MAX);
    let bound = |bound: Option<Value>, default: i128| -> Result<i128> {
        let at = integer(bound.filter(|bound| !bound.is_none()), default, "start")?;
        Ok(if at < 0 { (at + len).max(0) } else { at })
    };
    let (start, end) = (bound(start, 0)?, bound(end, len)?.min(len));
    let byte_of = |at: i128| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        own.char_indices().nth(at).map_or(own.len(), |(byte, _)| byte)
    };
    let searched = (start <= end).then(|| own.get(byte_of(start)..byte_of(end))).flatten();
    if matches!(name, "startswith" | "endswith") {
        let fits = |sub: &Value| match (sub, searched) {
            (Value::Str(sub), Some(searched)) if name == "startswith" => {
                Ok(searched.starts_with(sub.as_str()))
            }
            (Value::Str(sub), Some(searched)) => Ok(searched.ends_with(sub.as_str())),
            (Value::Str(_), None) => Ok(false),
            (other, _) => fail(format!(
                "{name} first arg must be str or a tuple of str, not {}",
                other.type_name()
            )),
        };
        if let Value::Tuple(subs) = &sub {
            for sub in subs.iter() {
                if fits(sub)? {
                    return Ok(Value::Bool(true));
                }
            }
            return Ok(Value::Bool(false));
        }
        return fits(&sub).map(Value::Bool);
    }
    let Value::Str(sub) = &sub else {
        return fail(format!("must be str, not {}", sub.type_name()));
    };
    let sub = sub.as_str();
    if name == "count" {
        let count = searched.map_or(0, |searched| {
            if sub.is_empty() {
                searched.chars().count() + 1
            } else {
                searched.matches(sub).count()
            }
        });
        return Ok(Value::len(count));
    }
    let found = searched.and_then(|searched| {
        let at = if name.starts_with('r') { searched.rfind(sub) } else { searched.find(sub) }?;
        let chars = searched.get(..at)?.chars().count();
        Some(start + i128::try_from(chars).ok()?)
    });
    match found {
        Some(at) => Ok(Value::Int(at)),
        None if name.ends_with("index") => fail("substring not found"),
        None => Ok(Value::Int(-1)),
    }
}

/// Returns the text before a substring, the substring, and the text after it.
pub(crate) fn partition(text: &Text, name: &str, arguments: Arguments) -> Result<Value> {
    let [separator] = arguments.bind(name, ["sep"])?;
    let separator = string(separator, name, "sep")?;
    let (own, separator) = (text.as_str(), separator.as_str());
    if separator.is_empty() {
        return fail("empty separator");
    }
    let right = name == "rpartition";
    let found = if right { own.rfind(separator) } else { own.find(separator) };
    let part = |range| Value::Str(text.slice(range));
    Ok(Value::tuple(match found {
        Some(at) => {
            let end = at + separator.len();
            vec![part(0..at), part(at..end), part(end..own.len())]
        }
        None if right => vec![Value::own(""), Value::own(""), Value::Str(text.clone())],
        None => vec![Value::Str(text.clone()), Value::own(""), Value::own("")],
    }))
}
