//! The steps from documents to a corpus: fix the inputs, tokenize the parts, decide the holdout, write the shards, and
//! write the manifest last.
//!
//! On two cores tokenizing is about four fifths of the work; a byte of text becomes about half a byte of ids, which are
//! written, read and written again. Memory, for each thread: the ids of its current part (at most 40 MiB) or of its
//! loaded buckets (40 MiB), and its current chunk.

pub(crate) mod finish;
#[cfg(test)]
pub(crate) mod first_error_tests;
#[cfg(test)]
pub(crate) mod labels_tests;
#[cfg(test)]
pub(crate) mod near_duplicates_tests;
pub(crate) mod options;
#[cfg(test)]
pub(crate) mod options_tests;
pub(crate) mod part_reader;
#[cfg(test)]
pub(crate) mod prepare_tests;
pub(crate) mod progress;
#[cfg(test)]
pub(crate) mod restart_tests;
#[cfg(test)]
pub(crate) mod task_tests;
pub(crate) mod tokenize_stage;
pub(crate) mod work;
pub(crate) mod work_folder;

use std::io;
use std::path::{Path, PathBuf};

use mixdown_base::observer::Observer;
use mixdown_documents::Remark;
use mixdown_shards::{Counts, Fingerprint};
use serde::Serialize;

use crate::error::Error;
use crate::plan::input_unit::PART_BYTES;
use crate::plan::order::Order;
use crate::plan::task::Task;
use crate::prepare::options::PrepareOptions;
use crate::prepare::progress::PrepareProgress;
use crate::prepare::work::{Made, Work, count};
use crate::prepare::work_folder::{Hold, WorkFolder, forget_work, is_finished};
use crate::shards::shard_run::SHARD_BYTES;

/// The result of [`prepare`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrepareReport {
    /// Documents to train on.
    pub train_documents: u64,
    /// Their tokens.
    pub train_tokens: u64,
    /// Documents in the holdout.
    pub holdout_documents: u64,
    /// Their tokens.
    pub holdout_tokens: u64,
    /// UTF-8 bytes of all documents' text.
    pub text_bytes: u64,
    /// Bytes of the inputs on disk.
    pub input_bytes: u64,
    /// Files of the inputs.
    pub input_files: u64,
    /// Files in folders that are not read: empty, not text, or without the requested fields.
    pub skipped_files: u64,
    /// The first of those files, with the reasons.
    pub left_out: Vec<Remark>,
    /// Records and documents that were left out or are unusual.
    pub counts: Counts,
    /// Shards of both splits.
    pub shards: u64,
    /// Parts of the inputs.
    pub parts: u64,
    /// Parts that an earlier, unfinished call had already made.
    pub resumed: u64,
    /// Whether the corpus already existed, so that nothing was done.
    pub already_done: bool,
    /// For a corpus that already existed, the inputs that were modified after it was written. Only names and lengths of
    /// inputs are compared.
    pub modified_inputs: Vec<String>,
    /// The corpus' data fingerprint.
    pub fingerprint: Fingerprint,
    /// The tokenizer's fingerprint.
    pub tokenizer_fingerprint: Fingerprint,
}

/// The result of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TaskReport {
    /// Parts of the inputs, all of them finished.
    pub parts: u64,
    /// Parts that existed when the task began.
    pub resumed: u64,
    /// Runs of shards, all of them finished.
    pub runs: u64,
    /// Runs that this task made.
    pub runs_made: u64,
    /// Whether the corpus already had its manifest, so that nothing was left to do.
    pub finished: bool,
}

/// Sizes that tests reduce. They affect the bytes of a corpus, so they are not options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) part_bytes: u64,
    pub(crate) bucket_bytes: u64,
    pub(crate) shard_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            part_bytes: PART_BYTES,
            bucket_bytes: Order::bucket_bytes(),
            shard_bytes: SHARD_BYTES,
        }
    }
}

/// Tokenizes the documents of `inputs` into a corpus in `out`.
///
/// `out` must be absent, empty or hold the result of an unfinished call, or of tasks, with the same inputs, tokenizer
/// and options. Such work is continued, and a finished corpus is only reported. Work with other settings and without a
/// finished part is replaced. The corpus' bytes depend only on inputs, tokenizer and options, not on threads, tasks,
/// interruptions or the clock. Memory is bounded by the number of threads and the longest document, not by the inputs.
///
/// # Errors
/// Inputs or tokenizer cannot be read; there are more bad records than tolerated; there is no end-of-text token; the
/// holdout leaves nothing on one side; `out` is in use, busy, a corpus from other inputs, tokenizer or options, or
/// holds other unfinished work; the disk refuses. [`Error::Interrupted`] if the observer stops the work.
///
/// ```
/// use mixdown_base::observer::Observer;
/// use mixdown_tokenize::{Holdout, PrepareOptions, prepare};
///
/// # let (folder, _tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
/// let inputs = [folder.path().join("text.txt")];
/// let (tokenizer, out) = (folder.path().join("tokenizer.json"), folder.path().join("corpus"));
/// let options = PrepareOptions { holdout: Holdout::None, ..PrepareOptions::default() };
/// let report = prepare(&inputs, &tokenizer, &out, &options, Observer::silent())?;
/// assert_eq!((report.train_documents, report.holdout_documents), (1, 0));
/// # Ok::<(), mixdown_tokenize::Error>(())
/// ```
pub fn prepare(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &PrepareOptions,
    observer: Observer<'_, PrepareProgress>,
) -> Result<PrepareReport, Error> {
    prepare_sized(inputs, tokenizer, out, options, observer, Sizes::default())
}

pub(crate) fn prepare_sized(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &PrepareOptions,
    observer: Observer<'_, PrepareProgress>,
    sizes: Sizes,
) -> Result<PrepareReport, Error> {
    let work = Work::new(inputs, tokenizer, options, sizes)?;
    if is_finished(out)? {
        forget_work(out, &work.plan)?;
        return work.check_finished(out);
    }
    let folder = match WorkFolder::claim(out, &work.plan, Hold::Alone) {
        // Another call has just finished.
        Err(Error::AlreadyCorpus { .. }) => return work.check_finished(out),
        claimed => claimed?,
    };
    let made = work.make(&folder, None, observer)?;
    work.finish(folder, &made.split, made.resumed)
}

/// Does one task's share of the work of [`prepare`], then what other tasks have not done. When all parts exist, it
/// writes shards, its own share first. Any number of tasks may run at once, on any machines that see the same folders,
/// and any later set of tasks completes what an earlier one left; [`finish`] then writes the manifest.
///
/// # Errors
/// Those of [`prepare`]; also options that work only in a single process (a limit, standard input).
///
/// ```
/// use mixdown_base::observer::Observer;
/// use mixdown_tokenize::{Holdout, PrepareOptions, Task, finish, prepare_task};
///
/// # let (folder, _tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
/// let inputs = [folder.path().join("text.txt")];
/// let (tokenizer, out) = (folder.path().join("tokenizer.json"), folder.path().join("corpus"));
/// let options = PrepareOptions { holdout: Holdout::None, ..PrepareOptions::default() };
/// for index in 0..2 {
///     let task = Task::new(index, 2)?;
///     prepare_task(&inputs, &tokenizer, &out, &options, task, Observer::silent())?;
/// }
/// assert_eq!(finish(&inputs, &tokenizer, &out, &options)?.train_documents, 1);
/// # Ok::<(), mixdown_tokenize::Error>(())
/// ```
pub fn prepare_task(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &PrepareOptions,
    task: Task,
    observer: Observer<'_, PrepareProgress>,
) -> Result<TaskReport, Error> {
    prepare_task_sized(inputs, tokenizer, out, options, task, observer, Sizes::default())
}

pub(crate) fn prepare_task_sized(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &PrepareOptions,
    task: Task,
    observer: Observer<'_, PrepareProgress>,
    sizes: Sizes,
) -> Result<TaskReport, Error> {
    if options.limit.is_some() {
        let (option, expected) = ("limit", "no limit, or a plain call: tasks share all documents");
        return Err(Error::Option { option, expected, got: task.to_string() });
    }
    let work = Work::new(inputs, tokenizer, options, sizes)?;
    if work.reads_standard_input() {
        let (option, expected) = ("task", "files: standard input works for a single process");
        return Err(Error::Option { option, expected, got: format!("{task} and -") });
    }
    let made = WorkFolder::claim(out, &work.plan, Hold::Shared)
        .and_then(|folder| work.make(&folder, Some(task), observer));
    match made {
        Ok(Made { split, resumed, runs_made }) => Ok(TaskReport {
            parts: split.parts,
            resumed,
            runs: count(split.runs.len()),
            runs_made,
            finished: false,
        }),
        // Whatever the error is, even a file that another process removed: the corpus is finished.
        Err(error) if is_finished(out)? => {
            let is_corpus = matches!(error, Error::AlreadyCorpus { .. });
            work.check_finished(out).map_err(|differs| if is_corpus { differs } else { error })?;
            // Removes any work that this task restored after finishing had removed it.
            let _already_a_corpus = WorkFolder::claim(out, &work.plan, Hold::Shared);
            Ok(TaskReport { parts: 0, resumed: 0, runs: 0, runs_made: 0, finished: true })
        }
        Err(error) => Err(error),
    }
}

/// Completes the work of tasks: checks that everything exists, writes the manifest and removes the unfinished work. If
/// the corpus is already finished, it only reports the content.
///
/// # Errors
/// Something is missing ([`Error::Unfinished`] lists it); `out` is a corpus from other inputs, tokenizer or options;
/// the disk refuses.
///
/// ```
/// use mixdown_base::observer::Observer;
/// use mixdown_tokenize::{Holdout, PrepareOptions, Task, finish, prepare_task};
///
/// # let (folder, _tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
/// let inputs = [folder.path().join("text.txt")];
/// let (tokenizer, out) = (folder.path().join("tokenizer.json"), folder.path().join("corpus"));
/// let options = PrepareOptions { holdout: Holdout::None, ..PrepareOptions::default() };
/// let task = Task::new(0, 1)?;
/// prepare_task(&inputs, &tokenizer, &out, &options, task, Observer::silent())?;
/// assert_eq!(finish(&inputs, &tokenizer, &out, &options)?.train_documents, 1);
/// # Ok::<(), mixdown_tokenize::Error>(())
/// ```
pub fn finish(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &PrepareOptions,
) -> Result<PrepareReport, Error> {
    finish_sized(inputs, tokenizer, out, options, Sizes::default())
}

pub(crate) fn finish_sized(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &PrepareOptions,
    sizes: Sizes,
) -> Result<PrepareReport, Error> {
    let work = Work::new(inputs, tokenizer, options, sizes)?;
    if is_finished(out)? {
        forget_work(out, &work.plan)?;
        return work.check_finished(out);
    }
    match finish_here(&work, out) {
        // The error may come from files that another call removed, or from a corpus that it has finished.
        Err(error) if !is_refusal(&error) && is_finished(out)? => {
            // The work folder was created again after the other call had removed it.
            forget_work(out, &work.plan)?;
            work.check_finished(out).map_err(|differs| match error {
                Error::AlreadyCorpus { .. } => differs,
                error => error,
            })
        }
        finished => finished,
    }
}

/// Returns whether the error is a system error other than a missing file.
fn is_refusal(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<io::Error>() {
            return refused.kind() != io::ErrorKind::NotFound;
        }
        cause = error.source();
    }
    false
}

fn finish_here(work: &Work, out: &Path) -> Result<PrepareReport, Error> {
    let folder = WorkFolder::claim(out, &work.plan, Hold::Shared)?;
    let Some(split) = work.split_before(&folder)? else {
        return Err(work.unfinished_parts(&folder)?);
    };
    work.finish(folder, &split, split.parts)
}
