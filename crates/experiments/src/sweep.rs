//! Sweeps: base models finetuned over a grid of target tokens and shares of pretraining data, each run one
//! row of a table.
//!
//! settings.rs reads SWEEP.toml, plan.rs turns it into runs, folder.rs records the finished ones, and execute.rs does
//! the others with a [`Trainer`](mixdown_train::Trainer) or with the user's program (command.rs) and sends events to an
//! observer (event.rs).

mod command;
pub(crate) mod cost;
pub(crate) mod event;
mod execute;
mod fingerprints;
pub(crate) mod folder;
mod lock;
mod names;
pub(crate) mod plan;
pub(crate) mod preview;
pub(crate) mod settings;
pub(crate) mod settings_file;
pub(crate) mod train_settings;

use std::path::{Path, PathBuf};

use mixdown_runs::RunRow;
use mixdown_tokenize::Task;

use crate::error::Error;
use crate::runs::configuration::read_description;

use self::event::SweepObserver;
use self::execute::Execution;
use self::fingerprints::Fingerprints;
use self::folder::{Failure, SweepFolder};
use self::lock::SweepLock;
use self::plan::{BaseOrigin, BasePlan, PlannedRun, RunPlan, SweepPlan, base_folder};
use self::preview::{ComputeRate, SweepPreview};
use self::settings::SweepConfig;
use self::settings_file::SettingsFile;

/// The result of a sweep.
#[derive(Debug)]
pub struct SweepOutcome {
    /// The rows of the planned runs that are done, in the order of the plan.
    pub rows: Vec<RunRow>,
    /// The number of runs in the plan.
    pub planned: usize,
    /// The runs that failed, each with the reason.
    pub failures: Vec<Failure>,
}

/// The part of a sweep that a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepStage {
    /// The call makes only the base models.
    Bases,
    /// The call does the runs and makes the base models that they need.
    Runs,
}

/// A sweep and its folder, which may not exist yet.
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::atomic::AtomicBool;
///
/// use mixdown_experiments::{Sweep, SweepConfig, SweepEvent, SweepObserver, SweepStage};
///
/// let settings = SweepConfig::read(Path::new("sweep.toml"))?.checked()?;
/// let sweep = Sweep { settings: &settings, out: Path::new("sweeps/math"), task: None };
/// let observer = |event: SweepEvent<'_>| {
///     if let SweepEvent::RunDone { row, .. } = event {
///         println!("{}: {:.4} nats per token", row.run_id, row.target_loss);
///     }
/// };
/// let never = AtomicBool::new(false);
/// let outcome = sweep.run(SweepStage::Runs, SweepObserver::new(&observer, &never))?;
/// println!("{} of {} runs", outcome.rows.len(), outcome.planned);
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Sweep<'a> {
    /// The settings, checked and with absolute paths.
    pub settings: &'a SweepConfig,
    /// The sweep's folder.
    pub out: &'a Path,
    /// The share of this process, if several processes do the sweep.
    pub task: Option<Task>,
}

/// An opened sweep: its plan and its finished runs.
struct OpenedSweep {
    plan: SweepPlan,
    folder: SweepFolder,
    there: Option<SettingsFile>,
    ours: SettingsFile,
}

impl Sweep<'_> {
    /// Does the unfinished part of the sweep, or the share of this process. `observer` receives events and may stop the
    /// work at the next safe point.
    ///
    /// # Errors
    /// Settings that no sweep can have, or settings that differ from those of the sweep in the folder; a folder of
    /// something else; an interruption. A run that fails is not an error.
    pub fn run(
        &self,
        stage: SweepStage,
        observer: SweepObserver<'_>,
    ) -> Result<SweepOutcome, Error> {
        let Self { settings, out, task } = *self;
        let OpenedSweep { plan, folder, ours, .. } = open(settings, out, task)?;
        let out = folder.path();
        std::fs::create_dir_all(out).map_err(|error| Error::io(out, "make", error))?;
        let mut hold = SweepLock::take(out, task)?;
        // Another process may have been working until now.
        settings_file::claim(out, SettingsFile::read(out)?, ours)?;
        hold.take_task(out, task)?;
        let mut folder = SweepFolder::open(out, task)?;
        folder.remove_leftovers();
        folder.merge()?;
        let execution = Execution::new(settings, &plan, &mut folder, observer);
        match stage {
            SweepStage::Bases => execution.make_bases()?,
            SweepStage::Runs => execution.run()?,
        }
        let rows = plan.runs.iter().filter_map(|run| folder.row(&run.run_id).cloned()).collect();
        // The failures of runs that only earlier calls had in their grids are left out.
        let failures = plan.runs.iter().filter_map(|run| folder.failure(&run.run_id).cloned());
        let failures = if stage == SweepStage::Runs { failures.collect() } else { Vec::new() };
        Ok(SweepOutcome { rows, planned: plan.runs.len(), failures })
    }

    /// Estimates what [`run`](Self::run) would do and cost; nothing is written. `tokens_per_second` is the training
    /// rate of the largest model, if it is known.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn preview(&self, tokens_per_second: Option<f64>) -> Result<SweepPreview, Error> {
        let Self { settings, out, task } = *self;
        let OpenedSweep { plan, folder, there, ours } = open(settings, out, task)?;
        if let Some(there) = there {
            settings_file::check(folder.path(), &there, &ours)?;
        }
        let pending = pending(&plan, &folder)?;
        let missing = missing(&plan, &folder, &pending);
        let speed = ComputeRate::new(&plan, folder.path(), tokens_per_second)?;
        SweepPreview::new(settings, &plan, (&missing, &pending), speed, folder.path())
    }
}

fn open(settings: &SweepConfig, out: &Path, task: Option<Task>) -> Result<OpenedSweep, Error> {
    // Absolute, because a command may run in another folder.
    let out =
        std::path::absolute(out).map_err(|error| Error::io(out, "find the folder of", error))?;
    let there = SettingsFile::read(&out)?;
    let known = there.as_ref().map(SettingsFile::fingerprints).transpose()?;
    let fingerprints = Fingerprints::new(settings, known.as_ref())?;
    let ours = SettingsFile::new(settings, &fingerprints)?;
    if let Some(there) = &there {
        settings_file::check(&out, there, &ours)?;
    }
    let plan = SweepPlan::new(settings, &fingerprints, &out)?;
    Ok(OpenedSweep { plan, folder: SweepFolder::open(&out, task)?, there, ours })
}

/// Returns the runs of this process that have no row yet.
fn pending<'a>(plan: &'a SweepPlan, folder: &SweepFolder) -> Result<Vec<&'a RunPlan>, Error> {
    let mut pending = Vec::new();
    for (place, run) in plan.runs.iter().enumerate() {
        if is_own(place, folder) && !folder.is_done(run)? {
            pending.push(run);
        }
    }
    Ok(pending)
}

/// Returns the missing base models that `pending` needs.
fn missing<'a>(
    plan: &'a SweepPlan,
    folder: &SweepFolder,
    pending: &[&RunPlan],
) -> Vec<&'a BasePlan> {
    let bases = plan.bases.iter().enumerate();
    let missing = bases.filter(|(place, base)| {
        pending.iter().any(|run| run.base == *place) && !is_made(folder.path(), base)
    });
    missing.map(|(_, base)| base).collect()
}

/// Returns whether the element at an index of a list belongs to the share of this process.
fn is_own(index: usize, folder: &SweepFolder) -> bool {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    folder.task().is_none_or(|task| index % task.count() == task.index())
}

/// Returns whether a base model exists, so that runs can start from it.
fn is_made(out: &Path, base: &BasePlan) -> bool {
    match &base.origin {
        BaseOrigin::Given(..) => true,
        BaseOrigin::Pretrained(_) => {
            let folder: PathBuf = base_folder(out, &base.name);
            folder.join("summary.json").exists() && folder.join("best/config.json").exists()
        }
    }
}

/// Returns the runs that the settings in a sweep's folder ask for, in the order in which they are done.
///
/// # Errors
/// Settings that cannot be read.
///
/// ```
/// use mixdown_experiments::{Sweep, planned_runs};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(
///     folder.path().join("sweep.toml"),
///     "pretraining = 'corpora/general'
///      p = ['0', '1%']
///      target_tokens = ['300k']
///      train = { sequence_length = 128, batch_size = 16 }
///      domain = [{ name = 'math', corpus = 'corpora/math' }]
///      model = [{ name = '41M', size = '41M', tokens = '800M' }]",
/// )?;
/// assert_eq!(planned_runs(folder.path())?.len(), 2, "one run for each share");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn planned_runs(folder: &Path) -> Result<Vec<PlannedRun>, Error> {
    let settings: SweepConfig = read_description(&SettingsFile::path(folder))?;
    settings.checked()?.planned_runs()
}

/// Returns whether the target's loss rose again before the run ended.
///
/// ```
/// # let row = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../runs/tests/doc_row.in"));
/// use mixdown_experiments::bottom_is_reached;
///
/// let mut row = row(0.01, 0, 3.2);
/// assert!(bottom_is_reached(&row), "step 300 of 400 is the best one");
/// row.best_step = 400;
/// assert!(!bottom_is_reached(&row));
/// ```
pub fn bottom_is_reached(row: &RunRow) -> bool {
    row.horizon_steps.is_none_or(|steps| row.best_step < steps)
}
