//! The order within a source and epoch: a keyed bijection that stores no order.
#![expect(
    clippy::cast_possible_truncation,
    reason = "the halves of a shifted 64-bit product are below 2³² by construction"
)]

use crate::error::Error;

/// A pseudo-random permutation of `0..len`, for any length up to 2⁶³, in O(1) memory.
///
/// A generalised Feistel network on a grid of `rows × columns` cells, columns a power of two near
/// √len and rows = ⌈len/columns⌉: each round adds a keyed hash of one coordinate to the other. The
/// grid has fewer than `columns` cells too many; whoever lands on one walks on, which happens
/// to less than one item in `rows`. A power of two spares the divisions, and adding instead of
/// XOR lets odd permutations occur too.
///
/// It is made for statistical quality, not secrecy.
///
/// ```
/// use mixdown_mixer::Permutation;
///
/// let order = Permutation::new(1_000_000_000_000, &[7; 32]).unwrap();
/// let place = order.apply(5);
/// assert_eq!(order.invert(place), 5);
/// ```
#[derive(Debug, Clone)]
pub struct Permutation {
    len: u64,
    rows: u64,
    column_bits: u32,
    rounds: u32,
    round_keys: [u64; MOST_ROUNDS],
}

/// The longest permutation.
pub const LONGEST_PERMUTATION: u64 = 1 << 63;

/// Rounds for fewer than 2¹⁶ items. A round on a small grid draws only a handful of random bits:
/// counting all permutations of 7 items over 5 million keys, chi-square lies 0.9 standard deviations
/// (chance) too high with 24 rounds, as `long_statistics` shows. With 12 rounds it lay 238 too high,
/// with 16 rounds 52, measured once.
const MOST_ROUNDS: usize = 24;

/// Rounds for more items: pairs of neighbours are spread as evenly as by a shuffle
/// (docs/design/mixing.md has the figures).
const FEWEST_ROUNDS: u32 = 8;

const FEW_CELLS: u64 = 1 << 16;

impl Permutation {
    /// The permutation of `0..len` under a key.
    ///
    /// # Errors
    /// A length of zero or above 2⁶³.
    pub fn new(len: u64, key: &[u8; 32]) -> Result<Self, Error> {
        let mut reader = blake3::Hasher::new_keyed(key);
        reader.update(b"mixdown permutation rounds");
        Self::from_reader(len, &mut reader.finalize_xof())
    }

    /// As [`new`](Self::new), with the round keys next in a stream of key bytes.
    pub(crate) fn from_reader(len: u64, reader: &mut blake3::OutputReader) -> Result<Self, Error> {
        if len == 0 || len > LONGEST_PERMUTATION {
            return Err(Error::OutOfRange {
                what: "the length of a permutation (at least 1)",
                expected: LONGEST_PERMUTATION,
                got: len,
            });
        }
        let bits = u64::BITS - (len - 1).leading_zeros();
        let column_bits = bits.div_ceil(2);
        let rows = len.div_ceil(1 << column_bits);
        let rounds = if len < FEW_CELLS { MOST_ROUNDS as u32 } else { FEWEST_ROUNDS };
        let mut round_keys = [0; MOST_ROUNDS];
        for key in round_keys.iter_mut().take(rounds as usize) {
            let mut bytes = [0; 8];
            reader.fill(&mut bytes);
            *key = u64::from_le_bytes(bytes);
        }
        Ok(Self { len, rows, column_bits, rounds, round_keys })
    }

    /// The number of items.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no items: never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The place of `item`. An item beyond the length is taken modulo it.
    pub fn apply(&self, item: u64) -> u64 {
        let mut cell = self.forward(item % self.len);
        while cell >= self.len {
            cell = self.forward(cell);
        }
        cell
    }

    /// The places of four items of four permutations: their rounds are done side by side, which
    /// takes half the time of one after another.
    pub(crate) fn apply_four(permutations: [&Self; 4], items: [u64; 4]) -> [u64; 4] {
        let [first, rest @ ..] = permutations;
        if rest.iter().any(|permutation| permutation.rounds != first.rounds) {
            return std::array::from_fn(|lane| permutations[lane].apply(items[lane]));
        }
        let mut cells: [(u64, u64); 4] = std::array::from_fn(|lane| {
            let permutation = permutations[lane];
            permutation.split(items[lane] % permutation.len)
        });
        for round in (0..first.rounds as usize).step_by(2) {
            for (permutation, cell) in permutations.iter().zip(&mut cells) {
                permutation.two_rounds(cell, round);
            }
        }
        std::array::from_fn(|lane| {
            let permutation = permutations[lane];
            let mut cell = permutation.join(cells[lane].0, cells[lane].1);
            while cell >= permutation.len {
                cell = permutation.forward(cell);
            }
            cell
        })
    }

    /// The item at `place`: the inverse of [`apply`](Self::apply).
    pub fn invert(&self, place: u64) -> u64 {
        let mut cell = self.backward(place % self.len);
        while cell >= self.len {
            cell = self.backward(cell);
        }
        cell
    }

    fn forward(&self, cell: u64) -> u64 {
        let mut cell = self.split(cell);
        for round in (0..self.rounds as usize).step_by(2) {
            self.two_rounds(&mut cell, round);
        }
        self.join(cell.0, cell.1)
    }

    #[inline(always)]
    fn two_rounds(&self, (row, column): &mut (u64, u64), round: usize) {
        *row += self.row_shift(*column, self.round_keys[round]);
        *row -= if *row >= self.rows { self.rows } else { 0 };
        *column =
            (*column + self.column_shift(*row, self.round_keys[round + 1])) & self.column_mask();
    }

    fn backward(&self, cell: u64) -> u64 {
        let (mut row, mut column) = self.split(cell);
        for keys in self.keys().chunks_exact(2).rev() {
            column = column.wrapping_sub(self.column_shift(row, keys[1])) & self.column_mask();
            row += self.rows - self.row_shift(column, keys[0]);
            row -= if row >= self.rows { self.rows } else { 0 };
        }
        self.join(row, column)
    }

    fn keys(&self) -> &[u64] {
        &self.round_keys[..self.rounds as usize]
    }

    fn split(&self, cell: u64) -> (u64, u64) {
        (cell >> self.column_bits, cell & self.column_mask())
    }

    fn join(&self, row: u64, column: u64) -> u64 {
        (row << self.column_bits) | column
    }

    fn column_mask(&self) -> u64 {
        (1 << self.column_bits) - 1
    }

    /// Uniform in `0..rows`; rows are at most 2³², so the product fits.
    fn row_shift(&self, column: u64, key: u64) -> u64 {
        ((mix(column ^ key) >> 32) * self.rows) >> 32
    }

    fn column_shift(&self, row: u64, key: u64) -> u64 {
        mix(row ^ key) >> 32 & self.column_mask()
    }
}

/// The finaliser of SplitMix64 (S. Vigna's variant 13 of Stafford): every input bit flips every
/// output bit with a probability near 1/2.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
