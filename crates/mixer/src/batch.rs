//! The tokens of one batch, or of one rank's part of it.

/// Rows of tokens, ready for any trainer.
///
/// Reused from call to call: its buffers keep their memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `rows × (sequence_length + 1)`, row-major. Of a row, the first T tokens are the
    /// inputs and the last T the targets.
    pub tokens: Vec<u32>,
    /// The number of rows.
    pub rows: u64,
    /// T, in tokens.
    pub sequence_length: u64,
    /// Per row, the source's place in the mixture.
    pub sources: Vec<u32>,
    /// Per row, its slot of the run.
    pub slots: Vec<u64>,
}
