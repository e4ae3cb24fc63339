//! `mixdown verify`.

mod corpus;
mod outputs;

use std::path::PathBuf;

use clap::Args;
use mixdown_shards::Manifest;

use crate::commands::Context;
use crate::error::Error;

pub use self::corpus::{VerifyCorporaArgs, check_corpora, warn_of_missing_sketches};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown verify corpora/general
  mixdown verify runs/math-1
  mixdown verify runs/math-1/best
  mixdown verify sweeps/math

A corpus is checked against its manifest; a run's folder, its checkpoints and best/ against their BLAKE3SUMS; a sweep's
tables against the checksums beside them, together with all its base models and runs. Folders that older versions wrote
have no checksums.")]
pub struct VerifyArgs {
    /// Folder of a corpus, a run, one of its checkpoints, its best/, or a sweep.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Runs the subcommand; damage is an error after the report is printed.
///
/// # Errors
/// A folder of something else, or any damage.
pub fn run(arguments: VerifyArgs, context: Context) -> Result<(), Error> {
    let folder = &arguments.folder;
    // A corpus that has lost its manifest, or has none yet, still has some of these.
    let of_corpus = [Manifest::FILE, "train", "holdout", ".work"];
    match outputs::kind_of(folder) {
        Some(kind) => outputs::run(folder, kind, context),
        None if of_corpus.iter().any(|name| folder.join(name).exists()) => {
            corpus::run(folder, context)
        }
        None => Err(Error::usage(
            format!(
                "{}: expected the folder of a corpus, of a run, one of its checkpoints or its best/, or of a sweep, \
                 got {}",
                folder.display(),
                match folder.is_dir() {
                    true => "a folder without manifest.json, run.toml, config.json or sweep.toml",
                    false => "no folder",
                }
            ),
            "give the folder that `mixdown prepare`, `mixdown train` or `mixdown sweep` wrote",
        )),
    }
}
