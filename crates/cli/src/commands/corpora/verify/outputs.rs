//! `mixdown verify` of the outputs of training: a run, a model, a sweep.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mixdown_base::display::plural;
use mixdown_experiments::SweepFolder;
use mixdown_runs::RunFolder;
use mixdown_runs::sums::{Fault, SUMS_FILE};
use mixdown_train::model_faults;
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;

/// The kind of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A run.
    Run,
    /// A checkpoint, a run's best/, or a model of others.
    Model,
    /// A sweep, or the demo.
    Sweep,
}

/// The result of the check.
#[derive(Debug, Serialize)]
struct OutputsReport {
    kind: Kind,
    /// Runs, base models included.
    runs: u64,
    /// Checkpoints and best/ folders of all runs.
    models: u64,
    /// Those without checksums, written by older versions or other programs.
    without_sums: Vec<PathBuf>,
    damage: Vec<DamageRecord>,
}

#[derive(Debug, Serialize)]
struct DamageRecord {
    path: PathBuf,
    expected: String,
    got: String,
}

/// The kind of output that training wrote into `folder`; none for a corpus or any other folder.
pub fn kind_of(folder: &Path) -> Option<Kind> {
    let has = |name: &str| folder.join(name).exists();
    let has_any = |names: &[&str]| names.iter().any(|name| has(name));
    match () {
        () if has("manifest.json") => None,
        () if has_any(&["sweep.toml", "sweep.toml.blake3", "runs.jsonl", "runs.jsonl.blake3"]) => {
            Some(Kind::Sweep)
        }
        () if has_any(&["run.toml", "metrics.jsonl", "summary.json", "checkpoints"]) => {
            Some(Kind::Run)
        }
        () if has_any(&["config.json", "state.json", SUMS_FILE]) => Some(Kind::Model),
        () => None,
    }
}

/// Checks the folder and prints what was found.
///
/// # Errors
/// Files that cannot be read, or any damage.
pub fn run(folder: &Path, kind: Kind, context: Context) -> Result<(), Error> {
    let mut report =
        OutputsReport { kind, runs: 0, models: 0, without_sums: Vec::new(), damage: Vec::new() };
    match kind {
        Kind::Run => report.add_run(folder)?,
        Kind::Model => report.add_model(folder)?,
        Kind::Sweep => report.add_sweep(folder)?,
    }
    context.output.print(&report, describe)?;
    if report.damage.is_empty() {
        return Ok(());
    }
    let places = plural(u64::try_from(report.damage.len()).unwrap_or(u64::MAX), "place");
    Err(Error::Data {
        message: format!("{}: damaged in {places}", folder.display()),
        hint: match kind {
            Kind::Run | Kind::Model => {
                "restore the named files from a copy; an unfinished run continues from an earlier checkpoint when \
                 the damaged one is removed"
            }
            Kind::Sweep => {
                "restore the named files from a copy, or remove the folder of the base model or run that contains \
                 them: the sweep makes it again"
            }
        }
        .to_owned(),
    })
}

impl OutputsReport {
    fn add(&mut self, faults: Vec<Fault>) {
        let faults = faults.into_iter();
        self.damage.extend(faults.map(|Fault { path, expected, got }| DamageRecord {
            path,
            expected,
            got,
        }));
    }

    fn add_model(&mut self, folder: &Path) -> Result<(), Error> {
        self.models += 1;
        let faults = model_faults(folder)?;
        if faults.is_empty() && !folder.join(SUMS_FILE).exists() {
            self.without_sums.push(folder.to_owned());
        }
        self.add(faults);
        Ok(())
    }

    fn add_run(&mut self, path: &Path) -> Result<(), Error> {
        self.runs += 1;
        // If run.toml is gone, the checksums still name it.
        let folder = RunFolder::expected(path)?;
        self.add(folder.faults()?);
        if !folder.is_summed() {
            self.without_sums.push(path.to_owned());
        }
        let checkpoints = folders(&folder.checkpoints())?;
        for checkpoint in &checkpoints {
            self.add_model(checkpoint)?;
        }
        if folder.best().is_dir() {
            self.add_model(&folder.best())?;
        }
        let is_sound =
            |place: &&PathBuf| self.damage.iter().all(|damage| !damage.path.starts_with(place));
        let step = |place: &PathBuf| {
            let name = place.file_name()?.to_str()?;
            name.strip_prefix("step-")?.parse::<u64>().ok()
        };
        let latest = checkpoints.iter().filter(is_sound).max_by_key(|place| step(place));
        if let Some(latest) = latest.filter(|_| !folder.summary().exists()) {
            self.add(folder.recorded_faults(latest, true)?);
        }
        Ok(())
    }

    fn add_sweep(&mut self, path: &Path) -> Result<(), Error> {
        self.add(SweepFolder::faults(path)?);
        let places = [path.to_owned(), path.join("bases"), path.join("runs")];
        let mut runs = BTreeSet::new();
        for place in places {
            runs.extend(folders(&place)?);
        }
        for run in runs.iter().filter(|run| kind_of(run) == Some(Kind::Run)) {
            self.add_run(run)?;
        }
        Ok(())
    }
}

/// The folders in a folder, in order; none if the folder does not exist.
fn folders(place: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    if !place.is_dir() {
        return Ok(BTreeSet::new());
    }
    let io = |error| Error::io(place, "list", error);
    let mut folders = BTreeSet::new();
    for entry in fs::read_dir(place).map_err(io)? {
        let path = entry.map_err(io)?.path();
        // Skips what a writer has not finished.
        if path.is_dir() && path.extension().is_none_or(|end| end != "tmp") {
            folders.insert(path);
        }
    }
    Ok(folders)
}

fn describe(report: &OutputsReport) -> String {
    let mut text = format!(
        "{}, {} checked: {}",
        plural(report.runs, "run"),
        plural(report.models, "model folder"),
        if report.damage.is_empty() { "no damage" } else { "DAMAGED" }
    );
    for path in &report.without_sums {
        text.push_str(&format!(
            "\n{} has no checksums (an older version or another program wrote it): damage in it is not detected",
            path.display()
        ));
    }
    for DamageRecord { path, expected, got } in &report.damage {
        text.push_str(&format!("\n  {}: expected {expected}, got {got}", path.display()));
    }
    text
}
