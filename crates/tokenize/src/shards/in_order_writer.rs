//! A writer of shards while the parts are still being made.
//!
//! If the documents keep their order, the parts follow each other in the shards as they do in the inputs. So the thread
//! that finishes the next part appends it, from memory, and the disk is busy while the other threads encode. The parts
//! are spilled anyway: a restart begins with them, and a damaged one is made again. The written shards count if the
//! split that is decided over all parts has the same runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mixdown_shards::{DocumentBytes, ShardRecord, Split as Side};

use crate::encode::EncodedChunk;
use crate::error::Error;
use crate::plan::input_unit::InputUnit;
use crate::plan::order::Order;
use crate::plan::placement::{Placement, Sides};
use crate::shards::shard_run::{BucketRun, ShardPlan, ShardTarget, SideWriter, finish_shards};
use crate::spill::bucket::Buckets;
use crate::spill::reader::Spill;
use crate::spill::{DocumentRow, Item, Payload, sorted_items};

/// Bytes of parts that may wait in memory for an earlier one; further parts wait on disk.
const WAITING_BYTES: u64 = 32 << 20;

/// The settings that must be known before the parts exist.
#[derive(Clone)]
pub(crate) struct InOrderPlan<'f> {
    pub(crate) target: ShardTarget<'f>,
    pub(crate) placement: Placement,
    pub(crate) shard_bytes: u64,
    pub(crate) order: Order,
    pub(crate) payload: Payload,
}

/// A finished run, and its shards.
pub(crate) struct WrittenRun {
    pub(crate) run: BucketRun,
    pub(crate) train: Option<ShardRecord>,
    pub(crate) holdout: Option<ShardRecord>,
}

/// A writer that turns parts into shards as they come.
pub(crate) struct InOrderWriter<'f> {
    plan: InOrderPlan<'f>,
    units: &'f [InputUnit],
    waiting: Mutex<WaitingParts>,
    writing: Mutex<OpenShards<'f>>,
}

/// Finished parts that are not yet written: in memory, or only in their spill files.
#[derive(Default)]
struct WaitingParts {
    parts: BTreeMap<PartNumber, Option<PartChunks>>,
    bytes: u64,
}

/// The number of a part's unit and of the part in the unit.
type PartNumber = (u64, u64);

/// All chunks of a part.
pub(crate) struct PartChunks {
    pub(crate) chunks: Vec<EncodedChunk>,
    /// The memory that they take.
    pub(crate) bytes: u64,
}

struct OpenShards<'f> {
    /// The next part to write.
    next: PartNumber,
    runs: ShardPlan,
    outputs: (SideWriter<'f>, SideWriter<'f>),
    written_runs: Vec<WrittenRun>,
    /// Whether a part turned out to be damaged: the shards are then left to the second stage.
    given_up: bool,
}

impl<'f> InOrderWriter<'f> {
    pub(crate) fn new(plan: InOrderPlan<'f>, units: &'f [InputUnit]) -> Self {
        let runs = ShardPlan::new(plan.payload.id_bytes, plan.shard_bytes);
        let outputs = plan.outputs(&runs);
        let writing =
            OpenShards { next: (0, 0), runs, outputs, written_runs: Vec::new(), given_up: false };
        let (waiting, writing) = (Mutex::default(), Mutex::new(writing));
        Self { plan, units, waiting, writing }
    }

    /// Takes a part that has been spilled, and writes what can be written now unless another thread is writing.
    pub(crate) fn add(&self, part: PartNumber, chunks: Option<PartChunks>) -> Result<(), Error> {
        let mut waiting = self.waiting();
        let fits = |chunks: &PartChunks| waiting.bytes + chunks.bytes <= WAITING_BYTES;
        let kept = chunks.filter(fits);
        waiting.bytes += kept.as_ref().map_or(0, |chunks| chunks.bytes);
        waiting.parts.insert(part, kept);
        drop(waiting);
        match self.writing.try_lock() {
            Ok(mut writing) => self.write_next(&mut writing),
            Err(_) => Ok(()),
        }
    }

    /// Writes the rest and returns the runs whose shards are complete.
    pub(crate) fn finish(self) -> Result<Vec<WrittenRun>, Error> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_next(&mut writing)?;
        if !writing.given_up
            && self.unit(writing.next.0).is_none()
            && let Some(run) = writing.runs.end()
        {
            writing.finish_run(run)?;
        }
        Ok(std::mem::take(&mut writing.written_runs))
    }

    fn write_next(&self, writing: &mut OpenShards<'f>) -> Result<(), Error> {
        while !writing.given_up
            && let Some((part, chunks)) = self.take_next(writing)?
        {
            match self.write_part(writing, part, chunks) {
                Err(Error::DamagedWork { .. }) => writing.given_up = true,
                written => written?,
            }
        }
        Ok(())
    }

    /// Takes the next part, if it is available.
    fn take_next(
        &self,
        writing: &mut OpenShards<'f>,
    ) -> Result<Option<(PartNumber, Option<PartChunks>)>, Error> {
        loop {
            let (unit, part) = writing.next;
            let Some(cuts) = self.unit(unit) else { return Ok(None) };
            let mut waiting = self.waiting();
            if let Some(chunks) = waiting.parts.remove(&(unit, part)) {
                waiting.bytes -= chunks.as_ref().map_or(0, |chunks| chunks.bytes);
                writing.next.1 += 1;
                return Ok(Some(((unit, part), chunks)));
            }
            drop(waiting);
            let parts = match cuts.parts() {
                Some(parts) => Some(parts),
                None => self.plan.target.folder.unit_parts(unit)?,
            };
            if parts.is_none_or(|parts| part < parts) {
                return Ok(None);
            }
            writing.next = (unit + 1, 0);
        }
    }

    fn write_part(
        &self,
        writing: &mut OpenShards<'f>,
        (unit, part): PartNumber,
        chunks: Option<PartChunks>,
    ) -> Result<(), Error> {
        let InOrderPlan { target, order, payload, .. } = self.plan;
        if let Some(PartChunks { chunks, .. }) = chunks {
            let items = sorted_items(&chunks, payload);
            let documents = items.iter().map(|item: &Item<'_>| (item.row, item.document(payload)));
            return self.write(writing, documents);
        }
        let spill = Spill::open(&target.folder.part(unit, part), order.buckets(), payload)?;
        let bucket = Buckets { spills: vec![spill], order, payload };
        let bucket = bucket.range(0, 1)?.load(&(0..1))?;
        self.write(writing, bucket.documents())
    }

    fn write<'d>(
        &self,
        writing: &mut OpenShards<'f>,
        documents: impl Iterator<Item = (&'d DocumentRow, DocumentBytes<'d>)> + Clone,
    ) -> Result<(), Error> {
        let placement = &self.plan.placement;
        let mut sides = Sides::default();
        documents.clone().for_each(|(row, _)| sides.count(row, placement));
        if let Some(run) = writing.runs.push(&sides) {
            writing.finish_run(run)?;
            writing.outputs = self.plan.outputs(&writing.runs);
        }
        let (train, holdout) = &mut writing.outputs;
        for (row, document) in documents {
            match placement.side(row) {
                Some(Side::Train) => train.push(&document)?,
                Some(Side::Holdout) => holdout.push(&document)?,
                None => {}
            }
        }
        Ok(())
    }

    fn unit(&self, unit: u64) -> Option<&InputUnit> {
        self.units.get(usize::try_from(unit).ok()?)
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingParts> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'f> InOrderPlan<'f> {
    fn outputs(&self, runs: &ShardPlan) -> (SideWriter<'f>, SideWriter<'f>) {
        let output = |side| SideWriter::new(self.target, side, runs.shard(side));
        (output(Side::Train), output(Side::Holdout))
    }
}

impl OpenShards<'_> {
    fn finish_run(&mut self, run: BucketRun) -> Result<(), Error> {
        let (train, holdout) = finish_shards(self.outputs.0.take(), self.outputs.1.take())?;
        self.written_runs.push(WrittenRun { run, train, holdout });
        Ok(())
    }
}
