//! `mixdown verify`.

mod corpus;
mod left;

use std::path::PathBuf;

use clap::Args;

use crate::commands::Context;
use crate::error::Error;

pub use self::corpus::{VerifyCorporaArgs, check_corpora};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown verify corpora/general
  mixdown verify runs/math-1
  mixdown verify runs/math-1/best
  mixdown verify sweeps/math

A corpus is checked against its manifest, a run's folder, its checkpoints and best/ against their BLAKE3SUMS, a sweep's
tables against the sums beside them, with all its base models and runs. What older versions wrote has no sums.")]
pub struct VerifyArgs {
    /// The folder of a corpus, of a run, one of its checkpoints or its best/, or of a sweep.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Runs the subcommand; damage is an error after the report is printed.
///
/// # Errors
/// A folder of something else, or any damage.
pub fn run(arguments: VerifyArgs, context: Context) -> Result<(), Error> {
    match left::kind_of(&arguments.folder) {
        Some(kind) => left::run(&arguments.folder, kind, context),
        None => corpus::run(&arguments.folder, context),
    }
}
