//! Help texts for the width of the terminal: prose is wrapped once, and commands can still be pasted.

use std::io::{IsTerminal, stdout};

/// The columns of help if the width is unknown, and the most that are used: longer lines are hard to read.
const USUAL_WIDTH: usize = 100;
/// The fewest columns that are used: fewer are not enough for words.
const LEAST_WIDTH: usize = 20;

/// The columns that help is laid out for: those of the terminal, or the value of `COLUMNS`, at most [`USUAL_WIDTH`].
pub fn width() -> usize {
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    let columns = terminal_columns().or_else(said).unwrap_or(USUAL_WIDTH);
    columns.clamp(LEAST_WIDTH, USUAL_WIDTH)
}

#[cfg(unix)]
fn terminal_columns() -> Option<usize> {
    if !stdout().is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(stdout()).ok()?.ws_col;
    // A terminal that does not know its size returns 0.
    (columns > 0).then_some(usize::from(columns))
}

#[cfg(not(unix))]
fn terminal_columns() -> Option<usize> {
    None
}

/// Lays out the text below a command's options: `mixdown …` lines that are too long become several with `\` at their
/// ends, other lines that are indented stay as they are unless they are too long, and the rest is prose.
pub fn laid_out(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut prose = String::new();
    let mut source = text.lines().peekable();
    while let Some(line) = source.next() {
        let indent = indent_of(line);
        if indent == 0 && !line.is_empty() && !line.ends_with(':') {
            prose = if prose.is_empty() { line.to_owned() } else { format!("{prose} {line}") };
            continue;
        }
        lines.extend(wrapped(&std::mem::take(&mut prose), width, "", ""));
        if is_command(line) {
            let mut command = line.trim().to_owned();
            while let Some(start) = command.strip_suffix('\\') {
                let next = source.next().unwrap_or_default().trim();
                command = format!("{} {next}", start.trim_end());
            }
            lines.extend(command_lines(&command, width, indent));
        } else {
            let mut item = line.to_owned();
            let column = item_column(line);
            while column
                .is_some_and(|column| source.peek().is_some_and(|next| indent_of(next) == column))
            {
                item = format!("{item} {}", source.next().unwrap_or_default().trim());
            }
            lines.extend(item_lines(&item, width, column));
        }
    }
    lines.extend(wrapped(&prose, width, "", ""));
    lines.join("\n")
}

/// Whether a line of help is for the shell.
pub fn is_command(line: &str) -> bool {
    let text = line.trim_start();
    line.starts_with(' ')
        && (text.starts_with("mixdown ") || text.starts_with("man ") || text.contains("| mixdown "))
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The column at which the text of `  name    text` begins; further lines of the text begin there, too.
fn item_column(line: &str) -> Option<usize> {
    let gap = line.trim_start().find("  ")? + indent_of(line);
    Some(gap + indent_of(line.get(gap..)?))
}

/// An indented line, split if it is too long: the text of an item continues below its beginning, a comment moves
/// above its line.
fn item_lines(item: &str, width: usize, column: Option<usize>) -> Vec<String> {
    let indent = " ".repeat(indent_of(item));
    if item.chars().count() <= width {
        return vec![item.to_owned()];
    }
    match column.and_then(|column| Some((column, item.get(..column)?, item.get(column..)?))) {
        Some((_, setting, comment)) if comment.starts_with('#') => {
            let mut lines = wrapped(comment, width, &indent, &format!("{indent}# "));
            lines.push(setting.trim_end().to_owned());
            lines
        }
        Some((column, name, text)) => wrapped(text, width, name, &" ".repeat(column)),
        None => wrapped(item.trim(), width, &indent, &indent),
    }
}

fn command_lines(command: &str, width: usize, indent: usize) -> Vec<String> {
    let (first, next) = (" ".repeat(indent), " ".repeat(indent + 2));
    if indent + command.chars().count() <= width {
        return vec![format!("{first}{command}")];
    }
    let mut lines: Vec<String> = Vec::new();
    let mut line = first.clone();
    for word in shell_words(command) {
        let is_empty = line.trim().is_empty();
        // Two columns for the blank and the backslash at the end.
        if !is_empty && line.chars().count() + 1 + word.chars().count() + 2 > width {
            lines.push(format!("{line} \\"));
            line = format!("{next}{word}");
        } else {
            line = if is_empty { format!("{line}{word}") } else { format!("{line} {word}") };
        }
    }
    lines.push(line);
    lines
}

/// The words of a command, with their quotes; an option stays with its value.
fn shell_words(command: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut quote = None;
    for piece in command.split(' ') {
        let joins = quote.is_some()
            || words.last().is_some_and(|last| matches!(last.as_str(), ">" | "|"))
            || words.last().is_some_and(|last| {
                last.starts_with("--") && !last.contains([' ', '=']) && !piece.starts_with('-')
            });
        match words.last_mut() {
            Some(last) if joins => {
                last.push(' ');
                last.push_str(piece);
            }
            _ => words.push(piece.to_owned()),
        }
        for letter in piece.chars().filter(|letter| matches!(letter, '\'' | '"')) {
            quote = match quote {
                None => Some(letter),
                Some(open) if open == letter => None,
                open => open,
            };
        }
    }
    words
}

/// Prose in lines of at most `width` columns.
pub fn wrapped(text: &str, width: usize, first: &str, next: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, next.to_owned()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    if !is_empty {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_once_and_commands_stay_commands() {
        let text = "Examples:\n  mixdown train --init base/best --target corpora/math \\\n    --steps '2 epochs of \
        target' --out runs/a\n\nA stopped\nrun continues.";
        assert_eq!(
            laid_out(text, 40),
            "Examples:\n  mixdown train --init base/best \\\n    --target corpora/math \\\n    --steps '2 epochs of \
             target' \\\n    --out runs/a\n\nA stopped run continues."
        );
        let wide = laid_out(text, 200);
        assert!(
            wide.contains("corpora/math --steps '2 epochs of target' --out runs/a\n"),
            "{wide}"
        );
        assert_eq!(laid_out("one two three four", 9), "one two\nthree\nfour");
        assert_eq!(laid_out("key:\n  a = 1\n  b = \"x\"", 40), "key:\n  a = 1\n  b = \"x\"");
        assert_eq!(
            laid_out("  a    one two\n       three\n  bb   four", 14),
            "  a    one two\n       three\n  bb   four"
        );
        assert_eq!(laid_out("  [[a]]      # one two", 12), "  # one two\n  [[a]]");
    }

    #[test]
    fn no_line_is_longer_than_the_width_unless_a_word_is() {
        let text = "  mixdown prepare part-*.jsonl.zst --tokenizer gpt2/ --out corpora/web --holdout '500k tokens'";
        for width in [30, 60, 80, 120] {
            for line in laid_out(text, width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}
