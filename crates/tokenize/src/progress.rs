//! How far the work is.

/// A report of progress; `done` of `total` bytes of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done: of the inputs on disk while reading or tokenizing, of ids while writing.
    pub done: u64,
    /// Bytes in all; 0 where nobody knows.
    pub total: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Text is read to train a tokenizer on.
    Reading,
    /// A tokenizer is trained; this stage reports only its beginning and its end.
    Training,
    /// Inputs become parts.
    Tokenizing,
    /// Parts become shards.
    Writing,
}
