//! `mixdown completions` and `mixdown man`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::Error;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown completions bash > ~/.local/share/bash-completion/completions/mixdown
  mixdown completions zsh > ~/.zfunc/_mixdown
  mixdown completions fish > ~/.config/fish/completions/mixdown.fish")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown man --out ~/.local/share/man/man1
  man mixdown-prepare")]
pub struct ManArgs {
    /// The folder that the pages are written into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Prints a shell's completion script.
///
/// # Errors
/// Standard output that cannot be written.
pub fn completions(arguments: CompletionsArgs) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "mixdown", &mut script);
    let written = io::stdout().write_all(&script);
    written.map_err(|error| Error::io("standard output".as_ref(), "write", error))
}

/// Writes a manual page for the program and for each subcommand.
///
/// # Errors
/// A folder that cannot be made or written.
pub fn man(arguments: ManArgs) -> Result<(), Error> {
    let unwritable = |error| Error::io(&arguments.out, "write", error);
    std::fs::create_dir_all(&arguments.out).map_err(unwritable)?;
    clap_mangen::generate_to(Cli::command(), &arguments.out).map_err(unwritable)
}
