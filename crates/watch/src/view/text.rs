//! Text for the terminal: safe names, widths and numbers.

pub use mixdown_base::quantity::to_f64;
use ratatui::text::Span;

/// Removes from a text what a terminal would execute or what would reorder a line: control characters (an escape
/// sequence is then plain text), marks of writing direction, and invisible separators.
pub fn clean(text: &str) -> String {
    text.chars().filter(|letter| !is_unfit(*letter)).collect()
}

fn is_unfit(letter: char) -> bool {
    let is_mark = matches!(
        letter,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}'
    );
    letter.is_control() || is_mark
}

/// Returns the number of columns of a text.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Shortens a text to at most `columns` by leaving out its middle, because names of runs differ at both ends.
pub fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let tail = room / 2;
    let mut end = String::new();
    for letter in text.chars().rev() {
        let longer = format!("{letter}{end}");
        if width(&longer) > tail {
            break;
        }
        end = longer;
    }
    let mut start = String::new();
    for letter in text.chars() {
        let longer = format!("{start}{letter}");
        if width(&longer) + width(&end) > room {
            break;
        }
        start = longer;
    }
    if columns == 0 { String::new() } else { format!("{start}…{end}") }
}

/// Joins as many of the parts, from the first on, as fit side by side.
pub fn fitting(parts: &[String], columns: usize) -> String {
    let mut text = String::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let longer = if text.is_empty() { part.clone() } else { format!("{text}   {part}") };
        if !text.is_empty() && width(&longer) > columns {
            break;
        }
        text = longer;
    }
    text
}

/// Formats a loss with four decimals unless it has diverged.
pub fn loss(value: f64) -> String {
    if is_astray(value) { format!("{value:.1e}") } else { format!("{value:.4}") }
}

/// Formats the change of a loss with its sign.
pub fn change(value: f64) -> String {
    if is_astray(value) { format!("{value:+.1e}") } else { format!("{value:+.4}") }
}

fn is_astray(value: f64) -> bool {
    value.is_finite() && value.abs() >= 1e5
}

#[cfg(test)]
mod tests {
    use super::{clean, fitting, shortened, width};

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(clean("a\u{1b}[31mb\u{7}\r\n\tc\u{9b}2J\u{202e}d\u{200b}"), "a[31mbc2Jd");
        assert_eq!(clean("Größe 模型 🦀"), "Größe 模型 🦀");
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shortened("code-32-1200-10pct-seed0", 24), "code-32-1200-10pct-seed0");
        assert_eq!(shortened("code-32-1200-10pct-seed0", 13), "code-3…-seed0");
        assert_eq!(shortened("模型模型模型", 5), "模…型");
        for columns in 0..16 {
            assert!(width(&shortened("模a型b模c型d模", columns)) <= columns, "{columns}");
        }
    }

    #[test]
    fn the_first_part_always_stands() {
        let parts = ["one".to_owned(), String::new(), "two".to_owned(), "three".to_owned()];
        assert_eq!(fitting(&parts, 9), "one   two");
        assert_eq!(fitting(&parts, 1), "one");
    }
}
