//! The tokens of one batch, or of one rank's part of it.

use mixdown_shards::TokenInt;

use crate::mixture::documents::Documents;

/// Rows of tokens, ready for any trainer, as integers of its choice.
///
/// Reused from call to call: its buffers keep their memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch<T: TokenInt = u32> {
    /// Token ids, `rows × (sequence_length + 1)`, row-major. Of a row, the first T tokens are the
    /// inputs and the last T the targets.
    pub tokens: Vec<T>,
    /// `rows × sequence_length`, 1 where a target counts for the loss and 0 where it does not; empty
    /// where no source has labels and all count.
    pub loss_mask: Vec<u8>,
    /// The number of rows.
    pub rows: u64,
    /// T, in tokens.
    pub sequence_length: u64,
    /// Per row, the source's place in the mixture.
    pub sources: Vec<u32>,
    /// Per row, its slot of the run.
    pub slots: Vec<u64>,
    /// Where documents begin, after [`Mixer::add_documents`](crate::Mixer::add_documents).
    pub documents: Option<Documents>,
}

impl<T: TokenInt> Batch<T> {
    /// The targets that count for the loss.
    pub fn loss_targets(&self) -> u64 {
        if self.loss_mask.is_empty() {
            return self.rows.saturating_mul(self.sequence_length);
        }
        self.loss_mask.iter().map(|&counts| u64::from(counts)).sum()
    }
}
