//! Which of 64 bytes are letters, digits, white space: one bit a byte.

use wide::u8x16;

/// Bytes that are classified at a time.
pub(super) const BLOCK: usize = 64;

/// Bit i says that byte i is of the class. Bytes that are not ASCII are of none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CharacterClasses {
    pub(super) ascii: u64,
    pub(super) lower: u64,
    pub(super) upper: u64,
    pub(super) digit: u64,
    /// Space, tab, line feed, vertical tab, form feed, carriage return.
    pub(super) white: u64,
    pub(super) space: u64,
    /// Line feed and carriage return.
    pub(super) newline: u64,
    pub(super) apostrophe: u64,
    pub(super) slash: u64,
}

impl CharacterClasses {
    /// Classifies a block.
    #[inline(always)]
    pub(super) fn of(block: &[u8; BLOCK]) -> Self {
        let mut classes = Self::default();
        let (sixteens, _) = block.as_chunks::<16>();
        for (shift, &sixteen) in [0, 16, 32, 48].into_iter().zip(sixteens) {
            let bytes = u8x16::from(sixteen);
            let set = |class: &mut u64, of: u8x16| *class |= u64::from(of.to_bitmask()) << shift;
            classes.ascii |= u64::from(!bytes.to_bitmask() & 0xffff) << shift;
            set(&mut classes.lower, within(bytes, b'a', b'z'));
            set(&mut classes.upper, within(bytes, b'A', b'Z'));
            set(&mut classes.digit, within(bytes, b'0', b'9'));
            let space = equal(bytes, b' ');
            set(&mut classes.space, space);
            set(&mut classes.white, within(bytes, 0x09, 0x0d) | space);
            set(&mut classes.newline, equal(bytes, b'\n') | equal(bytes, b'\r'));
            set(&mut classes.apostrophe, equal(bytes, b'\''));
            set(&mut classes.slash, equal(bytes, b'/'));
        }
        classes
    }
}

#[inline(always)]
fn equal(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

/// The bytes from `first` to `last`: less `first` they are at most `last - first`.
#[inline(always)]
pub(crate) fn within(bytes: u8x16, first: u8, last: u8) -> u8x16 {
    let above = bytes - u8x16::splat(first);
    above.min(u8x16::splat(last - first)).simd_eq(above)
}
