//! A job of the first stage while it is read, by one thread or by several in turns.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use mixdown_documents::{Chunk, ChunkReader, Cuts, Place};

use crate::encode::Encoder;
use crate::error::Error;
use crate::prepare::tokenize_stage::TokenizeStage;
use crate::spill::part::Part;

/// What is read in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadJob {
    /// A part that can be read without those before it.
    Part {
        /// The unit's number.
        unit: u64,
        /// The part's number in the unit.
        part: u64,
    },
    /// All that is missing of a file that can only be read from its beginning.
    Stream {
        /// The unit's number.
        unit: u64,
        /// Which of its parts.
        turns: StreamParts,
    },
}

/// Which missing parts of a stream are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamParts {
    /// Every one.
    All,
    /// Those of odd numbers.
    Odd,
}

/// What a lane gives next.
pub(crate) enum ReadStep {
    /// Records to encode, for this part.
    Chunk(Chunk, Arc<Part>),
    /// A part of which all chunks have come back; the caller writes it.
    Whole(Arc<Part>),
    /// Nothing more.
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
    /// The input that is read.
    input: u32,
    /// The part whose chunks are handed out, and before which offset its records start.
    part: Option<(Arc<Part>, u64)>,
    /// Inputs of a run of files that come after the one that is read.
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

    /// Reads on; one thread at a time. An error comes with its place and ends the lane: a reader that
    /// has failed has no more to say.
    pub(crate) fn next(&self) -> Result<ReadStep, Box<(Place, Error)>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = self.advance(&mut state);
        step.map_err(|error| {
            let place = self.place(&state);
            (state.ended, state.reader) = (true, None);
            Box::new((place, error))
        })
    }

    /// Where it stands: behind all records that it has given.
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

    /// Opens the next part that is missing; false where there is none.
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

    /// Parts that are there, or another turn's, are passed over; the end of the file says how many
    /// parts there are.
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
                // The parts before the first missing one need no look at where they end.
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
