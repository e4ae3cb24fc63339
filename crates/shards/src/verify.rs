//! A check of every byte of a corpus against its sums.

pub(crate) mod ends;
pub(crate) mod shard;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use mixdown_base::observer::Observer;
use mixdown_similarity::Sketch;
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

/// The progress of a verification, in bytes of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteProgress {
    /// Bytes checked so far.
    pub done_bytes: u64,
    /// The total number of bytes to check.
    pub total_bytes: u64,
}

/// The result of [`verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Shards of both splits.
    pub shards: u64,
    /// Documents of both splits.
    pub documents: u64,
    /// Tokens of both splits.
    pub tokens: u64,
    /// The required size of all shards' files in bytes.
    pub bytes: u64,
    /// Bytes of token files that were read but have no sum to compare with (adopted with sampled sums): damage there
    /// shows only as an id beyond the vocabulary.
    pub bytes_without_sum: u64,
    /// Shards whose sketches have another version than [`Sketch::VERSION`](crate::Sketch::VERSION): their bytes are
    /// checked, but they cannot be compared with other sketches.
    pub foreign_sketch_shards: u64,
    /// Whether the manifest has a seal. Without one, as in older versions, a changed field that contradicts no other
    /// remains undetected.
    pub is_sealed: bool,
    /// The damage found, in the order of the files; empty for a sound corpus.
    pub damage: Vec<Damage>,
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The position: the start of the damaged 1 MiB block of a `.bin`, or the exact place of a wrong entry; none if
    /// only the file as a whole is known to be wrong.
    pub offset_bytes: Option<u64>,
    /// The required content.
    pub expected: String,
    /// The actual content.
    pub got: String,
}

/// Checks every byte of the corpus in `folder` against its manifest: sizes, sums, index, hashes and every id. If there
/// is a seal, the manifest itself and the tokenizer's files are checked against it. The tokenizer's files must also be
/// JSON; only a tokenizer can compute the tokenizer's fingerprint.
///
/// Reads with pread on at most two threads; memory is a few MiB. Damage is reported, not returned as an error.
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
        foreign_sketch_shards: shards.iter().filter(|shard| has_foreign_sketches(shard)).count()
            as u64,
        is_sealed: seal.is_some(),
        damage,
    })
}

fn has_foreign_sketches(shard: &Shard) -> bool {
    shard.record().sketches.is_some_and(|sketches| sketches.version != Sketch::VERSION)
}

/// A counter of bytes that reports progress and checks for a stop.
pub(crate) struct Meter<'a> {
    done_bytes: AtomicU64,
    total_bytes: u64,
    observer: Observer<'a, ByteProgress>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(total_bytes: u64, observer: Observer<'a, ByteProgress>) -> Self {
        Self { done_bytes: AtomicU64::new(0), total_bytes, observer }
    }

    /// Adds bytes that were checked or given up.
    pub(crate) fn add(&self, bytes: u64) -> Result<(), Error> {
        let done_bytes = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.observer.tell(ByteProgress { done_bytes, total_bytes: self.total_bytes });
        if self.observer.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

impl Damage {
    /// Converts the error for damaged content to a finding; every other error is returned.
    pub(crate) fn from_error(error: Error) -> Result<Self, Error> {
        match error {
            Error::Damaged { path, offset_bytes, expected, got } => {
                Ok(Self { path, offset_bytes, expected, got })
            }
            other => Err(other),
        }
    }
}

/// The threads of a verification: on two cores, hashing keeps up with most disks.
const THREADS: u64 = 2;
