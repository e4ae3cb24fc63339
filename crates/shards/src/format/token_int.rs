//! The integers that a batch can hold ids in.

use std::fmt::Debug;

/// An integer that ids are read into: `u16`, `u32`, `i32` or `i64`.
pub trait TokenInt: Copy + Debug + Default + Eq + Send + Sync + Sealed + 'static {
    /// The largest id it holds.
    const MAX_ID: u64;

    /// A 2-byte id.
    #[doc(hidden)]
    fn from_u16(id: u16) -> Self;

    /// A 4-byte id, which is at most [`TokenInt::MAX_ID`] or is reported as damage.
    #[doc(hidden)]
    fn from_u32(id: u32) -> Self;
}

/// No others, so that every id of a corpus is one of few widths.
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
