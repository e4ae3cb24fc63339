//! The folder of one run.

pub(crate) mod lock;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mixdown_base::files::{finished_name, make_folder};
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::records::SampleRecord;
use crate::records::Summary;
use crate::records::json_lines;
use crate::records::losses::LossesRecord;
use crate::records::tensorboard;
use crate::records::{MetricsRecord, first_gap};
use crate::sums::{self, SUMS_FILE};
use crate::sums::{read_text_capped, write_by_rename};

/// The largest settings or summary of a run.
const LIMIT_BYTES: u64 = 16 << 20;

/// The files that are written as a whole by the process that holds the folder.
pub(crate) const WHOLE_FILES: [&str; 8] = [
    "ranks.txt",
    "run.toml",
    "metrics.jsonl",
    "samples.jsonl",
    "losses.json",
    "summary.json",
    SUMS_FILE,
    "report.html",
];

const METRICS_LINE: &str = "one metrics record as JSON";
const SAMPLES_LINE: &str = "one sample as JSON";
/// The largest losses.json; that of a large evaluation is far shorter.
const LOSSES_LIMIT_BYTES: u64 = 1 << 30;
const LOSSES: &str = "the losses of a run by sequence as JSON";

/// The names of the entries of a run's folder.
const ENTRIES: [&str; 11] = [
    "ranks.txt",
    "run.toml",
    "metrics.jsonl",
    "samples.jsonl",
    "tensorboard",
    "checkpoints",
    "best",
    "losses.json",
    "summary.json",
    "report.html",
    SUMS_FILE,
];

/// The folder of a run: the paths of its files, and the reading and writing of its records.
///
/// ```
/// use mixdown_runs::{MetricsRecord, RunFolder};
///
/// let directory = tempfile::tempdir()?;
/// let folder = RunFolder::create(&directory.path().join("math"))?;
/// folder.append_metrics(&MetricsRecord { step: 1, train_loss: Some(7.5), ..MetricsRecord::default() })?;
/// assert_eq!(folder.read_metrics()?[0].train_loss, Some(7.5));
/// assert!(folder.summary().ends_with("math/summary.json"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Opens the folder at `path` and makes it if it does not exist.
    ///
    /// # Errors
    /// [`Error::NotARunFolder`] if it holds something else; [`Error::Io`] if it cannot be made.
    pub fn create(path: &Path) -> Result<Self, Error> {
        make_folder(path)
            .map_err(|error| Error::io(path, "make the folder", error.into_parts().2))?;
        let folder = Self { path: path.to_path_buf() };
        if !folder.run_toml().is_file()
            && let Some(got) = folder.foreign_entry()?
        {
            return Err(Error::NotARunFolder { path: path.to_path_buf(), got });
        }
        Ok(folder)
    }

    /// Opens the folder of a run that was started before.
    ///
    /// ```
    /// use mixdown_runs::{Error, RunFolder};
    ///
    /// let directory = tempfile::tempdir()?;
    /// assert!(matches!(RunFolder::open(directory.path()), Err(Error::NotARunFolder { .. })));
    /// RunFolder::create(directory.path())?.write_run_toml("steps = 40\n")?;
    /// assert!(RunFolder::open(directory.path())?.read_run_toml()?.contains("steps = 40"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] if there is no folder; [`Error::NotARunFolder`] if it has no `run.toml`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = Self { path: path.to_path_buf() };
        if !folder.run_toml().is_file() {
            let got = folder.foreign_entry()?.unwrap_or_else(|| "no run.toml".to_owned());
            return Err(Error::NotARunFolder { path: path.to_path_buf(), got });
        }
        Ok(folder)
    }

    /// Returns the folder of a run that may not have begun; nothing is made.
    ///
    /// # Errors
    /// [`Error::NotARunFolder`] if it holds something else; [`Error::Io`] if it cannot be listed.
    pub fn expected(path: &Path) -> Result<Self, Error> {
        let folder = Self { path: path.to_path_buf() };
        if path.exists()
            && !folder.run_toml().is_file()
            && let Some(got) = folder.foreign_entry()?
        {
            return Err(Error::NotARunFolder { path: path.to_path_buf(), got });
        }
        Ok(folder)
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the resolved settings.
    pub fn run_toml(&self) -> PathBuf {
        self.path.join("run.toml")
    }

    /// Returns the path of the file with the address at which the first of several processes waits for the others.
    pub fn ranks(&self) -> PathBuf {
        self.path.join("ranks.txt")
    }

    /// Returns the path of the metrics, one [`MetricsRecord`] a line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Returns the path of the samples, one [`SampleRecord`] a line; the file is missing if no samples are asked for.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples.jsonl")
    }

    /// Returns the path of the folder with TensorBoard's event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// Returns the path of the [`Summary`] of a finished run.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// Returns the path of the [`LossesRecord`] of a finished run; folders of earlier versions do not have it.
    pub fn losses(&self) -> PathBuf {
        self.path.join("losses.json")
    }

    /// Returns the path of the folder of all checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Returns the path of the checkpoint after `step` updates.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step}"))
    }

    /// Returns the path of the checkpoint with the least target validation loss.
    pub fn best(&self) -> PathBuf {
        self.path.join("best")
    }

    /// Returns the path of the page about the run.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// Reads the resolved settings as text.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TooLarge`], or [`Error::Damaged`] if the text is not UTF-8.
    pub fn read_run_toml(&self) -> Result<String, Error> {
        read_text_capped(&self.run_toml(), LIMIT_BYTES)
    }

    /// Appends one whole line; [`sync_records`](Self::sync_records) brings it to the disk.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a NaN, [`Error::Io`].
    pub fn append_metrics(&self, record: &MetricsRecord) -> Result<(), Error> {
        let path = self.metrics();
        record.check_finite(&path)?;
        json_lines::append(&path, &json_lines::to_line(&path, record, METRICS_LINE)?)
    }

    /// Reads all records in the order in which they were written; an incomplete last line is dropped. A missing file
    /// gives no records.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the line, [`Error::TooLarge`], [`Error::Io`].
    pub fn read_metrics(&self) -> Result<Vec<MetricsRecord>, Error> {
        read_all(&self.metrics(), METRICS_LINE)
    }

    /// Appends the samples of one step; [`sync_records`](Self::sync_records) brings them to the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append_samples(&self, records: &[SampleRecord]) -> Result<(), Error> {
        let path = self.samples();
        let mut lines = Vec::new();
        for record in records {
            lines.extend(json_lines::to_line(&path, record, SAMPLES_LINE)?);
        }
        json_lines::append(&path, &lines)
    }

    /// Reads all samples in the order in which they were written. A missing file gives no samples.
    ///
    /// # Errors
    /// As [`Self::read_metrics`].
    pub fn read_samples(&self) -> Result<Vec<SampleRecord>, Error> {
        read_all(&self.samples(), SAMPLES_LINE)
    }

    /// Drops the metrics, samples and TensorBoard values of steps after `step`, or all of them if it is `None`. A run
    /// that continues from a checkpoint writes them again.
    ///
    /// # Errors
    /// As [`Self::read_metrics`].
    pub fn truncate_after(&self, step: Option<u64>) -> Result<(), Error> {
        let is_kept = |at: u64| step.is_some_and(|step| at <= step);
        let kept = |record: &MetricsRecord| is_kept(record.step);
        retain(&self.metrics(), METRICS_LINE, &kept)?;
        retain(&self.samples(), SAMPLES_LINE, &|record: &SampleRecord| is_kept(record.step))?;
        for name in self.event_files()? {
            tensorboard::truncate_after(&self.path.join(name), step)?;
        }
        Ok(())
    }

    /// Flushes metrics, samples and TensorBoard's files to the disk. This must be done before a checkpoint is written,
    /// because a run that continues from the checkpoint does not write those lines again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync_records(&self) -> Result<(), Error> {
        for path in [self.metrics(), self.samples()] {
            json_lines::sync(&path)?;
        }
        let events = self.tensorboard();
        if let Ok(entries) = fs::read_dir(&events) {
            for entry in entries {
                let entry =
                    entry.map_err(|source| Error::io(&events, "list the folder", source))?;
                json_lines::sync(&entry.path())?;
            }
            sync_names(&events);
        }
        sync_names(&self.path);
        Ok(())
    }

    /// Checks that metrics and samples have all lines up to the checkpoint after `step` updates: one of metrics a
    /// step, and `samples` samples at each step with an evaluation.
    ///
    /// # Errors
    /// [`Error::MissingLines`] with the first gap; as [`Self::read_metrics`].
    pub fn check_records(&self, step: u64, samples: u64) -> Result<(), Error> {
        let missing =
            |path, (first, last)| Error::MissingLines { path, checkpoint: step, first, last };
        let metrics = self.read_metrics()?;
        if let Some(gap) = first_gap(metrics.iter().map(|record| record.step), step) {
            return Err(missing(self.metrics(), gap));
        }
        let mut drawn: BTreeMap<u64, u64> = BTreeMap::new();
        self.read_samples()?.iter().for_each(|one| *drawn.entry(one.step).or_default() += 1);
        let mut evaluated = metrics.iter().filter(|one| !one.evals.is_empty() && one.step <= step);
        match evaluated.find(|one| drawn.get(&one.step).copied().unwrap_or(0) < samples) {
            Some(one) => Err(missing(self.samples(), (one.step, one.step))),
            None => Ok(()),
        }
    }

    /// Writes `losses.json`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_losses(&self, losses: &LossesRecord) -> Result<(), Error> {
        let path = self.losses();
        write_by_rename(&path, &json_lines::to_line(&path, losses, LOSSES)?)
    }

    /// Removes the `losses.json` of another checkpoint, if there is one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_losses(&self) -> Result<(), Error> {
        let path = self.losses();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io(&path, "remove it", error))
            }
            _ => Ok(()),
        }
    }

    /// Reads `losses.json`, which must be of the checkpoint that `summary` chose; `None` in folders of earlier
    /// versions.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a file of something else or of another checkpoint, [`Error::TooLarge`], [`Error::Io`].
    pub fn read_losses(&self, summary: &Summary) -> Result<Option<LossesRecord>, Error> {
        let path = self.losses();
        if !path.exists() {
            sums::check_file(&path)?;
            return Ok(None);
        }
        let damaged =
            |line, got| Error::Damaged { path: path.clone(), line, expected: LOSSES, got };
        let text = read_text_capped(&path, LOSSES_LIMIT_BYTES)?;
        let losses: LossesRecord = serde_json::from_str(&text).map_err(|error| {
            damaged(u64::try_from(error.line()).unwrap_or(0), error.to_string())
        })?;
        match losses.fault(summary.best_step, &summary.best) {
            None => Ok(Some(losses)),
            Some((expected, got)) => Err(damaged(1, format!("{got} in the place of {expected}"))),
        }
    }

    /// Writes `summary.json`, the last file of a run, and before it the sums of the summary and of all records.
    ///
    /// # Errors
    /// [`Error::NotFinite`] or [`Error::BadValue`] for numbers that no run can have, [`Error::Io`].
    pub fn write_summary(&self, summary: &Summary) -> Result<(), Error> {
        let path = self.summary();
        summary.check_finite(&path)?;
        let mut text =
            serde_json::to_vec_pretty(summary).map_err(|error| not_summary(&path, &error))?;
        text.push(b'\n');
        self.write_sums_of_all(&text)?;
        write_by_rename(&path, &text)
    }

    /// Reads `summary.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if the run has not finished, [`Error::Damaged`] otherwise.
    pub fn read_summary(&self) -> Result<Summary, Error> {
        let path = self.summary();
        let text = read_text_capped(&path, LIMIT_BYTES)?;
        let summary: Summary =
            serde_json::from_str(&text).map_err(|error| not_summary(&path, &error))?;
        summary.check_finite(&path)?;
        Ok(summary)
    }

    /// Returns the first entry, in name order, that no run writes.
    fn foreign_entry(&self) -> Result<Option<String>, Error> {
        let io = |source| Error::io(&self.path, "list the folder", source);
        let mut foreign = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
            let is_leftover =
                finished_name(&name).is_some_and(|whole| WHOLE_FILES.contains(&whole));
            if !is_leftover && !ENTRIES.contains(&name.as_str()) {
                foreign.push(name);
            }
        }
        foreign.sort_unstable();
        Ok(foreign.into_iter().next())
    }
}

/// Flushes a folder's list of names to the disk, if the system can.
fn sync_names(folder: &Path) {
    // Not every system can open a folder; the files' own contents are synced already.
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// All values of a file of lines that may not be there.
fn read_all<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<Vec<T>, Error> {
    if !path.exists() {
        // A file that has a sum existed.
        sums::check_file(path)?;
        return Ok(Vec::new());
    }
    let values = json_lines::read(path, expected)?;
    Ok(values.into_iter().map(|(_, value)| value).collect())
}

/// Removes the other lines from a file that may not be there; those that stay keep their bytes.
fn retain<T: DeserializeOwned>(
    path: &Path,
    expected: &'static str,
    is_kept: &dyn Fn(&T) -> bool,
) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let (kept, is_whole) = json_lines::kept(path, expected, is_kept)?;
    if is_whole { Ok(()) } else { write_by_rename(path, &kept) }
}

fn not_summary(path: &Path, error: &serde_json::Error) -> Error {
    Error::Damaged {
        path: path.to_path_buf(),
        line: u64::try_from(error.line()).unwrap_or(0),
        expected: "the summary of a run as JSON",
        got: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::RunFolder;
    use crate::error::Error;
    use crate::records::EvalRecord;
    use crate::records::MetricsRecord;
    use crate::records::SampleRecord;
    use crate::records::losses::{CorpusLosses, LossesRecord, SequenceLoss};
    use crate::records::{ShareRecord, Summary};

    fn eval(loss: f64) -> EvalRecord {
        EvalRecord {
            corpus: "target".to_owned(),
            loss,
            standard_error: Some(0.01),
            bits_per_byte: 1.2,
            tokens: 1024,
            sequences: 8,
            ..EvalRecord::default()
        }
    }

    fn record(step: u64) -> MetricsRecord {
        MetricsRecord {
            step,
            train_loss: (step > 0).then_some(7.6 / 3.0),
            learning_rate: 1e-3,
            gradient_norm: Some(0.7),
            tokens: step * 2048,
            tokens_per_second: None,
            evals: if step.is_multiple_of(2) { vec![eval(3.5)] } else { Vec::new() },
            ..MetricsRecord::default()
        }
    }

    fn summary() -> Summary {
        Summary {
            run_id: "p-1".to_owned(),
            title: "p = 1 %".to_owned(),
            best_step: 4,
            steps: 6,
            steps_without_targets: 0,
            before: vec![eval(4.0)],
            best: vec![eval(3.0)],
            last: vec![eval(3.2)],
            shares: vec![ShareRecord {
                source: "target".to_owned(),
                requested: 0.99,
                realised: 0.99,
                sequences: 99,
                tokens: 12_672,
                unique_tokens: 5_000,
                epochs: 2.5,
            }],
            row: None,
            model_parameters: 1_000_000,
            tokens_per_second: 6_000.0,
            seconds: 12.5,
        }
    }

    #[test]
    fn records_come_back_and_a_resume_drops_the_later_ones() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&place.path().join("run")).unwrap();
        assert!(folder.read_metrics().unwrap().is_empty());
        for step in 0..=6 {
            folder.append_metrics(&record(step)).unwrap();
        }
        folder.truncate_after(Some(4)).unwrap();
        folder.append_metrics(&record(5)).unwrap();
        let expected: Vec<MetricsRecord> = (0..=5).map(record).collect();
        assert_eq!(folder.read_metrics().unwrap(), expected);
        folder.write_summary(&summary()).unwrap();
        assert_eq!(folder.read_summary().unwrap(), summary());
        let sample = |step: u64| SampleRecord { step, ids: vec![3, 1], ..SampleRecord::default() };
        folder.append_samples(&[sample(1), sample(1)]).unwrap();
        let two_steps = std::fs::read(folder.samples()).unwrap();
        folder.append_samples(&[sample(2)]).unwrap();
        folder.truncate_after(Some(1)).unwrap();
        assert_eq!(std::fs::read(folder.samples()).unwrap(), two_steps);
        folder.truncate_after(None).unwrap();
        assert!(folder.read_metrics().unwrap().is_empty());
        assert!(folder.read_samples().unwrap().is_empty());
    }

    #[test]
    fn lines_that_are_gone_are_named() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        let gap = |samples| match folder.check_records(6, samples) {
            Ok(()) => None,
            Err(Error::MissingLines { path, checkpoint: 6, first, last }) => {
                Some((path.file_name().unwrap().to_str().unwrap().to_owned(), first, last))
            }
            Err(error) => panic!("{error}"),
        };
        let metrics = |first, last| Some(("metrics.jsonl".to_owned(), first, last));
        assert_eq!(gap(0), metrics(0, 6), "all are gone");
        let write = |steps: &[u64]| {
            std::fs::remove_file(folder.metrics()).unwrap_or_default();
            steps.iter().for_each(|step| folder.append_metrics(&record(*step)).unwrap());
        };
        for (steps, expected) in [
            (vec![0, 1, 2, 3], metrics(4, 6)),
            (vec![0, 1, 2, 5, 6, 7], metrics(3, 4)),
            (vec![1, 2, 3, 4, 5, 6], metrics(0, 0)),
            (vec![0, 1, 2, 3, 4, 5, 6], None),
            (vec![0, 1, 2, 3, 4, 5, 6, 7, 9], None),
        ] {
            write(&steps);
            assert_eq!(gap(0), expected, "{steps:?}");
        }
        // Every second step has an evaluation, and two samples with it.
        for step in [0, 0, 2, 2, 4, 6, 6] {
            folder.append_samples(&[SampleRecord { step, ..SampleRecord::default() }]).unwrap();
        }
        assert_eq!(gap(1), None);
        assert_eq!(gap(2), Some(("samples.jsonl".to_owned(), 4, 4)));
        folder.sync_records().unwrap();
    }

    #[test]
    fn losses_are_those_of_the_summary_or_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        assert_eq!(folder.read_losses(&summary()).unwrap(), None);
        let sequence = SequenceLoss { loss: 6.0, targets: 2, documents: Vec::new() };
        let corpus = CorpusLosses {
            corpus: "target".to_owned(),
            measured: "ab".to_owned(),
            sequences: vec![sequence],
        };
        let losses = LossesRecord::new(4, vec![corpus]);
        folder.write_losses(&losses).unwrap();
        assert_eq!(folder.read_losses(&summary()).unwrap(), Some(losses.clone()));
        let other = Summary { best_step: 6, ..summary() };
        let error = folder.read_losses(&other).unwrap_err().to_string();
        assert!(error.contains("losses.json, line 1: expected the losses of a run"), "{error}");
        assert!(error.contains("those of step 4 in the place of the losses of step 6"), "{error}");
        std::fs::write(folder.losses(), "{\"format\":").unwrap();
        assert!(matches!(folder.read_losses(&summary()), Err(Error::Damaged { .. })));
        folder.remove_losses().unwrap();
        folder.remove_losses().unwrap();
        assert_eq!(folder.read_losses(&summary()).unwrap(), None);
    }

    #[test]
    fn nan_is_refused_as_numerical() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        let error = folder
            .append_metrics(&MetricsRecord { train_loss: Some(f64::NAN), ..record(1) })
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Numerical);
        assert!(error.to_string().ends_with("expected a finite training loss, got NaN"));
        let mut broken = summary();
        broken.best[0].loss = f64::INFINITY;
        assert_eq!(folder.write_summary(&broken).unwrap_err().kind(), ErrorKind::Numerical);
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("thesis.tex"), "x").unwrap();
        std::fs::write(place.path().join("metrics.jsonl"), "").unwrap();
        let error = RunFolder::create(place.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(RunFolder::expected(place.path()).unwrap_err().to_string(), error.to_string());
        assert!(matches!(error, Error::NotARunFolder { ref got, .. } if got == "thesis.tex"));
        // A person's folder, of a name that a checkpoint has while it is written: it would be removed.
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir(other.path().join("best.tmp")).unwrap();
        assert!(RunFolder::create(other.path()).is_err());
        std::fs::write(place.path().join("run.toml"), "").unwrap();
        RunFolder::create(place.path()).unwrap();
    }

    #[test]
    fn a_run_killed_before_its_settings_goes_on() {
        let place = tempfile::tempdir().unwrap();
        let absent = place.path().join("run");
        assert_eq!(RunFolder::expected(&absent).unwrap().path(), absent);
        assert!(!absent.exists());
        std::fs::write(place.path().join("run.toml.0123456789abcdef.tmp"), "half").unwrap();
        std::fs::write(place.path().join("run.toml.tmp"), "half, or a person's").unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        assert!(matches!(RunFolder::open(place.path()), Err(Error::NotARunFolder { .. })));
        folder.write_run_toml("seed = 7\n").unwrap();
        let text = RunFolder::open(place.path()).unwrap().read_run_toml().unwrap();
        assert!(text.starts_with('#') && text.ends_with("\nseed = 7\n"), "{text}");
        assert!(folder.checkpoint(20).ends_with("checkpoints/step-20"));
    }

    #[test]
    fn damage_is_named_by_line() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        std::fs::write(folder.summary(), "{\n\"run_id\": 7\n}").unwrap();
        let error = folder.read_summary().unwrap_err().to_string();
        assert!(error.contains("summary.json, line 2: expected the summary of a run"), "{error}");
        std::fs::write(folder.run_toml(), b"a\nb\xff").unwrap();
        let error = folder.read_run_toml().unwrap_err().to_string();
        assert!(error.contains("run.toml, line 2: expected UTF-8 text"), "{error}");
        assert_eq!(
            RunFolder::open("/nowhere".as_ref()).unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}
