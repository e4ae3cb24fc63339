//! One batch, or one rank's part of it: its tokens, its documents and its memory.

use mixdown_shards::{Split, TokenInt};

use crate::error::Error;
use crate::mixer::Mixer;
use crate::mixer::planner::Slot;
use crate::order::window::WRAPPED_START;

/// Rows of tokens for any trainer, as integers of its choice.
///
/// A batch can be refilled: its buffers keep their memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch<T: TokenInt = u32> {
    /// Token ids, `rows × (sequence_length + 1)`, row-major. The first T tokens of a row are the inputs, the last T the
    /// targets.
    pub tokens: Vec<T>,
    /// `rows × sequence_length` entries, 1 if a target counts for the loss and 0 if not; empty if no source has labels
    /// and all targets count.
    pub loss_mask: Vec<u8>,
    /// The number of rows.
    pub rows: u64,
    /// T, in tokens.
    pub sequence_length: u64,
    /// The source of each row, by its position in the mixture.
    pub sources: Vec<u32>,
    /// The slot of the run of each row.
    pub slots: Vec<u64>,
    /// The beginnings of documents, after [`Mixer::add_documents`](crate::Mixer::add_documents).
    pub documents: Option<Documents>,
}

impl<T: TokenInt> Batch<T> {
    /// Returns the number of targets that count for the loss.
    ///
    /// ```
    /// use mixdown_mixer::{Batch, Rank};
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut batch = Batch::<u32>::default();
    /// mixer.batch(0, Rank::single(), &mut batch)?;
    /// // No source has labels.
    /// assert_eq!(batch.loss_targets(), 4 * 10);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn loss_targets(&self) -> u64 {
        if self.loss_mask.is_empty() {
            return self.rows.saturating_mul(self.sequence_length);
        }
        self.loss_mask.iter().map(|&counts| u64::from(counts)).sum()
    }
}

/// Rank r of R processes, each of which gets its part of every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    rank: u32,
    world_size: u32,
}

impl Rank {
    /// Makes rank `rank` (from 0) of `world_size`.
    ///
    /// # Errors
    /// The rank is not below the world size.
    ///
    /// ```
    /// use mixdown_mixer::Rank;
    ///
    /// let rank = Rank::new(3, 8).unwrap();
    /// assert_eq!((rank.rank(), rank.world_size()), (3, 8));
    /// assert!(Rank::new(8, 8).is_err());
    /// ```
    pub fn new(rank: u32, world_size: u32) -> Result<Self, Error> {
        if rank >= world_size {
            return Err(Error::Rank { rank, world_size });
        }
        Ok(Self { rank, world_size })
    }

    /// Makes the rank of a single process, which gets whole batches.
    ///
    /// ```
    /// use mixdown_mixer::Rank;
    ///
    /// assert_eq!(Rank::single().world_size(), 1);
    /// ```
    pub fn single() -> Self {
        Self { rank: 0, world_size: 1 }
    }

    /// Returns the number of the rank, from 0.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// Returns the number of ranks.
    pub fn world_size(&self) -> u32 {
        self.world_size
    }

    /// Returns the contiguous part of the batch that the rank takes when the parts are rotated by `rotation`.
    ///
    /// Without the rotation one rank would get every sequence of a source whose share of the batch is a whole number:
    /// at batch 64, a share of p = 1/64 is in the same row each time.
    pub(crate) fn part(&self, rotation: u64) -> u64 {
        let world_size = u64::from(self.world_size);
        (u64::from(self.rank) + rotation % world_size) % world_size
    }
}

/// The documents of a batch, for attention that does not cross their borders.
///
/// A row's first document may have begun before the row; it counts from the row's first input on. The documents are
/// those of the corpus' index, whatever their last token is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// `rows × sequence_length` entries: the document of its row, counted from 0, that each input belongs to.
    pub segment_ids: Vec<u32>,
    /// `rows × sequence_length` entries: each input's position in its document, counted from 0 within the row.
    pub position_ids: Vec<u32>,
    /// The positions of the documents' beginnings among the `rows × sequence_length` inputs, row after row, followed by
    /// that total: one entry more than there are documents. FlashAttention calls it `cu_seqlens`.
    pub cu_seqlens: Vec<u32>,
    /// The length in inputs of the longest document: FlashAttention's `max_seqlen`.
    pub max_seqlen: u32,
}

impl Mixer {
    /// Replaces `out` with the documents of planned sequences.
    ///
    /// # Errors
    /// An index cannot be read or is damaged; a slot does not belong to this mixer; the batch has more than 2³² − 1
    /// inputs.
    ///
    /// ```
    /// use mixdown_mixer::Documents;
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut documents = Documents::default();
    /// mixer.documents(&[mixer.slot(0)?], &mut documents)?;
    /// assert_eq!(documents.cu_seqlens.last(), Some(&10));
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn documents(&self, plan: &[Slot], out: &mut Documents) -> Result<(), Error> {
        let rows = u64::try_from(plan.len()).unwrap_or(u64::MAX);
        let inputs = rows.saturating_mul(self.sequence_length());
        let inputs = u32::try_from(inputs).map_err(|_| Error::OutOfRange {
            what: "the inputs of a batch with documents",
            expected: u64::from(u32::MAX),
            got: inputs,
        })?;
        out.segment_ids.clear();
        out.position_ids.clear();
        out.cu_seqlens.clear();
        out.max_seqlen = 0;
        let mut starts = Vec::new();
        for slot in plan {
            starts.clear();
            self.document_starts(slot, &mut starts)?;
            out.push_row(&starts, self.sequence_length());
        }
        out.cu_seqlens.push(inputs);
        Ok(())
    }

    /// Finds the inputs of a row at which documents begin, always including the first one.
    fn document_starts(&self, slot: &Slot, starts: &mut Vec<u64>) -> Result<(), Error> {
        let (corpus, runs) = self.runs(slot.source, slot.start_token)?;
        let named = |error| self.corpus_error(slot.source, error);
        // The last token of the run that ends the row is only a target.
        let whole = runs.wrapped_len_tokens == 0;
        let inputs = runs.len_tokens - u64::from(whole);
        let mut push = |start: u64, len: u64, before: u64| {
            starts.push(before);
            let tokens = start + 1..start + len.max(1);
            corpus.each_document_start(Split::Train, tokens, |token| {
                starts.push(token - start + before);
            })
        };
        push(runs.start_token, inputs, 0).map_err(named)?;
        if runs.wrapped_len_tokens > 1 {
            push(WRAPPED_START, runs.wrapped_len_tokens - 1, runs.len_tokens).map_err(named)?;
        }
        Ok(())
    }
}

impl Documents {
    fn push_row(&mut self, starts: &[u64], sequence_length: u64) {
        let before = u32::try_from(self.segment_ids.len()).unwrap_or(u32::MAX);
        let ends = starts.iter().skip(1).copied().chain([sequence_length]);
        for ((segment, &start), end) in (0_u32..).zip(starts).zip(ends) {
            // A row has at most 2³¹ inputs.
            let len = u32::try_from(end - start).unwrap_or(u32::MAX);
            self.cu_seqlens.push(before + u32::try_from(start).unwrap_or(u32::MAX));
            self.segment_ids
                .extend(std::iter::repeat_n(segment, usize::try_from(len).unwrap_or(0)));
            self.position_ids.extend(0..len);
            self.max_seqlen = self.max_seqlen.max(len);
        }
    }
}

/// The size from which a batch is compared with the free memory.
const LARGE_BATCH_BYTES: u64 = 1 << 26;

impl Mixer {
    /// Reserves memory for the tokens of some rows before they are planned: for billions of rows the plan alone would
    /// take minutes and the machine's memory.
    pub(crate) fn make_room<T: TokenInt>(
        &self,
        rows: u64,
        out: &mut Batch<T>,
    ) -> Result<(), Error> {
        let too_large = || self.too_large::<T>(rows);
        let row_len = usize::try_from(self.sequence_length() + 1).map_err(|_| too_large())?;
        let rows_len = usize::try_from(rows).map_err(|_| too_large())?;
        let len = rows_len.checked_mul(row_len).ok_or_else(too_large)?;
        if len > out.tokens.capacity() {
            self.check_memory::<T>(rows)?;
        }
        let more_len = len.saturating_sub(out.tokens.len());
        out.tokens.try_reserve(more_len).map_err(|_| too_large())?;
        out.tokens.resize(len, T::default());
        Ok(())
    }

    /// Allocates the memory that some rows and their plan take, and frees it again.
    ///
    /// Without this check, allocation row by row would kill the process when memory runs out.
    pub(crate) fn check_memory<T: TokenInt>(&self, rows: u64) -> Result<(), Error> {
        let bytes = self.batch_bytes::<T>(rows);
        // Small batches are not worth a look at the system's tables.
        if bytes > LARGE_BATCH_BYTES && available_bytes().is_some_and(|free| free < bytes) {
            return Err(self.too_large::<T>(rows));
        }
        let bytes = usize::try_from(bytes).map_err(|_| self.too_large::<T>(rows))?;
        let mut memory = Vec::<u8>::new();
        memory.try_reserve_exact(bytes).map_err(|_| self.too_large::<T>(rows))
    }

    /// Returns the bytes of some rows: their tokens and mask, source and slot, and twice their plan, which grows by
    /// doubling.
    fn batch_bytes<T: TokenInt>(&self, rows: u64) -> u64 {
        let bytes_of = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let row = (self.sequence_length() + 1).saturating_mul(bytes_of(size_of::<T>()) + 1);
        rows.saturating_mul(row.saturating_add(12 + 2 * bytes_of(size_of::<Slot>())))
    }

    fn too_large<T: TokenInt>(&self, rows: u64) -> Error {
        let bytes = self.batch_bytes::<T>(rows);
        Error::BatchTooLarge { bytes, rows, row_tokens: self.sequence_length() + 1 }
    }
}

/// Returns the memory that Linux reports as free without swapping, in bytes; none on other systems.
///
/// A system that promises more memory than it has would kill the process when that memory is first used.
pub(crate) fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_says_what_is_free() {
        let free = available_bytes().unwrap();
        assert!(free > 1 << 20 && free < 1 << 50, "{free}");
    }
}
