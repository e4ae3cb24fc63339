//! A search for the bytes that end a run of plain bytes in a JSON string.
//!
//! Most of a corpus is strings, with an escape every 20 to 100 bytes: a search that restarts after each escape costs
//! more than the bytes in between. Here 64 bytes are examined together and give one bit each.

use wide::u8x16;

/// Bytes that are examined together.
pub(crate) const BLOCK: usize = 64;

/// The positions of the quotes, backslashes and control characters in some bytes.
pub(crate) struct Marks<'t> {
    bytes: &'t [u8],
    /// The position of the 64 bytes that `bits` describe.
    base: usize,
    bits: u64,
}

impl<'t> Marks<'t> {
    /// Starts at a byte.
    pub(crate) fn new(bytes: &'t [u8], start: usize) -> Self {
        let mut marks = Self { bytes, base: start, bits: 0 };
        marks.look();
        marks
    }

    /// Returns the position of the next mark without consuming it; the end of the bytes if none is left.
    pub(crate) fn next(&mut self) -> usize {
        while self.bits == 0 {
            self.base += BLOCK;
            if self.base >= self.bytes.len() {
                return self.bytes.len();
            }
            self.look();
        }
        self.base + usize::try_from(self.bits.trailing_zeros()).unwrap_or(0)
    }

    /// Skips everything before a position.
    pub(crate) fn pass(&mut self, place: usize) {
        let len = place - self.base;
        if len < BLOCK {
            self.bits &= u64::MAX << len;
        } else {
            self.base = place;
            self.look();
        }
    }

    fn look(&mut self) {
        let rest = self.bytes.get(self.base..).unwrap_or_default();
        self.bits = bits(&block_of(rest), |bytes| {
            let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
            let quotes = bytes.simd_eq(u8x16::splat(b'"'));
            let controls = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
            backslashes | quotes | controls
        });
    }
}

/// Returns the first bytes, padded with spaces if there are fewer.
#[inline(always)]
pub(crate) fn block_of(bytes: &[u8]) -> [u8; BLOCK] {
    bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut block = [b' '; BLOCK];
        block.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        block
    })
}

/// Returns the backslashes of a block, one bit per byte.
#[inline(always)]
pub(crate) fn backslashes(block: &[u8; BLOCK]) -> u64 {
    bits(block, |bytes| bytes.simd_eq(u8x16::splat(b'\\')))
}

#[inline(always)]
fn bits(block: &[u8; BLOCK], marks: impl Fn(u8x16) -> u8x16) -> u64 {
    let (four, _) = block.as_chunks::<16>();
    let bits = |sixteen: &[u8; 16]| u64::from(marks(u8x16::new(*sixteen)).to_bitmask());
    four.iter().rev().fold(0, |all, sixteen| (all << 16) | bits(sixteen))
}
