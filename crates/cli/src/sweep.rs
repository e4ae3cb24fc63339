//! Sweeps: base models finetuned over a grid of target tokens and shares of pretraining data, each run one
//! row of a table.
//!
//! settings.rs reads SWEEP.toml, plan.rs makes runs of it, folder.rs keeps what is done, execute.rs does
//! the rest by way of the same [`Trainer`](mixdown_train::Trainer) as `train`, or of a program of the
//! user's (command.rs).

mod command;
mod cost;
mod execute;
mod fingerprints;
mod folder;
mod hold;
mod names;
mod plan;
mod preview;
mod settings;
mod settings_file;
mod train_settings;

use std::path::{Path, PathBuf};

use mixdown_runs::RunRow;
use mixdown_tokenize::Task;

use crate::commands::Context;
use crate::error::Error;
use crate::runs::configuration::read_left;

use self::execute::Execution;
use self::fingerprints::Fingerprints;
use self::hold::SweepHold;
use self::plan::{BasePlan, Origin, Plan, RunPlan, base_folder};
use self::preview::Speed;
use self::settings_file::SettingsFile;

pub use self::folder::{Failure, SweepFolder};
pub use self::plan::PlannedRun;
pub use self::preview::{PartPreview, Rate, SweepPreview};
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

/// How much of a sweep a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The base models alone.
    Bases,
    /// The runs, and base models where they need them.
    Runs,
}

/// A sweep that is opened: its plan, and what is done of it.
struct Opened {
    plan: Plan,
    folder: SweepFolder,
    there: Option<SettingsFile>,
    ours: SettingsFile,
}

/// Does what is not done yet of the sweep in `out`, or the share of `task`.
///
/// # Errors
/// Settings that no sweep can have, or other ones than those of the sweep in `out`; a folder of something
/// else; an interruption. A run that fails is no error.
pub fn run(
    settings: &SweepConfig,
    out: &Path,
    task: Option<Task>,
    stage: Stage,
    context: Context,
) -> Result<SweepOutcome, Error> {
    let Opened { plan, folder, ours, .. } = open(settings, out, task)?;
    let out = folder.path();
    std::fs::create_dir_all(out).map_err(|error| Error::io(out, "make", error))?;
    let mut hold = SweepHold::take(out, task)?;
    // Another process may have been at work until now.
    settings_file::claim(out, SettingsFile::read(out)?, ours)?;
    hold.take_task(out, task)?;
    let mut folder = SweepFolder::open(out, task)?;
    folder.remove_leftovers();
    folder.merge()?;
    let execution = Execution::new(settings, &plan, &mut folder, context);
    match stage {
        Stage::Bases => execution.make_bases()?,
        Stage::Runs => execution.run()?,
    }
    let rows = plan.runs.iter().filter_map(|run| folder.row(&run.run_id).cloned()).collect();
    // Of runs that earlier calls had in their grids nobody asks now.
    let failures = plan.runs.iter().filter_map(|run| folder.failure(&run.run_id).cloned());
    let failures = if stage == Stage::Runs { failures.collect() } else { Vec::new() };
    Ok(SweepOutcome { rows, planned: plan.runs.len(), failures })
}

/// What [`run`] would do and take; nothing is written.
///
/// # Errors
/// As [`run`].
pub fn preview(
    settings: &SweepConfig,
    out: &Path,
    task: Option<Task>,
    tokens_per_second: Option<f64>,
) -> Result<SweepPreview, Error> {
    let Opened { plan, folder, there, ours } = open(settings, out, task)?;
    if let Some(there) = there {
        settings_file::check(folder.path(), &there, &ours)?;
    }
    let pending = pending(&plan, &folder)?;
    let missing = missing(&plan, &folder, &pending);
    let speed = Speed::new(&plan, folder.path(), tokens_per_second)?;
    SweepPreview::new(settings, &plan, (&missing, &pending), speed, folder.path())
}

fn open(settings: &SweepConfig, out: &Path, task: Option<Task>) -> Result<Opened, Error> {
    // Whatever folder a command runs in.
    let out =
        std::path::absolute(out).map_err(|error| Error::io(out, "find the folder of", error))?;
    let there = SettingsFile::read(&out)?;
    let known = there.as_ref().map(SettingsFile::fingerprints).transpose()?;
    let fingerprints = Fingerprints::new(settings, known.as_ref())?;
    let ours = SettingsFile::new(settings, &fingerprints)?;
    if let Some(there) = &there {
        settings_file::check(&out, there, &ours)?;
    }
    let plan = Plan::new(settings, &fingerprints, &out)?;
    Ok(Opened { plan, folder: SweepFolder::open(&out, task)?, there, ours })
}

/// The runs of this process without a row.
fn pending<'a>(plan: &'a Plan, folder: &SweepFolder) -> Result<Vec<&'a RunPlan>, Error> {
    let mut pending = Vec::new();
    for (place, run) in plan.runs.iter().enumerate() {
        if is_own(place, folder) && !folder.is_done(run)? {
            pending.push(run);
        }
    }
    Ok(pending)
}

/// The base models that `pending` needs and that are not there.
fn missing<'a>(plan: &'a Plan, folder: &SweepFolder, pending: &[&RunPlan]) -> Vec<&'a BasePlan> {
    let bases = plan.bases.iter().enumerate();
    let missing = bases.filter(|(place, base)| {
        pending.iter().any(|run| run.base == *place) && !is_made(folder.path(), base)
    });
    missing.map(|(_, base)| base).collect()
}

/// Whether what stands at a place of a list is this process' share.
fn is_own(place: usize, folder: &SweepFolder) -> bool {
    let place = u64::try_from(place).unwrap_or(u64::MAX);
    folder.task().is_none_or(|task| place % task.count() == task.index())
}

/// Whether a base model can be started from.
fn is_made(out: &Path, base: &BasePlan) -> bool {
    match &base.origin {
        Origin::Given(..) => true,
        Origin::Pretrained(_) => {
            let folder: PathBuf = base_folder(out, &base.name);
            folder.join("summary.json").exists() && folder.join("best/config.json").exists()
        }
    }
}

/// The runs that the settings in a sweep's folder ask for.
///
/// # Errors
/// Settings that cannot be read.
pub fn planned_runs(folder: &Path) -> Result<Vec<PlannedRun>, Error> {
    let settings: SweepConfig = read_left(&SettingsFile::path(folder))?;
    plan::planned_runs(&settings.checked()?)
}

/// Whether the target's loss rose again before the run ended.
pub fn bottom_is_reached(row: &RunRow) -> bool {
    row.horizon_steps.is_none_or(|steps| row.best_step < steps)
}
