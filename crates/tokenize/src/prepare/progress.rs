//! Progress reports, and estimates of the disk space.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use mixdown_base::observer::Observer;
use mixdown_documents::{InputList, Remark};

use crate::error::Error;
use crate::plan::Plan;
use crate::plan::input_unit::text_bytes_estimate;

/// A progress report: `done` of `total` bytes of the stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareProgress {
    /// The current stage.
    pub stage: PrepareStage,
    /// Bytes done: bytes of the inputs on disk while reading or tokenizing, bytes of ids while writing.
    pub done: u64,
    /// Bytes in total; 0 if unknown.
    pub total: u64,
}

/// A stage of the work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrepareStage {
    /// Remarks on the inputs, reported once before the work, if there are any.
    Inputs(Arc<InputRemarks>),
    /// The estimated disk space, reported once before the work.
    Disk(DiskEstimate),
    /// Text is being read to train a tokenizer.
    Reading,
    /// A tokenizer is being trained; this stage reports only its beginning and its end.
    Training,
    /// Inputs are converted to parts.
    Tokenizing,
    /// Held-out documents are compared with training documents; the numbers are bytes of their sketches.
    Comparing,
    /// Parts are converted to shards.
    Writing,
}

/// Input files that are not read, or not in the format that their names suggest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRemarks {
    /// Files in folders that are not read, with the reasons.
    pub left_out: Vec<Remark>,
    /// JSON files that are read as whole texts, because they hold no records with the text field.
    pub read_as_text: Vec<Remark>,
}

/// Reports the remarks on the inputs.
pub(crate) fn say_inputs(inputs: &InputList, observer: Observer<'_, PrepareProgress>) {
    let remarks = InputRemarks {
        left_out: inputs.left_out().to_vec(),
        read_as_text: inputs.read_as_text().to_vec(),
    };
    if !remarks.left_out.is_empty() || !remarks.read_as_text.is_empty() {
        observer.tell(PrepareProgress {
            stage: PrepareStage::Inputs(Arc::new(remarks)),
            done: 0,
            total: 0,
        });
    }
}

/// An estimate of the disk space for the unfinished work and the corpus, and the free space there. If both are on one
/// disk, they add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskEstimate {
    /// Bytes of the unfinished work, which are freed when the corpus is finished.
    pub work_bytes: u64,
    /// Free bytes on the disk of the unfinished work.
    pub work_free_bytes: u64,
    /// Bytes of the corpus.
    pub corpus_bytes: u64,
    /// Free bytes on the disk of the corpus.
    pub corpus_free_bytes: u64,
    /// Whether both are on the same disk.
    pub one_disk: bool,
}

impl DiskEstimate {
    /// Returns whether a disk could fill up.
    ///
    /// ```
    /// use mixdown_tokenize::DiskEstimate;
    ///
    /// let estimate = DiskEstimate {
    ///     work_bytes: 60,
    ///     work_free_bytes: 100,
    ///     corpus_bytes: 60,
    ///     corpus_free_bytes: 100,
    ///     one_disk: true,
    /// };
    /// assert!(estimate.is_tight());
    /// assert!(!DiskEstimate { one_disk: false, ..estimate }.is_tight());
    /// ```
    #[must_use]
    pub fn is_tight(&self) -> bool {
        let both = self.work_bytes.saturating_add(self.corpus_bytes);
        if self.one_disk {
            return both > self.corpus_free_bytes;
        }
        self.work_bytes > self.work_free_bytes || self.corpus_bytes > self.corpus_free_bytes
    }
}

/// Compares an estimate with the free space: one token per 4 bytes of text, 60 bytes of rows, sums and indices per
/// document of 2 kB, and one tenth of the inputs for what is not text.
///
/// # Errors
/// A disk clearly has too little space: less than half of the estimate.
pub(crate) fn disk_estimate(
    inputs: &InputList,
    plan: &Plan,
    work: &Path,
    out: &Path,
) -> Result<Option<DiskEstimate>, Error> {
    let text_bytes = text_bytes_estimate(inputs);
    let bytes = text_bytes / 4 * plan.payload.token_bytes() + text_bytes / 32;
    let (work, out) = (existing(work), existing(out));
    let free = |path: &Path| fs4::available_space(path).ok();
    // Without the system's numbers there is no estimate.
    let (Some(work_free_bytes), Some(corpus_free_bytes)) = (free(&work), free(&out)) else {
        return Ok(None);
    };
    let one_disk = is_one_disk(&work, &out);
    let estimate = DiskEstimate {
        work_bytes: bytes,
        work_free_bytes,
        corpus_bytes: bytes,
        corpus_free_bytes,
        one_disk,
    };
    let clearly = |path: PathBuf, needed: u64, got: u64| {
        let expected = needed / 2;
        if expected > got { Err(Error::DiskTooSmall { path, expected, got }) } else { Ok(()) }
    };
    clearly(out, if one_disk { bytes.saturating_mul(2) } else { bytes }, corpus_free_bytes)?;
    clearly(work, bytes, work_free_bytes)?;
    Ok(Some(estimate))
}

/// Returns the folder, or its nearest existing ancestor.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(unix)]
fn is_one_disk(left: &Path, right: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(left) == device(right)
}

#[cfg(not(unix))]
fn is_one_disk(_: &Path, _: &Path) -> bool {
    true
}
