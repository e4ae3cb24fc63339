//! The order of one source's sequences, epoch by epoch.

pub(crate) mod blocks;
pub(crate) mod permutation;
pub(crate) mod window;

use crate::config::WindowOffset;
use crate::error::Error;
use crate::mixture::MixtureShape;
use crate::order::blocks::Blocks;
use crate::order::permutation::Permutation;
use crate::order::window::Windows;

/// The key and the windows that determine the order of a source.
#[derive(Debug, Clone)]
pub(crate) struct SourceOrder {
    key: [u8; 32],
    windows: Windows,
    window_offset: WindowOffset,
    shuffle_block: Option<u64>,
}

/// The order of one epoch.
#[derive(Debug, Clone)]
pub(crate) struct EpochOrder {
    epoch: u64,
    /// The source's sequence that is the epoch's first.
    first_sequence: u64,
    offset: u64,
    windows: Windows,
    order: Order,
}

/// From places of an epoch to its windows.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one, looked at for every slot"
)]
pub(crate) enum Order {
    Whole(Permutation),
    Blocks(Box<Blocks>),
}

impl SourceOrder {
    /// The order under the mixture's seed of the source called `name`.
    pub(crate) fn new(shape: &MixtureShape, name: &str, windows: Windows) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("mixdown-mixer source order 1");
        hasher.update(&shape.seed.to_le_bytes()).update(name.as_bytes());
        let key = *hasher.finalize().as_bytes();
        let MixtureShape { window_offset, shuffle_block, .. } = *shape;
        Self { key, windows, window_offset, shuffle_block }
    }

    pub(crate) fn windows(&self) -> &Windows {
        &self.windows
    }

    /// The order of the epoch that a source's `sequence`-th sequence (from 0) falls into.
    pub(crate) fn epoch_of(&self, sequence: u64) -> Result<EpochOrder, Error> {
        self.epoch(sequence / self.windows.sequences())
    }

    /// Where the windows of an epoch with this random number begin.
    fn offset(&self, random: u64) -> u64 {
        match self.window_offset {
            _ if self.windows.are_rows() => 0,
            WindowOffset::Epoch => random % self.windows.sequence_length(),
            WindowOffset::Anywhere => random % self.windows.circle(),
            WindowOffset::Fixed => 0,
        }
    }

    /// The targets that no whole epoch among the first `given` sequences has; within the first epoch, those that
    /// it will not have.
    ///
    /// Of a circle each epoch leaves out what stands before its offset. What two leave out in common is at most
    /// one stretch, or two; it soon is none.
    pub(crate) fn left_out(&self, given: u64) -> u64 {
        let (circle, len) = (self.windows.circle(), self.windows.left_out());
        if len == 0 || self.window_offset != WindowOffset::Anywhere {
            return len;
        }
        let mut unseen: Vec<_> = std::iter::once(0..circle).collect();
        for epoch in 0..(given / self.windows.sequences()).max(1) {
            if unseen.is_empty() {
                break;
            }
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            hasher.update(&epoch.to_le_bytes());
            let mut bytes = [0; 8];
            hasher.finalize_xof().fill(&mut bytes);
            let end = self.offset(u64::from_le_bytes(bytes));
            let out = match end.checked_sub(len) {
                Some(start) => [start..end, 0..0],
                None => [0..end, circle - (len - end)..circle],
            };
            let both = unseen.iter().flat_map(|one| {
                out.iter().map(move |other| one.start.max(other.start)..one.end.min(other.end))
            });
            unseen = both.filter(|both| !both.is_empty()).collect();
        }
        unseen.iter().map(|one| one.end - one.start).sum()
    }

    /// The order of an epoch: one keyed hash, its output first the offset, then the round keys.
    pub(crate) fn epoch(&self, epoch: u64) -> Result<EpochOrder, Error> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&epoch.to_le_bytes());
        let mut reader = hasher.finalize_xof();
        let mut offset_bytes = [0; 8];
        reader.fill(&mut offset_bytes);
        let offset = self.offset(u64::from_le_bytes(offset_bytes));
        let sequences = self.windows.sequences();
        let order = match self.shuffle_block {
            None => Order::Whole(Permutation::from_reader(sequences, &mut reader)?),
            Some(len) => Order::Blocks(Box::new(Blocks::new(sequences, len, &mut reader)?)),
        };
        let first_sequence = epoch * sequences;
        Ok(EpochOrder { epoch, first_sequence, offset, windows: self.windows, order })
    }
}

impl EpochOrder {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The place in this epoch of a source's sequence, if it is one of its sequences.
    #[inline]
    pub(crate) fn place_of(&self, sequence: u64) -> Option<u64> {
        let place = sequence.wrapping_sub(self.first_sequence);
        (place < self.windows.sequences()).then_some(place)
    }

    /// Where a window starts, in tokens.
    #[inline]
    pub(crate) fn start_token(&self, window: u64) -> u64 {
        self.windows.start_token(window, self.offset)
    }

    /// From places of the epoch to its windows.
    pub(crate) fn order(&self) -> &Order {
        &self.order
    }
}
