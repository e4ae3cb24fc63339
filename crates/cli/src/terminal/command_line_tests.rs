//! Help, misspelled commands and old names of options.

use std::ffi::OsString;

use clap::Command;

use super::{command, escaped_refusal, parse};
use crate::terminal::help::is_command;

/// Every command with the words that lead to it, groups of commands left out.
fn leaves(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, Command)>) {
    let subcommands: Vec<&Command> =
        command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    if subcommands.is_empty() {
        found.push((path.to_vec(), command.clone()));
    }
    for subcommand in subcommands {
        let path = [path, &[subcommand.get_name().to_owned()]].concat();
        leaves(subcommand, &path, found);
    }
}

fn all() -> Vec<(Vec<String>, Command)> {
    let mut found = Vec::new();
    leaves(&command(80), &[], &mut found);
    assert!(found.len() > 15);
    found
}

/// A command's words as a shell splits them; a pipe, a redirection or a comment ends it.
fn shell_split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut has_word) = (Vec::new(), String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), letter) => word.push(letter),
            (None, '\'' | '"') => (quote, has_word) = (Some(letter), true),
            (None, ' ') => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                }
                has_word = false;
            }
            (None, '|' | '>' | '#' | '&' | ';') if !has_word => break,
            (None, letter) => {
                word.push(letter);
                has_word = true;
            }
        }
    }
    assert_eq!(quote, None, "{line}");
    if has_word {
        words.push(word);
    }
    words
}

/// The examples in a help text, each on one line.
fn examples(text: &str) -> Vec<String> {
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if !is_command(line) {
            continue;
        }
        let mut example = line.trim().to_owned();
        while let Some(start) = example.strip_suffix('\\') {
            example = format!("{} {}", start.trim_end(), lines.next().unwrap().trim());
        }
        found.push(example);
    }
    found
}

#[test]
fn every_example_of_every_command_parses_at_every_width() {
    let mut parsed = 0;
    for width in [60, 80, 120, 200] {
        let mut found = Vec::new();
        leaves(&command(width), &[], &mut found);
        for (path, subcommand) in found {
            let text = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
            for example in examples(&text) {
                let start = example.find("mixdown ").unwrap_or(0);
                let words = shell_split(&example[start..]);
                if words[0] != "mixdown" {
                    continue;
                }
                let words: Vec<OsString> = words.iter().map(OsString::from).collect();
                if let Err(error) = parse(&words) {
                    panic!("{path:?} at {width}: {example}\n{error}");
                }
                parsed += 1;
            }
        }
    }
    assert!(parsed > 4 * 40, "{parsed}");
}

#[test]
fn every_command_has_an_example_that_names_it() {
    for (path, subcommand) in all() {
        let text = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
        let name = format!("mixdown {}", path.join(" "));
        assert!(examples(&text).iter().any(|example| example.contains(&name)), "{path:?}:\n{text}");
    }
}

#[test]
fn no_help_is_wider_than_its_terminal_or_has_stray_backslashes() {
    for width in [60, 80, 100] {
        let mut found = Vec::new();
        leaves(&command(width), &[], &mut found);
        for (path, mut subcommand) in found {
            for text in
                [subcommand.render_help().to_string(), subcommand.render_long_help().to_string()]
            {
                let mut lines = text.lines().peekable();
                while let Some(line) = lines.next() {
                    // A single word and clap's usage are never broken.
                    let is_word =
                        line.split_whitespace().count() <= 2 || line.starts_with("Usage:");
                    assert!(
                        line.chars().count() <= width || is_word,
                        "{path:?} at {width}: {line}"
                    );
                    // \n and the like are text, a backslash at the end of a line continues it, another one is stray.
                    assert!(!line.contains("\\\""), "{path:?}: {line}");
                    if line.trim_end().ends_with('\\') {
                        let goes_on = lines.peek().is_some_and(|next| next.starts_with("    "));
                        assert!(line.ends_with(" \\") && goes_on, "{path:?}: {line}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_out_is_also_o_and_every_argument_says_what_it_is() {
    let mut outs = 0;
    for (path, subcommand) in all() {
        for argument in subcommand.get_arguments() {
            if argument.get_long() == Some("out") {
                assert_eq!(argument.get_short(), Some('o'), "{path:?}");
                outs += 1;
            }
            assert!(argument.get_help().is_some(), "{path:?}: {}", argument.get_id());
        }
    }
    assert!(outs > 8, "{outs}");
}

#[test]
fn every_count_is_read_by_the_one_grammar() {
    let accepted = |words: &str| {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        parse(&words).map(|_| ()).map_err(|error| error.to_string())
    };
    for words in [
        "mixdown tokenizer train a --out b --vocab-size 32k",
        "mixdown prepare a --tokenizer b --out c --limit 1_000",
        "mixdown prepare a --tokenizer b --out c --limit 5e4",
        "mixdown train --pretraining a --out b --batch-size 1K --sequence-length 2k --seed 1e3",
        "mixdown demo --vocab-size 4,096 --target-tokens 20k",
        "mixdown generate a --prompt x --max-tokens 1k --top-k 50 --count 2",
        "mixdown eval a --corpus b --sequences 1k",
        "mixdown export a --to megatron --out b --shard-tokens 50M",
        "mixdown fit a --budget 0.1 --model-size 1.27B --target-tokens 30M",
    ] {
        assert_eq!(accepted(words), Ok(()), "{words}");
    }
    for (words, reason) in [
        ("mixdown tokenizer train a --out b --vocab-size 1.5", "it is not whole"),
        ("mixdown tokenizer train a --out b --vocab-size 32mugs", "is not a unit here"),
        ("mixdown generate a --prompt x --count 0", "it is zero"),
        ("mixdown train --pretraining a --out b --processes 0", "it is zero"),
        ("mixdown fit a --budget 0.1 --model-size 0 --target-tokens 1", "it is zero"),
    ] {
        let message = accepted(words).unwrap_err();
        assert!(message.contains(reason), "{words}: {message}");
    }
}

#[test]
fn arguments_in_a_refusal_cannot_steer_a_terminal() {
    let refusal = |words: &[&str]| {
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        escaped_refusal(&parse(&arguments).unwrap_err(), &arguments)
    };
    let text = refusal(&["mixdown", "prep\u{9b}31m\u{202e}\r"]).unwrap();
    assert!(
        text.starts_with(r"error: unrecognized subcommand 'prep\u{9b}31m\u{202e}\r'"),
        "{text}"
    );
    let text = refusal(&["mixdown", "completions", "\u{1b}[2Jfish\u{7}"]).unwrap();
    assert!(!text.contains(['\u{1b}', '\u{7}']), "{text}");
    assert_eq!(refusal(&["mixdown", "größer"]), None);
}
