//! An epoch's order in blocks of neighbors, for storage with expensive random reads.

use crate::error::Error;
use crate::order::permutation::Permutation;

/// The sequences of an epoch in blocks of N neighbors: the blocks are in random order, and so are the sequences of each
/// block.
///
/// The last block may be shorter; it has a random place like any other, and the places after it shift, so the order
/// stays a bijection without an array.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    block_len: u64,
    blocks: Permutation,
    /// The orders within a block of N, and within the last block.
    within: Permutation,
    within_last: Permutation,
    /// The place of the last block among the blocks.
    place_of_last: u64,
}

impl Blocks {
    /// Makes an order of `sequences` (at least 1) in blocks of `block_len` (at least 1), keyed by the next bytes of
    /// `reader`.
    pub(crate) fn new(
        sequences: u64,
        block_len: u64,
        reader: &mut blake3::OutputReader,
    ) -> Result<Self, Error> {
        let block_len = block_len.min(sequences);
        let blocks = Permutation::from_reader(sequences.div_ceil(block_len), reader)?;
        let within = Permutation::from_reader(block_len, reader)?;
        let last_len = sequences - (blocks.len() - 1) * block_len;
        let within_last = Permutation::from_reader(last_len, reader)?;
        let place_of_last = blocks.invert(blocks.len() - 1);
        Ok(Self { block_len, blocks, within, within_last, place_of_last })
    }

    /// Returns the sequence at a place of the epoch.
    pub(crate) fn apply(&self, place: u64) -> u64 {
        let (block_len, last_len) = (self.block_len, self.within_last.len());
        let last_begins = self.place_of_last * block_len;
        let (turn, place) = if place < last_begins {
            (place / block_len, place % block_len)
        } else if place - last_begins < last_len {
            (self.place_of_last, place - last_begins)
        } else {
            ((place - last_len) / block_len + 1, (place - last_len) % block_len)
        };
        let block = self.blocks.apply(turn);
        let within = if turn == self.place_of_last { &self.within_last } else { &self.within };
        block * block_len + within.numbered(block).apply(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(sequences: u64, block_len: u64) -> Blocks {
        let mut reader = blake3::Hasher::new_keyed(&[3; 32]).finalize_xof();
        Blocks::new(sequences, block_len, &mut reader).unwrap()
    }

    #[test]
    fn every_sequence_comes_once_and_neighbors_stay_together() {
        for (sequences, block_len) in
            [(1, 1), (10, 1), (10, 3), (12, 4), (10, 10), (10, 99), (1_000, 64), (70_001, 513)]
        {
            let blocks = blocks(sequences, block_len);
            let order: Vec<u64> = (0..sequences).map(|place| blocks.apply(place)).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..sequences), "{sequences} in blocks of {block_len}");
            let changes = order
                .windows(2)
                .filter(|pair| {
                    pair[0] / block_len.min(sequences) != pair[1] / block_len.min(sequences)
                })
                .count();
            assert_eq!(changes as u64, sequences.div_ceil(block_len.min(sequences)) - 1);
        }
    }

    #[test]
    fn blocks_are_shuffled_each_in_its_own_way() {
        let blocks = blocks(640, 64);
        let inner = |turn: u64| -> Vec<u64> {
            (turn * 64..(turn + 1) * 64).map(|place| blocks.apply(place) % 64).collect()
        };
        assert_ne!(inner(0), inner(1));
        assert!(!inner(0).is_sorted());
        let outer: Vec<u64> = (0..10).map(|turn| blocks.apply(turn * 64) / 64).collect();
        assert!(!outer.is_sorted());
    }
}
