//! One file per subcommand, each with its arguments and `run`.

/// Corpora and tokenizers: prepare, import, export, inspect, verify.
pub mod corpora {
    pub mod export;
    pub mod import;
    pub mod inspect;
    pub mod labels_args;
    pub mod prepare;
    pub mod tokenizer;
    pub mod verify;
}
/// Scaling laws, planned grids, reports.
pub mod laws {
    pub mod design;
    pub mod fit;
    pub mod report;
}
/// Plans, batches and speed of mixtures.
pub mod mixtures {
    pub mod bench;
    pub mod mix;
}
pub mod shell;
/// Training, evaluation, generation, sweeps.
pub mod training {
    pub mod demo;
    pub mod eval;
    pub mod generate;
    pub mod sweep;
    pub mod sweep_preview;
    pub mod sweep_progress;
    pub mod train;
    pub mod train_preview;
    pub mod watch;
}

use std::sync::atomic::AtomicBool;

use crate::commands::corpora::{export, import, inspect, prepare, tokenizer, verify};
use crate::commands::laws::{design, fit, report};
use crate::commands::mixtures::{bench, mix};
use crate::commands::training::{demo, eval, generate, sweep, train, watch};
use crate::error::Error;
use crate::terminal::args::{Cli, Command};
use crate::terminal::interrupt;
use crate::terminal::output::Output;

/// The context of every subcommand besides its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The form of the result.
    pub output: Output,
    /// Set when the user asks the work to stop.
    pub stop: &'static AtomicBool,
}

/// Runs one subcommand.
///
/// # Errors
/// Any error of the subcommand.
pub fn run(cli: Cli, output: Output) -> Result<(), Error> {
    let context = Context { output, stop: interrupt::install()? };
    if let Command::Design(_)
    | Command::Fit(_)
    | Command::Report(_)
    | Command::Completions(_)
    | Command::Man(_) = cli.command
    {
        interrupt::end_at_once();
    }
    match cli.command {
        Command::Demo(arguments) => demo::run(arguments, context).map_err(Error::resumable),
        Command::Tokenizer(command) => tokenizer::run(command, context),
        Command::Prepare(arguments) => prepare::run(*arguments, context).map_err(Error::resumable),
        Command::Import(arguments) => import::run(arguments, context),
        Command::Export(arguments) => export::run(arguments, context),
        Command::Inspect(arguments) => inspect::run(arguments, context),
        Command::Verify(arguments) => verify::run(arguments, context),
        Command::Mix(arguments) => mix::run(arguments, context),
        Command::Bench(arguments) => bench::run(arguments, context),
        Command::Train(arguments) => train::run(arguments, context).map_err(Error::resumable),
        Command::Eval(arguments) => eval::run(arguments, context),
        Command::Generate(arguments) => generate::run(arguments, context),
        Command::Sweep(arguments) => sweep::run(arguments, context).map_err(Error::resumable),
        Command::Design(arguments) => design::run(*arguments, context),
        Command::Fit(arguments) => fit::run(*arguments, context),
        Command::Report(arguments) => report::run(arguments, context),
        Command::Watch(arguments) => watch::run(arguments, context),
        Command::Completions(arguments) => shell::completions(arguments, context),
        Command::Man(arguments) => shell::man(arguments, context),
    }
}
