//! Sweeps: base models finetuned over a grid of target tokens and shares of pretraining data, each run one
//! row of a table.
//!
//! settings.rs reads SWEEP.toml, plan.rs makes runs of it, folder.rs keeps what is done, execute.rs does
//! the rest by way of the same [`Trainer`](mixdown_train::Trainer) as `train`.

mod cost;
mod execute;
mod fingerprints;
mod folder;
mod names;
mod plan;
mod settings;
mod settings_file;

use std::path::Path;

use mixdown_runs::RunRow;
use mixdown_tokenize::Task;

use crate::commands::Context;
use crate::error::Error;

use self::execute::Execution;
use self::fingerprints::Fingerprints;
use self::folder::SweepFolder;
use self::plan::Plan;
use self::settings_file::SettingsFile;

pub use self::folder::Failure;
pub use self::settings::{Design, SweepConfig};

/// What a sweep leaves.
#[derive(Debug)]
pub struct SweepOutcome {
    /// The rows of the planned runs that there are, in the order of the plan.
    pub rows: Vec<RunRow>,
    /// Runs planned.
    pub planned: usize,
    /// Runs that failed, and why.
    pub failures: Vec<Failure>,
}

/// Does what is not done yet of the sweep in `out`.
///
/// # Errors
/// Settings that no sweep can have, or other ones than those of the sweep in `out`; a folder of something
/// else; an interruption. A run that fails is no error.
pub fn run(
    settings: &SweepConfig,
    out: &Path,
    task: Option<Task>,
    context: Context,
) -> Result<SweepOutcome, Error> {
    let there = SettingsFile::read(out)?;
    let known = there.as_ref().map(SettingsFile::fingerprints).transpose()?;
    let fingerprints = Fingerprints::new(settings, known.as_ref())?;
    let plan = Plan::new(settings, &fingerprints, out)?;
    let ours = SettingsFile::new(settings, &fingerprints)?;
    settings_file::claim(out, there, ours)?;
    let mut folder = SweepFolder::open(out, task)?;
    Execution::new(settings, &plan, &mut folder, context).run()?;
    let rows = plan.runs.iter().filter_map(|run| folder.row(&run.run_id).cloned()).collect();
    Ok(SweepOutcome { rows, planned: plan.runs.len(), failures: folder.failures() })
}
