//! The batch in the form that a decoder reads.

use mixdown_mixer::Batch;

use crate::engine::kernels::cross_entropy::IGNORED;
use crate::error::Error;
use crate::model::config::ModelConfig;

/// Inputs and targets of whole rows, `rows · length` of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) rows: usize,
    pub(crate) length: usize,
    /// The input ids.
    pub(crate) tokens: Vec<u32>,
    /// The target ids, [`IGNORED`] for targets that do not count.
    pub(crate) targets: Vec<u32>,
    /// The position of each input in its document, or in its row.
    pub(crate) positions: Vec<u32>,
    /// The first position in its row that each input attends to: 0, or the start of its document.
    pub(crate) starts: Vec<u32>,
}

/// A range of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MicroBatch<'a> {
    pub(crate) length: usize,
    pub(crate) tokens: &'a [u32],
    pub(crate) targets: &'a [u32],
    pub(crate) positions: &'a [u32],
    pub(crate) starts: &'a [u32],
}

impl Rows {
    /// # Errors
    /// The batch is empty or has inconsistent sizes, a row is longer than the model's limit, or an id is outside the
    /// vocabulary.
    pub(crate) fn new(batch: &Batch, config: &ModelConfig) -> Result<Self, Error> {
        let limit = config.max_position_embeddings;
        if batch.sequence_length == 0 || batch.sequence_length > limit {
            let expected = format!("1 to {limit} (the model's max_position_embeddings)");
            return Err(Error::setting("sequence_length", expected, batch.sequence_length));
        }
        let length = side(batch.sequence_length)?;
        let (rows, row) = (side(batch.rows)?, length + 1);
        let tokens = rows.checked_mul(row);
        if batch.rows == 0 || tokens != Some(batch.tokens.len()) {
            let expected = format!("{} rows, at least 1, of {row} tokens", batch.rows);
            return Err(Error::setting("batch", expected, batch.tokens.len()));
        }
        if let Some(id) = batch.tokens.iter().find(|&&id| u64::from(id) >= config.vocab_size) {
            let expected = format!("ids below {} (the model's vocab_size)", config.vocab_size);
            return Err(Error::setting("batch", expected, id));
        }
        let mut all = Self { rows, length, ..Self::default() };
        for row in batch.tokens.chunks_exact(row) {
            all.tokens.extend_from_slice(&row[..length]);
            all.targets.extend_from_slice(&row[1..]);
        }
        all.mask(&batch.loss_mask)?;
        all.place(batch);
        Ok(all)
    }

    fn mask(&mut self, mask: &[u8]) -> Result<(), Error> {
        if !mask.is_empty() && mask.len() != self.targets.len() {
            let expected = format!("a loss mask of {} targets", self.targets.len());
            return Err(Error::setting("batch", expected, mask.len()));
        }
        let masked = self.targets.iter_mut().zip(mask).filter(|(_, counts)| **counts == 0);
        masked.for_each(|(target, _)| *target = IGNORED);
        Ok(())
    }

    fn place(&mut self, batch: &Batch) {
        let in_row = (0..).take(self.length);
        match &batch.documents {
            None => {
                self.positions = (0..self.rows).flat_map(|_| in_row.clone()).collect();
                self.starts = vec![0; self.tokens.len()];
            }
            Some(documents) => {
                self.positions = documents.position_ids.clone();
                let places = (0..self.rows).flat_map(|_| in_row.clone());
                let starts = places.zip(&self.positions).map(|(place, position)| place - position);
                self.starts = starts.collect();
            }
        }
    }

    /// Splits all rows into micro-batches of at most `rows` rows; `rows` is not 0.
    pub(crate) fn micro_batches(&self, rows: usize) -> impl Iterator<Item = MicroBatch<'_>> {
        let len = rows * self.length;
        let inputs = self.tokens.chunks(len).zip(self.targets.chunks(len));
        let places = self.positions.chunks(len).zip(self.starts.chunks(len));
        inputs.zip(places).map(|((tokens, targets), (positions, starts))| MicroBatch {
            length: self.length,
            tokens,
            targets,
            positions,
            starts,
        })
    }
}

/// Converts the length of a tensor's dimension to `usize`.
fn side(value: u64) -> Result<usize, Error> {
    usize::try_from(value).map_err(|_| Error::setting("batch", "sizes that fit memory", value))
}
