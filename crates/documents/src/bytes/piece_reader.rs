//! A reader of a file from its beginning, as runs of records that a splitter finds.

use std::ops::Range;
use std::sync::Arc;

use crate::bytes::byte_reader::CHUNK_BYTES;
use crate::bytes::chunk::{Chunk, Content, as_u64};
use crate::bytes::decompress::Decompressed;
use crate::bytes::long_records::{LONG_RECORD_BYTES, LongRecords, Turn};
use crate::bytes::pieces::{Found, PieceRule, Splitter};
use crate::error::Error;
use crate::inputs::input_list::InputFile;
use crate::json::raw::{Raw, check_length, check_unchanged};
use crate::reading::document::Place;

/// A reader of a file in pieces. Memory is bounded by a chunk and the longest record.
pub(crate) struct PieceReader<'l> {
    file: &'l InputFile,
    rule: Arc<PieceRule>,
    source: Decompressed,
    splitter: Splitter,
    /// Bytes read but not yet returned; the first is at `offset` of the decompressed file.
    buffer: Vec<u8>,
    offset: u64,
    at_end: bool,
    /// The record that was found but not yet returned.
    found: Option<Range<usize>>,
    reported_bytes: u64,
    max_record_bytes: u64,
    turns: Option<LongRecords>,
    /// Held while the current record is a long one.
    turn: Option<Turn>,
}

impl<'l> PieceReader<'l> {
    /// Opens the file at the first record that starts at or after `start`, in decompressed bytes: earlier records are
    /// read and skipped.
    pub(crate) fn open(
        file: &'l InputFile,
        rule: &Arc<PieceRule>,
        start: u64,
    ) -> Result<Self, Error> {
        check_unchanged(file)?;
        let raw = Raw::open(&file.path)?;
        let mut reader = Self {
            file,
            rule: Arc::clone(rule),
            source: Decompressed::new(&file.path, raw, file.compression, 0)?.ahead()?,
            splitter: rule.splitter(),
            buffer: Vec::new(),
            offset: 0,
            at_end: false,
            found: None,
            reported_bytes: 0,
            max_record_bytes: file.max_record_bytes,
            turns: None,
            turn: None,
        };
        // A splitter needs the beginning of the file first.
        reader.fill(CHUNK_BYTES)?;
        while reader.next_before(0, start)?.is_some() {}
        Ok(reader)
    }

    /// Returns where the next record starts, or an earlier byte if the search has not run yet.
    pub(crate) fn offset(&self) -> u64 {
        let start = self.found.as_ref().map_or_else(|| self.splitter.start(), |found| found.start);
        self.offset.saturating_add(as_u64(start))
    }

    /// Makes the reader take turns with other readers for long records from now on.
    pub(crate) fn take_turns(&mut self, turns: &LongRecords) {
        self.turns = Some(turns.clone());
    }

    /// Returns whether all records have been read.
    pub(crate) fn is_at_end(&mut self) -> Result<bool, Error> {
        let found = self.find(u64::MAX);
        // The record's turn is taken with its chunk.
        self.turn = None;
        found.map(|found| !found)
    }

    /// Returns the next run of records that start before `limit`.
    pub(crate) fn next_before(&mut self, input: u32, limit: u64) -> Result<Option<Chunk>, Error> {
        let chunk = self.chunk_before(input, limit);
        // The turn is released, or others would wait for a record that does not come now.
        self.turn = None;
        chunk
    }

    fn chunk_before(&mut self, input: u32, limit: u64) -> Result<Option<Chunk>, Error> {
        let mut pieces: Vec<Range<usize>> = Vec::new();
        loop {
            let first = pieces.first().map_or(0, |piece| piece.start);
            // A long record gets a separate chunk.
            let most = if pieces.is_empty() { u64::MAX } else { CHUNK_BYTES };
            if !self.find(most)? {
                break;
            }
            let Some(piece) = self.found.take() else { break };
            let is_before = self.offset.saturating_add(as_u64(piece.start)) < limit;
            let fits = pieces.is_empty() || as_u64(piece.end - first) <= CHUNK_BYTES;
            if !is_before || !fits {
                self.found = Some(piece);
                break;
            }
            pieces.push(piece);
        }
        Ok(self.take(input, pieces))
    }

    /// Takes the bytes of these pieces from the buffer.
    fn take(&mut self, input: u32, mut pieces: Vec<Range<usize>>) -> Option<Chunk> {
        let (start, end) = (pieces.first()?.start, pieces.last()?.end);
        let rest = self.buffer.get(end..).unwrap_or_default().to_vec();
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(end);
        bytes.drain(..start);
        for piece in &mut pieces {
            *piece = piece.start - start..piece.end - start;
        }
        let place = Place { input, offset: self.offset + as_u64(start) };
        self.cut(end);
        let consumed = self.source.consumed_bytes();
        let consumed_bytes = consumed.saturating_sub(self.reported_bytes);
        self.reported_bytes = consumed;
        let (rule, name) = (Arc::clone(&self.rule), self.file.name.clone());
        let content = Content::Pieces { bytes, pieces, rule, name };
        Some(Chunk::new(place, content, consumed_bytes).with_turn(self.turn.take()))
    }

    /// Records that `len` bytes left the front of the buffer.
    fn cut(&mut self, len: usize) {
        self.splitter.shift(len);
        if let Some(found) = &mut self.found {
            *found = found.start - len..found.end - len;
        }
        self.offset += as_u64(len);
    }

    /// Searches for the next record; false if there is none, or none of at most `most` bytes so far.
    fn find(&mut self, most: u64) -> Result<bool, Error> {
        while self.found.is_none() {
            match self.splitter.next(&self.buffer, self.at_end) {
                Found::Piece(piece) => self.found = Some(piece),
                Found::End => return Ok(false),
                Found::More => {
                    let start = self.splitter.start().min(self.buffer.len());
                    let open_bytes = as_u64(self.buffer.len() - start);
                    if open_bytes > most {
                        return Ok(false);
                    }
                    self.check_record(start, open_bytes)?;
                    if most == u64::MAX && start > 0 {
                        self.buffer.drain(..start);
                        self.cut(start);
                    }
                    self.read_more(open_bytes)?;
                }
            }
        }
        Ok(true)
    }

    fn check_record(&self, start: usize, got: u64) -> Result<(), Error> {
        let expected = self.max_record_bytes;
        if got <= expected {
            return Ok(());
        }
        let (path, at) = (self.file.path.clone(), self.offset + as_u64(start));
        Err(Error::RecordTooLong { path, place: format!("byte {at}"), expected, got })
    }

    /// Reads more of a record that is partly in the buffer.
    fn read_more(&mut self, open_bytes: u64) -> Result<(), Error> {
        // For a long record, the buffer is not much larger than the record, and within its limit.
        let more = (open_bytes / 8).max(CHUNK_BYTES);
        let room = self.max_record_bytes.saturating_sub(open_bytes).saturating_add(1);
        if open_bytes.saturating_add(more) > LONG_RECORD_BYTES && self.turn.is_none() {
            self.turn = self.turns.as_ref().map(LongRecords::wait);
        }
        self.fill(as_u64(self.buffer.len()).saturating_add(more.min(room)))
    }

    /// Reads until the buffer holds `len` bytes or the file ends.
    fn fill(&mut self, len: u64) -> Result<(), Error> {
        let have = as_u64(self.buffer.len());
        if !self.at_end && have < len {
            let got = self.source.read_onto(&mut self.buffer, len - have)?;
            self.at_end = got < len - have;
            if self.at_end {
                check_length(self.file, self.source.consumed_bytes())?;
            }
        }
        Ok(())
    }
}
