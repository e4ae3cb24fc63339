//! The folder of a sweep: the rows of its finished runs, its failures, and what is removed when a run is done.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mixdown_base::files::remove_abandoned_in;
use mixdown_runs::{RunFolder, RunRow, RunsTable, sums};
use mixdown_tokenize::Task;
use serde::{Deserialize, Serialize};

use super::plan::RunPlan;
use super::settings_file::{FILE as SETTINGS_FILE, SettingsFile};
use crate::error::{Error, Hint};

/// The rows as JSON lines, which determine the finished runs.
const ROWS: &str = "runs.jsonl";
/// The same rows for programs that read tables; its extension says the format.
const TABLE: &str = "runs.parquet";

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The run's unique name.
    pub run_id: String,
    /// Why it failed, with all causes.
    pub reason: String,
    /// Whether the reason is a number that was not finite.
    pub numerical: bool,
}

/// The folder of a sweep as one process reads it.
#[derive(Debug)]
pub struct SweepFolder {
    path: PathBuf,
    task: Option<Task>,
    /// The rows in the file of this process, in the order in which the runs finished.
    own: Vec<RunRow>,
    /// The rows of all files.
    rows: BTreeMap<String, RunRow>,
    failures: BTreeMap<String, Failure>,
}

impl SweepFolder {
    /// Reads the finished runs in the sweep's folder at `path`; a missing folder has none. `task` is the share of this
    /// process, if several processes do the sweep.
    ///
    /// ```
    /// use mixdown_experiments::SweepFolder;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let folder = SweepFolder::open(&directory.path().join("sweep"), None)?;
    /// assert_eq!(folder.rows().count(), 0);
    /// assert!(folder.row("math-41M-300k-1pct-seed0").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Files that cannot be read, or rows that no run can have.
    pub fn open(path: &Path, task: Option<Task>) -> Result<Self, Error> {
        let mut folder = Self {
            path: path.to_owned(),
            task,
            own: Vec::new(),
            rows: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        folder.read()?;
        Ok(folder)
    }

    /// Finds the files in the sweep's folder at `path` that are not as they were written: settings, tables and
    /// failures. Files of older versions have no sums.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn faults(path: &Path) -> Result<Vec<sums::Fault>, Error> {
        let is_summed = SettingsFile::is_summed(path);
        let is_own = |name: &str| {
            let is_list = |list: &str| {
                let rest = name.strip_prefix(list).and_then(|rest| rest.strip_suffix(".jsonl"));
                rest.is_some_and(|rest| rest.is_empty() || is_task(rest))
            };
            name == "sweep.toml" || name == TABLE || is_list("runs") || is_list("failures")
        };
        Ok(sums::faults_of_files(path, &|name| is_summed && is_own(name))?)
    }

    /// Removes the unfinished files of killed processes.
    pub(crate) fn remove_leftovers(&self) {
        remove_abandoned_in(&self.path, |finished| {
            let of_rows = finished.starts_with("runs") || finished.starts_with("failures");
            of_rows || finished.starts_with(SETTINGS_FILE)
        });
        let failures = self.path.join(self.own_name("failures"));
        if !failures.exists() {
            let _ = fs::remove_file(sum_of(&failures));
        }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the task of this process.
    pub(crate) fn task(&self) -> Option<Task> {
        self.task
    }

    /// Returns the row of a finished run.
    pub fn row(&self, run_id: &str) -> Option<&RunRow> {
        self.rows.get(run_id)
    }

    /// Returns the rows of all finished runs, in the order of their ids.
    pub fn rows(&self) -> impl Iterator<Item = &RunRow> {
        self.rows.values()
    }

    /// Returns the runs that failed in the last attempt.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.values()
    }

    /// Returns why a run failed in the last attempt, if it did.
    pub fn failure(&self, run_id: &str) -> Option<&Failure> {
        self.failures.get(run_id)
    }

    /// Returns whether a run is done, that is whether it has a row.
    ///
    /// # Errors
    /// A row of that id with another fingerprint.
    pub(crate) fn is_done(&self, run: &RunPlan) -> Result<bool, Error> {
        let Some(row) = self.row(&run.run_id) else { return Ok(false) };
        let expected = run.fingerprint.to_string();
        if row.fingerprint == expected {
            return Ok(true);
        }
        Err(Error::data(
            format!(
                "{}: {}: expected fingerprint {expected}, got {}",
                self.path.display(),
                run.run_id,
                row.fingerprint
            ),
            Hint::OtherRow,
        ))
    }

    /// Returns the folder of a run.
    pub fn run_folder(&self, run_id: &str) -> PathBuf {
        self.path.join("runs").join(run_id)
    }

    /// Records the row of a finished run, which is on the disk when this returns.
    ///
    /// # Errors
    /// Values that no row can have; a failed write.
    pub(crate) fn push(&mut self, row: RunRow) -> Result<(), Error> {
        let failed = self.failures.remove(&row.run_id).is_some();
        self.rows.insert(row.run_id.clone(), row.clone());
        self.own.push(row);
        self.write_rows()?;
        if self.task.is_none() {
            self.write_table()?;
        }
        if failed { self.write_failures() } else { Ok(()) }
    }

    /// Records the reason why a run failed.
    ///
    /// # Errors
    /// A disk that refuses.
    pub(crate) fn push_failure(&mut self, failure: Failure) -> Result<(), Error> {
        self.failures.insert(failure.run_id.clone(), failure);
        self.write_failures()
    }

    /// Removes checkpoints and weights of a finished run, which would fill the disk in a grid of runs.
    ///
    /// # Errors
    /// A disk that refuses.
    pub(crate) fn remove_weights(&self, run_id: &str) -> Result<(), Error> {
        let folder = self.run_folder(run_id);
        remove(&folder.join("checkpoints"))?;
        remove(&folder.join("best"))?;
        // Another program's run has none.
        RunFolder::open(&folder).map_or(Ok(()), |run| Ok(run.remove_best_sum()?))
    }

    /// Writes the table of all runs, where all `planned` ones are done by several tasks.
    ///
    /// # Errors
    /// A disk that refuses.
    pub(crate) fn finish(&mut self, planned: &[RunPlan]) -> Result<(), Error> {
        if self.task.is_none() {
            return self.write_table();
        }
        self.read()?;
        if planned.iter().any(|run| !self.rows.contains_key(&run.run_id)) {
            return Ok(());
        }
        // The last two tasks may be here at the same time: both write the same rows, each to its own temporary file.
        let rows = RunsTable::new(self.rows.values().cloned().collect())?;
        [ROWS, TABLE].iter().try_for_each(|name| Ok(rows.write(&self.path.join(name))?))
    }

    fn read(&mut self) -> Result<(), Error> {
        self.rows.clear();
        let own = self.own_name("runs");
        for (name, path) in self.files("runs")? {
            let rows = RunsTable::read(&path)?.rows().to_vec();
            for row in &rows {
                self.rows.entry(row.run_id.clone()).or_insert_with(|| row.clone());
            }
            if name == own {
                self.own = rows;
            }
        }
        let mut failures = self.files("failures")?;
        failures.retain(|(name, _)| self.task.is_none() || *name == self.own_name("failures"));
        for (_, path) in &failures {
            for failure in read_failures(path)? {
                self.failures.insert(failure.run_id.clone(), failure);
            }
        }
        self.failures.retain(|run_id, _| !self.rows.contains_key(run_id));
        Ok(())
    }

    /// Takes over the rows of all tasks in a process without a task.
    ///
    /// # Errors
    /// A disk that refuses.
    pub(crate) fn merge(&mut self) -> Result<(), Error> {
        if self.task.is_none() && self.own.len() < self.rows.len() {
            let own: Vec<&str> = self.own.iter().map(|row| row.run_id.as_str()).collect();
            let others = self.rows.values().filter(|row| !own.contains(&row.run_id.as_str()));
            let others: Vec<RunRow> = others.cloned().collect();
            self.own.extend(others);
            self.write_rows()?;
        }
        Ok(())
    }

    /// `NAME.jsonl` and `NAME-I-of-N.jsonl`, in the order of their names.
    fn files(&self, name: &str) -> Result<Vec<(String, PathBuf)>, Error> {
        let io = |error| Error::io(&self.path, "list", error);
        let mut files = Vec::new();
        if !self.path.exists() {
            return Ok(files);
        }
        for entry in self.path.read_dir().map_err(io)? {
            let path = entry.map_err(io)?.path();
            let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
            let rest = file.strip_prefix(name).and_then(|rest| rest.strip_suffix(".jsonl"));
            if rest.is_some_and(|rest| rest.is_empty() || is_task(rest)) {
                files.push((file.to_owned(), path.clone()));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn own_name(&self, name: &str) -> String {
        match self.task {
            None => format!("{name}.jsonl"),
            Some(task) => format!("{name}-{}-of-{}.jsonl", task.index(), task.count()),
        }
    }

    fn write_rows(&self) -> Result<(), Error> {
        let rows = RunsTable::new(self.own.clone())?;
        Ok(rows.write(&self.path.join(self.own_name("runs")))?)
    }

    fn write_table(&self) -> Result<(), Error> {
        Ok(RunsTable::new(self.own.clone())?.write(&self.path.join(TABLE))?)
    }

    fn write_failures(&self) -> Result<(), Error> {
        let path = self.path.join(self.own_name("failures"));
        if self.failures.is_empty() {
            // The file goes first: a sum alone is removed by the next call.
            remove_file(&path)?;
            return remove_file(&sum_of(&path));
        }
        let mut text = String::new();
        for failure in self.failures.values() {
            let line = serde_json::to_string(failure);
            text.push_str(&line.map_err(|error| Error::io(&path, "write", error.into()))?);
            text.push('\n');
        }
        Ok(sums::write_summed(&path, text.as_bytes())?)
    }
}

/// `-3-of-8`.
fn is_task(text: &str) -> bool {
    let numbers = text.strip_prefix('-').and_then(|text| text.split_once("-of-"));
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    numbers.is_some_and(|(index, count)| is_number(index) && is_number(count))
}

fn read_failures(path: &Path) -> Result<Vec<Failure>, Error> {
    let text = fs::read_to_string(path).map_err(|error| Error::io(path, "read", error))?;
    sums::check_bytes(path, text.as_bytes())?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let failure = |line: &str| {
        serde_json::from_str(line).map_err(|error| {
            Error::data(
                format!("{}: expected a failure as JSON, got {error}", path.display()),
                "remove the file: failed runs are tried again anyway",
            )
        })
    };
    lines.map(failure).collect()
}

/// The file of the sum of the file at `path`.
fn sum_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(sums::SUM_ENDING);
    name.into()
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path, "remove", error)),
        _ => Ok(()),
    }
}

/// Removes a folder, if it is there.
///
/// # Errors
/// A disk that refuses.
pub fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io(folder, "remove", error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_go_with_their_sum() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = SweepFolder::open(place.path(), None).unwrap();
        let failure =
            Failure { run_id: "a".to_owned(), reason: "full".to_owned(), numerical: false };
        folder.push_failure(failure).unwrap();
        let path = place.path().join("failures.jsonl");
        assert!(path.exists() && sum_of(&path).exists());
        folder.failures.clear();
        folder.write_failures().unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        // Killed between the two.
        fs::write(sum_of(&path), "left").unwrap();
        folder.remove_leftovers();
        assert!(!sum_of(&path).exists());
    }
}
