//! mixdown: finetune a language model on a target domain without forgetting.

mod commands;
mod demo;
mod error;
mod files;
mod runs;
/// The terminal: arguments, help, output, progress and interruptions.
mod terminal {
    pub(crate) mod advice;
    pub(crate) mod args;
    pub(crate) mod arrow_stream;
    pub(crate) mod command_line;
    pub(crate) mod help;
    pub(crate) mod interrupt;
    pub(crate) mod output;
    pub(crate) mod progress;
}

use std::ffi::OsString;
use std::process::ExitCode;

use crate::terminal::output::Output;
use crate::terminal::{command_line, progress};

// Training allocates and frees buffers of megabytes at every step; the system's allocator hands them
// back to the kernel each time (46 % of the samples of a profile), mimalloc keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    files::raise_limit();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match command_line::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return command_line::refuse(error, &arguments),
    };
    let output = Output::of(cli.json);
    progress::set_verbosity(cli.verbosity());
    let done = commands::run(cli, output);
    // A result for programs is printed last, together with a possible error.
    let done = done.map_or_else(|error| output.fail(error), |()| output.finish());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::say_error(&error);
            error.exit_code()
        }
    }
}
