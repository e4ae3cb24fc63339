//! A read job of the first stage, which one thread or several in turn can read.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use mixdown_documents::{Chunk, ChunkReader, Cuts, Place};

use crate::encode::Encoder;
use crate::error::Error;
use crate::prepare::tokenize_stage::TokenizeStage;
use crate::spill::part::Part;

/// The unit of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadJob {
    /// A part that can be read without earlier ones.
    Part {
        /// The unit's number.
        unit: u64,
        /// The part's number in the unit.
        part: u64,
    },
    /// All missing parts of a file that can only be read from its beginning.
    Stream {
        /// The unit's number.
        unit: u64,
        /// The parts to make.
        turns: StreamParts,
    },
}

/// The missing parts of a stream that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamParts {
    /// Every part.
    All,
    /// Parts with odd numbers.
    Odd,
}

/// The next step of a job.
pub(crate) enum ReadStep {
    /// Records to encode, for this part.
    Chunk(Chunk, Arc<Part>),
    /// A part of which all chunks have come back; the caller must write it.
    Whole(Arc<Part>),
    /// The end of the job.
    End,
}

/// A job with its reader.
pub(crate) struct PartReader<'s> {
    stage: &'s TokenizeStage<'s>,
    job: ReadJob,
    state: Mutex<ReaderState<'s>>,
}

struct ReaderState<'s> {
    reader: Option<ChunkReader<'s>>,
    /// The input that is being read.
    input: u32,
    /// The part whose chunks are handed out, and the offset before which its records start.
    part: Option<(Arc<Part>, u64)>,
    /// The remaining inputs of a run of files.
    inputs: Range<u32>,
    next_part: u64,
    ended: bool,
}

impl<'s> PartReader<'s> {
    pub(crate) fn new(stage: &'s TokenizeStage<'s>, job: ReadJob) -> Self {
        let Place { input, .. } = stage.place_of(job);
        let (reader, part, ended) = (None, None, false);
        let state = ReaderState { reader, input, part, inputs: 0..0, next_part: 0, ended };
        Self { stage, job, state: Mutex::new(state) }
    }

    /// Reads the next step, on one thread at a time. An error includes its place and ends the job, because a reader
    /// that has failed cannot continue.
    pub(crate) fn next(&self) -> Result<ReadStep, Box<(Place, Error)>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = self.advance(&mut state);
        step.map_err(|error| {
            let place = self.place(&state);
            (state.ended, state.reader) = (true, None);
            Box::new((place, error))
        })
    }

    /// Returns the place after all records that it has returned.
    fn place(&self, state: &ReaderState<'s>) -> Place {
        match (&state.reader, self.job) {
            (Some(reader), _) => Place { input: state.input, offset: reader.offset() },
            (None, ReadJob::Part { .. }) => {
                let first = self.stage.place_of(self.job);
                if first.input == state.input {
                    first
                } else {
                    Place { input: state.input, offset: 0 }
                }
            }
            (None, ReadJob::Stream { .. }) => {
                let offset = state.next_part.saturating_mul(self.stage.part_bytes);
                Place { input: state.input, offset }
            }
        }
    }

    fn advance(&self, state: &mut ReaderState<'s>) -> Result<ReadStep, Error> {
        loop {
            if state.ended {
                return Ok(ReadStep::End);
            }
            let Some((part, limit)) = state.part.clone() else {
                if !self.begin_part(state)? {
                    state.ended = true;
                }
                continue;
            };
            if let Some(chunk) = self.next_chunk(state, limit)? {
                part.expect_chunk();
                return Ok(ReadStep::Chunk(chunk, part));
            }
            state.part = None;
            if matches!(self.job, ReadJob::Part { .. }) {
                state.ended = true;
            }
            if part.close() {
                return Ok(ReadStep::Whole(part));
            }
        }
    }

    fn next_chunk(
        &self,
        state: &mut ReaderState<'s>,
        mut limit: u64,
    ) -> Result<Option<Chunk>, Error> {
        loop {
            if let Some(reader) = &mut state.reader
                && let Some(chunk) = reader.next_before(limit)?
            {
                return Ok(Some(chunk));
            }
            let Some(input) = state.inputs.next() else { return Ok(None) };
            limit = self.limit(input, u64::MAX);
            state.part = state.part.take().map(|(part, _)| (part, limit));
            (state.input, state.reader) = (input, None);
            state.reader = Some(self.open(input, 0)?);
        }
    }

    /// Opens the next missing part; false if there is none.
    fn begin_part(&self, state: &mut ReaderState<'s>) -> Result<bool, Error> {
        match self.job {
            ReadJob::Part { unit, part } => self.begin_single(state, unit, part),
            ReadJob::Stream { unit, turns } => self.begin_in_stream(state, unit, turns),
        }
    }

    fn begin_single(
        &self,
        state: &mut ReaderState<'s>,
        unit: u64,
        part: u64,
    ) -> Result<bool, Error> {
        let stage = self.stage;
        let Some(inputs) = usize::try_from(unit).ok().and_then(|unit| stage.units.get(unit)) else {
            return Ok(false);
        };
        let range = match &inputs.cuts {
            Cuts::Ranges(ranges) => usize::try_from(part).ok().and_then(|part| ranges.get(part)),
            Cuts::Whole | Cuts::Stream => None,
        };
        let limit = match range {
            Some(range) => {
                let reader = self.open(inputs.first, range.start)?;
                state.reader = Some(reader);
                self.limit(inputs.first, range.end)
            }
            None => {
                state.inputs = inputs.first..inputs.end;
                u64::MAX
            }
        };
        state.part = Some((self.part(unit, part), limit));
        Ok(true)
    }

    /// Skips parts that exist or belong to another turn; the end of the file determines the number of parts.
    fn begin_in_stream(
        &self,
        state: &mut ReaderState<'s>,
        unit: u64,
        turns: StreamParts,
    ) -> Result<bool, Error> {
        let stage = self.stage;
        let Some(inputs) = usize::try_from(unit).ok().and_then(|unit| stage.units.get(unit)) else {
            return Ok(false);
        };
        let input = inputs.first;
        let is_wanted = |part: u64| {
            (turns == StreamParts::All || part % 2 == 1) && !stage.folder.part(unit, part).exists()
        };
        let last = self.limit(input, u64::MAX);
        let mut reader = match state.reader.take() {
            Some(reader) => reader,
            None => {
                // The ends of the parts before the first missing one do not matter.
                let first = (0..).find(|&part| !stage.folder.part(unit, part).exists());
                state.next_part = first.unwrap_or(0);
                let start = state.next_part.saturating_mul(stage.part_bytes);
                self.open(input, start.min(last))?
            }
        };
        loop {
            let part = state.next_part;
            let at_end = reader.offset() >= last || reader.is_at_end()?;
            if part > 0 && at_end {
                stage.folder.write_unit(unit, part)?;
                return Ok(false);
            }
            state.next_part += 1;
            let limit = last.min(state.next_part.saturating_mul(stage.part_bytes));
            if is_wanted(part) {
                state.part = Some((self.part(unit, part), limit));
                state.reader = Some(reader);
                return Ok(true);
            }
            reader.skip_to(limit)?;
        }
    }

    fn open(&self, input: u32, start: u64) -> Result<ChunkReader<'s>, Error> {
        let stage = self.stage;
        Ok(ChunkReader::open(stage.encoder.inputs, input, start)?.in_turn(&stage.long_records))
    }

    fn limit(&self, input: u32, wanted: u64) -> u64 {
        match self.stage.end {
            Some(end) if end.input == input => wanted.min(end.offset),
            _ => wanted,
        }
    }

    fn part(&self, unit: u64, part: u64) -> Arc<Part> {
        let Encoder { order, payload, .. } = self.stage.encoder;
        Arc::new(Part::new((unit, part), self.stage.folder.part(unit, part), order, payload))
    }
}
