//! The first stage: from inputs to parts, on many threads, with the same bytes for any number of them.
//!
//! Each thread reads its own part, chunk by chunk, and encodes what it reads. A thread without a part helps with those
//! of the others, so that all are busy to the end; all threads read a compressed file together, because its parts come
//! only one after another. The order is not restored, because a part is sorted anyway. A thread holds one chunk at a
//! time, which limits the work in progress.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use mixdown_base::observer::Observer;
use mixdown_base::panics;
use mixdown_documents::{
    BadRecord, Chunk, Cuts, LONG_RECORD_BYTES, LongRecords, Place, RecordFault,
};

use crate::encode::{EncodedChunk, Encoder, Scratch};
use crate::error::Error;
use crate::parallel::{AT_ONCE, FirstFailure};
use crate::plan::input_unit::InputUnit;
use crate::plan::task::Task;
use crate::prepare::part_reader::{PartReader, ReadJob, ReadStep, StreamParts};
use crate::prepare::progress::{PrepareProgress, PrepareStage};
use crate::prepare::work_folder::WorkFolder;
use crate::shards::in_order_writer::{InOrderPlan, InOrderWriter, WrittenRun};
use crate::spill::Summary;
use crate::spill::part::Part;
use crate::spill::reader::Spill;

/// The number of attempts to make damaged parts again before it is an error.
const ATTEMPTS: u32 = 3;

/// The finished parts in order, and their contents.
#[derive(Default)]
pub(crate) struct FinishedParts {
    pub(crate) spills: Vec<Spill>,
    pub(crate) total: Summary,
    /// Parts that an earlier call had finished.
    pub(crate) resumed: u64,
    /// Shards that were written during the stage.
    pub(crate) written_runs: Vec<WrittenRun>,
}

/// The first stage's plan and its environment.
pub(crate) struct TokenizeStage<'p> {
    pub(crate) encoder: Encoder<'p>,
    pub(crate) units: Vec<InputUnit>,
    pub(crate) part_bytes: u64,
    /// The place before which documents are read.
    pub(crate) end: Option<Place>,
    pub(crate) skip_bad: u64,
    pub(crate) task: Option<Task>,
    pub(crate) threads: usize,
    pub(crate) long_records: LongRecords,
    /// The plan for writing shards during the stage, if that is possible.
    pub(crate) in_order_plan: Option<InOrderPlan<'p>>,
    pub(crate) folder: &'p WorkFolder,
    pub(crate) observer: Observer<'p, PrepareProgress>,
}

/// The state that the threads share.
struct TokenizeShared<'s> {
    readers: Mutex<OpenReaders<'s>>,
    /// The turn of helpers among the open jobs.
    helper: AtomicUsize,
    failure: FirstFailure,
    in_order_writer: Option<InOrderWriter<'s>>,
    /// The first bad records by their places, at most one more than are still tolerated.
    bad_records: Mutex<BTreeMap<Place, RecordFault>>,
    /// The number of bad records still tolerated.
    tolerated: u64,
    done_bytes: AtomicU64,
}

struct OpenReaders<'s> {
    jobs: VecDeque<ReadJob>,
    open: Vec<Arc<PartReader<'s>>>,
}

impl TokenizeStage<'_> {
    /// Writes every part to disk; existing ones are not made again.
    pub(crate) fn run(&self) -> Result<FinishedParts, Error> {
        let mut attempt = 0;
        let mut resumed = None;
        loop {
            attempt += 1;
            let there = self.parts_there()?;
            let resumed = *resumed.get_or_insert(there.len());
            let written_runs = self.make_missing(&there)?;
            match self.collect() {
                Ok(parts) => {
                    let resumed = u64::try_from(resumed).unwrap_or(u64::MAX);
                    return Ok(FinishedParts { resumed, written_runs, ..parts });
                }
                Err(Error::DamagedWork { path, .. }) if attempt < ATTEMPTS => {
                    self.folder.forget(&path)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the parts that an earlier call or another task has finished.
    fn parts_there(&self) -> Result<BTreeSet<(u64, u64)>, Error> {
        self.folder.parts()
    }

    fn make_missing(&self, there: &BTreeSet<(u64, u64)>) -> Result<Vec<WrittenRun>, Error> {
        let mut done = Summary::default();
        let in_order_writer =
            self.in_order_plan.clone().map(|plan| InOrderWriter::new(plan, &self.units));
        for &(unit, part) in there {
            let path = self.folder.part(unit, part);
            match self.open(unit, part) {
                Ok(spill) => {
                    done.add(spill.summary());
                    in_order_writer.as_ref().map_or(Ok(()), |it| it.add((unit, part), None))?;
                }
                Err(Error::DamagedWork { .. }) => self.folder.forget(&path)?,
                // Another task has finished the corpus or found the part damaged.
                Err(error) if error.is_missing_file() => {}
                Err(error) => return Err(error),
            }
        }
        self.check_bad_records(done.bad_records)?;
        let shared = TokenizeShared {
            readers: Mutex::new(OpenReaders { jobs: self.jobs()?, open: Vec::new() }),
            helper: AtomicUsize::new(0),
            failure: FirstFailure::default(),
            in_order_writer,
            bad_records: Mutex::new(BTreeMap::new()),
            tolerated: self.skip_bad.saturating_sub(done.bad_records),
            done_bytes: AtomicU64::new(0),
        };
        self.report(&shared, done.consumed_bytes);
        thread::scope(|scope| {
            let work = || self.work(&shared);
            for _ in 1..self.threads {
                // If the system refuses a thread, the others do its work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        shared.failure.into_result()?;
        shared.in_order_writer.map_or_else(|| Ok(Vec::new()), InOrderWriter::finish)
    }

    /// Returns all jobs, in the order of this task.
    fn jobs(&self) -> Result<VecDeque<ReadJob>, Error> {
        let mut jobs = Vec::new();
        for (unit, cuts) in (0_u64..).zip(&self.units) {
            match cuts.parts() {
                Some(parts) => jobs.extend((0..parts).map(|part| ReadJob::Part { unit, part })),
                None => jobs.push(ReadJob::Stream { unit, turns: StreamParts::All }),
            }
        }
        let Some(task) = self.task else { return Ok(jobs.into()) };
        let len = u64::try_from(jobs.len()).unwrap_or(u64::MAX);
        let own = task.own_share(len);
        let mut ordered = VecDeque::new();
        for number in task.order(len) {
            let Some(&job) = usize::try_from(number).ok().and_then(|number| jobs.get(number))
            else {
                continue;
            };
            if let ReadJob::Stream { unit, .. } = job
                && !own.contains(&number)
            {
                // Every other part comes first: its owner makes the ones in between.
                ordered.push_back(ReadJob::Stream { unit, turns: StreamParts::Odd });
            }
            ordered.push_back(job);
        }
        Ok(ordered)
    }

    fn work<'s>(&'s self, shared: &TokenizeShared<'s>) {
        let mut scratch = Scratch::default();
        loop {
            let reader = match self.next_reader(shared) {
                Ok(Some(reader)) => reader,
                Ok(None) => return,
                Err(error) => return shared.failure.note(AT_ONCE, error),
            };
            if let Err(failed) = self.work_on(&reader, shared, &mut scratch) {
                let (place, error) = *failed;
                shared.failure.note(place, error);
            }
            let mut readers = shared.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.open.retain(|open| !Arc::ptr_eq(open, &reader));
        }
    }

    /// Encodes what a job returns, up to its end or to a place that a failure has made unnecessary.
    fn work_on(
        &self,
        reader: &PartReader<'_>,
        shared: &TokenizeShared<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Box<(Place, Error)>> {
        let at_once = |error| Box::new((AT_ONCE, error));
        loop {
            if self.observer.is_stopped() {
                return Err(at_once(Error::Interrupted));
            }
            match reader.next()? {
                ReadStep::Chunk(chunk, _) if shared.failure.stops(chunk.place) => return Ok(()),
                ReadStep::Chunk(chunk, part) => {
                    let place = chunk.place;
                    let encoded =
                        self.encode(&chunk, scratch).map_err(|error| Box::new((place, error)))?;
                    drop(chunk);
                    self.note_bad_records(&encoded, shared);
                    // A part with one bad record too many is not written.
                    let is_bad = |bad: &BadRecord| shared.failure.stops(bad.place);
                    if shared.failure.stops(place) || encoded.bad_records.iter().any(is_bad) {
                        return Ok(());
                    }
                    self.report(shared, encoded.consumed_bytes);
                    if part.deliver(encoded).map_err(at_once)? {
                        self.finish(&part, shared).map_err(at_once)?;
                    }
                }
                ReadStep::Whole(part) => self.finish(&part, shared).map_err(at_once)?,
                ReadStep::End => return Ok(()),
            }
        }
    }

    /// Returns where a job begins.
    pub(crate) fn place_of(&self, job: ReadJob) -> Place {
        let (ReadJob::Part { unit, .. } | ReadJob::Stream { unit, .. }) = job;
        let unit = usize::try_from(unit).ok().and_then(|unit| self.units.get(unit));
        let offset = match (job, unit.map(|unit| &unit.cuts)) {
            (ReadJob::Part { part, .. }, Some(Cuts::Ranges(ranges))) => {
                let part = usize::try_from(part).ok().and_then(|part| ranges.get(part));
                part.map_or(0, |range| range.start)
            }
            _ => 0,
        };
        Place { input: unit.map_or(0, |unit| unit.first), offset }
    }

    /// Returns a separate job for the thread while there are any, otherwise one of the other threads'.
    fn next_reader<'s>(
        &'s self,
        shared: &TokenizeShared<'s>,
    ) -> Result<Option<Arc<PartReader<'s>>>, Error> {
        let mut readers = shared.readers.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(job) = readers.jobs.pop_front() {
            if !shared.failure.stops(self.place_of(job)) && !self.is_done(job)? {
                let reader = Arc::new(PartReader::new(self, job));
                readers.open.push(Arc::clone(&reader));
                return Ok(Some(reader));
            }
        }
        let turn = shared.helper.fetch_add(1, Ordering::Relaxed);
        let reader = turn.checked_rem(readers.open.len()).and_then(|turn| readers.open.get(turn));
        Ok(reader.map(Arc::clone))
    }

    fn is_done(&self, job: ReadJob) -> Result<bool, Error> {
        match job {
            ReadJob::Part { unit, part } => Ok(self.folder.part(unit, part).exists()),
            ReadJob::Stream { unit, .. } => match self.folder.unit_parts(unit)? {
                Some(parts) => Ok((0..parts).all(|part| self.folder.part(unit, part).exists())),
                None => Ok(false),
            },
        }
    }

    /// Encodes long records one at a time, because of their memory.
    fn encode(&self, chunk: &Chunk, scratch: &mut Scratch) -> Result<EncodedChunk, Error> {
        if chunk.len_bytes() < LONG_RECORD_BYTES {
            return self.encode_guarded(chunk, scratch);
        }
        // Rows are read without the turn.
        let _one_at_a_time = (!chunk.has_turn()).then(|| self.long_records.wait());
        let encoded = self.encode_guarded(chunk, scratch);
        scratch.shrink();
        encoded
    }

    /// Converts a panic of the library to an error that names the document.
    fn encode_guarded(&self, chunk: &Chunk, scratch: &mut Scratch) -> Result<EncodedChunk, Error> {
        panics::caught(|| self.encoder.encode(chunk, scratch)).unwrap_or_else(|_| {
            let Place { input, offset } = chunk.place;
            let path = self.encoder.inputs.file(input).map(|file| file.path.clone());
            Err(Error::Encode {
                path: path.unwrap_or_default(),
                offset_bytes: offset,
                source: "the tokenizer library panicked on it or on a document after it".into(),
            })
        })
    }

    fn finish(&self, part: &Part, shared: &TokenizeShared<'_>) -> Result<(), Error> {
        let chunks = part.finish()?;
        shared.in_order_writer.as_ref().map_or(Ok(()), |it| it.add(part.number, chunks))
    }

    /// Records the first bad record too many, in the order of the inputs, with its line.
    fn note_bad_records(&self, chunk: &EncodedChunk, shared: &TokenizeShared<'_>) {
        if chunk.bad_records.is_empty() {
            return;
        }
        let most = usize::try_from(shared.tolerated).unwrap_or(usize::MAX).saturating_add(1);
        let mut seen = shared.bad_records.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(chunk.bad_records.iter().map(|bad| (bad.place, bad.fault.clone())));
        while seen.len() > most {
            seen.pop_last();
        }
        let Some((&place, fault)) = seen.last_key_value().filter(|_| seen.len() == most) else {
            return;
        };
        if !shared.failure.stops(place) {
            let bad = BadRecord { place, fault: fault.clone() };
            let got = self.skip_bad.saturating_add(1);
            let error = self.encoder.inputs.bad_record_error(&bad, got, self.skip_bad);
            shared.failure.note(place, error.into());
        }
    }

    fn check_bad_records(&self, got: u64) -> Result<(), Error> {
        let allowed = self.skip_bad;
        if got <= allowed {
            return Ok(());
        }
        let expected = "at least the bad records that an unfinished call has passed over";
        let got = format!("{allowed} ({got} were passed over)");
        Err(Error::Option { option: "skip-bad", expected, got })
    }

    /// Opens every part; a missing or damaged one is an error of damaged work.
    fn collect(&self) -> Result<FinishedParts, Error> {
        let mut parts = FinishedParts::default();
        let mut missing = Vec::new();
        for (unit, cuts) in (0_u64..).zip(&self.units) {
            let count = match cuts.parts() {
                Some(count) => Some(count),
                None => self.folder.unit_parts(unit)?,
            };
            let Some(count) = count else {
                missing.push(self.folder.unit(unit));
                continue;
            };
            for part in 0..count {
                let spill = self.open(unit, part)?;
                parts.total.add(spill.summary());
                parts.spills.push(spill);
            }
        }
        if let Some(path) = missing.pop() {
            let expected = "the number of parts of an input".to_owned();
            return Err(Error::DamagedWork { path, expected, got: "no file".to_owned() });
        }
        self.check_bad_records(parts.total.bad_records)?;
        Ok(parts)
    }

    fn open(&self, unit: u64, part: u64) -> Result<Spill, Error> {
        let Encoder { order, payload, .. } = self.encoder;
        Spill::open(&self.folder.part(unit, part), order.buckets(), payload)
    }

    fn report(&self, shared: &TokenizeShared<'_>, consumed_bytes: u64) {
        let total = self.encoder.inputs.total_bytes();
        let done = shared.done_bytes.fetch_add(consumed_bytes, Ordering::Relaxed) + consumed_bytes;
        self.observer.tell(PrepareProgress {
            stage: PrepareStage::Tokenizing,
            done: done.min(total),
            total,
        });
    }
}
