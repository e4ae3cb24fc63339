//! Numbers as people read them, and texts as a terminal may be given them.

use std::borrow::Cow;

/// A name or other short text from outside on one line of a terminal: control characters (an escape sequence
/// then is plain text, a line stays one line) and marks that turn the direction of writing are escaped.
///
/// ```
/// use mixdown_base::display::escaped;
/// assert_eq!(escaped("red \u{1b}[31m\n"), r"red \u{1b}[31m\n");
/// assert_eq!(escaped("Größe 大"), "Größe 大");
/// ```
pub fn escaped(text: &str) -> Cow<'_, str> {
    escaped_where(text, is_unfit)
}

/// Like [`escaped`], for texts of many lines: line ends (also of CR LF) and tabs stay.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    if !text.contains("\r\n") {
        return escaped_where(text, |letter| !matches!(letter, '\n' | '\t') && is_unfit(letter));
    }
    let lines: Vec<Cow<'_, str>> = text.split("\r\n").map(escaped_lines).collect();
    Cow::Owned(lines.join("\r\n"))
}

fn escaped_where(text: &str, is_unfit: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            _ if !is_unfit(letter) => escaped.push(letter),
            // `escape_debug` leaves some marks of direction as they are.
            '\n' | '\r' | '\t' => escaped.extend(letter.escape_default()),
            _ => escaped.extend(letter.escape_unicode()),
        }
    }
    Cow::Owned(escaped)
}

fn is_unfit(letter: char) -> bool {
    let turns_direction = matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    letter.is_control() || turns_direction || matches!(letter, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let hostile: String = (0_u32..0x2100).filter_map(char::from_u32).collect();
        for text in [escaped(&hostile), escaped_lines(&hostile)] {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            assert!(!text.contains('\u{202e}') && text.contains("\\u{202e}"));
        }
        assert!(!escaped(&hostile).contains(['\n', '\t']));
    }

    #[test]
    fn line_ends_and_tabs_of_texts_stay_and_lone_returns_do_not() {
        assert_eq!(escaped_lines("a\tb\nc\r\nd"), "a\tb\nc\r\nd");
        assert_eq!(escaped_lines("100 %\rfake\r\n"), "100 %\\rfake\r\n");
        assert!(matches!(escaped_lines("plain\n"), Cow::Borrowed(_)));
    }
}
