//! A part while it is put together from encoded chunks.

use std::path::Path;

use mixdown_shards::Dtype;

use crate::encode::EncodedChunk;
use crate::error::Error;
use crate::order::Order;
use crate::spill::{SpillDocument, Summary, as_u64, write_spill};

/// Gathers the chunks of one part in order and writes them as a spill. Memory: the part's ids and
/// 48 bytes a document.
pub(crate) struct Part {
    order: Order,
    dtype: Dtype,
    chunks: Vec<EncodedChunk>,
    summary: Summary,
}

impl Part {
    pub(crate) fn new(order: Order, dtype: Dtype) -> Self {
        let summary =
            Summary { buckets: order.buckets(), id_bytes: dtype.bytes(), ..Summary::default() };
        Self { order, dtype, chunks: Vec::new(), summary }
    }

    /// Adds the next chunk.
    pub(crate) fn push(&mut self, chunk: EncodedChunk) {
        let documents = as_u64(chunk.rows.len());
        let summary = &mut self.summary;
        summary.documents += documents;
        summary.tokens += chunk.rows.iter().map(|row| u64::from(row.len_tokens)).sum::<u64>();
        summary.consumed_bytes += chunk.consumed_bytes;
        summary.bad_records += as_u64(chunk.bad_records.len());
        summary.empty_documents += chunk.empty_documents;
        summary.special_text_documents += chunk.special_text_documents;
        match summary.documents_by_input.last_mut() {
            Some((input, count)) if *input == chunk.input => *count += documents,
            _ => summary.documents_by_input.push((chunk.input, documents)),
        }
        self.chunks.push(chunk);
    }

    /// Sorts the part's documents and writes them; gives back what the part held.
    pub(crate) fn write(self, path: &Path) -> Result<Summary, Error> {
        let mut documents = Vec::new();
        for chunk in &self.chunks {
            let mut ids = chunk.ids.as_slice();
            for &row in &chunk.rows {
                let bytes = u64::from(row.len_tokens) * self.dtype.bytes();
                let (own, rest) = ids.split_at(usize::try_from(bytes).unwrap_or(0));
                ids = rest;
                documents.push(SpillDocument { row, bucket: self.order.bucket(row.key), ids: own });
            }
        }
        // Stable: should two keys ever be equal, the inputs' order decides.
        documents.sort_by_key(|document| document.row.key);
        write_spill(path, &self.summary, &documents)?;
        Ok(self.summary)
    }
}
