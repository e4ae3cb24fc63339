//! Where documents begin in the rows of a batch.

use mixdown_shards::Split;

use crate::error::Error;
use crate::mixer::Mixer;
use crate::mixer::planner::Slot;
use crate::order::window::WRAPPED_START;

/// The documents of a batch, for attention that does not look across them.
///
/// A row's first document may have begun before the row; it counts from the row's first input on. The
/// documents are those of the corpus' index, whatever their last token is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// `rows × sequence_length`: which document of its row each input belongs to, from 0.
    pub segment_ids: Vec<u32>,
    /// `rows × sequence_length`: each input's place in its document, from 0, as counted in the row.
    pub position_ids: Vec<u32>,
    /// Where the documents begin among the `rows × sequence_length` inputs, rows one after another, and
    /// at the end that number: one more than there are documents. What FlashAttention calls
    /// `cu_seqlens`.
    pub cu_seqlens: Vec<u32>,
    /// The longest document in inputs: FlashAttention's `max_seqlen`.
    pub max_seqlen: u32,
}

impl Mixer {
    /// Replaces `out` by the documents of planned sequences.
    ///
    /// # Errors
    /// An index that cannot be read or is damaged; a slot that is not of this mixer; a batch of more
    /// than 2³² − 1 inputs.
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

    /// The inputs of a row that a document begins at, the first always among them.
    fn document_starts(&self, slot: &Slot, starts: &mut Vec<u64>) -> Result<(), Error> {
        let (corpus, runs) = self.runs(slot.source, slot.start_token)?;
        let named = |error| self.corpus_error(slot.source, error);
        // Of a run that ends the row, the last token is target only.
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
