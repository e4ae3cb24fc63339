//! The second stage: parts to shards, bucket by bucket.

use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::bounded;
use mixdown_shards::{DocumentBytes, ShardRecord, ShardWriter, Split as Side};
use serde::{Deserialize, Serialize};

use crate::bucket::{Bucket, Buckets};
use crate::error::Error;
use crate::progress::{Progress, Stage};
use crate::spill::Row;
use crate::split::Split;
use crate::work_file::{read_json, write_json};
use crate::work_folder::WorkFolder;

/// Bytes of ids that a shard holds at most, unless one bucket alone holds more.
pub(crate) const SHARD_BYTES: u64 = 1 << 30;

/// Parts and split to shards.
pub(crate) struct WriteStage<'p> {
    pub(crate) buckets: Buckets,
    pub(crate) split: Split,
    pub(crate) vocab_size: u64,
    pub(crate) shard_bytes: u64,
    pub(crate) folder: &'p WorkFolder,
    pub(crate) progress: &'p (dyn Fn(Progress) + Sync),
    pub(crate) stop: &'p AtomicBool,
}

/// The shards of the corpus, in order.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    pub(crate) train: Vec<ShardRecord>,
    pub(crate) holdout: Vec<ShardRecord>,
}

/// A run of buckets that became at most one shard of each side: a finished one's own file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RunRecord {
    train: Option<ShardRecord>,
    holdout: Option<ShardRecord>,
}

/// Buckets from `first` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    end: u64,
    tokens: u64,
}

impl WriteStage<'_> {
    /// Brings every shard to the disk; those of finished runs are not made again.
    pub(crate) fn run(&self) -> Result<Shards, Error> {
        self.folder.remove_unfinished_shards()?;
        let mut shards = Shards::default();
        let runs = runs(&self.buckets.tokens()?, self.buckets.dtype.bytes(), self.shard_bytes);
        let total = runs.iter().map(|run| run.tokens).sum::<u64>() * self.buckets.dtype.bytes();
        let mut done = 0;
        for (number, run) in (0_u64..).zip(runs) {
            let path = self.folder.run(number);
            let record = match read_json(&path)? {
                Some(record) => record,
                None => {
                    let record = self.write_run(run, &shards, done, total)?;
                    write_json(&path, &record)?;
                    record
                }
            };
            shards.train.extend(record.train);
            shards.holdout.extend(record.holdout);
            done += run.tokens * self.buckets.dtype.bytes();
            (self.progress)(Progress { stage: Stage::Writing, done, total });
        }
        Ok(shards)
    }

    /// Writes the shards of one run; the next bucket is loaded while one is written.
    fn write_run(
        &self,
        run: Run,
        before: &Shards,
        done: u64,
        total: u64,
    ) -> Result<RunRecord, Error> {
        let mut train = Output::new(self, Side::Train, before.train.len())?;
        let mut holdout = Output::new(self, Side::Holdout, before.holdout.len())?;
        thread::scope(|scope| {
            let (loaded, buckets) = bounded::<Result<Bucket, Error>>(1);
            scope.spawn(move || {
                for index in run.first..run.end {
                    // An error of the channel: the writer has failed and says so itself.
                    if loaded.send(self.buckets.load(index)).is_err() {
                        return;
                    }
                }
            });
            for bucket in buckets {
                for (row, bytes) in bucket?.documents() {
                    let side = if self.split.holds_out(&row) { &mut holdout } else { &mut train };
                    side.push(bytes, &row)?;
                    self.check_stop()?;
                }
                let written = (train.tokens + holdout.tokens) * self.buckets.dtype.bytes();
                let done = done + written;
                (self.progress)(Progress { stage: Stage::Writing, done, total });
            }
            Ok::<(), Error>(())
        })?;
        Ok(RunRecord { train: train.finish()?, holdout: holdout.finish()? })
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Cuts the buckets into runs of at most `shard_bytes` of ids, both sides together.
fn runs(bucket_tokens: &[u64], id_bytes: u64, shard_bytes: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (bucket, &tokens) in (0_u64..).zip(bucket_tokens) {
        match runs.last_mut() {
            Some(run) if (run.tokens + tokens) * id_bytes <= shard_bytes => {
                run.end = bucket + 1;
                run.tokens += tokens;
            }
            _ => runs.push(Run { first: bucket, end: bucket + 1, tokens }),
        }
    }
    runs
}

/// The shard of one side, begun with its first document.
struct Output<'s> {
    stage: &'s WriteStage<'s>,
    side: Side,
    file: String,
    writer: Option<ShardWriter>,
    tokens: u64,
}

impl<'s> Output<'s> {
    fn new(stage: &'s WriteStage<'s>, side: Side, number: usize) -> Result<Self, Error> {
        let output =
            Self { stage, side, file: format!("shard-{number:05}"), writer: None, tokens: 0 };
        output.remove_leftovers()?;
        Ok(output)
    }

    fn push(&mut self, ids: &[u8], row: &Row) -> Result<(), Error> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let folder = self.stage.folder.out().join(self.side.folder());
                let (dtype, vocab_size) = (self.stage.buckets.dtype, self.stage.vocab_size);
                let writer = ShardWriter::create(&folder, &self.file, dtype, vocab_size)?;
                self.writer.insert(writer)
            }
        };
        self.tokens += u64::from(row.len_tokens);
        let Row { text_bytes, hash, .. } = *row;
        Ok(writer.push_bytes(&DocumentBytes { ids, text_bytes, hash, mask: None, own_id: None })?)
    }

    fn finish(self) -> Result<Option<ShardRecord>, Error> {
        Ok(self.writer.map(ShardWriter::finish).transpose()?)
    }

    /// An earlier call may have been killed between a shard's last file and its run's record.
    fn remove_leftovers(&self) -> Result<(), Error> {
        let folder = self.stage.folder.out().join(self.side.folder());
        for ending in ["bin", "idx", "sums", "hashes", "mask", "ids"] {
            let path = folder.join(format!("{}.{ending}", self.file));
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("remove", &path)(source)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_every_bucket_once_and_stay_within_the_limit() {
        let found: Vec<(u64, u64, u64)> = runs(&[3, 4, 0, 20, 1, 1, 8, 9], 2, 20)
            .into_iter()
            .map(|run| (run.first, run.end, run.tokens))
            .collect();
        assert_eq!(found, [(0, 3, 7), (3, 4, 20), (4, 7, 10), (7, 8, 9)]);
    }
}
