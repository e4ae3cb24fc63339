//! Every byte of a corpus against its sums.

pub(crate) mod ends;
pub(crate) mod shard;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use mixdown_base::observer::Observer;
use serde::Serialize;

use crate::Access;
use crate::Error;
use crate::Manifest;
use crate::Split;
use crate::corpus::shard::Shard;
use crate::files::parallel;
use crate::format::manifest_rules;
use crate::format::seal::check_companions;
use crate::verify::shard::{FileCheck, run_task, tasks_of};

/// How far a verification is, in bytes of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteProgress {
    /// Bytes checked so far.
    pub done_bytes: u64,
    /// Bytes to check in all.
    pub total_bytes: u64,
}

/// What [`verify`] has looked at and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Shards of both splits.
    pub shards: u64,
    /// Documents of both splits.
    pub documents: u64,
    /// Tokens of both splits.
    pub tokens: u64,
    /// Bytes of all shards' files, as they must be.
    pub bytes: u64,
    /// Bytes of token files that were read but have no sum to be compared with (adopted with
    /// sampled sums): damage there shows only in an id beyond the vocabulary.
    pub bytes_without_sum: u64,
    /// Whether the manifest has a seal; without one, as older versions wrote it, a change of a field that
    /// contradicts no other stays unseen.
    pub is_sealed: bool,
    /// What is damaged, in the order of the files; empty for a sound corpus.
    pub damage: Vec<Damage>,
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where: the start of the damaged 1 MiB block of a `.bin`, or the exact place of a wrong
    /// entry; none where only the file as a whole is known to be wrong.
    pub offset_bytes: Option<u64>,
    /// What it must hold.
    pub expected: String,
    /// What it holds.
    pub got: String,
}

/// Checks every byte of the corpus in `folder` against its manifest: sizes, sums, index, hashes,
/// every id, the manifest itself and the tokenizer's files against the seal where there is one, and that those
/// files are JSON (the tokenizer's fingerprint only a tokenizer can compute).
///
/// Reads with pread on two threads at most; memory is a few MiB. Damage is reported, not an error.
///
/// # Errors
/// The manifest cannot be read or contradicts itself, a file cannot be read, or the observer stopped the work.
///
/// ```
/// use mixdown_base::observer::Observer;
/// use mixdown_shards::verify;
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// let report = verify(folder.path(), Observer::silent())?;
/// assert_eq!((report.documents, report.tokens), (3, 8));
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn verify(folder: &Path, observer: Observer<'_, ByteProgress>) -> Result<VerifyReport, Error> {
    let (manifest, seal) = Manifest::read_with_seal(folder)?;
    manifest_rules::check_shard_links(&manifest, folder)?;
    let shards: Vec<Shard> = Split::ALL
        .into_iter()
        .flat_map(|split| Shard::of_split(folder, &manifest, split, Access::Read))
        .collect();
    let bytes = shards.iter().flat_map(Shard::files).map(|(_, bytes)| bytes);
    let total_bytes = bytes.fold(0, u64::saturating_add);
    let meter = Meter::new(total_bytes, observer);
    let mut damage = Vec::new();
    let mut tasks = Vec::new();
    for shard in &shards {
        tasks.extend(tasks_of(shard, &meter, &mut damage)?);
    }
    let bytes_without_sum =
        tasks.iter().map(FileCheck::unsummed_bytes).fold(0, u64::saturating_add);
    let run = |n: u64| match usize::try_from(n).ok().and_then(|n| tasks.get(n)) {
        Some(task) => run_task(task, &meter),
        None => Ok(Vec::new()),
    };
    damage.extend(parallel::map(tasks.len() as u64, THREADS, run)?.into_iter().flatten());
    damage.extend(check_companions(folder, seal.as_ref())?);
    damage.sort_by(|a, b| (&a.path, a.offset_bytes).cmp(&(&b.path, b.offset_bytes)));
    Ok(VerifyReport {
        shards: shards.len() as u64,
        documents: manifest.train.documents.saturating_add(manifest.holdout.documents),
        tokens: manifest.train.tokens.saturating_add(manifest.holdout.tokens),
        bytes: total_bytes,
        bytes_without_sum,
        is_sealed: seal.is_some(),
        damage,
    })
}

/// Counts bytes, tells the caller and hears the stop.
pub(crate) struct Meter<'a> {
    done_bytes: AtomicU64,
    total_bytes: u64,
    observer: Observer<'a, ByteProgress>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(total_bytes: u64, observer: Observer<'a, ByteProgress>) -> Self {
        Self { done_bytes: AtomicU64::new(0), total_bytes, observer }
    }

    /// Adds checked (or given up) bytes.
    pub(crate) fn add(&self, bytes: u64) -> Result<(), Error> {
        let done_bytes = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.observer.tell(ByteProgress { done_bytes, total_bytes: self.total_bytes });
        if self.observer.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

impl Damage {
    /// Turns the error for damaged content into a finding; every other error stays one.
    pub(crate) fn from_error(error: Error) -> Result<Self, Error> {
        match error {
            Error::Damaged { path, offset_bytes, expected, got } => {
                Ok(Self { path, offset_bytes, expected, got })
            }
            other => Err(other),
        }
    }
}

/// Threads of a verification: hashing keeps up with most disks on two cores.
const THREADS: u64 = 2;
