//! The event files of TensorBoard, `tensorboard/events.out.tfevents.*`.
//!
//! An event file is a sequence of records: length (u64), its masked CRC-32C, an `Event` of
//! tensorflow/core/util/event.proto, its masked CRC-32C; little endian. Of the protocol buffers only the
//! dozen fields below are written, each by its number there: a library for them would be larger than this
//! file.
//!
//! Each start of a run begins a file. Its second record has the step from which the file counts (a `SessionLog` of
//! status START): the values of those steps in an earlier file were written after the checkpoint from which the run
//! continues, and TensorBoard ignores them. A run that continues also removes those records, and an incomplete record
//! that a kill or a full disk has left ([`truncate_after`]), for readers that ignore nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mixdown_base::files;

use crate::error::Error;
use crate::folder::RunFolder;
use crate::records::MetricsRecord;
use crate::records::SampleRecord;

const PREFIX: &str = "events.out.tfevents.";
/// The version of the format that TensorBoard reads.
const VERSION: &[u8] = b"brain.Event:2";
/// `SessionLog.SessionStatus`.
const START: u64 = 1;
/// `DataType`.
const DT_STRING: u64 = 7;

/// The event file of one start of a run.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    /// None before the first record.
    file: Option<(PathBuf, File)>,
}

impl TensorBoard {
    /// Returns a writer into `folder`; the file is made with the first record.
    ///
    /// ```
    /// use mixdown_runs::{MetricsRecord, RunFolder, TensorBoard};
    ///
    /// let directory = tempfile::tempdir()?;
    /// let folder = RunFolder::create(directory.path())?;
    /// let mut board = TensorBoard::new(&folder);
    /// board.write_metrics(&MetricsRecord { step: 1, train_loss: Some(7.5), ..MetricsRecord::default() })?;
    /// assert_eq!(std::fs::read_dir(folder.tensorboard())?.count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(folder: &RunFolder) -> Self {
        Self { folder: folder.tensorboard(), file: None }
    }

    /// Writes the numbers of a record.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_metrics(&mut self, record: &MetricsRecord) -> Result<(), Error> {
        let values = scalars(record).into_iter().map(|(tag, value)| scalar(&tag, value));
        self.write(record.step, values.collect())
    }

    /// Writes texts, the n-th as `samples/n`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_samples(&mut self, records: &[SampleRecord]) -> Result<(), Error> {
        let Some(first) = records.first() else { return Ok(()) };
        let values = (1..).zip(records).map(|(number, record)| {
            // TensorBoard shows Markdown, in which four spaces keep a text as it is.
            let whole = format!("{}{}", record.prompt, record.text);
            let lines = whole.lines().map(|line| format!("    {line}\n"));
            text(&format!("samples/{number}"), &lines.collect::<String>())
        });
        self.write(first.step, values.collect())
    }

    fn write(&mut self, step: u64, values: Vec<Message>) -> Result<(), Error> {
        let now = wall_time();
        let mut bytes = Vec::new();
        if self.file.is_none() {
            bytes = beginning(now, step);
            self.file = Some(create(&self.folder, now)?);
        }
        bytes.extend(event(now, step, values));
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        file.write_all(&bytes).map_err(|source| Error::io(path, "append to it", source))
    }
}

/// Shortens an event file to before its first values of a step after `step`, or to before an incomplete last record.
///
/// A file with a damaged record stays as it is, because the records after the damage cannot be separated.
pub(crate) fn truncate_after(path: &Path, step: Option<u64>) -> Result<(), Error> {
    let io = |action| move |source| Error::io(path, action, source);
    let mut file = File::open(path).map_err(io("read it"))?;
    let len_bytes = file.metadata().map_err(io("read it"))?.len();
    let kept_bytes = kept_bytes(&mut file, len_bytes, step).map_err(io("read it"))?;
    if kept_bytes < len_bytes {
        let file = OpenOptions::new().write(true).open(path).map_err(io("shorten it"))?;
        file.set_len(kept_bytes).map_err(io("shorten it"))?;
    }
    Ok(())
}

/// Returns the number of bytes of the complete records before the first values of a step after `step`; all bytes of a
/// damaged file.
fn kept_bytes(file: &mut File, len_bytes: u64, step: Option<u64>) -> std::io::Result<u64> {
    let (mut reader, mut kept_bytes) = (BufReader::new(file), 0_u64);
    while kept_bytes < len_bytes {
        let mut head = [0; 12];
        if len_bytes - kept_bytes < 12 {
            return Ok(kept_bytes);
        }
        reader.read_exact(&mut head)?;
        let (len, sum) = head.split_at(8);
        if sum != masked_sum(len) {
            return Ok(len_bytes);
        }
        let data_bytes = len.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
        let record_bytes = data_bytes.saturating_add(16);
        if record_bytes > len_bytes - kept_bytes {
            return Ok(kept_bytes);
        }
        let mut rest = Vec::new();
        reader.by_ref().take(data_bytes.saturating_add(4)).read_to_end(&mut rest)?;
        let (data, sum) = rest.split_at(rest.len().saturating_sub(4));
        if sum != masked_sum(data) {
            return Ok(len_bytes);
        }
        if step_of_values(data).is_some_and(|at| step.is_none_or(|step| at > step)) {
            return Ok(kept_bytes);
        }
        kept_bytes += record_bytes;
    }
    Ok(kept_bytes)
}

/// Returns the step of an `Event` that has values; `None` for a version, a start or anything else.
fn step_of_values(mut event: &[u8]) -> Option<u64> {
    let (mut step, mut has_values) = (0, false);
    while !event.is_empty() {
        let key = take_varint(&mut event)?;
        let len = match key & 7 {
            0 => {
                let value = take_varint(&mut event)?;
                step = if key >> 3 == 2 { value } else { step };
                continue;
            }
            1 => 8,
            2 => usize::try_from(take_varint(&mut event)?).ok()?,
            5 => 4,
            _ => return None,
        };
        has_values |= key >> 3 == 5;
        event = event.get(len..)?;
    }
    has_values.then_some(step)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Seconds since 1970, by which TensorBoard can show numbers.
fn wall_time() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Makes a new file whose name sorts after those of earlier starts, because files are read in that order, whatever the
/// clock says.
fn create(folder: &Path, now: f64) -> Result<(PathBuf, File), Error> {
    files::make_subfolder(folder)
        .map_err(|error| Error::io(folder, "make the folder", error.into_parts().2))?;
    let listing = |source| Error::io(folder, "list the folder", source);
    let (mut count, mut latest) = (0_u64, 0_u64);
    for entry in fs::read_dir(folder).map_err(listing)? {
        let name = entry.map_err(listing)?.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        count += 1;
        let seconds = rest.split('.').next().and_then(|digits| digits.parse().ok());
        latest = latest.max(seconds.unwrap_or(0));
    }
    let seconds = format!("{now:.0}").parse::<u64>().unwrap_or(0).max(latest);
    let path = folder.join(format!("{PREFIX}{seconds:010}.mixdown.{count:06}"));
    let mut options = OpenOptions::new();
    let file = options.append(true).create_new(true).open(&path);
    file.map(|file| (path.clone(), file)).map_err(|source| Error::io(&path, "make it", source))
}

/// All numbers of a record, each with its tag.
fn scalars(record: &MetricsRecord) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    // A step without a target has no loss, but a rate.
    all.extend(record.train_loss.map(|loss| ("train/loss".to_owned(), loss)));
    if record.step > 0 {
        all.push(("train/learning_rate".to_owned(), record.learning_rate));
    }
    let own = [
        ("train/gradient_norm", record.gradient_norm),
        ("speed/tokens_per_second", record.tokens_per_second),
        ("speed/data_wait", record.data_wait),
        ("speed/mfu", record.mfu),
    ];
    all.extend(own.into_iter().filter_map(|(tag, value)| Some((tag.to_owned(), value?))));
    for source in &record.sources {
        all.push((format!("train_loss_by_source/{}", source.source), source.loss));
    }
    for eval in &record.evals {
        all.push((format!("eval_loss/{}", eval.corpus), eval.loss));
        all.push((format!("eval_bits_per_byte/{}", eval.corpus), eval.bits_per_byte));
        if let Some(change) = &eval.change {
            all.push((format!("eval_change/{}", eval.corpus), change.mean));
        }
    }
    all
}

/// A file's first two records.
fn beginning(now: f64, step: u64) -> Vec<u8> {
    let version = Message::default().double(1, now).bytes(3, VERSION);
    let session = Message::default().number(1, START);
    let start = Message::default().double(1, now).number(2, step).bytes(7, &session.0);
    [record(&version.0), record(&start.0)].concat()
}

/// The record of an `Event` with a `Summary` of these values.
fn event(now: f64, step: u64, values: Vec<Message>) -> Vec<u8> {
    let summary = values.iter().fold(Message::default(), |all, value| all.bytes(1, &value.0));
    record(&Message::default().double(1, now).number(2, step).bytes(5, &summary.0).0)
}

/// A `Summary.Value` of a number.
#[expect(clippy::cast_possible_truncation, reason = "TensorBoard's scalars are f32")]
fn scalar(tag: &str, value: f64) -> Message {
    Message::default().bytes(1, tag.as_bytes()).float(2, value as f32)
}

/// A `Summary.Value` of a text: a `TensorProto` of one string, for the plugin of texts.
fn text(tag: &str, text: &str) -> Message {
    let side = Message::default().number(1, 1);
    let shape = Message::default().bytes(2, &side.0);
    let tensor =
        Message::default().number(1, DT_STRING).bytes(2, &shape.0).bytes(8, text.as_bytes());
    let plugin = Message::default().bytes(1, b"text");
    let metadata = Message::default().bytes(1, &plugin.0);
    Message::default().bytes(1, tag.as_bytes()).bytes(8, &tensor.0).bytes(9, &metadata.0)
}

/// A protocol buffer, field by field.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f).to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// Adds a number; zero is the value of a field that is left out.
    fn number(mut self, field: u64, value: u64) -> Self {
        if value > 0 {
            self.varint(field << 3);
            self.varint(value);
        }
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.varint((field << 3) | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint((field << 3) | 2);
        self.varint(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend(value);
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.varint((field << 3) | 5);
        self.0.extend(value.to_le_bytes());
        self
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let len = u64::try_from(data.len()).unwrap_or(u64::MAX).to_le_bytes();
    [&len[..], &masked_sum(&len), data, &masked_sum(data)].concat()
}

fn masked_sum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
#[path = "tensorboard_tests.rs"]
mod tests;
