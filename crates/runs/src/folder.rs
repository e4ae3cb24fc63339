//! The folder of one run.

use std::fs;
use std::path::{Path, PathBuf};

use mixdown_base::files::finished_name;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::files::{read_text_capped, write_by_rename};
use crate::json_lines;
use crate::metrics::MetricsRecord;
use crate::sample::SampleRecord;
use crate::summary::Summary;

/// No settings or summary of a run are longer.
const LIMIT_BYTES: u64 = 16 << 20;

/// The files that are written as a whole by the process that holds the folder.
pub(crate) const WHOLE_FILES: [&str; 5] =
    ["ranks.txt", "run.toml", "metrics.jsonl", "samples.jsonl", "summary.json"];

const METRICS_LINE: &str = "one metrics record as JSON";
const SAMPLES_LINE: &str = "one sample as JSON";

/// The names a run's folder is made of.
const ENTRIES: [&str; 9] = [
    "ranks.txt",
    "run.toml",
    "metrics.jsonl",
    "samples.jsonl",
    "tensorboard",
    "checkpoints",
    "best",
    "summary.json",
    "report.html",
];

/// A run's folder: where its files are, and how its records are read and written.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder at `path`, made if it is not there.
    ///
    /// # Errors
    /// [`Error::NotARunFolder`] when it holds something else; [`Error::Io`] when it cannot be made.
    pub fn create(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|source| Error::io(path, "make the folder", source))?;
        let folder = Self { path: path.to_path_buf() };
        if !folder.run_toml().is_file()
            && let Some(got) = folder.foreign_entry()?
        {
            return Err(Error::NotARunFolder { path: path.to_path_buf(), got });
        }
        Ok(folder)
    }

    /// The folder of a run that was started before.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no folder; [`Error::NotARunFolder`] when it has no `run.toml`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = Self { path: path.to_path_buf() };
        if !folder.run_toml().is_file() {
            let got = folder.foreign_entry()?.unwrap_or_else(|| "no run.toml".to_owned());
            return Err(Error::NotARunFolder { path: path.to_path_buf(), got });
        }
        Ok(folder)
    }

    /// The folder of a run that may not have begun; nothing is made.
    ///
    /// # Errors
    /// [`Error::NotARunFolder`] when it holds something else; [`Error::Io`] when it cannot be listed.
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

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved settings.
    pub fn run_toml(&self) -> PathBuf {
        self.path.join("run.toml")
    }

    /// Where the first of several processes listens for the others, until all have met.
    pub fn ranks(&self) -> PathBuf {
        self.path.join("ranks.txt")
    }

    /// One [`MetricsRecord`] a line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// One [`SampleRecord`] a line; not there where no samples are asked for.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples.jsonl")
    }

    /// The folder of the event files of TensorBoard.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// The [`Summary`] of a finished run.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// The folder of all checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The checkpoint after `step` updates.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step}"))
    }

    /// The checkpoint of least target validation loss.
    pub fn best(&self) -> PathBuf {
        self.path.join("best")
    }

    /// The page about the run.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// Writes the resolved settings.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_run_toml(&self, text: &str) -> Result<(), Error> {
        write_by_rename(&self.run_toml(), text.as_bytes())
    }

    /// The resolved settings as text.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TooLarge`], or [`Error::Damaged`] when it is no UTF-8.
    pub fn read_run_toml(&self) -> Result<String, Error> {
        read_text_capped(&self.run_toml(), LIMIT_BYTES)
    }

    /// Appends one whole line and flushes it.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a NaN, [`Error::Io`].
    pub fn append_metrics(&self, record: &MetricsRecord) -> Result<(), Error> {
        let path = self.metrics();
        record.check_finite(&path)?;
        json_lines::append(&path, &json_lines::to_line(&path, record, METRICS_LINE)?)
    }

    /// All records in the order they were written; half a last line is dropped. None yet: empty.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the line, [`Error::TooLarge`], [`Error::Io`].
    pub fn read_metrics(&self) -> Result<Vec<MetricsRecord>, Error> {
        read_all(&self.metrics(), METRICS_LINE)
    }

    /// Appends the samples of one step and flushes them.
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

    /// All samples in the order they were written; none: empty.
    ///
    /// # Errors
    /// As [`Self::read_metrics`].
    pub fn read_samples(&self) -> Result<Vec<SampleRecord>, Error> {
        read_all(&self.samples(), SAMPLES_LINE)
    }

    /// Drops the metrics and samples of steps after `step`, all where there is none: a run that goes on from
    /// a checkpoint writes them again.
    ///
    /// # Errors
    /// As [`Self::read_metrics`].
    pub fn truncate_after(&self, step: Option<u64>) -> Result<(), Error> {
        let is_kept = |at: u64| step.is_some_and(|step| at <= step);
        let mut metrics = self.read_metrics()?;
        metrics.retain(|record| is_kept(record.step));
        rewrite(&self.metrics(), &metrics, METRICS_LINE)?;
        let mut samples = self.read_samples()?;
        samples.retain(|record| is_kept(record.step));
        rewrite(&self.samples(), &samples, SAMPLES_LINE)
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] or [`Error::BadValue`] for numbers no run can have, [`Error::Io`].
    pub fn write_summary(&self, summary: &Summary) -> Result<(), Error> {
        let path = self.summary();
        summary.check_finite(&path)?;
        let mut text =
            serde_json::to_vec_pretty(summary).map_err(|error| not_summary(&path, &error))?;
        text.push(b'\n');
        write_by_rename(&path, &text)
    }

    /// Reads `summary.json`.
    ///
    /// # Errors
    /// [`Error::Io`] when the run has not finished, [`Error::Damaged`] otherwise.
    pub fn read_summary(&self) -> Result<Summary, Error> {
        let path = self.summary();
        let text = read_text_capped(&path, LIMIT_BYTES)?;
        let summary: Summary =
            serde_json::from_str(&text).map_err(|error| not_summary(&path, &error))?;
        summary.check_finite(&path)?;
        Ok(summary)
    }

    /// The first entry, in name order, that no run writes.
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

/// All values of a file of lines that may not be there.
fn read_all<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<Vec<T>, Error> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let values = json_lines::read(path, expected)?;
    Ok(values.into_iter().map(|(_, value)| value).collect())
}

/// Replaces a file of lines that is there.
fn rewrite<T: Serialize>(path: &Path, values: &[T], expected: &'static str) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let mut lines = Vec::new();
    for value in values {
        lines.extend(json_lines::to_line(path, value, expected)?);
    }
    write_by_rename(path, &lines)
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
    use super::RunFolder;
    use crate::error::Error;
    use crate::eval_record::EvalRecord;
    use crate::metrics::MetricsRecord;
    use crate::sample::SampleRecord;
    use crate::summary::{ShareRecord, Summary};

    fn eval(loss: f64) -> EvalRecord {
        EvalRecord {
            corpus: "target".to_owned(),
            loss,
            standard_error: 0.01,
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
    fn nan_is_refused_as_numerical() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        let error = folder
            .append_metrics(&MetricsRecord { train_loss: Some(f64::NAN), ..record(1) })
            .unwrap_err();
        assert!(error.is_numerical());
        assert!(error.to_string().ends_with("expected a finite training loss, got NaN"));
        let mut broken = summary();
        broken.best[0].loss = f64::INFINITY;
        assert!(folder.write_summary(&broken).unwrap_err().is_numerical());
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("thesis.tex"), "x").unwrap();
        std::fs::write(place.path().join("metrics.jsonl"), "").unwrap();
        let error = RunFolder::create(place.path()).unwrap_err();
        assert!(error.is_configuration());
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
        assert_eq!(RunFolder::open(place.path()).unwrap().read_run_toml().unwrap(), "seed = 7\n");
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
        assert!(RunFolder::open("/nowhere".as_ref()).unwrap_err().is_configuration());
    }
}
