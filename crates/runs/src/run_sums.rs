//! The sums of a run's folder, by which damage to run.toml, records and summary is found.
//!
//! BLAKE3SUMS has the sum of run.toml from the beginning, and those of all records when the run ends. In between the
//! records grow, so each checkpoint has a file with their lengths and the sums of that many bytes. Checkpoints and
//! best/ have a BLAKE3SUMS each, and that of best/ has a sum with the records; they may be removed to free the disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::folder::RunFolder;
use crate::records::json_lines;
use crate::sums::{self, Fault, SUMS_FILE, Sums};
use crate::sums::{read_capped, write_by_rename};

/// The beginning of run.toml in a folder with sums, by which removed sums are noticed.
const MARK: &str = "# The BLAKE3 sums of this run's files are in BLAKE3SUMS.\n";

/// The file of a checkpoint with the lengths and sums of the records at that moment.
pub const RECORDS_FILE: &str = "records.json";
const RECORDS: &str = "the lengths and sums of a run's records as JSON";

const RUN_TOML: &str = "run.toml";
/// The records that are complete when the run ends, besides TensorBoard's files.
const RECORD_FILES: [&str; 3] = ["losses.json", "metrics.jsonl", "samples.jsonl"];
/// The records that grow during a run.
const GROWING: [&str; 2] = ["metrics.jsonl", "samples.jsonl"];
const SUMMARY: &str = "summary.json";
/// The sums of the best model, which have a sum themselves, so that the best/ of another run is detected.
const BEST_SUMS: &str = "best/BLAKE3SUMS";

/// The sizes of the run's records in bytes, by name, at one moment.
pub type RecordLengths = BTreeMap<String, u64>;

/// The state of a record when a checkpoint was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    bytes: u64,
    /// The sum of that many bytes from the start.
    blake3: String,
}

impl RunFolder {
    /// Returns the run that `model` belongs to: the folder of a run, its best/, or one of its checkpoints.
    pub fn of_model(model: &Path) -> Option<Self> {
        let whole = model.canonicalize().ok()?;
        let parent = whole.parent();
        let place = match (whole.file_name(), parent.and_then(Path::file_name)) {
            _ if whole.join(RUN_TOML).is_file() => Some(whole.as_path()),
            (Some(name), _) if name == OsStr::new("best") => parent,
            (_, Some(name)) if name == OsStr::new("checkpoints") => parent.and_then(Path::parent),
            _ => None,
        };
        Self::open(place?).ok()
    }

    /// Writes the resolved settings with their sum. The folder of a run that an older version began has no sums and
    /// does not get any.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_run_toml(&self, text: &str) -> Result<(), Error> {
        let path = self.run_toml();
        if path.exists() && !self.is_summed() {
            return write_by_rename(&path, text.as_bytes());
        }
        let sums = self.read_sums()?;
        sums::replace(&self.sums(), sums, (&path, RUN_TOML), format!("{MARK}{text}").as_bytes())
    }

    /// Returns whether the files of the run have sums; those of older versions do not.
    pub fn is_summed(&self) -> bool {
        let mut first = Vec::new();
        let limit = u64::try_from(MARK.len()).unwrap_or(u64::MAX);
        let read = fs::File::open(self.run_toml())
            .and_then(|file| file.take(limit).read_to_end(&mut first));
        (read.is_ok() && first == MARK.as_bytes()) || self.sums().exists()
    }

    /// Keeps only the sum of run.toml, because the other files change from now on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin_records(&self) -> Result<(), Error> {
        let sums = self.read_sums()?;
        if sums.names().all(|name| name == RUN_TOML) {
            return Ok(());
        }
        let mut own = Sums::default();
        own.add(RUN_TOML, sums::sum(&self.run_toml())?);
        own.write(&self.sums())
    }

    /// Writes the sums of all records of a run and that of the summary, which is written next.
    pub(crate) fn write_sums_of_all(&self, summary: &[u8]) -> Result<(), Error> {
        if !self.is_summed() {
            return Ok(());
        }
        let mut sums = Sums::default();
        for name in [RUN_TOML].into_iter().chain(RECORD_FILES) {
            if self.path().join(name).exists() {
                sums.add(name, sums::sum(&self.path().join(name))?);
            }
        }
        for name in self.event_files()? {
            sums.add(&name, sums::sum(&self.path().join(&name))?);
        }
        let best = self.best().join(SUMS_FILE);
        if best.is_file() {
            sums.add(BEST_SUMS, sums::sum(&best)?);
        }
        sums.add(SUMMARY, blake3::hash(summary).to_hex().to_string());
        sums.write(&self.sums())
    }

    /// Returns the lengths of the records at this moment, for a checkpoint that is written later on another thread.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn record_lengths(&self) -> Result<RecordLengths, Error> {
        let mut lengths = BTreeMap::new();
        for name in self.event_files()?.into_iter().chain(GROWING.map(str::to_owned)) {
            if let Ok(found) = fs::metadata(self.path().join(&name)) {
                lengths.insert(name, found.len());
            }
        }
        Ok(lengths)
    }

    /// Writes the lengths and sums of the records into the folder of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_recorded(&self, checkpoint: &Path, lengths: &RecordLengths) -> Result<(), Error> {
        let mut recorded = BTreeMap::new();
        for (name, bytes) in lengths {
            let blake3 = sums::sum_of_first(&self.path().join(name), *bytes)?;
            recorded.insert(name, Recorded { bytes: *bytes, blake3 });
        }
        let path = checkpoint.join(RECORDS_FILE);
        write_by_rename(&path, &json_lines::to_line(&path, &recorded, RECORDS)?)
    }

    /// Finds the records that have changed since this checkpoint was written: metrics and samples, and with
    /// `with_events` TensorBoard's files, which no run reads. A checkpoint of an older version has no such file and
    /// gives no faults.
    ///
    /// # Errors
    /// A damaged file of the checkpoint; [`Error::Io`].
    pub fn recorded_faults(
        &self,
        checkpoint: &Path,
        with_events: bool,
    ) -> Result<Vec<Fault>, Error> {
        let path = checkpoint.join(RECORDS_FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let recorded: BTreeMap<String, Recorded> =
            serde_json::from_slice(&read_capped(&path, 1 << 24)?).map_err(|error| {
                Error::Damaged {
                    path: path.clone(),
                    line: 1,
                    expected: RECORDS,
                    got: error.to_string(),
                }
            })?;
        let mut faults = Vec::new();
        for (name, Recorded { bytes, blake3 }) in recorded {
            let is_asked = with_events || GROWING.contains(&name.as_str());
            let path = self.path().join(&name);
            let got = match is_asked.then(|| fs::metadata(&path)) {
                None => continue,
                Some(Err(_)) => "no file".to_owned(),
                Some(Ok(found)) if found.len() < bytes => format!("{} bytes", found.len()),
                Some(Ok(_)) => sums::sum_of_first(&path, bytes)?,
            };
            let expected = format!(
                "{bytes} bytes of BLAKE3 sum {blake3} at its beginning, as {} says",
                checkpoint.join(RECORDS_FILE).display()
            );
            if got != blake3 {
                faults.push(Fault { path, expected, got });
            }
        }
        Ok(faults)
    }

    /// Finds the files among run.toml and the records of a finished run that are not as they were written.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn faults(&self) -> Result<Vec<Fault>, Error> {
        let fault = |path, expected: &str, got: &str| Fault {
            path,
            expected: expected.to_owned(),
            got: got.to_owned(),
        };
        if !self.is_summed() {
            return Ok(Vec::new());
        }
        let sums = match Sums::read(&self.sums())? {
            None => return Ok(vec![fault(self.sums(), "the sums of the run's files", "no file")]),
            Some(Err(fault)) => return Ok(vec![fault]),
            Some(Ok(sums)) => sums,
        };
        let mut faults = Vec::new();
        for name in sums.names().filter(|name| *name != BEST_SUMS) {
            faults.extend(sums.fault(&self.path().join(name), name)?);
        }
        let is_finished = self.summary().exists();
        let due = [RUN_TOML, SUMMARY].into_iter().chain(RECORD_FILES).map(str::to_owned);
        for name in due.chain(self.event_files()?) {
            let path = self.path().join(&name);
            if !sums.has(&name) && path.exists() && (is_finished || name == RUN_TOML) {
                let expected = format!("its sum in {SUMS_FILE}");
                faults.push(fault(path, &expected, "none: it came later"));
            }
        }
        Ok(faults)
    }

    /// Finds whether best/ differs from the one that the finished run left. A removed best/ is not a fault.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn best_fault(&self) -> Result<Option<Fault>, Error> {
        match Sums::read(&self.sums())? {
            Some(Ok(sums)) if self.best().is_dir() => {
                sums.fault(&self.path().join(BEST_SUMS), BEST_SUMS)
            }
            _ => Ok(None),
        }
    }

    /// Removes the sum of best/ from those of the run, after best/ was removed on purpose.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_best_sum(&self) -> Result<(), Error> {
        match Sums::read(&self.sums())? {
            Some(Ok(mut sums)) if sums.has(BEST_SUMS) => {
                sums.remove(BEST_SUMS);
                sums.write(&self.sums())
            }
            _ => Ok(()),
        }
    }

    fn sums(&self) -> std::path::PathBuf {
        self.path().join(SUMS_FILE)
    }

    fn read_sums(&self) -> Result<Sums, Error> {
        match Sums::read(&self.sums())? {
            None => Ok(Sums::default()),
            Some(Ok(sums)) => Ok(sums),
            Some(Err(fault)) => {
                let way_out = "bring it back from a copy, or name another --out";
                Err(fault.into_error(way_out))
            }
        }
    }

    /// Returns TensorBoard's files in order.
    pub(crate) fn event_files(&self) -> Result<Vec<String>, Error> {
        let folder = self.tensorboard();
        match folder.is_dir() {
            false => Ok(Vec::new()),
            true => Ok(sums::names(&folder)?
                .into_iter()
                .map(|name| format!("tensorboard/{name}"))
                .collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::RunFolder;
    use crate::error::Error;
    use crate::records::MetricsRecord;
    use crate::records::Summary;

    fn told(folder: &RunFolder) -> Vec<String> {
        let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        folder.faults().unwrap().iter().map(|fault| name(&fault.path)).collect()
    }

    fn summary() -> Summary {
        serde_json::from_value(serde_json::json!({
            "run_id": "a", "title": "A", "best_step": 3, "steps": 3, "before": [], "best": [], "last": [],
            "shares": [], "row": null, "model_parameters": 1, "tokens_per_second": 1.0, "seconds": 1.0,
        }))
        .unwrap()
    }

    fn written(place: &tempfile::TempDir) -> RunFolder {
        let folder = RunFolder::create(place.path()).unwrap();
        folder.write_run_toml("seed = 7\n").unwrap();
        for step in 0..4 {
            folder.append_metrics(&MetricsRecord { step, ..MetricsRecord::default() }).unwrap();
        }
        folder
    }

    #[test]
    fn a_finished_run_has_sums_of_all_it_wrote() {
        let place = tempfile::tempdir().unwrap();
        let folder = written(&place);
        assert!(told(&folder).is_empty());
        folder.write_summary(&summary()).unwrap();
        assert!(told(&folder).is_empty());
        for name in ["run.toml", "metrics.jsonl", "summary.json"] {
            let path = place.path().join(name);
            let whole = fs::read(&path).unwrap();
            let mut flipped = whole.clone();
            flipped[whole.len() / 2] ^= 1;
            for damaged in [&flipped[..], &whole[..whole.len() - 1], b""] {
                fs::write(&path, damaged).unwrap();
                assert_eq!(told(&folder), [name]);
                let error = match name {
                    "run.toml" => folder.read_run_toml().unwrap_err(),
                    "metrics.jsonl" => folder.read_metrics().unwrap_err(),
                    _ => folder.read_summary().unwrap_err(),
                };
                assert!(matches!(error, Error::Changed { .. }), "{error}");
            }
            fs::remove_file(&path).unwrap();
            assert_eq!(told(&folder), [name]);
            if name == "metrics.jsonl" {
                assert!(matches!(folder.read_metrics(), Err(Error::Changed { .. })));
            }
            fs::write(&path, whole).unwrap();
        }
        fs::write(folder.samples(), "{}\n").unwrap();
        assert_eq!(told(&folder), ["samples.jsonl"], "it came later");
        fs::remove_file(folder.samples()).unwrap();
        let sums = place.path().join("BLAKE3SUMS");
        fs::write(&sums, "").unwrap();
        assert_eq!(told(&folder), ["BLAKE3SUMS"]);
        fs::remove_file(&sums).unwrap();
        assert_eq!(told(&folder), ["BLAKE3SUMS"], "run.toml says that there must be some");
        // A run of an older version has none and gets none.
        fs::write(folder.run_toml(), "seed = 7\n").unwrap();
        assert!(told(&folder).is_empty());
        folder.write_run_toml("seed = 8\n").unwrap();
        folder.write_summary(&summary()).unwrap();
        assert!(!sums.exists());
    }

    #[test]
    fn the_best_model_of_another_run_is_not_this_ones() {
        let place = tempfile::tempdir().unwrap();
        let folder = written(&place);
        fs::create_dir(folder.best()).unwrap();
        fs::write(folder.best().join("model.safetensors"), "this run's").unwrap();
        crate::sums::write(&folder.best()).unwrap();
        assert_eq!(folder.best_fault().unwrap(), None);
        folder.write_summary(&summary()).unwrap();
        assert_eq!(folder.best_fault().unwrap(), None);
        fs::write(folder.best().join("model.safetensors"), "another's").unwrap();
        crate::sums::write(&folder.best()).unwrap();
        let fault = folder.best_fault().unwrap().unwrap();
        assert_eq!(fault.path, folder.best().join("BLAKE3SUMS"));
        fs::remove_dir_all(folder.best()).unwrap();
        assert_eq!(folder.best_fault().unwrap(), None);
        assert!(told(&folder).is_empty(), "the disk was needed");
        let sums = || fs::read_to_string(place.path().join("BLAKE3SUMS")).unwrap();
        assert!(sums().contains("best/BLAKE3SUMS"));
        folder.remove_best_sum().unwrap();
        assert!(!sums().contains("best/BLAKE3SUMS") && sums().contains("run.toml"));
    }

    #[test]
    fn a_run_that_goes_on_has_the_records_of_its_checkpoint() {
        let place = tempfile::tempdir().unwrap();
        let folder = written(&place);
        let checkpoint = folder.checkpoint(3);
        fs::create_dir_all(&checkpoint).unwrap();
        assert_eq!(folder.recorded_faults(&checkpoint, true).unwrap(), []);
        let lengths = folder.record_lengths().unwrap();
        folder.append_metrics(&MetricsRecord { step: 4, ..MetricsRecord::default() }).unwrap();
        folder.write_recorded(&checkpoint, &lengths).unwrap();
        assert_eq!(folder.recorded_faults(&checkpoint, true).unwrap(), []);
        folder.truncate_after(Some(3)).unwrap();
        assert_eq!(folder.recorded_faults(&checkpoint, true).unwrap(), []);
        let whole = fs::read(folder.metrics()).unwrap();
        for damaged in [&whole[1..], b"", &[whole.clone(), b"{}".to_vec()].concat()[2..]] {
            fs::write(folder.metrics(), damaged).unwrap();
            let faults = folder.recorded_faults(&checkpoint, false).unwrap();
            assert_eq!(faults[0].path, folder.metrics());
        }
        fs::write(folder.metrics(), whole).unwrap();
        // The summary is gone: the run goes on, and its sums are those of run.toml alone.
        folder.write_summary(&summary()).unwrap();
        fs::remove_file(folder.summary()).unwrap();
        folder.begin_records().unwrap();
        folder.append_metrics(&MetricsRecord { step: 4, ..MetricsRecord::default() }).unwrap();
        assert!(told(&folder).is_empty());
        assert_eq!(folder.read_metrics().unwrap().len(), 5);
    }

    #[test]
    fn a_model_knows_its_run() {
        let place = tempfile::tempdir().unwrap();
        let folder = written(&place);
        let places = [folder.path().to_owned(), folder.best(), folder.checkpoint(3)];
        for model in places {
            fs::create_dir_all(&model).unwrap();
            let run = RunFolder::of_model(&model).unwrap();
            assert_eq!(run.path(), place.path().canonicalize().unwrap());
            assert!(run.is_summed());
        }
        let other = place.path().join("other");
        fs::create_dir(&other).unwrap();
        assert!(RunFolder::of_model(&other).is_none());
    }
}
