//! Whole records of one file, which any thread can decode.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::bytes::long_records::Turn;
use crate::bytes::pieces::PieceRule;
use crate::chat::labeler::Labeler;
use crate::json::line::JsonLine;
use crate::json::scan::Entry;
use crate::reading::document::{BadRecord, Document, Place, ReadOptions, RecordFault};
use crate::reading::record::Record;
use crate::tables::columns::Columns;
use crate::tables::pieces::cells;

/// Whole records of one file.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The place of the first record.
    pub place: Place,
    /// The bytes on disk that were read since the previous chunk, for progress.
    pub consumed_bytes: u64,
    content: Content,
    /// Set for a long record: no other one is in memory until this chunk is dropped.
    turn: Option<Arc<Turn>>,
}

/// The undecoded records, as stored in the file.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// JSON lines.
    Lines(Vec<u8>),
    /// A whole text file.
    Text {
        /// The content.
        bytes: Vec<u8>,
        /// Its name in the list.
        name: String,
    },
    /// Records that a splitter has found.
    Pieces {
        /// The bytes that contain them.
        bytes: Vec<u8>,
        /// The range of each record.
        pieces: Vec<Range<usize>>,
        /// The rule that separates them.
        rule: Arc<PieceRule>,
        /// The file's name in the list.
        name: String,
    },
    /// Rows of a columnar file.
    Rows {
        /// The columns that are read.
        batch: RecordBatch,
        /// Their approximate size in bytes.
        bytes: u64,
    },
}

impl Chunk {
    pub(crate) fn new(place: Place, content: Content, consumed_bytes: u64) -> Self {
        Self { place, consumed_bytes, content, turn: None }
    }

    /// Attaches the turn that a long record took.
    pub(crate) fn with_turn(self, turn: Option<Turn>) -> Self {
        Self { turn: turn.map(Arc::new), ..self }
    }

    /// Returns whether the chunk holds the turn of the long records.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let chunk = ChunkReader::open(&inputs, 0, 0)?.next_before(u64::MAX)?.unwrap();
    /// assert!(!chunk.has_turn());
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Returns the memory that the records take before they are decoded, in bytes.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let chunk = ChunkReader::open(&inputs, 0, 0)?.next_before(u64::MAX)?.unwrap();
    /// assert!(chunk.len_bytes() >= 31);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        match &self.content {
            Content::Rows { bytes, .. } => *bytes,
            Content::Lines(_) | Content::Text { .. } | Content::Pieces { .. } => {
                as_u64(self.bytes().len())
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Lines(bytes) | Content::Text { bytes, .. } | Content::Pieces { bytes, .. } => {
                bytes
            }
            Content::Rows { .. } => &[],
        }
    }

    /// Decodes the records in order. Blank lines are skipped.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList, ReadOptions};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let chunk = ChunkReader::open(&inputs, 0, 0)?.next_before(u64::MAX)?.unwrap();
    /// let options = ReadOptions::default();
    /// let documents: Vec<_> = chunk.records(&options).filter_map(Result::ok).collect();
    /// assert_eq!((documents[1].text.as_str(), documents[1].place.offset), ("two", 16));
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn records<'c>(&'c self, options: &'c ReadOptions) -> Records<'c> {
        self.labeled_records(options, None)
    }

    /// Decodes the records in order with a labeler, if there is one; `options.labels` must contain the fields that it
    /// reads.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList, ReadOptions};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let chunk = ChunkReader::open(&inputs, 0, 0)?.next_before(u64::MAX)?.unwrap();
    /// assert_eq!(chunk.labeled_records(&ReadOptions::default(), None).count(), 2);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn labeled_records<'c>(
        &'c self,
        options: &'c ReadOptions,
        labeler: Option<&'c Labeler>,
    ) -> Records<'c> {
        let text = std::str::from_utf8(self.bytes()).ok();
        let columns = match &self.content {
            Content::Rows { batch, .. } => Some(Columns::new(batch, &options.wanted())),
            Content::Lines(_) | Content::Text { .. } | Content::Pieces { .. } => None,
        };
        let (position, entries) = (0, Vec::new());
        Records { chunk: self, options, labeler, text, columns, position, entries }
    }
}

/// An iterator over the records of a [`Chunk`]: each is a document or a bad record.
#[derive(Debug, Clone)]
pub struct Records<'c> {
    chunk: &'c Chunk,
    options: &'c ReadOptions,
    labeler: Option<&'c Labeler>,
    /// The whole chunk as text if it is UTF-8: one check is faster than one per line.
    text: Option<&'c str>,
    columns: Option<Columns<'c>>,
    position: usize,
    entries: Vec<Entry>,
}

impl<'c> Records<'c> {
    /// Returns the part of the chunk from `start` to `end` as text.
    fn text(&self, start: usize, end: usize) -> Result<&'c str, RecordFault> {
        if let Some(text) = self.text.and_then(|text| text.get(start..end)) {
            return Ok(text);
        }
        let bytes = self.chunk.bytes().get(start..end).unwrap_or_default();
        utf8(bytes, self.chunk.place.offset + as_u64(start))
    }

    fn text_file(&mut self, name: &str) -> Option<Result<Document, BadRecord>> {
        let len = self.chunk.bytes().len();
        if std::mem::replace(&mut self.position, len.max(1)) > 0 {
            return None;
        }
        let place = self.chunk.place;
        let document = self.text(0, len).and_then(|text| {
            let text = without_byte_order_mark(text);
            Record::Text { text, name }.document(self.options, self.labeler, place)
        });
        Some(document.map_err(|fault| BadRecord { place, fault }))
    }

    fn line(&mut self, bytes: &[u8]) -> Option<Result<Document, BadRecord>> {
        loop {
            let start = self.position;
            let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
            let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            self.position = start + len + 1;
            if !rest.get(..len).unwrap_or(rest).trim_ascii().is_empty() {
                let Place { input, offset } = self.chunk.place;
                let place = Place { input, offset: offset + as_u64(start) };
                let document = self.line_document(start, start + len, place);
                return Some(document.map_err(|fault| BadRecord { place, fault }));
            }
        }
    }

    fn line_document(
        &mut self,
        start: usize,
        end: usize,
        place: Place,
    ) -> Result<Document, RecordFault> {
        let line = self.text(start, end)?;
        let line = if place.offset == 0 { without_byte_order_mark(line) } else { line };
        let line = JsonLine::parse(line, &mut self.entries)?;
        Record::Line(line).document(self.options, self.labeler, place)
    }
}

impl Records<'_> {
    fn piece(
        &mut self,
        pieces: &[Range<usize>],
        rule: &PieceRule,
        name: &str,
    ) -> Option<Result<Document, BadRecord>> {
        let Range { start, end } = pieces.get(self.position)?.clone();
        self.position += 1;
        let Place { input, offset } = self.chunk.place;
        let place = Place { input, offset: offset + as_u64(start) };
        let document = self.piece_document(start, end, rule, name, place);
        Some(document.map_err(|fault| BadRecord { place, fault }))
    }

    fn piece_document(
        &mut self,
        start: usize,
        end: usize,
        rule: &PieceRule,
        name: &str,
        place: Place,
    ) -> Result<Document, RecordFault> {
        let text = self.text(start, end)?;
        let document = |record: Record<'_>| record.document(self.options, self.labeler, place);
        match rule {
            PieceRule::Json if text.is_empty() => {
                let got = "the end of the file, before that of the array".to_owned();
                Err(RecordFault::NotJson { got })
            }
            PieceRule::Json => {
                let line = JsonLine::parse(text, &mut self.entries)?;
                Record::Line(line).document(self.options, self.labeler, place)
            }
            PieceRule::Rows { delimiter, columns } => {
                let bad =
                    |got: String| RecordFault::NotARow { expected: as_u64(columns.len()), got };
                let cells =
                    cells(text, char::from(*delimiter)).map_err(|got| bad(got.to_owned()))?;
                if cells.len() != columns.len() {
                    return Err(bad(format!("{} cells", cells.len())));
                }
                document(Record::Cells { columns, cells: &cells })
            }
            PieceRule::Separator(_) => {
                document(Record::Part { text, name, offset_bytes: place.offset })
            }
        }
    }

    fn row(&mut self, rows: usize) -> Option<Result<Document, BadRecord>> {
        let (row, columns) = (self.position, self.columns.as_ref()?);
        if row >= rows {
            return None;
        }
        self.position += 1;
        let Place { input, offset } = self.chunk.place;
        let place = Place { input, offset: offset + as_u64(row) };
        let document = Record::Row { columns, row }.document(self.options, self.labeler, place);
        Some(document.map_err(|fault| BadRecord { place, fault }))
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Document, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        match &self.chunk.content {
            Content::Text { name, .. } => self.text_file(name),
            Content::Lines(bytes) => self.line(bytes),
            Content::Pieces { pieces, rule, name, .. } => self.piece(pieces, rule, name),
            Content::Rows { batch, .. } => self.row(batch.num_rows()),
        }
    }
}

fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn utf8(bytes: &[u8], offset: u64) -> Result<&str, RecordFault> {
    std::str::from_utf8(bytes).map_err(|error| RecordFault::InvalidUtf8 {
        offset_bytes: offset + as_u64(error.valid_up_to()),
        got: bytes.get(error.valid_up_to()).copied().unwrap_or_default(),
    })
}

pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
