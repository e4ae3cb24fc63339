//! The first stage: inputs to parts, on many threads, with the same bytes for any number of them.
//!
//! One thread reads and cuts, `threads` threads decode and tokenize, and the caller's thread puts
//! the results back into order and writes the parts. A window of permits bounds what is under way,
//! so a slow document holds the others up instead of filling the memory.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mixdown_documents::{Chunk, ChunkReader, Place};
use serde::{Deserialize, Serialize};

use crate::encode::{EncodedChunk, Encoder, Scratch};
use crate::error::Error;
use crate::part::Part;
use crate::progress::{Progress, Stage};
use crate::spill::{Spill, Summary};
use crate::unit::Unit;
use crate::work_file::{read_json, write_json};
use crate::work_folder::WorkFolder;

/// Chunks under way for each thread, of half a MiB each: enough to keep the threads busy while a
/// part is brought to the disk.
const CHUNKS_PER_THREAD: usize = 24;

/// What the reader finds, in order.
enum Event {
    /// A part that lies finished on the disk.
    Finished { unit: u64, part: u64 },
    /// Records of the part that is being read; the tokens come from a thread.
    Encoded(EncodedChunk),
    /// All chunks of this part came before.
    PartEnd { unit: u64, part: u64 },
    /// All parts of this unit came before.
    UnitEnd { unit: u64, parts: u64 },
}

/// A finished unit's own file.
#[derive(Serialize, Deserialize)]
struct UnitRecord {
    parts: u64,
}

/// The finished parts in their order, and what they held.
#[derive(Default)]
pub(crate) struct Parts {
    /// Unit and number within it.
    pub(crate) parts: Vec<(u64, u64)>,
    pub(crate) total: Summary,
    /// Parts that an earlier call had finished.
    pub(crate) resumed: u64,
}

/// The first stage's plan and its surroundings.
pub(crate) struct TokenizeStage<'p> {
    pub(crate) encoder: Encoder<'p>,
    pub(crate) units: Vec<Unit>,
    pub(crate) part_bytes: u64,
    pub(crate) skip_bad: u64,
    pub(crate) threads: usize,
    pub(crate) folder: &'p WorkFolder,
    pub(crate) progress: &'p (dyn Fn(Progress) + Sync),
    pub(crate) stop: &'p AtomicBool,
}

type Numbered<T> = (u64, T);

/// The reader's ends of the channels.
struct Outlet {
    next: u64,
    permits: Sender<()>,
    jobs: Sender<Numbered<Chunk>>,
    events: Sender<Numbered<Result<Event, Error>>>,
}

/// The other side has gone: it failed or was stopped, and says so itself.
struct Gone;

/// Why reading ended early.
enum ReadEnd {
    Gone,
    Failed(Error),
}

impl From<Gone> for ReadEnd {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Error> for ReadEnd {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<mixdown_documents::Error> for ReadEnd {
    fn from(error: mixdown_documents::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Outlet {
    /// Waits for room in the window and gives the next number.
    fn number(&mut self) -> Result<u64, Gone> {
        self.permits.send(()).map_err(|_| Gone)?;
        self.next += 1;
        Ok(self.next - 1)
    }

    fn event(&mut self, event: Result<Event, Error>) -> Result<(), Gone> {
        let number = self.number()?;
        self.events.send((number, event)).map_err(|_| Gone)
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<(), Gone> {
        let number = self.number()?;
        self.jobs.send((number, chunk)).map_err(|_| Gone)
    }
}

impl TokenizeStage<'_> {
    /// Brings every part to the disk; those that lie there are not made again.
    pub(crate) fn run(&self) -> Result<Parts, Error> {
        let window = self.threads.saturating_mul(CHUNKS_PER_THREAD).max(CHUNKS_PER_THREAD);
        let (permits, taken) = bounded(window);
        let (jobs, work) = unbounded();
        let (events, results) = unbounded();
        thread::scope(|scope| {
            for _ in 0..self.threads {
                let (work, events) = (work.clone(), events.clone());
                scope.spawn(move || self.encode_all(&work, &events));
            }
            drop(work);
            let mut outlet = Outlet { next: 0, permits, jobs, events };
            scope.spawn(move || {
                if let Err(ReadEnd::Failed(error)) = self.read_all(&mut outlet) {
                    // Nobody left to tell: the other side has failed already.
                    let _gone = outlet.event(Err(error));
                }
            });
            // Takes the receivers, so that every thread ends when it returns.
            self.assemble(results, taken)
        })
    }

    fn encode_all(
        &self,
        work: &Receiver<Numbered<Chunk>>,
        events: &Sender<Numbered<Result<Event, Error>>>,
    ) {
        let mut scratch = Scratch::default();
        for (number, chunk) in work {
            let stopped = self.stop.load(Ordering::Relaxed);
            let encoded = if stopped {
                // Said and not just done: the others may all be waiting for this number.
                Err(Error::Interrupted)
            } else {
                self.encode_guarded(&chunk, &mut scratch).map(Event::Encoded)
            };
            if events.send((number, encoded)).is_err() || stopped {
                return;
            }
        }
    }

    /// A panic of the library becomes an error: a result that never came would stop all the others.
    fn encode_guarded(&self, chunk: &Chunk, scratch: &mut Scratch) -> Result<EncodedChunk, Error> {
        let encode = AssertUnwindSafe(|| self.encoder.encode(chunk, scratch));
        catch_unwind(encode).unwrap_or_else(|_| {
            let Place { input, offset } = chunk.place;
            let path = self.encoder.inputs.file(input).map(|file| file.path.clone());
            Err(Error::Encode {
                path: path.unwrap_or_default(),
                offset_bytes: offset,
                source: "the tokenizer library panicked on it or on a document after it".into(),
            })
        })
    }

    fn read_all(&self, outlet: &mut Outlet) -> Result<(), ReadEnd> {
        for (unit, inputs) in (0_u64..).zip(&self.units) {
            let record: Option<UnitRecord> = read_json(&self.folder.unit(unit))?;
            // A part that was deleted, because it was damaged, is made again.
            let whole = |record: &UnitRecord| {
                (0..record.parts).all(|part| self.folder.part(unit, part).exists())
            };
            let parts = match record.filter(whole) {
                Some(record) => {
                    self.pass_over(unit, record.parts, outlet)?;
                    record.parts
                }
                None if inputs.cut => self.read_cut(unit, inputs.first, outlet)?,
                None => self.read_whole(unit, inputs, outlet)?,
            };
            outlet.event(Ok(Event::UnitEnd { unit, parts }))?;
        }
        Ok(())
    }

    fn pass_over(&self, unit: u64, parts: u64, outlet: &mut Outlet) -> Result<(), Gone> {
        (0..parts).try_for_each(|part| outlet.event(Ok(Event::Finished { unit, part })))
    }

    /// One file as many parts, from the first that is missing on.
    fn read_cut(&self, unit: u64, input: u32, outlet: &mut Outlet) -> Result<u64, ReadEnd> {
        let mut part = (0..).find(|&part| !self.folder.part(unit, part).exists()).unwrap_or(0);
        self.pass_over(unit, part, outlet)?;
        let start = part.saturating_mul(self.part_bytes);
        let mut reader = ChunkReader::open(self.encoder.inputs, input, start)?;
        while part == 0 || !reader.is_at_end()? {
            let limit = (part + 1).saturating_mul(self.part_bytes);
            self.read_until(&mut reader, limit, outlet)?;
            outlet.event(Ok(Event::PartEnd { unit, part }))?;
            part += 1;
        }
        Ok(part)
    }

    /// A run of files as one part.
    fn read_whole(&self, unit: u64, inputs: &Unit, outlet: &mut Outlet) -> Result<u64, ReadEnd> {
        if self.folder.part(unit, 0).exists() {
            self.pass_over(unit, 1, outlet)?;
            return Ok(1);
        }
        for input in inputs.first..inputs.end {
            let mut reader = ChunkReader::open(self.encoder.inputs, input, 0)?;
            self.read_until(&mut reader, u64::MAX, outlet)?;
        }
        outlet.event(Ok(Event::PartEnd { unit, part: 0 }))?;
        Ok(1)
    }

    fn read_until(
        &self,
        reader: &mut ChunkReader<'_>,
        limit: u64,
        outlet: &mut Outlet,
    ) -> Result<(), ReadEnd> {
        while let Some(chunk) = reader.next_before(limit)? {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ReadEnd::Failed(Error::Interrupted));
            }
            outlet.chunk(chunk)?;
        }
        Ok(())
    }

    /// Takes the events in the order of their numbers.
    fn assemble(
        &self,
        results: Receiver<Numbered<Result<Event, Error>>>,
        taken: Receiver<()>,
    ) -> Result<Parts, Error> {
        let mut assembly = Assembly::new(self);
        let mut early = BTreeMap::new();
        let mut next = 0;
        for (number, event) in results {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            early.insert(number, event);
            while let Some(event) = early.remove(&next) {
                assembly.take(event?)?;
                let _permit = taken.try_recv();
                next += 1;
            }
        }
        if assembly.units != self.units.len() {
            return Err(Error::Interrupted);
        }
        Ok(assembly.parts)
    }
}

/// Parts as they become whole.
struct Assembly<'s> {
    stage: &'s TokenizeStage<'s>,
    part: Part,
    parts: Parts,
    units: usize,
    done_bytes: u64,
}

impl<'s> Assembly<'s> {
    fn new(stage: &'s TokenizeStage<'s>) -> Self {
        let part = Part::new(stage.encoder.order, stage.encoder.dtype);
        Self { stage, part, parts: Parts::default(), units: 0, done_bytes: 0 }
    }

    fn take(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Encoded(chunk) => self.add(chunk),
            Event::PartEnd { unit, part } => {
                let Encoder { order, dtype, .. } = self.stage.encoder;
                let whole = std::mem::replace(&mut self.part, Part::new(order, dtype));
                let summary = whole.write(&self.stage.folder.part(unit, part))?;
                // Its bad records were counted as they came.
                self.finish(unit, part, &Summary { bad_records: 0, ..summary });
                Ok(())
            }
            Event::Finished { unit, part } => self.finished_before(unit, part),
            Event::UnitEnd { unit, parts } => {
                self.units += 1;
                write_json(&self.stage.folder.unit(unit), &UnitRecord { parts })
            }
        }
    }

    fn add(&mut self, chunk: EncodedChunk) -> Result<(), Error> {
        for bad in &chunk.bad_records {
            self.parts.total.bad_records += 1;
            let (got, allowed) = (self.parts.total.bad_records, self.stage.skip_bad);
            if got > allowed {
                let inputs = self.stage.encoder.inputs;
                return Err(inputs.bad_record_error(bad, got, allowed).into());
            }
        }
        self.report(chunk.consumed_bytes);
        self.part.push(chunk);
        Ok(())
    }

    fn finished_before(&mut self, unit: u64, part: u64) -> Result<(), Error> {
        let Encoder { order, dtype, .. } = self.stage.encoder;
        let path = self.stage.folder.part(unit, part);
        let spill = Spill::open(&path, order.buckets(), dtype)?;
        let summary = spill.summary();
        self.report(summary.consumed_bytes);
        self.parts.resumed += 1;
        self.finish(unit, part, summary);
        let (got, allowed) = (self.parts.total.bad_records, self.stage.skip_bad);
        if got > allowed {
            let expected = "at least the bad records that an unfinished call has passed over";
            let got = format!("{allowed} ({got} were passed over)");
            return Err(Error::Option { option: "skip-bad", expected, got });
        }
        Ok(())
    }

    fn finish(&mut self, unit: u64, part: u64, summary: &Summary) {
        let total = &mut self.parts.total;
        total.documents += summary.documents;
        total.tokens += summary.tokens;
        total.bad_records += summary.bad_records;
        total.empty_documents += summary.empty_documents;
        total.special_text_documents += summary.special_text_documents;
        total.documents_by_input.extend(&summary.documents_by_input);
        self.parts.parts.push((unit, part));
    }

    fn report(&mut self, consumed_bytes: u64) {
        self.done_bytes += consumed_bytes;
        let total = self.stage.encoder.inputs.total_bytes();
        let done = self.done_bytes.min(total);
        (self.stage.progress)(Progress { stage: Stage::Tokenizing, done, total });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{PrepareOptions, SpecialText};
    use crate::order::Order;
    use crate::prepare::{Sizes, plan};
    use crate::unit::units;
    use mixdown_documents::InputList;

    /// Silence would leave the reader waiting for room and the caller for this number.
    #[test]
    fn a_thread_that_sees_the_stop_flag_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"text\":\"the\"}\n").unwrap();
        let inputs = InputList::discover(&[path]).unwrap();
        let (tokenizer, sizes) = (crate::tokenizer::tests::tiny(), Sizes::default());
        let plan = plan(&inputs, &tokenizer, &PrepareOptions::default(), sizes).unwrap();
        let stage = TokenizeStage {
            encoder: Encoder {
                inputs: &inputs,
                tokenizer: &tokenizer,
                fast: tokenizer.fast(),
                read: &mixdown_documents::ReadOptions::default(),
                special_text: SpecialText::Plain,
                beginning_of_text: None,
                end_of_text: 261,
                dtype: plan.dtype,
                order: Order::new(crate::Shuffle::Keep, 0, &inputs, 1 << 20),
            },
            units: units(&inputs, sizes.part_bytes),
            part_bytes: sizes.part_bytes,
            skip_bad: 0,
            threads: 1,
            folder: &WorkFolder::claim(&folder.path().join("out"), &plan).unwrap(),
            progress: &|_| {},
            stop: &AtomicBool::new(true),
        };
        let ((jobs, work), (events, results)) = (unbounded(), unbounded());
        let mut reader = ChunkReader::open(&inputs, 0, 0).unwrap();
        jobs.send((7, reader.next_before(u64::MAX).unwrap().unwrap())).unwrap();
        stage.encode_all(&work, &events);
        let (number, event) = results.try_recv().unwrap();
        assert!(number == 7 && matches!(event, Err(Error::Interrupted)));
    }
}
