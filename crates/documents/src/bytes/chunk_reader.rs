//! A reader of one file in chunks, whatever its format.

use crate::bytes::byte_reader::ByteReader;
use crate::bytes::chunk::Chunk;
use crate::bytes::long_records::LongRecords;
use crate::bytes::piece_reader::PieceReader;
use crate::error::Error;
use crate::inputs::input_list::{InputFile, InputList};
use crate::inputs::layout::Layout;
use crate::tables::row_reader::RowReader;

/// A reader of one file as [`Chunk`]s.
///
/// A record belongs to the part in which it starts: reading up to a limit returns every record that starts before it,
/// whole. So parts cut anywhere hold every record exactly once. Offsets are those of [`Place`](crate::Place).
pub struct ChunkReader<'l> {
    file: &'l InputFile,
    input: u32,
    source: Source<'l>,
}

enum Source<'l> {
    Bytes(ByteReader<'l>),
    Pieces(Box<PieceReader<'l>>),
    Rows(RowReader),
}

impl<'l> ChunkReader<'l> {
    /// Opens file `input` of the list at the first record that starts at or after `start`. The reader seeks directly in
    /// plain JSON lines and columnar files; it reads any other file from its beginning.
    ///
    /// # Errors
    /// The file is missing, has another length than when it was listed, cannot be read or does not decompress; the list
    /// has no such file; a record before `start` is too long.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let mut reader = ChunkReader::open(&inputs, 0, 1)?;
    /// // The second record starts at byte 16.
    /// assert_eq!(reader.next_before(u64::MAX)?.unwrap().place.offset, 16);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn open(list: &'l InputList, input: u32, start: u64) -> Result<Self, Error> {
        let file = list.file(input).ok_or(Error::NoInput)?;
        let source = match &file.layout {
            Layout::Stream => Source::Bytes(ByteReader::open(file, start)?),
            Layout::Pieces(rule) => Source::Pieces(Box::new(PieceReader::open(file, rule, start)?)),
            Layout::Parquet(_) | Layout::Arrow(_) => {
                Source::Rows(RowReader::open(file, list.wanted(), start)?)
            }
        };
        Ok(Self { file, input, source })
    }

    /// Makes all readers that share `turns` read long records of lines and texts one at a time: a chunk with a long
    /// record holds the turn.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList, LongRecords};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let turns = LongRecords::default();
    /// let mut reader = ChunkReader::open(&inputs, 0, 0)?.in_turn(&turns);
    /// assert!(!reader.next_before(u64::MAX)?.unwrap().has_turn());
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn in_turn(mut self, turns: &LongRecords) -> Self {
        match &mut self.source {
            Source::Bytes(reader) => reader.take_turns(turns),
            Source::Pieces(reader) => reader.take_turns(turns),
            Source::Rows(_) => {}
        }
        self
    }

    /// Returns the offset of the next record; at the end, that of the file's end.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert_eq!(ChunkReader::open(&inputs, 0, 16)?.offset(), 16);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn offset(&self) -> u64 {
        match &self.source {
            Source::Bytes(reader) => reader.offset(),
            Source::Pieces(reader) => reader.offset(),
            Source::Rows(reader) => reader.offset(),
        }
    }

    /// Skips the records that start before `limit`.
    ///
    /// # Errors
    /// Those of [`ChunkReader::next_before`].
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let mut reader = ChunkReader::open(&inputs, 0, 0)?;
    /// reader.skip_to(16)?;
    /// assert_eq!(reader.offset(), 16);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn skip_to(&mut self, limit: u64) -> Result<(), Error> {
        while self.next_before(limit)?.is_some() {}
        Ok(())
    }

    /// Returns the next chunk of records that start before `limit`; `None` if the next record starts at or after it or
    /// the file ends. A text file is one record.
    ///
    /// # Errors
    /// The data do not decompress or decode, end too early or hold a record of more than
    /// [`ReadOptions::max_record_bytes`](crate::ReadOptions); the system refuses a read.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let mut reader = ChunkReader::open(&inputs, 0, 0)?;
    /// assert!(reader.next_before(16)?.is_some());
    /// assert!(reader.next_before(16)?.is_none());
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn next_before(&mut self, limit: u64) -> Result<Option<Chunk>, Error> {
        match &mut self.source {
            Source::Bytes(reader) => reader.next_before(self.input, limit),
            Source::Pieces(reader) => reader.next_before(self.input, limit),
            Source::Rows(reader) => reader.next_before(self.file, self.input, limit),
        }
    }

    /// Returns whether no records are left.
    ///
    /// # Errors
    /// Those of [`ChunkReader::next_before`].
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let mut reader = ChunkReader::open(&inputs, 0, 0)?;
    /// assert!(!reader.is_at_end()?);
    /// reader.skip_to(u64::MAX)?;
    /// assert!(reader.is_at_end()?);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn is_at_end(&mut self) -> Result<bool, Error> {
        match &mut self.source {
            Source::Bytes(reader) => reader.is_at_end(),
            Source::Pieces(reader) => reader.is_at_end(),
            Source::Rows(reader) => Ok(reader.is_at_end()),
        }
    }
}
