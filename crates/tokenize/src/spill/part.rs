//! A part, assembled from encoded chunks.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::encode::EncodedChunk;
use crate::error::Error;
use crate::plan::order::Order;
use crate::shards::in_order_writer::PartChunks;
use crate::spill::{Payload, PlacedSketch, SpillWriter, Summary, as_u64};

/// The memory that a part's documents may take before they are written as a run.
const RUN_BYTES: u64 = 40 << 20;

/// A part in progress, made by all threads that encode its chunks. In whatever order those come back, the documents end
/// up sorted by their keys.
pub(crate) struct Part {
    /// The number of its unit, and its own in the unit.
    pub(crate) number: (u64, u64),
    path: PathBuf,
    order: Order,
    payload: Payload,
    gathering: Mutex<Gathering>,
    spill: Mutex<Option<SpillWriter>>,
}

struct Gathering {
    chunks: Vec<EncodedChunk>,
    bytes: u64,
    /// The number of chunks that were handed out but not yet delivered.
    pending: u64,
    /// Whether all chunks were handed out.
    closed: bool,
    summary: Summary,
}

impl Part {
    pub(crate) fn new(number: (u64, u64), path: PathBuf, order: Order, payload: Payload) -> Self {
        let summary = Summary { buckets: order.buckets(), payload, ..Summary::default() };
        let gathering =
            Gathering { chunks: Vec::new(), bytes: 0, pending: 0, closed: false, summary };
        let (gathering, spill) = (Mutex::new(gathering), Mutex::new(None));
        Self { number, path, order, payload, gathering, spill }
    }

    /// Records that a chunk is handed out.
    pub(crate) fn expect_chunk(&self) {
        self.gathering().pending += 1;
    }

    /// Records that no more chunks will be handed out; returns whether the part can be written now.
    pub(crate) fn close(&self) -> bool {
        let mut gathering = self.gathering();
        gathering.closed = true;
        gathering.pending == 0
    }

    /// Takes an encoded chunk; returns whether the part can be written now.
    pub(crate) fn deliver(&self, chunk: EncodedChunk) -> Result<bool, Error> {
        let mut gathering = self.gathering();
        gathering.count(&chunk);
        gathering.chunks.push(chunk);
        let full = if gathering.bytes > RUN_BYTES {
            gathering.bytes = 0;
            std::mem::take(&mut gathering.chunks)
        } else {
            Vec::new()
        };
        if full.is_empty() {
            return Ok(gathering.delivered());
        }
        // The lock is released first, so that the other threads can continue.
        drop(gathering);
        self.write_run(&full)?;
        Ok(self.gathering().delivered())
    }

    /// Writes the rest and gives the file its name, once. Returns the chunks if they are the whole part.
    pub(crate) fn finish(&self) -> Result<Option<PartChunks>, Error> {
        let (chunks, bytes, summary) = {
            let mut gathering = self.gathering();
            let chunks = std::mem::take(&mut gathering.chunks);
            (chunks, gathering.bytes, gathering.summary.clone())
        };
        let whole = self.spill().is_none();
        self.write_run(&chunks)?;
        let spill = self.spill().take();
        spill.map_or(Ok(()), |spill| spill.finish(&summary))?;
        Ok(whole.then_some(PartChunks { chunks, bytes }))
    }

    fn write_run(&self, chunks: &[EncodedChunk]) -> Result<(), Error> {
        let mut spill = self.spill();
        let writer = match &mut *spill {
            Some(writer) => writer,
            None => spill.insert(SpillWriter::create(&self.path, self.order, self.payload)?),
        };
        writer.write_run(chunks)
    }

    fn gathering(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spill(&self) -> MutexGuard<'_, Option<SpillWriter>> {
        self.spill.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathering {
    fn delivered(&mut self) -> bool {
        self.pending -= 1;
        self.closed && self.pending == 0
    }

    fn count(&mut self, chunk: &EncodedChunk) {
        /// The memory of a row, and of sorting it.
        const ROW_IN_MEMORY: u64 = 200;
        let documents = as_u64(chunk.rows.len());
        self.bytes += as_u64(chunk.ids.capacity() + chunk.masks.capacity())
            + as_u64(chunk.own_ids.capacity())
            + as_u64(chunk.sketches.len() * size_of::<PlacedSketch>())
            + documents * ROW_IN_MEMORY;
        let summary = &mut self.summary;
        summary.documents += documents;
        summary.tokens += chunk.rows.iter().map(|row| u64::from(row.len_tokens)).sum::<u64>();
        summary.consumed_bytes += chunk.consumed_bytes;
        summary.bad_records += as_u64(chunk.bad_records.len());
        summary.empty_documents += chunk.empty_documents;
        summary.short_documents += chunk.short_documents;
        summary.special_text_documents += chunk.special_text_documents;
        summary.untargeted_documents += chunk.untargeted_documents;
        summary.too_long_documents += chunk.too_long_documents;
        summary.add_documents(chunk.input, documents);
    }
}
