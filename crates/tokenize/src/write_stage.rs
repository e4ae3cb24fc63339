//! The second stage: parts to shards, run of buckets by run of buckets.
//!
//! A run becomes at most one shard of each side, and which ones is known before any is written, so
//! runs can be made in any order, by any task, and several times. Within a run the threads load and
//! sort groups of buckets side by side and take turns at writing them; whoever writes the last one
//! brings the shards to the disk while the others are at the next run.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mixdown_shards::{DocumentBytes, Fingerprint, ShardRecord, ShardWriter, Split as Side};
use serde::{Deserialize, Serialize};

use crate::bucket::{Bucket, BucketRange, Buckets};
use crate::error::Error;
use crate::parallel::Failure;
use crate::progress::{Progress, Stage};
use crate::split::{SideLimit, Sides};
use crate::work_file::{read_json, write_json};
use crate::work_folder::WorkFolder;

/// Bytes of ids that a shard holds at most, unless one bucket alone holds more.
pub(crate) const SHARD_BYTES: u64 = 1 << 30;

/// Bytes of memory that the buckets take which a thread has loaded.
const GROUP_BYTES: u64 = 40 << 20;

/// Parts and split to shards.
pub(crate) struct WriteStage<'p> {
    pub(crate) buckets: &'p Buckets,
    pub(crate) limit: SideLimit,
    pub(crate) runs: &'p [Run],
    /// The numbers of the runs in the order in which this task looks at them.
    pub(crate) order: Vec<u64>,
    /// Of the split: records of another one do not count.
    pub(crate) split: Fingerprint,
    pub(crate) vocab_size: u64,
    pub(crate) threads: usize,
    pub(crate) folder: &'p WorkFolder,
    pub(crate) progress: &'p (dyn Fn(Progress) + Sync),
    pub(crate) stop: &'p AtomicBool,
}

/// Buckets from `first` to before `end`, and the numbers of the shards they become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    first: u64,
    end: u64,
    tokens: u64,
    train_shard: Option<u64>,
    holdout_shard: Option<u64>,
}

/// A finished run's own file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    split: Fingerprint,
    pub(crate) train: Option<ShardRecord>,
    pub(crate) holdout: Option<ShardRecord>,
}

/// The record of a run, if it is finished under this split.
pub(crate) fn run_record(
    folder: &WorkFolder,
    number: u64,
    split: Fingerprint,
) -> Result<Option<RunRecord>, Error> {
    match read_json(&folder.run(number)) {
        Ok(record) => Ok(record.filter(|record: &RunRecord| record.split == split)),
        // Half of a file that a power cut left: the run is made again.
        Err(Error::DamagedWork { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A run that is being written.
struct OpenRun<'s> {
    number: u64,
    range: BucketRange<'s>,
    groups: Vec<Range<usize>>,
    turn: Mutex<Turn<'s>>,
    turned: Condvar,
}

/// Which group is written next, and onto what.
struct Turn<'s> {
    group: usize,
    train: Output<'s>,
    holdout: Output<'s>,
}

/// What the threads share.
struct Shared<'s> {
    queue: Mutex<Queue<'s>>,
    failure: Failure,
    done_bytes: AtomicU64,
    made: AtomicU64,
    total_bytes: u64,
}

struct Queue<'s> {
    numbers: VecDeque<u64>,
    open: Option<(Arc<OpenRun<'s>>, usize)>,
}

impl WriteStage<'_> {
    /// Brings every shard to the disk that is not there yet; gives how many runs were made.
    pub(crate) fn run(&self) -> Result<u64, Error> {
        let tokens: u64 = self.runs.iter().map(|run| run.tokens).sum();
        let shared = Shared {
            queue: Mutex::new(Queue { numbers: self.order.clone().into(), open: None }),
            failure: Failure::default(),
            done_bytes: AtomicU64::new(0),
            made: AtomicU64::new(0),
            total_bytes: tokens * self.buckets.payload.id_bytes,
        };
        thread::scope(|scope| {
            let work = || shared.failure.note(self.work(&shared));
            for _ in 1..self.threads {
                scope.spawn(work);
            }
            work();
        });
        let made = shared.made.load(Ordering::Relaxed);
        shared.failure.into_result().map(|()| made)
    }

    fn work<'s>(&'s self, shared: &Shared<'s>) -> Result<(), Error> {
        while !shared.failure.is_set() {
            let Some((run, group)) = self.next_group(shared)? else { break };
            let range = run.groups.get(group).cloned().unwrap_or_default();
            let bucket = run.range.load(&range)?;
            let Some(mut turn) = wait_for(&run, group, &shared.failure) else { break };
            self.write(&bucket, &mut turn, shared)?;
            turn.group += 1;
            let outputs = (turn.group == run.groups.len())
                .then(|| (turn.train.writer.take(), turn.holdout.writer.take()));
            drop(turn);
            run.turned.notify_all();
            if let Some((train, holdout)) = outputs {
                let finish =
                    |writer: Option<ShardWriter>| writer.map(ShardWriter::finish).transpose();
                let (train, holdout) = (finish(train)?, finish(holdout)?);
                let record = RunRecord { split: self.split, train, holdout };
                write_json(&self.folder.run(run.number), &record)?;
                shared.made.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The next group of the open run, or the first of the next one that is missing.
    fn next_group<'s>(
        &'s self,
        shared: &Shared<'s>,
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

    fn open(&self, number: u64, run: &Run) -> Result<OpenRun<'_>, Error> {
        let range = self.buckets.range(run.first, run.end)?;
        let groups = range.groups(GROUP_BYTES);
        let output = |side, shard| Output { stage: self, side, shard, writer: None };
        let train = output(Side::Train, run.train_shard);
        let holdout = output(Side::Holdout, run.holdout_shard);
        let turn = Mutex::new(Turn { group: 0, train, holdout });
        Ok(OpenRun { number, range, groups, turn, turned: Condvar::new() })
    }

    fn write<'s>(
        &'s self,
        bucket: &Bucket,
        turn: &mut Turn<'s>,
        shared: &Shared<'s>,
    ) -> Result<(), Error> {
        let mut tokens = 0;
        for (row, document) in bucket.documents() {
            let held_out = self.limit.holds_out(row);
            let side = if held_out { &mut turn.holdout } else { &mut turn.train };
            side.push(&document)?;
            tokens += u64::from(row.len_tokens);
            self.check_stop()?;
        }
        self.report(shared, tokens);
        Ok(())
    }

    fn report(&self, shared: &Shared<'_>, tokens: u64) {
        let bytes = tokens * self.buckets.payload.id_bytes;
        let done = shared.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = shared.total_bytes;
        (self.progress)(Progress { stage: Stage::Writing, done: done.min(total), total });
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Waits until it is this group's turn; `None` where another thread has failed.
fn wait_for<'r, 's>(
    run: &'r OpenRun<'s>,
    group: usize,
    failure: &Failure,
) -> Option<MutexGuard<'r, Turn<'s>>> {
    // A thread that failed does not come to its turn, so it is looked for now and then.
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

/// Cuts the buckets into runs of at most `shard_bytes` of ids, both sides together, and numbers
/// their shards.
pub(crate) fn runs(buckets: &[Sides], id_bytes: u64, shard_bytes: u64) -> Vec<Run> {
    let mut sums: Vec<(Range<u64>, Sides)> = Vec::new();
    for (bucket, sides) in (0_u64..).zip(buckets) {
        match sums.last_mut() {
            Some((range, sum)) if (sum.tokens() + sides.tokens()) * id_bytes <= shard_bytes => {
                range.end = bucket + 1;
                sum.add(sides);
            }
            _ => sums.push((bucket..bucket + 1, *sides)),
        }
    }
    let (mut train, mut holdout) = (0, 0);
    let number = |documents: u64, next: &mut u64| {
        (documents > 0).then(|| {
            *next += 1;
            *next - 1
        })
    };
    let run = |(range, sum): (Range<u64>, Sides)| Run {
        first: range.start,
        end: range.end,
        tokens: sum.tokens(),
        train_shard: number(sum.train_documents, &mut train),
        holdout_shard: number(sum.holdout_documents, &mut holdout),
    };
    sums.into_iter().map(run).collect()
}

/// The shard of one side, begun with its first document.
struct Output<'s> {
    stage: &'s WriteStage<'s>,
    side: Side,
    shard: Option<u64>,
    writer: Option<ShardWriter>,
}

impl Output<'_> {
    fn push(&mut self, document: &DocumentBytes<'_>) -> Result<(), Error> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let folder = self.stage.folder.out().join(self.side.folder());
                let name = format!("shard-{:05}", self.shard.unwrap_or_default());
                let dtype = self.stage.buckets.dtype();
                let writer = ShardWriter::create(&folder, &name, dtype, self.stage.vocab_size)?;
                self.writer.insert(writer)
            }
        };
        Ok(writer.push_bytes(document)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_every_bucket_once_and_stay_within_the_limit() {
        let sides = |tokens: &u64| Sides {
            train_documents: u64::from(*tokens > 1),
            train_tokens: *tokens,
            holdout_documents: u64::from(*tokens == 20),
            ..Sides::default()
        };
        let buckets: Vec<Sides> = [3, 4, 0, 20, 1, 1, 0, 0, 19, 9].iter().map(sides).collect();
        let found: Vec<_> = runs(&buckets, 2, 20)
            .into_iter()
            .map(|run| ((run.first, run.end, run.tokens), run.train_shard, run.holdout_shard))
            .collect();
        let expected = [
            ((0, 3, 7), Some(0), None),
            ((3, 4, 20), Some(1), Some(0)),
            ((4, 8, 2), None, None),
            ((8, 9, 19), Some(2), None),
            ((9, 10, 9), Some(3), None),
        ];
        assert_eq!(found, expected);
    }
}
