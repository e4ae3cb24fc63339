//! Where the bytes are that end a run of plain bytes in a JSON string.
//!
//! Strings are most of a corpus, and escapes stand every 20 to 100 bytes in them: a search that
//! starts anew after each of them costs more than the bytes between. Here 64 bytes are looked at
//! together and leave one bit each.

use wide::u8x16;

/// The quotes, backslashes and control characters of some bytes (`ALL`), or the backslashes alone.
pub(crate) struct Marks<'t, const ALL: bool> {
    bytes: &'t [u8],
    /// The first of the 64 bytes that `bits` are of.
    base: usize,
    bits: u64,
}

impl<'t, const ALL: bool> Marks<'t, ALL> {
    /// Starts at a byte.
    pub(crate) fn new(bytes: &'t [u8], start: usize) -> Self {
        let mut marks = Self { bytes, base: start, bits: 0 };
        marks.look();
        marks
    }

    /// The place of the next mark, which stays the next one; the end of the bytes where none is left.
    pub(crate) fn next(&mut self) -> usize {
        while self.bits == 0 {
            self.base += 64;
            if self.base >= self.bytes.len() {
                return self.bytes.len();
            }
            self.look();
        }
        self.base + usize::try_from(self.bits.trailing_zeros()).unwrap_or(0)
    }

    /// Passes over everything before a place.
    pub(crate) fn pass(&mut self, place: usize) {
        let len = place - self.base;
        if len < 64 {
            self.bits &= u64::MAX << len;
        } else {
            self.base = place;
            self.look();
        }
    }

    fn look(&mut self) {
        let rest = self.bytes.get(self.base..).unwrap_or_default();
        self.bits = match rest.first_chunk::<64>() {
            Some(block) => bits::<ALL>(block),
            None => {
                let mut block = [b' '; 64];
                for (to, from) in block.iter_mut().zip(rest) {
                    *to = *from;
                }
                bits::<ALL>(&block)
            }
        };
    }
}

fn bits<const ALL: bool>(block: &[u8; 64]) -> u64 {
    let (four, _) = block.as_chunks::<16>();
    let bits = |sixteen: &[u8; 16]| u64::from(sixteen_bits::<ALL>(sixteen));
    four.iter().rev().fold(0, |all, sixteen| (all << 16) | bits(sixteen))
}

fn sixteen_bits<const ALL: bool>(bytes: &[u8; 16]) -> u32 {
    let bytes = u8x16::new(*bytes);
    let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
    if !ALL {
        return backslashes.to_bitmask();
    }
    let quotes = bytes.simd_eq(u8x16::splat(b'"'));
    let controls = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    (backslashes | quotes | controls).to_bitmask()
}
