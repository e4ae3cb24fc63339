//! The first stage: inputs to parts, on many threads, with the same bytes for any number of them.
//!
//! Each thread reads a part of its own, chunk by chunk, and encodes what it reads. One that finds no
//! part left helps with those of the others, so that all are busy to the end; a compressed file, whose
//! parts come only one after another, is read by all of them. Nothing is put back into order: a part
//! is sorted anyway. A thread holds one chunk at a time, and that bounds what is under way.

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
use crate::plan::task::Task;
use crate::plan::unit::Unit;
use crate::prepare::lane::{Job, Lane, Step, Turns};
use crate::prepare::progress::{Progress, Stage};
use crate::prepare::work_folder::WorkFolder;
use crate::shards::follower::{FollowPlan, Followed, Follower};
use crate::spill::Summary;
use crate::spill::part::Part;
use crate::spill::reader::Spill;

/// How often parts that turn out to be damaged are made again before it is an error.
const ATTEMPTS: u32 = 3;

/// The finished parts in their order, and what they held.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) spills: Vec<Spill>,
    pub(crate) total: Summary,
    /// Parts that an earlier call had finished.
    pub(crate) resumed: u64,
    /// Shards that were written on the way.
    pub(crate) followed: Vec<Followed>,
}

/// The first stage's plan and its surroundings.
pub(crate) struct TokenizeStage<'p> {
    pub(crate) encoder: Encoder<'p>,
    pub(crate) units: Vec<Unit>,
    pub(crate) part_bytes: u64,
    /// Before which documents are read.
    pub(crate) end: Option<Place>,
    pub(crate) skip_bad: u64,
    pub(crate) task: Option<Task>,
    pub(crate) threads: usize,
    pub(crate) long_records: LongRecords,
    /// How shards are written on the way, if they can be.
    pub(crate) follow: Option<FollowPlan<'p>>,
    pub(crate) folder: &'p WorkFolder,
    pub(crate) observer: Observer<'p, Progress>,
}

/// What the threads share.
struct Shared<'s> {
    lanes: Mutex<Lanes<'s>>,
    /// Helpers take turns among the open lanes.
    helper: AtomicUsize,
    failure: FirstFailure,
    follower: Option<Follower<'s>>,
    /// The first bad records by their places, one more than are still tolerated at most.
    bad_records: Mutex<BTreeMap<Place, RecordFault>>,
    /// Bad records that are still tolerated.
    tolerated: u64,
    done_bytes: AtomicU64,
}

struct Lanes<'s> {
    jobs: VecDeque<Job>,
    open: Vec<Arc<Lane<'s>>>,
}

impl TokenizeStage<'_> {
    /// Brings every part to the disk; those that lie there are not made again.
    pub(crate) fn run(&self) -> Result<Parts, Error> {
        let mut attempt = 0;
        let mut resumed = None;
        loop {
            attempt += 1;
            let there = self.parts_there()?;
            let resumed = *resumed.get_or_insert(there.len());
            let followed = self.make_missing(&there)?;
            match self.collect() {
                Ok(parts) => {
                    let resumed = u64::try_from(resumed).unwrap_or(u64::MAX);
                    return Ok(Parts { resumed, followed, ..parts });
                }
                Err(Error::DamagedWork { path, .. }) if attempt < ATTEMPTS => {
                    self.folder.forget(&path)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The parts that an earlier call or another task has finished.
    fn parts_there(&self) -> Result<BTreeSet<(u64, u64)>, Error> {
        self.folder.parts()
    }

    fn make_missing(&self, there: &BTreeSet<(u64, u64)>) -> Result<Vec<Followed>, Error> {
        let mut done = Summary::default();
        let follower = self.follow.map(|plan| Follower::new(plan, &self.units));
        for &(unit, part) in there {
            let path = self.folder.part(unit, part);
            match self.open(unit, part) {
                Ok(spill) => {
                    done.add(spill.summary());
                    follower.as_ref().map_or(Ok(()), |it| it.add((unit, part), None))?;
                }
                Err(Error::DamagedWork { .. }) => self.folder.forget(&path)?,
                // Another task has finished the corpus or found the part damaged.
                Err(error) if error.is_missing_file() => {}
                Err(error) => return Err(error),
            }
        }
        self.check_bad_records(done.bad_records)?;
        let shared = Shared {
            lanes: Mutex::new(Lanes { jobs: self.jobs()?, open: Vec::new() }),
            helper: AtomicUsize::new(0),
            failure: FirstFailure::default(),
            follower,
            bad_records: Mutex::new(BTreeMap::new()),
            tolerated: self.skip_bad.saturating_sub(done.bad_records),
            done_bytes: AtomicU64::new(0),
        };
        self.report(&shared, done.consumed_bytes);
        thread::scope(|scope| {
            let work = || self.work(&shared);
            for _ in 1..self.threads {
                // Where the system refuses a thread, the others do its work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        shared.failure.into_result()?;
        shared.follower.map_or_else(|| Ok(Vec::new()), Follower::finish)
    }

    /// All that there is to do, in the order of this task.
    fn jobs(&self) -> Result<VecDeque<Job>, Error> {
        let mut jobs = Vec::new();
        for (unit, cuts) in (0_u64..).zip(&self.units) {
            match cuts.parts() {
                Some(parts) => jobs.extend((0..parts).map(|part| Job::Part { unit, part })),
                None => jobs.push(Job::Stream { unit, turns: Turns::All }),
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
            if let Job::Stream { unit, .. } = job
                && !own.contains(&number)
            {
                // Every other part first: its owner does the ones between.
                ordered.push_back(Job::Stream { unit, turns: Turns::Odd });
            }
            ordered.push_back(job);
        }
        Ok(ordered)
    }

    fn work<'s>(&'s self, shared: &Shared<'s>) {
        let mut scratch = Scratch::default();
        loop {
            let lane = match self.next_lane(shared) {
                Ok(Some(lane)) => lane,
                Ok(None) => return,
                Err(error) => return shared.failure.note(AT_ONCE, error),
            };
            if let Err(failed) = self.work_on(&lane, shared, &mut scratch) {
                let (place, error) = *failed;
                shared.failure.note(place, error);
            }
            let mut lanes = shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.open.retain(|open| !Arc::ptr_eq(open, &lane));
        }
    }

    /// Encodes what a lane gives, up to its end or to a place that a failure has made needless.
    fn work_on(
        &self,
        lane: &Lane<'_>,
        shared: &Shared<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Box<(Place, Error)>> {
        let at_once = |error| Box::new((AT_ONCE, error));
        loop {
            if self.observer.is_stopped() {
                return Err(at_once(Error::Interrupted));
            }
            match lane.next()? {
                Step::Chunk(chunk, _) if shared.failure.stops(chunk.place) => return Ok(()),
                Step::Chunk(chunk, part) => {
                    let place = chunk.place;
                    let encoded =
                        self.encode(&chunk, scratch).map_err(|error| Box::new((place, error)))?;
                    drop(chunk);
                    self.note_bad_records(&encoded, shared);
                    // A part with a bad record too many is none.
                    let is_bad = |bad: &BadRecord| shared.failure.stops(bad.place);
                    if shared.failure.stops(place) || encoded.bad_records.iter().any(is_bad) {
                        return Ok(());
                    }
                    self.report(shared, encoded.consumed_bytes);
                    if part.deliver(encoded).map_err(at_once)? {
                        self.finish(&part, shared).map_err(at_once)?;
                    }
                }
                Step::Whole(part) => self.finish(&part, shared).map_err(at_once)?,
                Step::End => return Ok(()),
            }
        }
    }

    /// Where a job begins.
    pub(crate) fn place_of(&self, job: Job) -> Place {
        let (Job::Part { unit, .. } | Job::Stream { unit, .. }) = job;
        let unit = usize::try_from(unit).ok().and_then(|unit| self.units.get(unit));
        let offset = match (job, unit.map(|unit| &unit.cuts)) {
            (Job::Part { part, .. }, Some(Cuts::Ranges(ranges))) => {
                let part = usize::try_from(part).ok().and_then(|part| ranges.get(part));
                part.map_or(0, |range| range.start)
            }
            _ => 0,
        };
        Place { input: unit.map_or(0, |unit| unit.first), offset }
    }

    /// A lane of the thread's own while there are jobs, else one of the others'.
    fn next_lane<'s>(&'s self, shared: &Shared<'s>) -> Result<Option<Arc<Lane<'s>>>, Error> {
        let mut lanes = shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(job) = lanes.jobs.pop_front() {
            if !shared.failure.stops(self.place_of(job)) && !self.is_done(job)? {
                let lane = Arc::new(Lane::new(self, job));
                lanes.open.push(Arc::clone(&lane));
                return Ok(Some(lane));
            }
        }
        let turn = shared.helper.fetch_add(1, Ordering::Relaxed);
        let lane = turn.checked_rem(lanes.open.len()).and_then(|turn| lanes.open.get(turn));
        Ok(lane.map(Arc::clone))
    }

    fn is_done(&self, job: Job) -> Result<bool, Error> {
        match job {
            Job::Part { unit, part } => Ok(self.folder.part(unit, part).exists()),
            Job::Stream { unit, .. } => match self.folder.unit_parts(unit)? {
                Some(parts) => Ok((0..parts).all(|part| self.folder.part(unit, part).exists())),
                None => Ok(false),
            },
        }
    }

    /// Long records are encoded one at a time, for what they take of the memory.
    fn encode(&self, chunk: &Chunk, scratch: &mut Scratch) -> Result<EncodedChunk, Error> {
        if chunk.len_bytes() < LONG_RECORD_BYTES {
            return self.encode_guarded(chunk, scratch);
        }
        // Rows are read without it.
        let _one_at_a_time = (!chunk.has_turn()).then(|| self.long_records.wait());
        let encoded = self.encode_guarded(chunk, scratch);
        scratch.shrink();
        encoded
    }

    /// A panic of the library becomes an error that names the document.
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

    fn finish(&self, part: &Part, shared: &Shared<'_>) -> Result<(), Error> {
        let chunks = part.finish()?;
        shared.follower.as_ref().map_or(Ok(()), |it| it.add(part.number, chunks))
    }

    /// Notes the first bad record too many, in the order of the inputs, by its line.
    fn note_bad_records(&self, chunk: &EncodedChunk, shared: &Shared<'_>) {
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

    /// Opens every part; one that is missing or damaged is an error of damaged work.
    fn collect(&self) -> Result<Parts, Error> {
        let mut parts = Parts::default();
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

    fn report(&self, shared: &Shared<'_>, consumed_bytes: u64) {
        let total = self.encoder.inputs.total_bytes();
        let done = shared.done_bytes.fetch_add(consumed_bytes, Ordering::Relaxed) + consumed_bytes;
        self.observer.tell(Progress { stage: Stage::Tokenizing, done: done.min(total), total });
    }
}
