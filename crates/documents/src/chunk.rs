//! Runs of whole records, cut from a file's decompressed stream.
//!
//! A record belongs where it starts: reading up to a limit hands out every record that starts
//! before it, whole. So parts cut at multiples of some size hold every record exactly once, and
//! nothing but the file decides where a record falls. Memory is bounded by the chunk size and the
//! longest record, which is [`MAX_RECORD_BYTES`] at most.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use crate::decompress::{Compression, Decompressed};
use crate::document::{BadRecord, Document, Place, RecordFault};
use crate::error::Error;
use crate::format::{InputFormat, strip_byte_order_mark};
use crate::input_list::{InputFile, InputList, missing_or_io};
use crate::json_line::text_of;

/// Decompressed bytes that a chunk is cut at: large enough that handing one to another thread
/// costs nothing beside decoding it, small enough that a few of them fit a cache.
const CHUNK_BYTES: u64 = 512 * 1024;

/// Bytes of a record (a line without its newline, or a whole text file) at most: 1 GiB, a thousand
/// times a long book. It bounds what a file without newlines, or one that decompresses to far
/// more than it weighs, takes of the memory.
pub const MAX_RECORD_BYTES: u64 = 1 << 30;

/// Whole records of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where the first record starts.
    pub place: Place,
    /// How the bytes hold records.
    pub format: InputFormat,
    /// The records as they stand in the decompressed file.
    pub bytes: Vec<u8>,
    /// Bytes on disk that were read for this chunk since the one before, for progress.
    pub consumed_bytes: u64,
}

impl Chunk {
    /// Decodes the records in order. Blank lines are no records.
    #[must_use]
    pub fn records<'c>(&'c self, text_field: &'c str) -> Records<'c> {
        Records { chunk: self, text_field, position: 0, finished: false }
    }
}

/// The records of a [`Chunk`], each a document or a bad record.
#[derive(Debug, Clone)]
pub struct Records<'c> {
    chunk: &'c Chunk,
    text_field: &'c str,
    position: usize,
    finished: bool,
}

impl Records<'_> {
    fn place(&self, position: usize) -> Place {
        let Place { input, offset } = self.chunk.place;
        Place { input, offset: offset + as_u64(position) }
    }

    fn text(&self, bytes: &[u8], position: usize) -> Result<Document, BadRecord> {
        let place = self.place(position);
        let text = utf8(bytes, place.offset).map_err(|fault| BadRecord { place, fault })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        Ok(plain_document(text, place))
    }

    fn json_line(&self, line: &[u8], position: usize) -> Result<Document, BadRecord> {
        let place = self.place(position);
        let bare = if place.offset == 0 { strip_byte_order_mark(line) } else { line };
        let offset = place.offset + as_u64(line.len() - bare.len());
        let text = utf8(bare, offset).and_then(|line| text_of(line, self.text_field));
        match text {
            Ok(text) => Ok(plain_document(text, place)),
            Err(fault) => Err(BadRecord { place, fault }),
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Document, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.chunk.format == InputFormat::Text {
            let first = !std::mem::replace(&mut self.finished, true);
            return first.then(|| self.text(&self.chunk.bytes, 0));
        }
        loop {
            let start = self.position;
            let rest = self.chunk.bytes.get(start..).filter(|rest| !rest.is_empty())?;
            let len = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            self.position = start + len + 1;
            let line = rest.get(..len).unwrap_or(rest);
            if !line.trim_ascii().is_empty() {
                return Some(self.json_line(line, start));
            }
        }
    }
}

fn plain_document(text: String, place: Place) -> Document {
    Document { text, place, id: None, group: None, labels: None }
}

fn utf8(bytes: &[u8], offset: u64) -> Result<&str, RecordFault> {
    std::str::from_utf8(bytes).map_err(|error| RecordFault::InvalidUtf8 {
        offset_bytes: offset + as_u64(error.valid_up_to()),
        got: bytes.get(error.valid_up_to()).copied().unwrap_or_default(),
    })
}

/// Reads one file as [`Chunk`]s.
pub struct ChunkReader<'l> {
    file: &'l InputFile,
    input: u32,
    source: Decompressed,
    /// Bytes read but not handed out; the first is at `offset` and starts a record.
    buffer: Vec<u8>,
    offset: u64,
    at_end: bool,
    reported_bytes: u64,
    max_record_bytes: u64,
}

impl<'l> ChunkReader<'l> {
    /// Opens file `input` of the list so that the first record is the first that starts at or
    /// after `start` (decompressed bytes). A plain file is entered there at once; a compressed
    /// one is decompressed up to it.
    ///
    /// # Errors
    /// The file is gone, changed its length, is refused or does not decompress; the list has no
    /// such file; a record before `start` is too long.
    pub fn open(list: &'l InputList, input: u32, start: u64) -> Result<Self, Error> {
        Self::open_within(list, input, start, MAX_RECORD_BYTES)
    }

    fn open_within(
        list: &'l InputList,
        input: u32,
        start: u64,
        max_record_bytes: u64,
    ) -> Result<Self, Error> {
        let file = list.file(input).ok_or(Error::NoInput)?;
        let raw = open_unchanged(file)?;
        let seekable = file.compression == Compression::None && file.format != InputFormat::Text;
        let entry = if seekable { start.saturating_sub(1).min(file.bytes) } else { 0 };
        let mut raw = raw;
        raw.seek(SeekFrom::Start(entry))
            .map_err(|source| Error::Io { path: file.path.clone(), source })?;
        let mut reader = Self {
            file,
            input,
            source: Decompressed::new(&file.path, raw, file.compression, entry)?,
            buffer: Vec::new(),
            offset: entry,
            at_end: false,
            reported_bytes: entry,
            max_record_bytes,
        };
        if entry > 0 {
            // The byte before `start` tells whether a record starts there: it is a newline.
            reader.take_until(start)?;
        } else {
            reader.skip_to(start)?;
        }
        Ok(reader)
    }

    /// Where the next record starts, in decompressed bytes; the length at the end of the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Passes over the records that start before `limit`.
    ///
    /// # Errors
    /// As [`ChunkReader::next_before`].
    pub fn skip_to(&mut self, limit: u64) -> Result<(), Error> {
        while self.next_before(limit)?.is_some() {}
        Ok(())
    }

    /// The next run of records that start before `limit`, or `None` when there are none: the next
    /// one starts at or after it, or the file ends. A text file is one record.
    ///
    /// # Errors
    /// The data do not decompress, end too early or hold a record of more than
    /// [`MAX_RECORD_BYTES`]; the system refuses a read.
    pub fn next_before(&mut self, limit: u64) -> Result<Option<Chunk>, Error> {
        if self.offset >= limit {
            return Ok(None);
        }
        let place = Place { input: self.input, offset: self.offset };
        let wanted = match self.file.format {
            InputFormat::Text => u64::MAX,
            InputFormat::JsonLines => self.offset.saturating_add(CHUNK_BYTES).min(limit),
        };
        let bytes = self.take_until(wanted)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let consumed = self.source.consumed_bytes();
        let consumed_bytes = consumed.saturating_sub(self.reported_bytes);
        self.reported_bytes = consumed;
        Ok(Some(Chunk { place, format: self.file.format, bytes, consumed_bytes }))
    }

    /// Whether nothing is left.
    ///
    /// # Errors
    /// As [`ChunkReader::next_before`].
    pub fn is_at_end(&mut self) -> Result<bool, Error> {
        if self.buffer.is_empty() && !self.at_end {
            self.fill(1)?;
        }
        Ok(self.buffer.is_empty())
    }

    /// Takes bytes up to the first record that starts at or after `limit`, or up to the end.
    fn take_until(&mut self, limit: u64) -> Result<Vec<u8>, Error> {
        let wanted = limit.saturating_sub(self.offset);
        // A record starts after a newline, so the byte before the limit is the first to look at.
        let mut searched = usize::try_from(wanted.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut enough = wanted.saturating_add(CHUNK_BYTES / 8);
        loop {
            // Not beyond what the last record may hold, so no record in the buffer is too long.
            let most = as_u64(self.last_record()).saturating_add(self.max_record_bytes);
            self.fill(enough.min(most.saturating_add(1)))?;
            let newline = self
                .buffer
                .get(searched..)
                .and_then(|tail| tail.iter().position(|&byte| byte == b'\n'));
            if let Some(position) = newline {
                return Ok(self.take(searched + position + 1));
            }
            if self.at_end {
                return Ok(self.take(self.buffer.len()));
            }
            self.check_record()?;
            searched = searched.max(self.buffer.len());
            enough = as_u64(self.buffer.len()).saturating_mul(2);
        }
    }

    /// Where in the buffer the last record starts.
    fn last_record(&self) -> usize {
        match self.file.format {
            InputFormat::Text => 0,
            InputFormat::JsonLines => {
                self.buffer.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1)
            }
        }
    }

    fn check_record(&self) -> Result<(), Error> {
        let start = self.last_record();
        let (expected, got) = (self.max_record_bytes, as_u64(self.buffer.len() - start));
        if got <= expected {
            return Ok(());
        }
        let (path, offset_bytes) = (self.file.path.clone(), self.offset + as_u64(start));
        Err(Error::RecordTooLong { path, offset_bytes, expected, got })
    }

    /// Reads until the buffer holds `len` bytes or the file ends.
    fn fill(&mut self, len: u64) -> Result<(), Error> {
        let have = as_u64(self.buffer.len());
        if !self.at_end && have < len {
            let got = self.source.read_onto(&self.file.path, &mut self.buffer, len - have)?;
            self.at_end = got < len - have;
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let len = len.min(self.buffer.len());
        // Room for the next chunk at once; growing to it would copy every byte twice.
        let room = usize::try_from(CHUNK_BYTES + CHUNK_BYTES / 4).unwrap_or(0);
        let mut rest = Vec::with_capacity(if self.at_end { 0 } else { room });
        rest.extend_from_slice(self.buffer.get(len..).unwrap_or_default());
        self.buffer.truncate(len);
        let taken = std::mem::replace(&mut self.buffer, rest);
        self.offset += as_u64(taken.len());
        taken
    }
}

fn open_unchanged(file: &InputFile) -> Result<File, Error> {
    let raw = File::open(&file.path).map_err(|source| missing_or_io(&file.path, source))?;
    let metadata =
        raw.metadata().map_err(|source| Error::Io { path: file.path.clone(), source })?;
    let (path, expected, got) = (file.path.clone(), file.bytes, metadata.len());
    if expected == got { Ok(raw) } else { Err(Error::Changed { path, expected, got }) }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8], max_record_bytes: u64) -> Result<Vec<u8>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let list = InputList::discover(&[path]).unwrap();
        let mut reader = ChunkReader::open_within(&list, 0, 0, max_record_bytes)?;
        let mut whole = Vec::new();
        while let Some(chunk) = reader.next_before(u64::MAX)? {
            whole.extend(chunk.bytes);
        }
        Ok(whole)
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
                    assert!(!error.is_configuration() && !error.is_io());
                }
            }
        }
    }
}
