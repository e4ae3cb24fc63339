//! MinHash sketches of texts.

use std::sync::LazyLock;

use wide::u8x16;

use crate::shingles::{each_shingle, mix};

/// Slots of a sketch, one byte each.
pub(crate) const SLOTS: usize = 128;
/// The chance that two slots of different shingles hold the same byte.
const CHANCE: f64 = 1.0 / 256.0;
/// An odd number that spreads the numbers of slots over all bits of a hash.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// A slot that no shingle fell into.
const EMPTY: u64 = u64::MAX;

/// An estimate of a text's set of shingles in 128 bytes.
///
/// It is a one-permutation MinHash (Li, Owen, Zhang 2012): the first seven bits of a shingle's hash choose a slot, and
/// each slot keeps eight bits of its smallest hash, mixed with the slot's number. An empty slot of a short text takes
/// the hash of another slot by the optimal densification of Shrivastava (2017).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sketch([u8; SLOTS]);

impl Sketch {
    /// Bytes of a sketch.
    pub const BYTES: usize = SLOTS;

    /// The error of an estimate that texts are hardly ever beyond: two and a half standard errors at a similarity of
    /// one half. Estimates that differ from a threshold by less than this need a look at the texts.
    pub const MARGIN: f64 = 0.11;

    /// The version of the hashes: sketches of different versions cannot be compared.
    pub const VERSION: u32 = 1;

    /// Returns the sketch with these bytes, as [`as_bytes`](Self::as_bytes) gives them.
    pub fn from_bytes(bytes: [u8; SLOTS]) -> Self {
        Self(bytes)
    }

    /// Returns a sketch that is similar only to sketches of the same hash: for texts without words.
    ///
    /// ```
    /// use mixdown_similarity::Sketch;
    ///
    /// assert_eq!(Sketch::of_hash(7).jaccard(&Sketch::of_hash(7)), 1.0);
    /// assert!(Sketch::of_hash(7).jaccard(&Sketch::of_hash(8)) < 0.1);
    /// ```
    pub fn of_hash(hash: u64) -> Self {
        let mut bytes = [0; SLOTS];
        for (number, eight) in (1_u64..).zip(bytes.as_chunks_mut().0) {
            *eight = mix(hash ^ number.wrapping_mul(SPREAD)).to_le_bytes();
        }
        Self(bytes)
    }

    /// Returns the bytes of the sketch, the same on every machine.
    pub fn as_bytes(&self) -> &[u8; SLOTS] {
        &self.0
    }

    /// Estimates the Jaccard similarity of both texts' shingles, from 0 to 1. Its standard error is √(J (1 − J) / 128),
    /// at most 0.045, for texts of many more than 128 words; it is larger for shorter ones.
    ///
    /// ```
    /// use mixdown_similarity::Sketcher;
    ///
    /// let mut sketcher = Sketcher::default();
    /// let sketch = sketcher.sketch("one text of a few words").unwrap();
    /// assert_eq!(sketch.jaccard(&sketcher.sketch("One text, of a few words!").unwrap()), 1.0);
    /// assert!(sketch.jaccard(&sketcher.sketch("and another text of some words").unwrap()) < 0.2);
    /// ```
    pub fn jaccard(&self, other: &Self) -> f64 {
        ((self.equal_slots(other) as f64 / SLOTS as f64 - CHANCE) / (1.0 - CHANCE)).max(0.0)
    }

    fn equal_slots(&self, other: &Self) -> u32 {
        // At most 128, which a byte holds: sixteen bytes are compared by one instruction.
        let equal = self.0.iter().zip(&other.0).map(|(one, two)| u8::from(one == two));
        u32::from(equal.sum::<u8>())
    }
}

/// Makes sketches; it holds the slots of the text at hand.
#[derive(Debug, Clone)]
pub struct Sketcher {
    smallest: [u64; SLOTS],
}

impl Default for Sketcher {
    fn default() -> Self {
        Self { smallest: [EMPTY; SLOTS] }
    }
}

impl Sketcher {
    /// Returns the sketch of `text`; `None` if the text has no words.
    ///
    /// ```
    /// use mixdown_similarity::Sketcher;
    ///
    /// let mut sketcher = Sketcher::default();
    /// assert_eq!(sketcher.sketch("a b"), sketcher.sketch("(A, B)"));
    /// assert_eq!(sketcher.sketch(" -- "), None);
    /// ```
    pub fn sketch(&mut self, text: &str) -> Option<Sketch> {
        self.smallest.fill(EMPTY);
        let smallest = &mut self.smallest;
        each_shingle(text, |shingle| {
            let slot = &mut smallest[(shingle >> 57) as usize];
            *slot = shingle.min(*slot);
        });
        self.smallest.iter().any(|&slot| slot != EMPTY).then(|| self.densified())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the last byte of a hash")]
    fn densified(&self) -> Sketch {
        let walks = &*WALKS;
        // All walks are followed at once: the least place of a filled slot in each of them. A loop per walk, of which
        // every end is mispredicted, takes most of the time of a text of 200 words.
        let mut first = [u8x16::splat(u8::MAX); SLOTS / 16];
        let (halves, _) = self.smallest.as_chunks::<64>();
        for (half, places) in halves.iter().zip(walks.places.as_chunks::<64>().0) {
            let filled = (0..).zip(half).map(|(number, &hash)| u64::from(hash != EMPTY) << number);
            let mut left: u64 = filled.sum();
            while left != 0 {
                for (first, &place) in first.iter_mut().zip(&places[left.trailing_zeros() as usize])
                {
                    *first = first.min(place);
                }
                left &= left - 1;
            }
        }
        let first = first.map(u8x16::to_array);
        let mut bytes = [0; SLOTS];
        for (number, (byte, &place)) in bytes.iter_mut().zip(first.as_flattened()).enumerate() {
            let slot = walks.slots[number][usize::from(place) % SLOTS];
            let hash = self.smallest[usize::from(slot) % SLOTS];
            // The slot's number enters, or all bytes of two texts of one shingle would be equal with a chance of 1/256.
            *byte = mix(hash ^ (number as u64).wrapping_mul(SPREAD)) as u8;
        }
        Sketch(bytes)
    }
}

/// A walk over all slots for each slot, the same for every text: first the slot itself, then pseudo-random ones.
struct Walks {
    /// For each slot, the slots in the order in which its walk first visits them.
    slots: [[u8; SLOTS]; SLOTS],
    /// For each slot, its place in the walk of every slot.
    places: [[u8x16; SLOTS / 16]; SLOTS],
}

static WALKS: LazyLock<Walks> = LazyLock::new(Walks::new);

impl Walks {
    #[expect(clippy::cast_possible_truncation, reason = "numbers of seven bits")]
    fn new() -> Self {
        let (mut slots, mut places) = ([[0; SLOTS]; SLOTS], [[0; SLOTS]; SLOTS]);
        for (number, slots) in slots.iter_mut().enumerate() {
            let (mut seen, mut len, mut state) = ([false; SLOTS], 0, number as u64);
            let mut slot = number;
            while len < SLOTS {
                if !seen[slot] {
                    seen[slot] = true;
                    slots[len] = slot as u8;
                    places[slot][number] = len as u8;
                    len += 1;
                }
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                slot = (state >> 57) as usize;
            }
        }
        let places = places.map(|of_slot| {
            let (sixteens, _) = of_slot.as_chunks::<16>();
            std::array::from_fn(|idx| u8x16::from(sixteens[idx]))
        });
        Self { slots, places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shingles;

    /// A text of `len` words, of which each comes from `edited`'s stream with this chance.
    fn text(seed: u64, len: u64, edited: u64, share: f64) -> String {
        let random = |seed: u64, at: u64| {
            let mut hash = (seed << 32 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash = (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash ^ hash >> 32
        };
        let word = |at| {
            let is_edited = (random(edited, at) >> 11) as f64 / (1_u64 << 53) as f64;
            let seed = if is_edited < share { edited } else { seed };
            format!("w{}", random(seed, at) % 50_000)
        };
        (0..len).map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn estimates_are_unbiased_with_the_stated_error() {
        let mut sketcher = Sketcher::default();
        for share in [0.0, 0.03, 0.1, 0.3] {
            let (mut bias, mut square, mut expected) = (0.0, 0.0, 0.0);
            for seed in 0..200 {
                let (one, two) = (text(seed, 1000, 0, 0.0), text(seed, 1000, seed + 1000, share));
                let exact = Shingles::of(&one).jaccard(&Shingles::of(&two));
                let [one, two] = [one, two].map(|text| sketcher.sketch(&text).unwrap());
                let error = one.jaccard(&two) - exact;
                bias += error / 200.0;
                square += error * error / 200.0;
                expected += exact * (1.0 - exact) / 128.0 / 200.0;
            }
            assert!(bias.abs() < 4.0 * (expected / 200.0).sqrt() + 1e-3, "{share}: bias {bias}");
            assert!(
                square.sqrt() < 1.3 * expected.sqrt() + 1e-3,
                "{share}: {} of {}",
                square.sqrt(),
                expected.sqrt()
            );
        }
    }

    #[test]
    fn different_short_texts_are_not_similar() {
        let mut sketcher = Sketcher::default();
        for len in [1, 5, 6, 8] {
            let sketches: Vec<_> =
                (0..1000).map(|seed| sketcher.sketch(&text(seed, len, 0, 0.0)).unwrap()).collect();
            let pairs = sketches.iter().enumerate();
            let pairs = pairs.flat_map(|(number, one)| {
                sketches[..number].iter().map(|other| one.jaccard(other))
            });
            // Of half a million pairs of one word, some ten are equal.
            let similar = pairs.filter(|&similarity| similarity >= 0.5).count();
            assert!(similar < if len == 1 { 40 } else { 1 }, "{len} words: {similar}");
        }
    }

    #[test]
    fn sketches_never_change() {
        let mut sketcher = Sketcher::default();
        let sum = |sketch: Sketch| {
            sketch
                .as_bytes()
                .iter()
                .fold(0_u64, |sum, &byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)))
        };
        let texts = [
            "a",
            "The quick brown fox jumps over the lazy dog.",
            "漢字とかな交じり文",
            "naïve Straße ΑΣ 12",
        ];
        let sums = texts.map(|text| sum(sketcher.sketch(text).unwrap()));
        assert_eq!(
            sums,
            [
                12_339_602_461_817_804_543,
                7_348_256_848_445_279_745,
                4_849_028_820_380_783_407,
                11_548_015_065_224_998_064
            ]
        );
        assert_eq!(sketcher.sketch(" ,. \n"), None);
    }
}
