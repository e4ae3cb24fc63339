//! The second stage: from parts to shards, one run of buckets after another.
//!
//! A run becomes at most one shard per side, with a number that is known before any is written, so any task can make
//! the runs in any order, and several times. Within a run the threads load and sort groups of buckets in parallel and
//! take turns at writing them; the thread that writes the last one flushes the shards to disk while the others continue
//! with the next run.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mixdown_base::observer::Observer;
use mixdown_shards::{Fingerprint, Split as Side};

use crate::error::Error;
use crate::parallel::Failure;
use crate::plan::placement::Placement;
use crate::prepare::progress::{PrepareProgress, PrepareStage};
use crate::prepare::work_folder::WorkFolder;
use crate::shards::rows::RowPacker;
use crate::shards::shard_run::{
    BucketRun, BucketRunRecord, ShardTarget, SideWriter, finish_shards, run_record,
};
use crate::spill::bucket::{Bucket, BucketRange, Buckets};
use crate::spill::work_file::write_json;

/// Bytes of memory for the buckets that a thread has loaded.
const GROUP_BYTES: u64 = 40 << 20;

/// The stage from parts and split to shards.
pub(crate) struct WriteStage<'p> {
    pub(crate) buckets: &'p Buckets,
    pub(crate) placement: &'p Placement,
    pub(crate) runs: &'p [BucketRun],
    /// The numbers of the runs in the order in which this task visits them.
    pub(crate) order: Vec<u64>,
    /// The fingerprint of the split: records of another split do not count.
    pub(crate) split: Fingerprint,
    pub(crate) vocab_size: u64,
    /// The rows into which documents are packed, if any.
    pub(crate) rows: Option<RowPacker>,
    pub(crate) threads: usize,
    pub(crate) folder: &'p WorkFolder,
    pub(crate) observer: Observer<'p, PrepareProgress>,
}

/// A run that is being written.
struct OpenRun<'s> {
    number: u64,
    range: BucketRange<'s>,
    groups: Vec<Range<usize>>,
    turn: Mutex<GroupTurn<'s>>,
    turned: Condvar,
}

/// The next group to write, and its shards.
struct GroupTurn<'s> {
    group: usize,
    train: SideWriter<'s>,
    holdout: SideWriter<'s>,
}

/// The state that the threads share.
struct WriteShared<'s> {
    queue: Mutex<GroupQueue<'s>>,
    failure: Failure,
    done_bytes: AtomicU64,
    made: AtomicU64,
    total_bytes: u64,
}

struct GroupQueue<'s> {
    numbers: VecDeque<u64>,
    open: Option<(Arc<OpenRun<'s>>, usize)>,
}

impl WriteStage<'_> {
    /// Writes every missing shard to disk and returns the number of runs made.
    pub(crate) fn run(&self) -> Result<u64, Error> {
        let tokens: u64 = self.runs.iter().map(|run| run.tokens).sum();
        let shared = WriteShared {
            queue: Mutex::new(GroupQueue { numbers: self.order.clone().into(), open: None }),
            failure: Failure::default(),
            done_bytes: AtomicU64::new(0),
            made: AtomicU64::new(0),
            total_bytes: tokens * self.buckets.payload.id_bytes,
        };
        thread::scope(|scope| {
            let work = || shared.failure.note(self.work(&shared));
            for _ in 1..self.threads {
                // If the system refuses a thread, the others do its work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let made = shared.made.load(Ordering::Relaxed);
        shared.failure.into_result().map(|()| made)
    }

    fn work<'s>(&'s self, shared: &WriteShared<'s>) -> Result<(), Error> {
        while !shared.failure.is_set() {
            let Some((run, group)) = self.next_group(shared)? else { break };
            let range = run.groups.get(group).cloned().unwrap_or_default();
            let bucket = run.range.load(&range)?;
            let Some(mut turn) = wait_for(&run, group, &shared.failure) else { break };
            self.write(&bucket, &mut turn, shared)?;
            turn.group += 1;
            let outputs =
                (turn.group == run.groups.len()).then(|| (turn.train.take(), turn.holdout.take()));
            drop(turn);
            run.turned.notify_all();
            if let Some((train, holdout)) = outputs {
                let (train, holdout) = finish_shards(train, holdout)?;
                let record = BucketRunRecord { split: self.split, train, holdout };
                write_json(&self.folder.run(run.number), &record)?;
                shared.made.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Returns the next group of the open run, or the first one of the next missing run.
    fn next_group<'s>(
        &'s self,
        shared: &WriteShared<'s>,
    ) -> Result<Option<(Arc<OpenRun<'s>>, usize)>, Error> {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check_stop()?;
            if let Some((run, next)) = &mut queue.open
                && *next < run.groups.len()
            {
                *next += 1;
                return Ok(Some((Arc::clone(run), *next - 1)));
            }
            let Some(number) = queue.numbers.pop_front() else { return Ok(None) };
            let run = usize::try_from(number).ok().and_then(|number| self.runs.get(number));
            let Some(run) = run else { continue };
            if run_record(self.folder, number, self.split)?.is_some() {
                self.report(shared, run.tokens);
            } else {
                queue.open = Some((Arc::new(self.open(number, run)?), 0));
            }
        }
    }

    fn open(&self, number: u64, run: &BucketRun) -> Result<OpenRun<'_>, Error> {
        let range = self.buckets.range(run.first, run.end)?;
        // Rows are packed within a bucket, so memory and threads do not affect them.
        let groups = range.groups(if self.rows.is_some() { 0 } else { GROUP_BYTES });
        let target = ShardTarget {
            folder: self.folder,
            dtype: self.buckets.dtype(),
            vocab_size: self.vocab_size,
        };
        let output =
            |side, shard: Option<u64>| SideWriter::new(target, side, shard.unwrap_or_default());
        let train = output(Side::Train, run.train_shard);
        let holdout = output(Side::Holdout, run.holdout_shard);
        let turn = Mutex::new(GroupTurn { group: 0, train, holdout });
        Ok(OpenRun { number, range, groups, turn, turned: Condvar::new() })
    }

    fn write<'s>(
        &'s self,
        bucket: &Bucket,
        turn: &mut GroupTurn<'s>,
        shared: &WriteShared<'s>,
    ) -> Result<(), Error> {
        let mut tokens = 0;
        let mut unpacked = (Vec::new(), Vec::new());
        for (row, document) in bucket.documents() {
            tokens += u64::from(row.len_tokens);
            self.check_stop()?;
            match (self.placement.side(row), self.rows) {
                (Some(Side::Train), None) => turn.train.push(&document)?,
                (Some(Side::Holdout), None) => turn.holdout.push(&document)?,
                (Some(Side::Train), Some(_)) => unpacked.0.push(document),
                (Some(Side::Holdout), Some(_)) => unpacked.1.push(document),
                (None, _) => {}
            }
        }
        if let Some(rows) = self.rows {
            rows.lay(&unpacked.0, |document| turn.train.push(document))?;
            rows.lay(&unpacked.1, |document| turn.holdout.push(document))?;
        }
        self.report(shared, tokens);
        Ok(())
    }

    fn report(&self, shared: &WriteShared<'_>, tokens: u64) {
        let bytes = tokens * self.buckets.payload.id_bytes;
        let done = shared.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = shared.total_bytes;
        self.observer.tell(PrepareProgress {
            stage: PrepareStage::Writing,
            done: done.min(total),
            total,
        });
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.observer.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Waits for this group's turn; `None` if another thread has failed.
fn wait_for<'r, 's>(
    run: &'r OpenRun<'s>,
    group: usize,
    failure: &Failure,
) -> Option<MutexGuard<'r, GroupTurn<'s>>> {
    // A failed thread never takes its turn, so the wait checks for failures from time to time.
    const LOOK: Duration = Duration::from_millis(50);
    let mut turn = run.turn.lock().unwrap_or_else(PoisonError::into_inner);
    while turn.group != group {
        if failure.is_set() {
            return None;
        }
        let waited = run.turned.wait_timeout(turn, LOOK);
        turn = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    Some(turn)
}
