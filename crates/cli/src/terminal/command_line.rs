//! The command line: its description, and the rules that apply to all commands.
//!
//! Every whole number is parsed by the one grammar of quantities, every `--out` is also `-o`, and every help text is
//! laid out for the width of the terminal, so that no command needs code for it.

use std::any::TypeId;
use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Write;
use std::num::{NonZeroU32, NonZeroU64};
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::{Arg, Command, CommandFactory, FromArgMatches};
use mixdown_base::display::escaped_lines;
use mixdown_base::quantity::{self, QuantityError};

use crate::error::ErrorRecord;
use crate::terminal::advice;
use crate::terminal::args::Cli;
use crate::terminal::help;
use crate::terminal::output::Output;

/// Reads the program's arguments.
///
/// # Errors
/// Arguments that no command takes, and requests for help or the version, which clap also returns as errors.
pub fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = command(help::width());
    command.build();
    let parsed = command.try_get_matches_from_mut(arguments).and_then(|mut matches| {
        Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    });
    parsed.map_err(|error| advice::improved(error, &command, arguments))
}

/// The description of the command line, with its texts laid out for a width.
pub fn command(width: usize) -> Command {
    with_rules(Cli::command(), width)
}

fn with_rules(command: Command, width: usize) -> Command {
    let after_help = command.get_after_help().map(|text| help::laid_out(&text.to_string(), width));
    let command = match after_help {
        Some(text) => command.after_help(text),
        None => command,
    };
    let command = command.term_width(width).mut_args(with_rules_of_arguments);
    command.mut_subcommands(|subcommand| with_rules(subcommand, width))
}

fn with_rules_of_arguments(argument: Arg) -> Arg {
    let argument = match argument.get_long() {
        Some("out") if argument.get_short().is_none() => argument.short('o'),
        _ => argument,
    };
    let unit = unit_of(argument.get_id().as_str());
    match grammar_of(argument.get_value_parser(), unit) {
        Some(parser) => argument.value_parser(parser),
        None => argument,
    }
}

/// The parser of a value that is a whole number.
fn grammar_of(parser: &ValueParser, unit: Option<&'static str>) -> Option<ValueParser> {
    let kind = parser.type_id();
    let above_zero = move |text: &str| quantity::positive_of::<u64>(text, unit);
    if kind == TypeId::of::<u64>() {
        return Some(ValueParser::new(move |text: &str| quantity::count_of::<u64>(text, unit)));
    }
    if kind == TypeId::of::<u32>() {
        return Some(ValueParser::new(move |text: &str| quantity::count_of::<u32>(text, unit)));
    }
    if kind == TypeId::of::<usize>() {
        return Some(ValueParser::new(move |text: &str| quantity::count_of::<usize>(text, unit)));
    }
    if kind == TypeId::of::<NonZeroU64>() {
        let parse = move |text: &str| {
            above_zero(text).map(|number| NonZeroU64::MIN.saturating_add(number - 1))
        };
        return Some(ValueParser::new(parse));
    }
    if kind == TypeId::of::<NonZeroU32>() {
        let parse = move |text: &str| -> Result<NonZeroU32, QuantityError> {
            let number = quantity::positive_of::<u32>(text, unit)?;
            Ok(NonZeroU32::MIN.saturating_add(number - 1))
        };
        return Some(ValueParser::new(parse));
    }
    None
}

/// The unit that may follow an argument's number.
fn unit_of(id: &str) -> Option<&'static str> {
    let units = [
        (&["tokens", "sequence_length", "pack"][..], "token"),
        (&["steps", "every"], "step"),
        (&["sequences", "batch_size"], "sequence"),
        (&["limit"], "document"),
    ];
    let found = units.into_iter().find(|(ends, _)| ends.iter().any(|end| id.ends_with(end)));
    found.map(|(_, unit)| unit)
}

/// Prints what is wrong with the arguments, or the requested help, and returns the exit code.
pub fn refuse(error: clap::Error, arguments: &[OsString]) -> ExitCode {
    let wants_json = arguments.iter().take_while(|one| *one != "--").any(|one| one == "--json");
    if error.use_stderr() && wants_json {
        let record = ErrorRecord::of_usage(&error.render().to_string());
        // If standard output is closed, nobody can be told.
        let _ = Output::Json.error(&record);
    }
    // The same for standard error.
    let _ = match escaped_refusal(&error, arguments) {
        Some(text) => writeln!(std::io::stderr(), "{text}"),
        None => error.print().and_then(|()| std::io::stdout().flush()),
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The message about arguments that would steer a terminal, escaped and without colors, because clap prints them
/// unchanged. `None` if clap's text is safe.
fn escaped_refusal(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let is_raw =
        |argument: &OsString| matches!(escaped_lines(&argument.to_string_lossy()), Cow::Owned(_));
    (error.use_stderr() && arguments.iter().any(is_raw))
        .then(|| escaped_lines(error.render().to_string().trim_end()).into_owned())
}

#[cfg(test)]
#[path = "command_line_tests.rs"]
mod tests;
