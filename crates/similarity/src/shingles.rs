//! Shingles: runs of five consecutive words.

use crate::words::each_word;

/// Words of a shingle.
const WORDS: u64 = 5;
/// An odd number whose powers weigh the words of a shingle.
const BASE: u64 = 0xd6e8_feb8_6659_fd93;
const BASE_TO_THE_FIFTH: u64 = BASE.wrapping_pow(5);

/// Calls `shingle` with the hash of each shingle of `text`. A text of fewer than five words has one shingle, which
/// holds them all; a text without words has none.
#[inline(always)]
pub(crate) fn each_shingle(text: &str, mut shingle: impl FnMut(u64)) {
    let (mut last, mut count, mut sum) = ([0_u64; 8], 0_u64, 0_u64);
    each_word(text, |word| {
        // The power of two above five spares a division: words six to eight back are never looked at.
        let left = last[((count + 8 - WORDS) & 7) as usize];
        last[(count & 7) as usize] = word;
        sum = sum
            .wrapping_mul(BASE)
            .wrapping_add(word)
            .wrapping_sub(left.wrapping_mul(BASE_TO_THE_FIFTH));
        count += 1;
        if count >= WORDS {
            shingle(mix(sum));
        }
    });
    if (1..WORDS).contains(&count) {
        shingle(mix(sum ^ count));
    }
}

/// Spreads a hash over all 64 bits (the finalizer of MurmurHash3, Austin Appleby).
#[inline(always)]
pub(crate) fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The set of a text's shingles, for exact similarities.
///
/// It takes eight bytes per word of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shingles(Vec<u64>);

impl Shingles {
    /// Returns the shingles of `text`.
    pub fn of(text: &str) -> Self {
        let mut shingles = Vec::new();
        each_shingle(text, |shingle| shingles.push(shingle));
        shingles.sort_unstable();
        shingles.dedup();
        Self(shingles)
    }

    /// Returns the number of different shingles.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the text has no words.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of shingles in both sets divided by the number in either: 1 for equal sets, 0 where one is
    /// empty.
    ///
    /// ```
    /// use mixdown_similarity::Shingles;
    ///
    /// let one = Shingles::of("a b c d e f");
    /// // One of three different shingles is in both.
    /// assert_eq!(one.jaccard(&Shingles::of("A, b, c, d, e: g")), 1.0 / 3.0);
    /// assert_eq!(one.jaccard(&Shingles::of("")), 0.0);
    /// ```
    pub fn jaccard(&self, other: &Self) -> f64 {
        let (mut left, mut right, mut shared) = (0, 0, 0_usize);
        while let (Some(one), Some(two)) = (self.0.get(left), other.0.get(right)) {
            shared += usize::from(one == two);
            left += usize::from(one <= two);
            right += usize::from(two <= one);
        }
        let either = self.len() + other.len() - shared;
        if either == 0 { 0.0 } else { shared as f64 / either as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_shingle_for_each_five_words() {
        for (text, count) in
            [("", 0), ("a", 1), ("a b c d", 1), ("a b c d e", 1), ("a b c d e f g", 3)]
        {
            assert_eq!(Shingles::of(text).len(), count, "{text}");
        }
        assert_ne!(Shingles::of("a b"), Shingles::of("a b c"));
        // The same five words in the middle of other texts are the same shingle.
        let inside = Shingles::of("x y z a b c d e");
        assert!((inside.jaccard(&Shingles::of("a b c d e")) - 0.25).abs() < 1e-12);
        // A set: what is repeated counts once.
        assert_eq!(Shingles::of(&"a b c d e ".repeat(50)).len(), 5);
    }
}
