//! Jinja2's filters of strings.

use crate::error::Result;
use crate::run::call::{Arguments, integer, required};
use crate::strings::methods::{cased, justify, lines, replace, strip};
use crate::values::python_text::{is_space, str_of};
use crate::values::text::{Text, TextBuilder};
use crate::values::value::Value;

/// Returns whether a filter works on the string that Python's `str` gives.
pub(crate) fn is_string_filter(name: &str) -> bool {
    matches!(
        name,
        "trim"
            | "upper"
            | "lower"
            | "title"
            | "capitalize"
            | "replace"
            | "indent"
            | "center"
            | "format"
            | "escape"
            | "e"
            | "forceescape"
            | "wordcount"
            | "truncate"
            | "striptags"
            | "urlencode"
    )
}

/// Applies a filter to a value's text.
pub(crate) fn string_filter(name: &str, value: &Value, arguments: Arguments) -> Result<Value> {
    let text = str_of(value)?;
    let filtered = match name {
        "trim" => {
            let [chars] = arguments.bind(name, ["chars"])?;
            strip(&text, "strip", chars.as_ref())?
        }
        "upper" | "lower" | "capitalize" => {
            arguments.bind(name, [])?;
            cased(&text, name)?
        }
        "title" => {
            arguments.bind(name, [])?;
            title(&text)?
        }
        "replace" => {
            let [old, new, count] = arguments.bind(name, ["old", "new", "count"])?;
            let old = str_of(&required(old, name, "old")?)?;
            let new = str_of(&required(new, name, "new")?)?;
            let count = integer(count.filter(|count| !count.is_none()), -1, "count")?;
            replace(&text, &old, &new, usize::try_from(count).unwrap_or(usize::MAX))?
        }
        "indent" => indent(&text, arguments)?,
        "center" => {
            let [width] = arguments.bind(name, ["width"])?;
            justify(&text, name, integer(width, 80, "width")?, &Text::from(" "))?
        }
        "format" => {
            let values = if arguments.named.is_empty() {
                Value::tuple(arguments.positional)
            } else {
                let named = arguments.named.into_iter();
                Value::dict(named.map(|(name, value)| (Value::own(&name), value)))
            };
            crate::strings::printf::percent(&text, &values)?
        }
        "wordcount" => {
            let is_word = |c: char| c == '_' || c.is_alphanumeric();
            let words = text.as_str().split(|c| !is_word(c)).filter(|word| !word.is_empty());
            return Ok(Value::len(words.count()));
        }
        "truncate" => truncate(&text, arguments)?,
        "striptags" => striptags(&text)?,
        "urlencode" => urlencode(&text)?,
        _ => escape(&text)?,
    };
    Ok(Value::Str(filtered))
}

/// Words begin after white space, hyphens and opening brackets.
fn title(text: &Text) -> Result<Text> {
    let mut out = TextBuilder::default();
    let mut begins = true;
    for (c, origin) in text.chars() {
        if begins {
            c.to_uppercase().for_each(|c| out.push_char(c, origin));
        } else {
            c.to_lowercase().for_each(|c| out.push_char(c, origin));
        }
        begins = is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    }
    out.finish()
}

fn indent(text: &Text, arguments: Arguments) -> Result<Text> {
    let [width, first, blank] = arguments.bind("indent", ["width", "first", "blank"])?;
    let (space, count) = match &width {
        Some(Value::Str(width)) => (width.clone(), 1),
        width => {
            let width = integer(width.clone(), 4, "width")?;
            (Text::from(" "), usize::try_from(width.max(0)).unwrap_or(usize::MAX))
        }
    };
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let (first, blank) = (is_true(first), is_true(blank));
    let mut out = TextBuilder::default();
    let own = text.as_str();
    // As in Jinja2, a last empty line counts, so that a final line end stays.
    let mut all = lines(own, false);
    if own.is_empty() || own.ends_with('\n') {
        all.push("");
    }
    for (place, line) in all.iter().enumerate() {
        if place > 0 {
            out.push_own("\n");
        }
        let indented = if place == 0 { first } else { blank || !line.is_empty() };
        if indented {
            let origin = space.origin_at(0);
            out.push_repeated(space.as_str(), count, origin);
        }
        let start = line.as_ptr().addr().saturating_sub(own.as_ptr().addr());
        if !line.is_empty() {
            out.push_slice(text, start..start + line.len());
        }
    }
    out.finish()
}

fn truncate(text: &Text, arguments: Arguments) -> Result<Text> {
    let names = ["length", "killwords", "end", "leeway"];
    let [length, killwords, end, leeway] = arguments.bind("truncate", names)?;
    let end = end.map_or(Ok(Text::from("...")), |end| str_of(&end))?;
    let number = |value, default, name| {
        integer(value, default, name)
            .map(|number| usize::try_from(number.max(0)).unwrap_or(usize::MAX))
    };
    let (length, leeway) = (number(length, 255, "length")?, number(leeway, 5, "leeway")?);
    let own = text.as_str();
    if own.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.clone());
    }
    let kept = length.saturating_sub(end.as_str().chars().count());
    let cut = own.char_indices().nth(kept).map_or(own.len(), |(at, _)| at);
    let head = own.get(..cut).unwrap_or_default();
    let killwords = killwords.is_some_and(|killwords| killwords.is_true());
    let head = if killwords { head } else { head.rsplit_once(' ').map_or(head, |(head, _)| head) };
    let mut out = TextBuilder::default();
    out.push_slice(text, 0..head.len());
    out.push(&end);
    out.finish()
}

fn striptags(text: &Text) -> Result<Text> {
    let mut out = TextBuilder::default();
    let (mut inside, mut space) = (false, false);
    for (c, origin) in text.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => inside = false,
            _ if inside => {}
            c if is_space(c) => space = true,
            c => {
                if space && out.len() > 0 {
                    out.push_char(' ', origin);
                }
                space = false;
                out.push_char(c, origin);
            }
        }
    }
    out.finish()
}

fn urlencode(text: &Text) -> Result<Text> {
    let mut out = TextBuilder::default();
    for (c, origin) in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '~' | '/') {
            out.push_char(c, origin);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("%{byte:02X}"), origin);
            }
        }
    }
    out.finish()
}

fn escape(text: &Text) -> Result<Text> {
    let mut out = TextBuilder::default();
    for (c, origin) in text.chars() {
        match c {
            '&' => out.push_str("&amp;", origin),
            '<' => out.push_str("&lt;", origin),
            '>' => out.push_str("&gt;", origin),
            '"' => out.push_str("&#34;", origin),
            '\'' => out.push_str("&#39;", origin),
            c => out.push_char(c, origin),
        }
    }
    out.finish()
}
