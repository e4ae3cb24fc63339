//! The integer type of the ids in a token file.

use std::fmt::{self, Debug};

use serde::{Deserialize, Serialize};

/// The integer type of ids in a token file; always little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dtype {
    /// 2 bytes, ids 0 … 65,535; Megatron's code 8.
    #[serde(rename = "uint16")]
    U16,
    /// 4 bytes, ids 0 … 2³¹ − 1; Megatron's code 4.
    #[serde(rename = "int32")]
    I32,
}

impl Dtype {
    /// Returns the smallest dtype that holds every id below `vocab_size`.
    ///
    /// A vocabulary above [`Dtype::max_vocab_size`] of `I32` gets `I32` and is refused later, by
    /// [`ShardWriter::create`](crate::ShardWriter::create).
    ///
    /// ```
    /// use mixdown_shards::Dtype;
    ///
    /// assert_eq!(Dtype::for_vocab(50_257), Dtype::U16);
    /// assert_eq!(Dtype::for_vocab(128_256), Dtype::I32);
    /// ```
    pub fn for_vocab(vocab_size: u64) -> Self {
        if vocab_size <= Self::U16.max_vocab_size() { Self::U16 } else { Self::I32 }
    }

    /// Returns the number of bytes of an id: 2 or 4.
    ///
    /// ```
    /// use mixdown_shards::Dtype;
    ///
    /// assert_eq!((Dtype::U16.bytes(), Dtype::I32.bytes()), (2, 4));
    /// ```
    pub fn bytes(self) -> u64 {
        match self {
            Self::U16 => 2,
            Self::I32 => 4,
        }
    }

    /// Returns its code in Megatron's index: 8 or 4.
    ///
    /// ```
    /// use mixdown_shards::Dtype;
    ///
    /// assert_eq!((Dtype::U16.megatron_code(), Dtype::I32.megatron_code()), (8, 4));
    /// ```
    pub fn megatron_code(self) -> u8 {
        match self {
            Self::U16 => 8,
            Self::I32 => 4,
        }
    }

    /// Returns the largest vocabulary whose ids all fit: 2¹⁶ or 2³¹.
    ///
    /// ```
    /// use mixdown_shards::Dtype;
    ///
    /// assert_eq!(Dtype::U16.max_vocab_size(), 65_536);
    /// ```
    pub fn max_vocab_size(self) -> u64 {
        match self {
            Self::U16 => 1 << 16,
            Self::I32 => 1 << 31,
        }
    }

    /// Decodes `bytes` into `out` and returns the largest id (0 if there is none).
    ///
    /// There is no branch per id: the caller compares the maximum with its vocabulary. A negative 32-bit number becomes
    /// an id of 2³¹ or more, above every vocabulary.
    pub(crate) fn decode<T: TokenInt>(self, bytes: &[u8], out: &mut [T]) -> u32 {
        match self {
            Self::U16 => {
                let mut largest = 0;
                for (out, id) in out.iter_mut().zip(bytes.as_chunks().0) {
                    let id = u16::from_le_bytes(*id);
                    // The comparison uses the type's own width: eight at a time instead of four.
                    largest = largest.max(id);
                    *out = T::from_u16(id);
                }
                u32::from(largest)
            }
            Self::I32 => {
                let mut largest = 0;
                for (out, id) in out.iter_mut().zip(bytes.as_chunks().0) {
                    let id = u32::from_le_bytes(*id);
                    largest = largest.max(id);
                    *out = T::from_u32(id);
                }
                largest
            }
        }
    }

    /// Calls `look` with each id and its number, counted from 0.
    pub(crate) fn each(self, bytes: &[u8], mut look: impl FnMut(u64, u32)) {
        match self {
            Self::U16 => {
                for (n, id) in (0..).zip(bytes.as_chunks().0) {
                    look(n, u32::from(u16::from_le_bytes(*id)));
                }
            }
            Self::I32 => {
                for (n, id) in (0..).zip(bytes.as_chunks().0) {
                    look(n, u32::from_le_bytes(*id));
                }
            }
        }
    }

    /// Returns the largest id in `bytes` (0 if there is none), as [`Dtype::decode`] does.
    pub(crate) fn largest(self, bytes: &[u8]) -> u32 {
        match self {
            Self::U16 => {
                let ids = bytes.as_chunks().0.iter().map(|id| u16::from_le_bytes(*id));
                u32::from(ids.fold(0, u16::max))
            }
            Self::I32 => {
                bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).fold(0, u32::max)
            }
        }
    }

    /// Appends `id`, which the caller has checked against the vocabulary, to `bytes`.
    pub(crate) fn encode(self, id: u32, bytes: &mut Vec<u8>) {
        let [first, second, ..] = id.to_le_bytes();
        match self {
            Self::U16 => bytes.extend_from_slice(&[first, second]),
            Self::I32 => bytes.extend_from_slice(&id.to_le_bytes()),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::U16 => "uint16",
            Self::I32 => "int32",
        })
    }
}

/// An integer that ids are read into: `u16`, `u32`, `i32` or `i64`.
///
/// ```
/// use mixdown_shards::TokenInt;
///
/// assert_eq!((u16::MAX_ID, i64::MAX_ID), (65_535, i64::MAX as u64));
/// ```
pub trait TokenInt: Copy + Debug + Default + Eq + Send + Sync + Sealed + 'static {
    /// The largest id that fits.
    const MAX_ID: u64;

    /// Converts a 2-byte id.
    #[doc(hidden)]
    fn from_u16(id: u16) -> Self;

    /// Converts a 4-byte id, which is at most [`TokenInt::MAX_ID`] or is reported as damage.
    #[doc(hidden)]
    fn from_u32(id: u32) -> Self;
}

/// A trait that only this crate implements, so that the ids of a corpus have one of few widths.
pub trait Sealed {}

macro_rules! token_int {
    ($int:ty, $max_id:expr) => {
        impl Sealed for $int {}

        #[expect(
            clippy::allow_attributes,
            reason = "which of the casts loses something depends on the type"
        )]
        #[allow(
            clippy::cast_lossless,
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "the largest id is compared with MAX_ID and the vocabulary before ids are used"
        )]
        impl TokenInt for $int {
            const MAX_ID: u64 = $max_id;

            #[inline(always)]
            fn from_u16(id: u16) -> Self {
                id as Self
            }

            #[inline(always)]
            fn from_u32(id: u32) -> Self {
                id as Self
            }
        }
    };
}

token_int!(u16, 0xffff);
token_int!(u32, 0xffff_ffff);
token_int!(i32, 0x7fff_ffff);
token_int!(i64, 0x7fff_ffff_ffff_ffff);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smallest_dtype_that_fits() {
        assert_eq!(Dtype::for_vocab(1), Dtype::U16);
        assert_eq!(Dtype::for_vocab(65_536), Dtype::U16);
        assert_eq!(Dtype::for_vocab(65_537), Dtype::I32);
    }

    #[test]
    fn largest_id_survives() {
        for (dtype, id) in [(Dtype::U16, 65_535), (Dtype::I32, (1 << 31) - 1)] {
            let mut bytes = Vec::new();
            dtype.encode(id, &mut bytes);
            dtype.encode(7, &mut bytes);
            assert_eq!(bytes.len() as u64, 2 * dtype.bytes());
            let mut out = [0_u32; 2];
            assert_eq!(dtype.decode(&bytes, &mut out), id);
            assert_eq!(dtype.largest(&bytes), id);
            assert_eq!(out, [id, 7]);
        }
    }

    #[test]
    fn negative_is_above_every_vocabulary() {
        let mut out = [0_u32];
        let largest = Dtype::I32.decode(&(-1_i32).to_le_bytes(), &mut out);
        assert!(u64::from(largest) >= Dtype::I32.max_vocab_size());
    }
}
