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
    /// The source's sequence with which the epoch begins.
    first_sequence: u64,
    offset: u64,
    windows: Windows,
    order: Order,
}

/// A bijection from places of an epoch to its windows.
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
    /// Returns the order, under the mixture's seed, of the source called `name`.
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

    /// Returns the order of the epoch that contains a source's `sequence`-th sequence (from 0).
    pub(crate) fn epoch_of(&self, sequence: u64) -> Result<EpochOrder, Error> {
        self.epoch(sequence / self.windows.sequences())
    }

    /// Returns where the windows of an epoch with this random number begin.
    fn offset(&self, random: u64) -> u64 {
        match self.window_offset {
            _ if self.windows.are_rows() => 0,
            WindowOffset::Epoch => random % self.windows.sequence_length(),
            WindowOffset::Anywhere => random % self.windows.circle(),
            WindowOffset::Fixed => 0,
        }
    }

    /// Returns the number of targets that no whole epoch among the first `given` sequences contains; within the first
    /// epoch, those that it will leave out.
    ///
    /// Each epoch leaves out the part of the circle before its offset. The common part of two epochs is at most one or
    /// two stretches; after a few epochs it is empty.
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

    /// Returns the order of an epoch: one keyed hash, whose output gives first the offset, then the round keys.
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

    /// Returns the place of a source's sequence in this epoch, if it belongs to the epoch.
    #[inline]
    pub(crate) fn place_of(&self, sequence: u64) -> Option<u64> {
        let place = sequence.wrapping_sub(self.first_sequence);
        (place < self.windows.sequences()).then_some(place)
    }

    /// Returns where a window starts, in tokens.
    #[inline]
    pub(crate) fn start_token(&self, window: u64) -> u64 {
        self.windows.start_token(window, self.offset)
    }

    /// Returns the bijection from places of the epoch to its windows.
    pub(crate) fn order(&self) -> &Order {
        &self.order
    }
}
