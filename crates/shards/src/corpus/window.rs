//! A range of tokens of a corpus, across the borders of its shards.

use crate::{Error, TokenFile, TokenInt};

/// A place in an opened shard.
#[derive(Clone, Copy, Debug)]
pub struct Window<'c> {
    file: &'c TokenFile,
    start_token: u64,
}

impl<'c> Window<'c> {
    pub(crate) fn new(file: &'c TokenFile, start_token: u64) -> Self {
        Self { file, start_token }
    }

    /// Has `tokens` ids from its token `first` on fetched from memory while others are copied, where they
    /// are mapped.
    #[inline]
    pub fn prefetch(&self, first: u64, tokens: u64) {
        self.file.prefetch(self.start_token.saturating_add(first), tokens);
    }

    /// Has the system read its first `tokens` ids from the disk meanwhile, where they are mapped.
    pub fn will_need(&self, tokens: u64) {
        self.file.will_need(self.start_token, tokens);
    }

    /// Fills `out` with its ids from its token `first` on.
    ///
    /// # Errors
    /// As [`Corpus::read_tokens`](crate::Corpus::read_tokens).
    #[inline]
    pub fn read<T: TokenInt>(&self, first: u64, out: &mut [T]) -> Result<(), Error> {
        self.file.read(self.start_token.saturating_add(first), out)
    }
}
