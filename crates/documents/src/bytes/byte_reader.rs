//! A reader that splits a file's decompressed stream into runs of whole records.
//!
//! A record belongs to the part in which it starts: reading up to a limit returns every record that starts before it,
//! whole. So parts cut at multiples of any size hold every record exactly once, and only the file decides where a
//! record falls. Memory is bounded by the chunk size and the longest record, which the list of files limits
//! ([`USUAL_RECORD_BYTES`]).

use crate::bytes::chunk::{Chunk, Content, as_u64};
use crate::bytes::decompress::{Compression, Decompressed};
use crate::bytes::long_records::{LONG_RECORD_BYTES, LongRecords, Turn};
use crate::error::Error;
use crate::inputs::format::InputFormat;
use crate::inputs::input_list::InputFile;
use crate::json::raw::{Raw, check_length, check_unchanged};
use crate::reading::document::Place;

/// The decompressed size of a chunk: large enough that passing one to another thread costs nothing compared to decoding
/// it, small enough that a few of them fit in a cache.
pub(crate) const CHUNK_BYTES: u64 = 128 * 1024;

/// The maximum size of a record in bytes (a line without its newline, a row, or a whole text file), unless
/// [`ReadOptions::max_record_bytes`](crate::ReadOptions) sets another one: 256 MB, two hundred times a long book. The
/// limit bounds the memory for a file without newlines, or one that decompresses to far more than its size; that memory
/// is six times the longest record.
pub const USUAL_RECORD_BYTES: u64 = 256_000_000;

/// A reader of a file of lines, or of a text file.
pub(crate) struct ByteReader<'l> {
    file: &'l InputFile,
    source: Decompressed,
    /// Bytes read but not yet returned; the first is at `offset` and starts a record.
    buffer: Vec<u8>,
    offset: u64,
    at_end: bool,
    reported_bytes: u64,
    max_record_bytes: u64,
    /// Set if long records are read one at a time.
    turns: Option<LongRecords>,
    /// Held while the current record is a long one.
    turn: Option<Turn>,
}

impl<'l> ByteReader<'l> {
    /// Opens the file at the first record that starts at or after `start`, in decompressed bytes.
    pub(crate) fn open(file: &'l InputFile, start: u64) -> Result<Self, Error> {
        check_unchanged(file)?;
        let seekable = file.compression == Compression::None && file.format != InputFormat::Text;
        let entry = if seekable { start.saturating_sub(1).min(file.bytes) } else { 0 };
        let raw = Raw::open_at(&file.path, entry)?;
        let mut reader = Self {
            file,
            source: Decompressed::new(&file.path, raw, file.compression, entry)?.ahead()?,
            buffer: Vec::new(),
            offset: entry,
            at_end: false,
            reported_bytes: entry,
            max_record_bytes: file.max_record_bytes,
            turns: None,
            turn: None,
        };
        if entry > 0 {
            // A record starts at `start` only if the byte before it is a newline.
            reader.pass_record()?;
        } else {
            while reader.next_before(0, start)?.is_some() {}
        }
        Ok(reader)
    }

    /// Returns where the next record starts, in decompressed bytes; at the end, the length of the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next run of records that start before `limit`.
    pub(crate) fn next_before(&mut self, input: u32, limit: u64) -> Result<Option<Chunk>, Error> {
        if self.offset >= limit {
            return Ok(None);
        }
        let place = Place { input, offset: self.offset };
        let wanted = match self.file.format {
            InputFormat::Text => u64::MAX,
            _ => self.offset.saturating_add(CHUNK_BYTES).min(limit),
        };
        let bytes = self.take_until(wanted)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let consumed = self.source.consumed_bytes();
        let consumed_bytes = consumed.saturating_sub(self.reported_bytes);
        self.reported_bytes = consumed;
        let content = match self.file.format {
            InputFormat::Text => Content::Text { bytes, name: self.file.name.clone() },
            _ => Content::Lines(bytes),
        };
        Ok(Some(Chunk::new(place, content, consumed_bytes).with_turn(self.turn.take())))
    }

    /// Makes the reader take turns with other readers for long records from now on.
    pub(crate) fn take_turns(&mut self, turns: &LongRecords) {
        self.turns = Some(turns.clone());
    }

    /// Returns whether all records have been read.
    pub(crate) fn is_at_end(&mut self) -> Result<bool, Error> {
        if self.buffer.is_empty() && !self.at_end {
            self.fill(1)?;
        }
        Ok(self.buffer.is_empty())
    }

    /// Skips the rest of the current record, which belongs to another part and may be long.
    fn pass_record(&mut self) -> Result<(), Error> {
        loop {
            self.fill(CHUNK_BYTES)?;
            let newline = memchr::memchr(b'\n', &self.buffer);
            self.take(newline.map_or(self.buffer.len(), |newline| newline + 1));
            if newline.is_some() || self.at_end {
                return Ok(());
            }
        }
    }

    /// Takes bytes up to the first record that starts at or after `limit`, or up to the end.
    fn take_until(&mut self, limit: u64) -> Result<Vec<u8>, Error> {
        let taken = self.read_until(limit);
        if taken.is_err() {
            // The turn is released, or others would wait for a record that never comes.
            self.turn = None;
        }
        taken
    }

    fn read_until(&mut self, limit: u64) -> Result<Vec<u8>, Error> {
        let wanted = limit.saturating_sub(self.offset);
        // A record starts after a newline, so the search begins with the byte before the limit.
        let mut searched = usize::try_from(wanted.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut enough = wanted.saturating_add(CHUNK_BYTES / 8).min(LONG_RECORD_BYTES);
        loop {
            // The search stops at the last record's limit, so no record in the buffer is too long.
            let most = as_u64(self.last_record()).saturating_add(self.max_record_bytes);
            if enough > LONG_RECORD_BYTES && self.turn.is_none() {
                self.turn = self.turns.as_ref().map(LongRecords::wait);
            }
            self.fill(enough.min(most.saturating_add(1)))?;
            let tail = self.buffer.get(searched..);
            let newline = tail.and_then(|tail| memchr::memchr(b'\n', tail));
            if let Some(position) = newline {
                return Ok(self.take(searched + position + 1));
            }
            if self.at_end {
                return Ok(self.take(self.buffer.len()));
            }
            self.check_record()?;
            searched = searched.max(self.buffer.len());
            // For a long record, the buffer is not much larger than the record.
            let more = (as_u64(self.buffer.len()) / 8).max(CHUNK_BYTES);
            enough = as_u64(self.buffer.len()).saturating_add(more);
        }
    }

    /// Returns where in the buffer the last record starts.
    fn last_record(&self) -> usize {
        match self.file.format {
            InputFormat::Text => 0,
            _ => memchr::memrchr(b'\n', &self.buffer).map_or(0, |newline| newline + 1),
        }
    }

    fn check_record(&self) -> Result<(), Error> {
        let start = self.last_record();
        let (expected, got) = (self.max_record_bytes, as_u64(self.buffer.len() - start));
        if got <= expected {
            return Ok(());
        }
        let (path, at) = (self.file.path.clone(), self.offset + as_u64(start));
        Err(Error::RecordTooLong { path, place: format!("byte {at}"), expected, got })
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

    fn take(&mut self, len: usize) -> Vec<u8> {
        let len = len.min(self.buffer.len());
        // The buffer gets its full capacity at once; growing to it would copy every byte twice.
        let room = usize::try_from(CHUNK_BYTES + CHUNK_BYTES / 4).unwrap_or(0);
        let mut rest = Vec::with_capacity(if self.at_end { 0 } else { room });
        rest.extend_from_slice(self.buffer.get(len..).unwrap_or_default());
        self.buffer.truncate(len);
        let taken = std::mem::replace(&mut self.buffer, rest);
        self.offset += as_u64(taken.len());
        taken
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;
    use crate::inputs::input_list::InputList;
    use crate::reading::document::ReadOptions;

    fn read(name: &str, bytes: &[u8], max_record_bytes: u64) -> Result<Vec<u8>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let options =
            ReadOptions { max_record_bytes: Some(max_record_bytes), ..ReadOptions::default() };
        let list = InputList::discover_with(&[path], &options).unwrap();
        let mut reader = ByteReader::open(list.file(0).unwrap(), 0)?;
        let mut whole = Vec::new();
        while let Some(chunk) = reader.next_before(0, u64::MAX)? {
            whole.extend_from_slice(chunk.bytes());
        }
        Ok(whole)
    }

    /// The chunk of a long line holds the turn, and a part that begins inside the line skips it without loading it into
    /// memory.
    #[test]
    fn long_records_have_a_turn() {
        let folder = tempfile::tempdir().unwrap();
        let long = usize::try_from(LONG_RECORD_BYTES).unwrap() + 5;
        let lines = [b"a".repeat(9), b"b".repeat(long), b"c".repeat(200_000), b"d".to_vec()];
        for (name, packs) in [("a.jsonl", false), ("b.jsonl", true), ("c.txt", false)] {
            let path = folder.path().join(name);
            let mut bytes = lines.join(&b'\n');
            if packs {
                bytes = zstd::stream::encode_all(bytes.as_slice(), 1).unwrap();
            }
            std::fs::write(&path, bytes).unwrap();
            let list = InputList::discover(&[path]).unwrap();
            let file = list.file(0).unwrap();
            let turns = LongRecords::default();
            let mut reader = ByteReader::open(file, 0).unwrap();
            reader.take_turns(&turns);
            let mut found = Vec::new();
            while let Some(chunk) = reader.next_before(0, u64::MAX).unwrap() {
                found.push((chunk.has_turn(), as_u64(chunk.bytes().len()) > LONG_RECORD_BYTES));
            }
            assert!(found.iter().all(|(turn, is_long)| turn == is_long), "{name}: {found:?}");
            assert_eq!(found.iter().filter(|(turn, _)| *turn).count(), 1, "{name}");
            // The turn is free again.
            drop(turns.wait());
            if !packs && name != "c.txt" {
                let reader = ByteReader::open(file, 1000).unwrap();
                assert_eq!(reader.offset(), 10 + as_u64(long) + 1);
                assert!(reader.buffer.capacity() < 1 << 20, "{}", reader.buffer.capacity());
            }
        }
    }

    #[test]
    fn a_record_has_a_limit() {
        let lines = [b"x".repeat(9), b"y".repeat(700), b"z".repeat(30)].join(&b'\n');
        let text = b"one\n".repeat(175);
        for (name, bytes, offset) in [("a.jsonl", &lines, 10), ("a.txt", &text, 0)] {
            let packed = zstd::stream::encode_all(bytes.as_slice(), 1).unwrap();
            for stored in [bytes, &packed] {
                for max in [700, 701, 1 << 20] {
                    assert_eq!(&read(name, stored, max).unwrap(), bytes, "{name} {max}");
                }
                for max in [699, 50] {
                    let error = read(name, stored, max).unwrap_err();
                    let words = format!("the record at byte {offset} is longer than expected");
                    assert!(error.to_string().contains(&words), "{name} {max}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Data);
                }
            }
        }
    }
}
