//! Runs of buckets and their shards.

use mixdown_shards::{DocumentBytes, Dtype, Fingerprint, ShardRecord, ShardWriter, Split as Side};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::plan::placement::Sides;
use crate::prepare::work_folder::WorkFolder;
use crate::spill::work_file::read_json;

/// The maximum bytes of ids in a shard, unless one bucket alone has more.
pub(crate) const SHARD_BYTES: u64 = 1 << 30;

/// Buckets from `first` to before `end`, and the numbers of their shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BucketRun {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) tokens: u64,
    pub(crate) train_shard: Option<u64>,
    pub(crate) holdout_shard: Option<u64>,
}

/// The record file of a finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BucketRunRecord {
    pub(crate) split: Fingerprint,
    pub(crate) train: Option<ShardRecord>,
    pub(crate) holdout: Option<ShardRecord>,
}

/// Returns the record of a run, if it is finished with this split.
pub(crate) fn run_record(
    folder: &WorkFolder,
    number: u64,
    split: Fingerprint,
) -> Result<Option<BucketRunRecord>, Error> {
    match read_json(&folder.run(number)) {
        Ok(record) => Ok(record.filter(|record: &BucketRunRecord| record.split == split)),
        // A power cut left half a file: the run is made again.
        Err(Error::DamagedWork { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A planner that groups buckets into runs of at most `shard_bytes` of ids, both sides together, and numbers their
/// shards.
pub(crate) struct ShardPlan {
    id_bytes: u64,
    shard_bytes: u64,
    /// The number of buckets so far.
    buckets: u64,
    /// The incomplete run, with its contents.
    open: Option<(u64, Sides)>,
    /// The numbers of the next shards.
    train: u64,
    holdout: u64,
}

impl ShardPlan {
    pub(crate) fn new(id_bytes: u64, shard_bytes: u64) -> Self {
        Self { id_bytes, shard_bytes, buckets: 0, open: None, train: 0, holdout: 0 }
    }

    /// Adds the next bucket; returns the run that is complete without it.
    pub(crate) fn push(&mut self, sides: &Sides) -> Option<BucketRun> {
        let bytes = |sum: &Sides| (sum.tokens() + sides.tokens()) * self.id_bytes;
        let complete = match &mut self.open {
            Some((_, sum)) if bytes(sum) <= self.shard_bytes => {
                sum.add(sides);
                None
            }
            _ => {
                let complete = self.end();
                self.open = Some((self.buckets, *sides));
                complete
            }
        };
        self.buckets += 1;
        complete
    }

    /// Returns the last run.
    pub(crate) fn end(&mut self) -> Option<BucketRun> {
        let (first, sum) = self.open.take()?;
        let number = |documents: u64, next: &mut u64| {
            (documents > 0).then(|| {
                *next += 1;
                *next - 1
            })
        };
        Some(BucketRun {
            first,
            end: self.buckets,
            tokens: sum.tokens(),
            train_shard: number(sum.train_documents, &mut self.train),
            holdout_shard: number(sum.holdout_documents, &mut self.holdout),
        })
    }

    /// Returns the number of the open run's shard on a side, if it gets one.
    pub(crate) fn shard(&self, side: Side) -> u64 {
        match side {
            Side::Train => self.train,
            Side::Holdout => self.holdout,
        }
    }

    /// Returns all runs of these buckets.
    pub(crate) fn of(buckets: &[Sides], id_bytes: u64, shard_bytes: u64) -> Vec<BucketRun> {
        let mut runs = Self::new(id_bytes, shard_bytes);
        let mut all: Vec<BucketRun> = buckets.iter().filter_map(|sides| runs.push(sides)).collect();
        all.extend(runs.end());
        all
    }
}

/// The settings for writing shards.
#[derive(Clone, Copy)]
pub(crate) struct ShardTarget<'f> {
    pub(crate) folder: &'f WorkFolder,
    pub(crate) dtype: Dtype,
    pub(crate) vocab_size: u64,
}

/// The shard of one side, which begins with its first document.
pub(crate) struct SideWriter<'f> {
    target: ShardTarget<'f>,
    side: Side,
    shard: u64,
    writer: Option<ShardWriter>,
}

impl<'f> SideWriter<'f> {
    pub(crate) fn new(target: ShardTarget<'f>, side: Side, shard: u64) -> Self {
        Self { target, side, shard, writer: None }
    }

    pub(crate) fn push(&mut self, document: &DocumentBytes<'_>) -> Result<(), Error> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let ShardTarget { folder, dtype, vocab_size } = self.target;
                let folder = folder.out().join(self.side.folder());
                let name = format!("shard-{:05}", self.shard);
                self.writer.insert(ShardWriter::create(&folder, &name, dtype, vocab_size)?)
            }
        };
        Ok(writer.push_bytes(document)?)
    }

    /// Takes the shard as written so far; the result belongs to the caller.
    pub(crate) fn take(&mut self) -> Option<ShardWriter> {
        self.writer.take()
    }
}

/// Writes the shards of a run to disk.
pub(crate) fn finish_shards(
    train: Option<ShardWriter>,
    holdout: Option<ShardWriter>,
) -> Result<(Option<ShardRecord>, Option<ShardRecord>), Error> {
    let finish = |writer: Option<ShardWriter>| writer.map(ShardWriter::finish).transpose();
    Ok((finish(train)?, finish(holdout)?))
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
        let found: Vec<_> = ShardPlan::of(&buckets, 2, 20)
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
