//! A bucket: its segment of every part, in memory, sorted.

use std::path::{Path, PathBuf};

use mixdown_shards::Dtype;

use crate::error::Error;
use crate::options::Shuffle;
use crate::order::Order;
use crate::spill::{Row, Spill, as_u64, damaged};

/// The parts on the disk, as one ordered run of buckets.
pub(crate) struct Buckets {
    /// In the order of the inputs.
    pub(crate) parts: Vec<PathBuf>,
    pub(crate) order: Order,
    pub(crate) dtype: Dtype,
}

/// One document of a loaded bucket.
struct Entry {
    row: Row,
    segment: usize,
    /// Where its ids stand in the segment.
    start_bytes: usize,
    end_bytes: usize,
}

/// A bucket's documents in their final order.
pub(crate) struct Bucket {
    entries: Vec<Entry>,
    segments: Vec<Vec<u8>>,
}

impl Bucket {
    /// The documents with the bytes of their ids.
    pub(crate) fn documents(&self) -> impl Iterator<Item = (Row, &[u8])> {
        self.entries.iter().map(|entry| {
            let ids = &self.segments[entry.segment][entry.start_bytes..entry.end_bytes];
            (entry.row, ids)
        })
    }
}

impl Buckets {
    /// How many there are. In the inputs' order every part is a bucket of its own, for its
    /// documents all come before the next part's.
    pub(crate) fn len(&self) -> u64 {
        match self.order.shuffle {
            Shuffle::Global => self.order.buckets(),
            Shuffle::Keep => as_u64(self.parts.len()),
        }
    }

    /// Tokens of every bucket.
    pub(crate) fn tokens(&self) -> Result<Vec<u64>, Error> {
        let mut tokens = vec![0; usize::try_from(self.len()).unwrap_or(usize::MAX)];
        for (part, path) in self.parts.iter().enumerate() {
            let mut spill = self.open(path)?;
            let mut start = spill.start(0)?.1;
            for bucket in 0..self.order.buckets() {
                let end = spill.start(bucket + 1)?.1;
                let of_keep = self.order.shuffle == Shuffle::Keep;
                let idx =
                    if of_keep { part } else { usize::try_from(bucket).unwrap_or(usize::MAX) };
                if let Some(tokens) = tokens.get_mut(idx) {
                    *tokens += end.saturating_sub(start);
                }
                start = end;
            }
        }
        Ok(tokens)
    }

    /// Shows every document's row, in the order of the parts.
    pub(crate) fn visit_rows(&self, visit: &mut dyn FnMut(&Row)) -> Result<(), Error> {
        const AT_ONCE: u64 = 1 << 16;
        for path in &self.parts {
            let mut spill = self.open(path)?;
            let documents = spill.summary().documents;
            for first in (0..documents).step_by(1 << 16) {
                spill.rows(first, documents.min(first + AT_ONCE))?.iter().for_each(&mut *visit);
            }
        }
        Ok(())
    }

    /// Reads and sorts bucket `index`. Memory: its ids and 80 bytes a document.
    pub(crate) fn load(&self, index: u64) -> Result<Bucket, Error> {
        let mut bucket = Bucket { entries: Vec::new(), segments: Vec::new() };
        match self.order.shuffle {
            Shuffle::Global => {
                for path in &self.parts {
                    self.load_segment(path, index, &mut bucket)?;
                }
            }
            Shuffle::Keep => {
                if let Some(path) = self.parts.get(usize::try_from(index).unwrap_or(usize::MAX)) {
                    self.load_segment(path, 0, &mut bucket)?;
                }
            }
        }
        // Stable: should two keys ever be equal, the inputs' order decides.
        bucket.entries.sort_by_key(|entry| entry.row.key);
        Ok(bucket)
    }

    fn load_segment(&self, path: &Path, index: u64, bucket: &mut Bucket) -> Result<(), Error> {
        let mut spill = self.open(path)?;
        let (first, first_token) = spill.start(index)?;
        let (end, end_token) = spill.start(index + 1)?;
        let rows = spill.rows(first, end)?;
        let ids = spill.ids(first_token, end_token)?;
        let width = self.dtype.bytes();
        let mut start_bytes = 0;
        for row in rows {
            let len = usize::try_from(u64::from(row.len_tokens) * width).unwrap_or(usize::MAX);
            let end_bytes = len.saturating_add(start_bytes);
            let segment = bucket.segments.len();
            bucket.entries.push(Entry { row, segment, start_bytes, end_bytes });
            start_bytes = end_bytes;
        }
        if start_bytes != ids.len() {
            let expected = format!("{start_bytes} bytes of ids in bucket {index}");
            return Err(damaged(path, &expected, &ids.len().to_string()));
        }
        bucket.segments.push(ids);
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<Spill, Error> {
        Spill::open(path, self.order.buckets(), self.dtype)
    }
}
