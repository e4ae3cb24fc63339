//! The order within a source and epoch: a keyed bijection that stores no order.
#![expect(
    clippy::cast_possible_truncation,
    reason = "the halves of a shifted 64-bit product are below 2³² by construction"
)]

use crate::error::Error;

/// A pseudo-random permutation of `0..len`, for any length up to 2⁶³, in O(1) memory.
///
/// It is a generalized Feistel network on a grid of `rows × columns` cells, where columns is a power of two near √len
/// and rows = ⌈len/columns⌉: each round adds a keyed hash of one coordinate to the other. The grid has fewer than
/// `columns` surplus cells; an item that lands on one of them walks on, which happens to less than one item in `rows`.
/// A power of two saves the divisions, and adding instead of XOR allows odd permutations, too.
///
/// It is made for statistical quality rather than secrecy.
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
    round_keys: [RoundKeys; MOST_ROUNDS],
}

/// The longest permutation.
pub const LONGEST_PERMUTATION: u64 = 1 << 63;

/// The numbers of rounds, each with the number of items from which it is enough. A round on a small grid draws only a
/// few random bits, so fewer items need more rounds: docs/design/mixing.md has the figures.
const ROUNDS: [(u64, u32); 3] = [(0, 32), (1 << 10, 12), (1 << 16, 8)];
const MOST_ROUNDS: usize = 32;

/// The two keys of a round.
type RoundKeys = [u64; 2];

impl Permutation {
    /// Makes the permutation of `0..len` with a key.
    ///
    /// # Errors
    /// A length of zero or above 2⁶³.
    ///
    /// ```
    /// use mixdown_mixer::Permutation;
    ///
    /// let order = Permutation::new(100, &[7; 32])?;
    /// let mut places: Vec<u64> = (0..100).map(|item| order.apply(item)).collect();
    /// places.sort_unstable();
    /// assert!(places.into_iter().eq(0..100));
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn new(len: u64, key: &[u8; 32]) -> Result<Self, Error> {
        let mut reader = blake3::Hasher::new_keyed(key);
        reader.update(b"mixdown permutation rounds");
        Self::from_reader(len, &mut reader.finalize_xof())
    }

    /// Like [`new`](Self::new), with round keys from a stream of key bytes.
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
        let enough = ROUNDS.iter().rev().find(|(items, _)| len >= *items);
        let rounds = enough.map_or(MOST_ROUNDS as u32, |(_, rounds)| *rounds);
        let mut round_keys = [[0; 2]; MOST_ROUNDS];
        for keys in round_keys.iter_mut().take(rounds as usize) {
            let mut bytes = [0; 16];
            reader.fill(&mut bytes);
            let keys_at_once = u128::from_le_bytes(bytes);
            // An odd factor preserves all information of the number that it multiplies.
            *keys = [keys_at_once as u64, (keys_at_once >> 64) as u64 | 1];
        }
        Ok(Self { len, rows, column_bits, rounds, round_keys })
    }

    /// Returns the number of items.
    ///
    /// ```
    /// use mixdown_mixer::Permutation;
    ///
    /// let order = Permutation::new(100, &[7; 32])?;
    /// assert_eq!(order.len(), 100);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns false: a permutation has at least one item.
    ///
    /// ```
    /// use mixdown_mixer::Permutation;
    ///
    /// let order = Permutation::new(100, &[7; 32])?;
    /// assert!(!order.is_empty());
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns the place of `item`. An item at or above the length is taken modulo the length.
    ///
    /// ```
    /// use mixdown_mixer::Permutation;
    ///
    /// let order = Permutation::new(100, &[7; 32])?;
    /// assert_eq!(order.apply(205), order.apply(5));
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn apply(&self, item: u64) -> u64 {
        let mut cell = self.forward(item % self.len);
        while cell >= self.len {
            cell = self.forward(cell);
        }
        cell
    }

    /// Returns the places of four items of four permutations with equal numbers of rounds, computed in parallel, which
    /// takes half the time of one after another.
    pub(crate) fn apply_four(permutations: [&Self; 4], items: [u64; 4]) -> [u64; 4] {
        let rounds = permutations[0].rounds as usize;
        let mut cells: [(u64, u64); 4] =
            std::array::from_fn(|lane| permutations[lane].split(items[lane]));
        for round in (0..rounds).step_by(2) {
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

    /// Returns another permutation of as many items, one for each number.
    pub(crate) fn numbered(&self, number: u64) -> Self {
        let change = mix(number.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let round_keys = self.round_keys.map(|[mask, factor]| [mask ^ change, factor]);
        Self { round_keys, ..self.clone() }
    }

    /// Returns the index of its number of rounds: permutations of one class can be applied in parallel.
    pub(crate) fn class(&self) -> usize {
        ROUNDS.iter().position(|(_, rounds)| *rounds == self.rounds).unwrap_or(0)
    }

    /// Returns the item at `place`, the inverse of [`apply`](Self::apply).
    ///
    /// ```
    /// use mixdown_mixer::Permutation;
    ///
    /// let order = Permutation::new(100, &[7; 32])?;
    /// assert_eq!(order.invert(order.apply(5)), 5);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
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

    fn keys(&self) -> &[RoundKeys] {
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

    /// Returns a number uniform in `0..rows`; rows are at most 2³², so the product fits.
    #[inline(always)]
    fn row_shift(&self, column: u64, keys: RoundKeys) -> u64 {
        ((scramble(column, keys) >> 32) * self.rows) >> 32
    }

    #[inline(always)]
    fn column_shift(&self, row: u64, keys: RoundKeys) -> u64 {
        scramble(row, keys) >> 32 & self.column_mask()
    }
}

/// Folds both halves of a 128-bit product: one multiplication, a third of the instructions of a finalizer with two, and
/// equally uniform over these rounds.
#[inline(always)]
fn scramble(value: u64, [mask, factor]: RoundKeys) -> u64 {
    let product = u128::from(value ^ mask) * u128::from(factor);
    (product >> 64) as u64 ^ product as u64
}

/// The finalizer of SplitMix64 (S. Vigna's variant 13 of Stafford): every input bit flips every output bit with a
/// probability near 1/2.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
