//! The order of one source's sequences, epoch by epoch.

use crate::config::WindowOffset;
use crate::error::Error;
use crate::permutation::Permutation;
use crate::window::Windows;

/// What orders a source: a key of its own and its windows.
#[derive(Debug, Clone)]
pub(crate) struct SourceOrder {
    key: [u8; 32],
    windows: Windows,
    window_offset: WindowOffset,
}

/// The order of one epoch.
#[derive(Debug, Clone)]
pub(crate) struct EpochOrder {
    epoch: u64,
    offset: u64,
    permutation: Permutation,
}

impl SourceOrder {
    /// The order under the mixture's seed of the source called `name`.
    pub(crate) fn new(
        seed: u64,
        name: &str,
        windows: Windows,
        window_offset: WindowOffset,
    ) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("mixdown-mixer source order 1");
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        Self { key: *hasher.finalize().as_bytes(), windows, window_offset }
    }

    pub(crate) fn windows(&self) -> &Windows {
        &self.windows
    }

    /// The epoch of a source's `sequence`-th sequence (from 0), and its place in that epoch.
    pub(crate) fn epoch_of(&self, sequence: u64) -> (u64, u64) {
        (sequence / self.windows.sequences(), sequence % self.windows.sequences())
    }

    /// The order of an epoch: one keyed hash, its output first the offset, then the round keys.
    pub(crate) fn epoch(&self, epoch: u64) -> Result<EpochOrder, Error> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&epoch.to_le_bytes());
        let mut reader = hasher.finalize_xof();
        let mut offset_bytes = [0; 8];
        reader.fill(&mut offset_bytes);
        let offset = match self.window_offset {
            WindowOffset::Epoch => {
                u64::from_le_bytes(offset_bytes) % self.windows.sequence_length()
            }
            WindowOffset::Fixed => 0,
        };
        let permutation = Permutation::from_reader(self.windows.sequences(), &mut reader)?;
        Ok(EpochOrder { epoch, offset, permutation })
    }
}

impl EpochOrder {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// From places of the epoch to its windows.
    pub(crate) fn permutation(&self) -> &Permutation {
        &self.permutation
    }

    /// Where the epoch's first window starts, in tokens.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}
