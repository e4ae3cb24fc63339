//! Rows of a Parquet or Arrow file, decoded on a separate thread.
//!
//! An error in a page belongs to the file rather than to a record, so pages are decoded here; the threads that tokenize
//! decode only the strings of a batch. Parts of a file can be read in parallel.

use std::fs::File;
use std::io;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::sync_channel;
use std::thread;

use arrow_array::RecordBatch;

use crate::bytes::chunk::{Chunk, Content, as_u64};
use crate::error::{Damage, Error};
use crate::inputs::input_list::InputFile;
use crate::inputs::layout::{Layout, Where, guarded};
use crate::json::raw::{check_unchanged, missing_or_io};
use crate::reading::document::Place;
use crate::reading::wanted::Wanted;
use crate::tables::arrow_file::ArrowBatches;
use crate::tables::columns::add_row_bytes;
use crate::tables::parquet_file::ParquetBatches;

/// The intended bytes of a chunk.
const CHUNK_BYTES: u64 = 512 * 1024;

/// Batches that are decoded ahead of use.
const BATCHES_AHEAD: usize = 2;

enum Batches {
    Parquet(ParquetBatches),
    Arrow(ArrowBatches),
}

impl Batches {
    fn next(&mut self) -> Result<Option<RecordBatch>, Damage> {
        match self {
            Self::Parquet(batches) => batches.next(),
            Self::Arrow(batches) => batches.next(),
        }
    }
}

/// A batch with remaining rows.
struct Pending {
    batch: RecordBatch,
    /// The bytes that each row becomes.
    row_bytes: Vec<u64>,
    /// The first remaining row.
    next: usize,
}

impl Pending {
    fn new(batch: RecordBatch) -> Self {
        let mut row_bytes = vec![0; batch.num_rows()];
        batch.columns().iter().for_each(|column| add_row_bytes(column, &mut row_bytes));
        Self { batch, row_bytes, next: 0 }
    }

    /// Returns the number of rows in the next chunk, and their bytes: at least one row, at most `most`.
    fn chunk(&self, most: u64) -> (usize, u64) {
        let (mut len, mut bytes) = (0, 0_u64);
        for &own in self.row_bytes.get(self.next..).unwrap_or_default() {
            let is_full = len > 0 && bytes.saturating_add(own) > CHUNK_BYTES;
            if is_full || as_u64(len) == most {
                break;
            }
            (len, bytes) = (len + 1, bytes.saturating_add(own));
        }
        (len, bytes)
    }
}

/// A reader of a columnar file as chunks of rows.
pub(crate) struct RowReader {
    batches: ReadAhead<Result<RecordBatch, Error>>,
    pending: Option<Pending>,
    next_row: u64,
    rows: u64,
    /// Bytes of the whole file.
    bytes: u64,
}

impl RowReader {
    /// Starts at row `start`.
    pub(crate) fn open(file: &InputFile, wanted: &[Wanted], start: u64) -> Result<Self, Error> {
        check_unchanged(file)?;
        let raw = File::open(&file.path).map_err(|source| missing_or_io(&file.path, source))?;
        let rows = file.layout.rows();
        let start = start.min(rows);
        let (mut batches, first) = match &file.layout {
            Layout::Arrow(index) => {
                let (batches, first) = ArrowBatches::open(index, raw, wanted, start);
                (Batches::Arrow(batches), first)
            }
            Layout::Stream | Layout::Pieces(_) | Layout::Parquet(_) => {
                let batches = ParquetBatches::open(&file.path, raw, file.bytes, wanted, start)?;
                (Batches::Parquet(batches), start)
            }
        };
        let (path, format, mut row) = (file.path.clone(), file.format, first);
        let mut failed = false;
        let make = move || {
            let batch = guarded(&path, format, Where::Row(row), || batches.next()).transpose();
            match &batch {
                _ if failed => return None,
                Some(Ok(batch)) => row += as_u64(batch.num_rows()),
                Some(Err(_)) => failed = true,
                None => {}
            }
            batch
        };
        let batches = ReadAhead::start(BATCHES_AHEAD, make)
            .map_err(|source| Error::io(&file.path, source))?;
        let mut reader = Self { batches, pending: None, next_row: first, rows, bytes: file.bytes };
        while reader.next_row < start && reader.take(file, start)?.is_some() {}
        Ok(reader)
    }

    /// Returns the next row.
    pub(crate) fn offset(&self) -> u64 {
        self.next_row
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.next_row >= self.rows
    }

    /// Returns the next rows before `limit`.
    pub(crate) fn next_before(
        &mut self,
        file: &InputFile,
        input: u32,
        limit: u64,
    ) -> Result<Option<Chunk>, Error> {
        let first = self.next_row;
        let Some((batch, bytes)) = self.take(file, limit)? else { return Ok(None) };
        let consumed_bytes = self.consumed(self.next_row) - self.consumed(first);
        let place = Place { input, offset: first };
        Ok(Some(Chunk::new(place, Content::Rows { batch, bytes }, consumed_bytes)))
    }

    /// Returns the bytes on disk of the rows before `row`, as if all rows had the same length.
    fn consumed(&self, row: u64) -> u64 {
        let bytes = u128::from(self.bytes) * u128::from(row) / u128::from(self.rows.max(1));
        u64::try_from(bytes).unwrap_or(self.bytes)
    }

    /// Takes the next rows before `limit`, with their bytes.
    fn take(&mut self, file: &InputFile, limit: u64) -> Result<Option<(RecordBatch, u64)>, Error> {
        if self.next_row >= limit.min(self.rows) {
            return Ok(None);
        }
        let mut pending = match self.pending.take() {
            Some(pending) => pending,
            None => Pending::new(self.decoded(file)?),
        };
        let (len, bytes) = pending.chunk(limit - self.next_row);
        // Only a chunk of one row is larger than the intended size.
        let expected = file.max_record_bytes;
        if bytes > expected.max(CHUNK_BYTES) {
            let (path, place) = (file.path.clone(), format!("row {}", self.next_row));
            return Err(Error::RecordTooLong { path, place, expected, got: bytes });
        }
        let taken = pending.batch.slice(pending.next, len);
        pending.next += len;
        if pending.next < pending.batch.num_rows() {
            self.pending = Some(pending);
        }
        self.next_row += as_u64(len);
        Ok(Some((taken, bytes)))
    }

    /// Returns the next batch that holds rows.
    fn decoded(&mut self, file: &InputFile) -> Result<RecordBatch, Error> {
        loop {
            let batch = self.batches.next().unwrap_or_else(|| {
                let words = format!("it holds {} rows, not {}", self.next_row, self.rows);
                guarded(&file.path, file.format, Where::Row(self.next_row), || Err(words.into()))
            })?;
            let rows = as_u64(batch.num_rows());
            if rows > self.rows - self.next_row {
                let words = format!("it holds more than {} rows", self.rows);
                let place = Where::Row(self.next_row);
                return guarded(&file.path, file.format, place, || Err(words.into()));
            }
            if rows > 0 {
                return Ok(batch);
            }
        }
    }
}

/// Items that a thread makes ahead of use.
pub(crate) struct ReadAhead<T> {
    items: Receiver<T>,
}

impl<T: Send + 'static> ReadAhead<T> {
    /// Starts a thread that calls `make` until it returns `None`, at most `depth` items ahead. The thread ends with its
    /// last item or when this is dropped.
    pub(crate) fn start(
        depth: usize,
        mut make: impl FnMut() -> Option<T> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, items) = sync_channel(depth);
        thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
            while let Some(item) = make() {
                if sender.send(item).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { items })
    }

    /// Returns the next item; `None` after the last.
    pub(crate) fn next(&mut self) -> Option<T> {
        self.items.recv().ok()
    }
}
