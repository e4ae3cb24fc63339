//! Python's methods of strings.

use crate::error::{Error, Result, fail};
use crate::run::call::{Arguments, integer, required};
use crate::strings::search::{partition, search};
use crate::strings::str_format::format_method;
use crate::syntax::escapes::words;
use crate::values::python_text::{is_printable, is_space};
use crate::values::text::{Origin, Text, TextBuilder};
use crate::values::value::Value;

/// The supported methods of strings: all of Python's except those that return bytes.
pub(crate) const STRING_METHODS: [&str; 43] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// Calls a method of a string.
pub(crate) fn string_method(text: &Text, name: &str, arguments: Arguments) -> Result<Value> {
    let own = text.as_str();
    Ok(match name {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = arguments.bind(name, ["chars"])?;
            Value::Str(strip(text, name, chars.as_ref())?)
        }
        "split" | "rsplit" => {
            let [separator, limit] = arguments.bind(name, ["sep", "maxsplit"])?;
            let limit = usize::try_from(integer(limit, -1, "maxsplit")?).ok();
            split(text, name == "rsplit", separator, limit)?
        }
        "splitlines" => {
            let [keep] = arguments.bind(name, ["keepends"])?;
            let lines = lines(own, keep.is_some_and(|keep| keep.is_true()));
            Value::list(lines.into_iter().map(|line| Value::Str(text.part(line))).collect())
        }
        "startswith" | "endswith" | "find" | "rfind" | "index" | "rindex" | "count" => {
            search(own, name, arguments)?
        }
        "partition" | "rpartition" => partition(text, name, arguments)?,
        "replace" => {
            let [old, new, count] = arguments.bind(name, ["old", "new", "count"])?;
            let (old, new) = (string(old, name, "old")?, string(new, name, "new")?);
            let count = usize::try_from(integer(count, -1, "count")?).unwrap_or(usize::MAX);
            Value::Str(replace(text, &old, &new, count)?)
        }
        "removeprefix" => {
            let [prefix] = arguments.bind(name, ["prefix"])?;
            let prefix = string(prefix, name, "prefix")?;
            Value::Str(text.part(own.strip_prefix(prefix.as_str()).unwrap_or(own)))
        }
        "removesuffix" => {
            let [suffix] = arguments.bind(name, ["suffix"])?;
            let suffix = string(suffix, name, "suffix")?;
            Value::Str(text.part(own.strip_suffix(suffix.as_str()).unwrap_or(own)))
        }
        "join" => {
            let [items] = arguments.bind(name, ["iterable"])?;
            let items = required(items, name, "iterable")?.items()?;
            Value::Str(join(text, items.iter())?)
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = arguments.bind(name, ["width", "fillchar"])?;
            let width = integer(Some(required(width, name, "width")?), 0, "width")?;
            let fill =
                fill.map_or(Ok(Text::from(" ")), |fill| string(Some(fill), name, "fillchar"))?;
            Value::Str(justify(text, name, width, &fill)?)
        }
        "zfill" => Value::Str(zfill(text, arguments)?),
        "format" => Value::Str(format_method(text, arguments)?),
        "format_map" => {
            let [mapping] = arguments.bind(name, ["mapping"])?;
            let mapping = required(mapping, name, "mapping")?;
            let entries = mapping.as_dict().map(|dict| dict.entries().to_vec()).unwrap_or_default();
            let named =
                entries.into_iter().filter_map(|(key, value)| Some((key.as_str()?.into(), value)));
            let named = named.collect();
            Value::Str(format_method(text, Arguments { positional: Vec::new(), named })?)
        }
        "lower" | "casefold" | "upper" | "title" | "capitalize" | "swapcase" => {
            arguments.bind(name, [])?;
            Value::Str(cased(text, name)?)
        }
        _ => {
            arguments.bind(name, [])?;
            Value::Bool(is(own, name))
        }
    })
}

/// Returns a string argument that must be given.
pub(crate) fn string(value: Option<Value>, function: &str, name: &str) -> Result<Text> {
    match required(value, function, name)? {
        Value::Str(text) => Ok(text),
        other => fail(format!("{function}: '{name}' must be str, not {}", other.type_name())),
    }
}

/// Strips characters from the ends of a string.
pub(crate) fn strip(text: &Text, name: &str, chars: Option<&Value>) -> Result<Text> {
    let chars: Option<Vec<char>> = match chars {
        None | Some(Value::None) => None,
        Some(Value::Str(chars)) => Some(chars.as_str().chars().collect()),
        Some(other) => {
            return fail(format!("{name} arg must be None or str, not {}", other.type_name()));
        }
    };
    let stripped = |c: char| chars.as_ref().map_or_else(|| is_space(c), |chars| chars.contains(&c));
    let mut own = text.as_str();
    if name != "rstrip" {
        own = own.trim_start_matches(stripped);
    }
    if name != "lstrip" {
        own = own.trim_end_matches(stripped);
    }
    Ok(text.part(own))
}

fn split(
    text: &Text,
    right: bool,
    separator: Option<Value>,
    limit: Option<usize>,
) -> Result<Value> {
    let own = text.as_str();
    let limit = limit.unwrap_or(usize::MAX - 1);
    let mut parts: Vec<&str> = match separator {
        None | Some(Value::None) => split_at_space(own, right, limit),
        Some(Value::Str(separator)) => {
            let separator = separator.as_str();
            if separator.is_empty() {
                return fail("empty separator");
            }
            if right {
                let mut parts: Vec<&str> = own.rsplitn(limit + 1, separator).collect();
                parts.reverse();
                parts
            } else {
                own.splitn(limit + 1, separator).collect()
            }
        }
        Some(other) => return fail(format!("must be str or None, not {}", other.type_name())),
    };
    Ok(Value::list(parts.drain(..).map(|part| Value::Str(text.part(part))).collect()))
}

fn split_at_space(own: &str, right: bool, limit: usize) -> Vec<&str> {
    if limit == usize::MAX - 1 {
        return words(own).collect();
    }
    let (mut parts, mut rest) = (Vec::new(), own);
    loop {
        rest =
            if right { rest.trim_end_matches(is_space) } else { rest.trim_start_matches(is_space) };
        if rest.is_empty() {
            break;
        }
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        let cut = if right {
            rest.char_indices().rfind(|(_, c)| is_space(*c)).map(|(at, c)| at + c.len_utf8())
        } else {
            rest.find(is_space)
        };
        let (head, tail) = rest.split_at(cut.unwrap_or(if right { 0 } else { rest.len() }));
        parts.push(if right { tail } else { head });
        rest = if right { head } else { tail };
    }
    if right {
        parts.reverse();
    }
    parts
}

/// Splits at every line end that Python knows.
pub(crate) fn lines(own: &str, keep: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut rest) = (Vec::new(), own);
    while !rest.is_empty() {
        let Some(at) = rest.find(is_end) else {
            lines.push(rest);
            break;
        };
        let end = rest.get(at..).unwrap_or_default();
        let len =
            if end.starts_with("\r\n") { 2 } else { end.chars().next().map_or(0, char::len_utf8) };
        lines.push(rest.get(..if keep { at + len } else { at }).unwrap_or_default());
        rest = rest.get(at + len..).unwrap_or_default();
    }
    lines
}

/// Replaces `old` by `new`, at most `count` times.
pub(crate) fn replace(text: &Text, old: &Text, new: &Text, count: usize) -> Result<Text> {
    let own = text.as_str();
    let mut out = TextBuilder::default();
    let mut done = 0;
    // As in Python, an empty string is found before each character and at the end.
    for (at, found) in own.match_indices(old.as_str()).take(count) {
        out.push_slice(text, done..at);
        out.push(new);
        done = at + found.len();
    }
    out.push_slice(text, done..own.len());
    out.finish()
}

/// Joins strings with a separator.
pub(crate) fn join<'v>(separator: &Text, items: impl Iterator<Item = &'v Value>) -> Result<Text> {
    let mut out = TextBuilder::default();
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(separator);
        }
        let Value::Str(item) = item else {
            let name = item.type_name();
            return fail(format!("sequence item {place}: expected str instance, {name} found"));
        };
        out.push(item);
    }
    out.finish()
}

/// Pads a string to a width, in characters.
pub(crate) fn justify(text: &Text, name: &str, width: i128, fill: &Text) -> Result<Text> {
    if fill.as_str().chars().count() != 1 {
        return fail("The fill character must be exactly one character long");
    }
    let len = text.as_str().chars().count();
    let width =
        usize::try_from(width.max(0)).map_err(|_| Error::new("a width that is too large"))?;
    let missing = width.saturating_sub(len);
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        // As in Python, an odd padding character goes to the left where the width is odd.
        _ => missing / 2 + (missing & width & 1),
    };
    let mut out = TextBuilder::default();
    out.push_repeated(fill.as_str(), left, fill.origin_at(0));
    out.push(text);
    out.push_repeated(fill.as_str(), missing - left, fill.origin_at(0));
    out.finish()
}

/// Pads a string with zeros after its sign.
fn zfill(text: &Text, arguments: Arguments) -> Result<Text> {
    let [width] = arguments.bind("zfill", ["width"])?;
    let width = integer(Some(required(width, "zfill", "width")?), 0, "width")?;
    let own = text.as_str();
    let sign = own.len() - own.strip_prefix(['+', '-']).unwrap_or(own).len();
    let width = width.saturating_sub(i128::from(sign > 0));
    let digits = justify(&text.slice(sign..own.len()), "rjust", width, &Text::from("0"))?;
    let mut out = TextBuilder::default();
    out.push_slice(text, 0..sign);
    out.push(&digits);
    out.finish()
}

/// Changes the case of a string.
pub(crate) fn cased(text: &Text, name: &str) -> Result<Text> {
    let mut out = TextBuilder::default();
    let mut inside_word = false;
    let chars: Vec<(char, Origin)> = text.chars().collect();
    for (at, &(c, origin)) in chars.iter().enumerate() {
        let first = if name == "capitalize" { at == 0 } else { !inside_word };
        let upper = match name {
            "upper" => true,
            "title" | "capitalize" => first,
            "swapcase" => c.is_lowercase(),
            _ => false,
        };
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let is_letter =
            |other: Option<&(char, Origin)>| other.is_some_and(|(c, _)| c.is_alphabetic());
        if name == "casefold" && c == 'ß' {
            out.push_str("ss", origin);
        } else if upper && matches!(name, "title" | "capitalize") {
            title_case(c).for_each(|c| out.push_char(c, origin));
        } else if upper {
            c.to_uppercase().for_each(|c| out.push_char(c, origin));
        } else if c == 'Σ'
            && is_letter(before)
            && !is_letter(chars.get(at + 1))
            && name != "casefold"
        {
            out.push_char('ς', origin);
        } else {
            c.to_lowercase().for_each(|c| out.push_char(c, origin));
        }
        inside_word = c.is_lowercase() || c.is_uppercase();
    }
    out.finish()
}

/// Converts the first letter of a word to title case: if it becomes several letters, only the first is uppercase.
fn title_case(c: char) -> impl Iterator<Item = char> {
    let digraph = match c {
        'Ǆ' | 'ǅ' | 'ǆ' => Some('ǅ'),
        'Ǉ' | 'ǈ' | 'ǉ' => Some('ǈ'),
        'Ǌ' | 'ǋ' | 'ǌ' => Some('ǋ'),
        'Ǳ' | 'ǲ' | 'ǳ' => Some('ǲ'),
        _ => None,
    };
    let mut upper = c.to_uppercase();
    let first = digraph.or(upper.next());
    let rest = if digraph.is_some() { None } else { Some(upper.flat_map(char::to_lowercase)) };
    first.into_iter().chain(rest.into_iter().flatten())
}

/// The methods that test the characters of a string.
fn is(own: &str, name: &str) -> bool {
    let all = |is: fn(char) -> bool| !own.is_empty() && own.chars().all(is);
    let cased = || own.chars().any(|c| c.is_lowercase() || c.is_uppercase());
    match name {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => own.is_ascii(),
        "isdecimal" | "isdigit" => all(|c| c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric())),
        "isnumeric" => all(char::is_numeric),
        "isidentifier" => {
            let first = own.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic());
            first && own.chars().all(|c| c == '_' || c.is_alphanumeric())
        }
        "islower" => cased() && !own.chars().any(char::is_uppercase),
        "isupper" => cased() && !own.chars().any(char::is_lowercase),
        "isprintable" => own.chars().all(is_printable),
        "isspace" => all(is_space),
        _ => {
            let mut inside = false;
            let mut any = false;
            for c in own.chars() {
                if (c.is_uppercase() && inside) || (c.is_lowercase() && !inside) {
                    return false;
                }
                inside = c.is_uppercase() || c.is_lowercase();
                any |= inside;
            }
            any
        }
    }
}
