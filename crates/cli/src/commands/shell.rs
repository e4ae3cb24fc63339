//! `mixdown completions` and `mixdown man`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use mixdown_base::display::plural;
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;
use crate::files::{make_ready, write_whole};
use crate::terminal::command_line;
use crate::terminal::output::Output;

/// Columns of a manual page's text.
const MANUAL_WIDTH: usize = 78;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown completions bash > ~/.local/share/bash-completion/completions/mixdown
  mixdown completions zsh > ~/.zfunc/_mixdown
  mixdown completions fish > ~/.config/fish/completions/mixdown.fish")]
pub struct CompletionsArgs {
    /// Shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown man --out ~/.local/share/man/man1
  man mixdown-prepare")]
pub struct ManArgs {
    /// Folder for the manual pages.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// A completion script for programs.
#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

/// The manual pages that were written.
#[derive(Serialize)]
struct Pages {
    folder: PathBuf,
    pages: Vec<String>,
}

/// Prints a shell's completion script.
///
/// # Errors
/// Standard output that cannot be written.
pub fn completions(arguments: CompletionsArgs, context: Context) -> Result<(), Error> {
    let mut script = Vec::new();
    let mut command = command_line::command(MANUAL_WIDTH);
    clap_complete::generate(arguments.shell, &mut command, "mixdown", &mut script);
    if context.output == Output::Json {
        let script = String::from_utf8_lossy(&script).into_owned();
        let script = Script { shell: arguments.shell.to_string(), script };
        return context.output.print(&script, |script| script.script.clone());
    }
    let written = io::stdout().write_all(&script);
    written.map_err(|error| Error::io("standard output".as_ref(), "write", error))
}

/// Writes a manual page for the program and for each subcommand.
///
/// # Errors
/// A folder that cannot be made or written.
pub fn man(arguments: ManArgs, context: Context) -> Result<(), Error> {
    let folder = arguments.out;
    let mut command = command_line::command(MANUAL_WIDTH).disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    for manual in manuals(&command) {
        let (mut page, name) = (Vec::new(), manual.get_filename());
        let path = folder.join(&name);
        let rendered = manual.render(&mut page);
        rendered.map_err(|error| Error::io(&path, "write", error))?;
        make_ready(&path)?;
        write_whole(&path, &page)?;
        pages.push(name);
    }
    let written = Pages { folder, pages };
    context.output.print(&written, |written| {
        let count = u64::try_from(written.pages.len()).unwrap_or(u64::MAX);
        format!("{} in {}", plural(count, "manual page"), written.folder.display())
    })
}

/// The manual pages of a command and of all its subcommands.
fn manuals(command: &Command) -> Vec<Man> {
    let shown = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    std::iter::once(Man::new(command.clone())).chain(shown.flat_map(manuals)).collect()
}
