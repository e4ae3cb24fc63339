//! A document's key: its position in the order of the corpus.

use mixdown_documents::{InputList, Place};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::plan::input_unit::text_bytes_estimate;
use crate::prepare::options::Shuffle;

/// The intended bytes of text in a bucket. It is small, because the last stage loads as many buckets as fit in its
/// memory at once, whatever the number of ids, and cuts shards between them.
const BUCKET_BYTES: u64 = 4 << 20;
/// From this number on, buckets grow with the inputs, up to eight times the size: every part has an index entry for
/// each of them.
const SMALL_BUCKETS: u64 = 4096;

/// The order of documents, which depends only on inputs and options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) shuffle: Shuffle,
    pub(crate) seed: u64,
    /// The number of top bits of the key that distinguish buckets.
    pub(crate) bucket_bits: u32,
}

impl Order {
    pub(crate) fn new(shuffle: Shuffle, seed: u64, inputs: &InputList, bucket_bytes: u64) -> Self {
        let bucket_bits = match shuffle {
            Shuffle::Keep => 0,
            Shuffle::Global => {
                let small = text_bytes_estimate(inputs).div_ceil(bucket_bytes.max(1));
                let buckets = small.min(SMALL_BUCKETS.max(small / 8)).max(1);
                // 2^20 buckets of 32 MiB are 32 TiB of text.
                buckets.next_power_of_two().trailing_zeros().min(20)
            }
        };
        Self { shuffle, seed, bucket_bits }
    }

    pub(crate) const fn bucket_bytes() -> u64 {
        BUCKET_BYTES
    }

    /// Returns the number of buckets in every part.
    pub(crate) fn buckets(self) -> u64 {
        1 << self.bucket_bits
    }

    /// Returns the key of the document at `place`: a keyed hash, or the place itself.
    pub(crate) fn key(self, place: Place) -> u128 {
        let ordinal = (u128::from(place.input) << 64) | u128::from(place.offset);
        match self.shuffle {
            Shuffle::Keep => ordinal,
            Shuffle::Global => xxh3_128_with_seed(&ordinal.to_le_bytes(), self.seed),
        }
    }

    /// Returns the bucket of a key; keys of one bucket are smaller than those of the next.
    pub(crate) fn bucket(self, key: u128) -> u64 {
        let bucket = key.checked_shr(128 - self.bucket_bits).unwrap_or(0);
        u64::try_from(bucket).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_keys() {
        let order = Order { shuffle: Shuffle::Global, seed: 3, bucket_bits: 5 };
        let mut keys: Vec<u128> =
            (0..2000).map(|offset| order.key(Place { input: 1, offset })).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 2000);
        let buckets: Vec<u64> = keys.iter().map(|&key| order.bucket(key)).collect();
        assert!(buckets.is_sorted());
        assert_eq!(buckets.first(), Some(&0));
        assert_eq!(buckets.last(), Some(&31));
        let one = Order { bucket_bits: 0, ..order };
        assert!(keys.iter().all(|&key| one.bucket(key) == 0));
    }

    #[test]
    fn keeping_is_the_order_of_places() {
        let order = Order { shuffle: Shuffle::Keep, seed: 3, bucket_bits: 0 };
        let places = [(0, 0), (0, 5), (0, u64::MAX), (1, 0), (7, 2)];
        let keys: Vec<u128> =
            places.iter().map(|&(input, offset)| order.key(Place { input, offset })).collect();
        assert!(keys.is_sorted_by(|left, right| left < right));
    }
}
