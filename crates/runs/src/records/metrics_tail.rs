//! Following a metrics file that another process writes.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::records::MetricsRecord;
use crate::tables::fields::shorten;

/// The largest record; a longer line is not a line of a run.
const LINE_LIMIT_BYTES: u64 = 16 << 20;

/// The most records that one poll returns, because those of a run of a million steps would take as much memory as its
/// file.
const RECORDS_AT_MOST: usize = 1 << 14;

/// The result of a poll.
#[derive(Debug, Clone, PartialEq)]
pub enum TailUpdate {
    /// The file does not exist, or no longer exists.
    Missing,
    /// The records after those of earlier polls; empty if all were read.
    Appended(Vec<MetricsRecord>),
    /// The file was shortened or rewritten, as by a run that continues from a checkpoint. These are its records from
    /// the first one on, which replace those of earlier polls.
    Replaced(Vec<MetricsRecord>),
}

/// Follows `metrics.jsonl`: each poll reads only what was appended since the previous one, and a long file in several
/// polls.
///
/// An incomplete last line is left for the next poll. The last line that was read is compared to detect whether the
/// file is still the same: lengths alone would miss a file that was shortened and grew again in between, and inodes do
/// not exist everywhere.
///
/// ```
/// use mixdown_runs::{TailUpdate, MetricsRecord, MetricsTail, RunFolder};
///
/// let place = tempfile::tempdir()?;
/// let folder = RunFolder::create(place.path())?;
/// let mut tail = MetricsTail::new(folder.metrics());
/// assert_eq!(tail.poll()?, TailUpdate::Missing);
/// folder.append_metrics(&MetricsRecord { step: 1, ..MetricsRecord::default() })?;
/// assert!(matches!(tail.poll()?, TailUpdate::Appended(records) if records.len() == 1));
/// assert_eq!(tail.poll()?, TailUpdate::Appended(Vec::new()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MetricsTail {
    path: PathBuf,
    /// The offset where the next poll begins, after a newline.
    offset_bytes: u64,
    /// Lines before it.
    lines: u64,
    /// The last of them, with its newline.
    last_line: Vec<u8>,
}

impl MetricsTail {
    /// Follows the file at `path`, which may not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset_bytes: 0, lines: 0, last_line: Vec::new() }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the records since the last poll. It returns a limited number at a time, so that memory stays small; after
    /// some records, poll again.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the line, [`Error::Io`]; the next poll then begins at the start of the file.
    pub fn poll(&mut self) -> Result<TailUpdate, Error> {
        let growth = self.read();
        if growth.is_err() {
            *self = Self::new(std::mem::take(&mut self.path));
        }
        growth
    }

    fn read(&mut self) -> Result<TailUpdate, Error> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *self = Self::new(std::mem::take(&mut self.path));
                return Ok(TailUpdate::Missing);
            }
            Err(error) => return Err(Error::io(&self.path, "read it", error)),
        };
        let goes_on = self.is_continued(&mut file).map_err(|error| self.unreadable(error))?;
        let had_records = self.lines > 0;
        if !goes_on {
            *self = Self::new(std::mem::take(&mut self.path));
        }
        let records = self.records(file)?;
        Ok(if had_records && !goes_on {
            TailUpdate::Replaced(records)
        } else {
            TailUpdate::Appended(records)
        })
    }

    /// Returns whether the file is that of the last poll, and as long or longer; it is then read up to there.
    fn is_continued(&self, file: &mut File) -> std::io::Result<bool> {
        let last_bytes = u64::try_from(self.last_line.len()).unwrap_or(u64::MAX);
        file.seek(SeekFrom::Start(self.offset_bytes.saturating_sub(last_bytes)))?;
        let mut there = Vec::with_capacity(self.last_line.len());
        Read::by_ref(file).take(last_bytes).read_to_end(&mut there)?;
        Ok(there == self.last_line)
    }

    fn records(&mut self, mut file: File) -> Result<Vec<MetricsRecord>, Error> {
        file.seek(SeekFrom::Start(self.offset_bytes)).map_err(|error| self.unreadable(error))?;
        let mut reader = BufReader::new(file);
        let (mut records, mut line) = (Vec::new(), Vec::new());
        while records.len() < RECORDS_AT_MOST {
            line.clear();
            let read =
                Read::by_ref(&mut reader).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line);
            let read_bytes = read.map_err(|error| self.unreadable(error))?;
            if line.last() != Some(&b'\n') {
                if u64::try_from(read_bytes).is_ok_and(|bytes| bytes < LINE_LIMIT_BYTES) {
                    return Ok(records);
                }
                let got = format!("a line of more than {LINE_LIMIT_BYTES} bytes");
                return Err(self.damaged(got));
            }
            let text = line.trim_ascii();
            if !text.is_empty() {
                let record = serde_json::from_slice(text);
                records.push(record.map_err(|error| self.damaged(shorten(&error.to_string())))?);
            }
            self.lines = self.lines.saturating_add(1);
            self.offset_bytes =
                self.offset_bytes.saturating_add(u64::try_from(read_bytes).unwrap_or(u64::MAX));
            std::mem::swap(&mut self.last_line, &mut line);
        }
        Ok(records)
    }

    /// The error for a line after those that were read that is not a record.
    fn damaged(&self, got: String) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            line: self.lines.saturating_add(1),
            expected: "one metrics record as JSON",
            got,
        }
    }

    fn unreadable(&self, error: std::io::Error) -> Error {
        Error::io(&self.path, "read it", error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{MetricsTail, TailUpdate};
    use crate::folder::RunFolder;
    use crate::records::MetricsRecord;

    fn record(step: u64) -> MetricsRecord {
        MetricsRecord { step, train_loss: Some(3.0), ..MetricsRecord::default() }
    }

    fn steps(records: &[MetricsRecord]) -> Vec<u64> {
        records.iter().map(|record| record.step).collect()
    }

    fn appended(tail: &mut MetricsTail) -> Vec<u64> {
        match tail.poll().unwrap() {
            TailUpdate::Appended(records) => steps(&records),
            other => panic!("expected appended records, got {other:?}"),
        }
    }

    fn replaced(tail: &mut MetricsTail) -> Vec<u64> {
        match tail.poll().unwrap() {
            TailUpdate::Replaced(records) => steps(&records),
            other => panic!("expected a replaced file, got {other:?}"),
        }
    }

    fn append(folder: &RunFolder, bytes: &[u8]) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(folder.metrics()).unwrap();
        file.write_all(bytes).unwrap();
    }

    #[test]
    fn only_what_is_new_is_read() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        let mut tail = MetricsTail::new(folder.metrics());
        assert_eq!(tail.poll().unwrap(), TailUpdate::Missing);
        append(&folder, b"");
        assert!(appended(&mut tail).is_empty());
        for step in 0..3 {
            folder.append_metrics(&record(step)).unwrap();
        }
        assert_eq!(appended(&mut tail), [0, 1, 2]);
        assert!(appended(&mut tail).is_empty());
        folder.append_metrics(&record(3)).unwrap();
        assert_eq!(appended(&mut tail), [3]);
        std::fs::remove_file(folder.metrics()).unwrap();
        assert_eq!(tail.poll().unwrap(), TailUpdate::Missing);
        folder.append_metrics(&record(0)).unwrap();
        assert_eq!(appended(&mut tail), [0], "what is gone has nothing to be replaced");
    }

    #[test]
    fn half_a_line_waits_for_its_other_half() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        folder.append_metrics(&record(0)).unwrap();
        folder.append_metrics(&record(1)).unwrap();
        let whole = std::fs::read(folder.metrics()).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(folder.metrics(), &whole[..cut]).unwrap();
            let mut tail = MetricsTail::new(folder.metrics());
            let mut seen = appended(&mut tail);
            append(&folder, &whole[cut..]);
            seen.extend(appended(&mut tail));
            assert_eq!(seen, [0, 1], "cut at byte {cut}");
        }
    }

    #[test]
    fn a_run_that_goes_on_cuts_the_file() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        let mut tail = MetricsTail::new(folder.metrics());
        for step in 0..6 {
            folder.append_metrics(&record(step)).unwrap();
        }
        assert_eq!(appended(&mut tail).len(), 6);
        folder.truncate_after(Some(3)).unwrap();
        assert_eq!(replaced(&mut tail), [0, 1, 2, 3]);
        // Cut and grown beyond the old length between two looks: the rates of the steps are others now.
        folder.truncate_after(Some(1)).unwrap();
        for step in 2..9 {
            let tokens_per_second = Some(100.0);
            folder.append_metrics(&MetricsRecord { tokens_per_second, ..record(step) }).unwrap();
        }
        assert_eq!(replaced(&mut tail), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        folder.truncate_after(None).unwrap();
        assert!(replaced(&mut tail).is_empty());
        folder.append_metrics(&record(0)).unwrap();
        assert_eq!(appended(&mut tail), [0]);
    }

    #[test]
    fn a_long_file_comes_in_parts() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        let line = serde_json::to_string(&record(1)).unwrap() + "\n";
        append(&folder, line.repeat(2 * super::RECORDS_AT_MOST + 3).as_bytes());
        let mut tail = MetricsTail::new(folder.metrics());
        let parts: Vec<usize> = (0..4).map(|_| appended(&mut tail).len()).collect();
        assert_eq!(parts, [super::RECORDS_AT_MOST, super::RECORDS_AT_MOST, 3, 0]);
    }

    #[test]
    fn damage_is_named_and_mended_files_are_read_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        folder.append_metrics(&record(0)).unwrap();
        let whole = std::fs::read(folder.metrics()).unwrap();
        let mut tail = MetricsTail::new(folder.metrics());
        append(&folder, b"\n[1]\n");
        let error = tail.poll().unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl, line 3: expected one metrics record"), "{error}");
        std::fs::write(folder.metrics(), whole).unwrap();
        assert_eq!(appended(&mut tail), [0]);
    }
}
