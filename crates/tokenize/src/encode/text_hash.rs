//! The hash that identifies equal texts, and so decides which ones are held out.

use wide::u8x16;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::encode::fast::within;

/// One salt for all corpora, so that equal texts are on the same side in each of them.
const SALT: u64 = 0x6d69_7864_6f77_6e31;

/// The number of normalized bytes that are hashed at once: they stay in the first caches.
const PIECE_BYTES: usize = 32 << 10;

/// Bytes examined together, one bit per byte.
const BLOCK: usize = 64;

/// Returns the hash of a text in which every run of white space (Unicode) counts as one space, without white space at
/// the ends. `buffer` is scratch space.
///
/// It processes 64 bytes at a time: white space becomes spaces, and the bytes between repeated spaces are moved
/// together. Only non-ASCII white space, and a text's last bytes, are processed byte by byte.
pub(crate) fn text_hash(text: &str, buffer: &mut Vec<u8>) -> u64 {
    buffer.resize(PIECE_BYTES + 2 * BLOCK, 0);
    let bytes = text.as_bytes();
    let mut whole: Option<Xxh3> = None;
    let mut normal = Normal { buffer, len: 0, after_space: true };
    let mut index = 0;
    while index < bytes.len() {
        if normal.len >= PIECE_BYTES {
            // All except the last byte, a space that may be the end of the text.
            let hasher = whole.get_or_insert_with(|| Xxh3::with_seed(SALT));
            hasher.update(&normal.buffer[..normal.len - 1]);
            normal.buffer[0] = normal.buffer[normal.len - 1];
            normal.len = 1;
        }
        index += match bytes[index..].first_chunk::<BLOCK>().map(|block| normal.push_block(block)) {
            Some(0) => normal.push_slowly(bytes, index, index + 1),
            Some(taken) => taken,
            None => normal.push_slowly(bytes, index, bytes.len().min(index + BLOCK)),
        };
    }
    let end = normal.len - usize::from(normal.after_space && normal.len > 0);
    let rest = &normal.buffer[..end];
    match whole {
        None => xxh3_64_with_seed(rest, SALT),
        Some(mut hasher) => {
            hasher.update(rest);
            hasher.digest()
        }
    }
}

/// Normalized bytes as they arrive.
struct Normal<'b> {
    buffer: &'b mut [u8],
    len: usize,
    after_space: bool,
}

impl Normal<'_> {
    /// Takes a block up to its first non-ASCII white space and returns the number of bytes taken.
    fn push_block(&mut self, block: &[u8; BLOCK]) -> usize {
        let Some(out) = self.buffer[self.len..].first_chunk_mut::<BLOCK>() else { return 0 };
        let (mut white, mut foreign) = (0_u64, 0_u64);
        let (sixteens, _) = block.as_chunks::<16>();
        let (outs, _) = out.as_chunks_mut::<16>();
        for ((shift, &sixteen), out) in (0..).step_by(16).zip(sixteens).zip(outs) {
            let bytes = u8x16::from(sixteen);
            let is_white = within(bytes, 0x09, 0x0d) | bytes.simd_eq(u8x16::splat(b' '));
            white |= u64::from(is_white.to_bitmask()) << shift;
            foreign |= u64::from(bytes.to_bitmask()) << shift;
            *out = is_white.select(u8x16::splat(b' '), bytes).to_array();
        }
        let taken = if foreign == 0 { BLOCK } else { white_beyond(block) };
        let Some(last) = taken.checked_sub(1) else { return 0 };
        let whole = u64::MAX >> (BLOCK - taken);
        let kept = whole & !(white & (white << 1 | u64::from(self.after_space)));
        self.after_space = (white >> last) & 1 != 0;
        if kept == whole {
            self.len += taken;
        } else {
            self.close_gaps(kept);
        }
        taken
    }

    /// Moves the kept bytes of the block at the end of the buffer together.
    fn close_gaps(&mut self, mut kept: u64) {
        // The array is twice as long, so that 64 bytes can be copied from anywhere in the block.
        let mut spaced = [0; 2 * BLOCK];
        let from = self.buffer[self.len..].first_chunk::<BLOCK>();
        if let (Some(from), Some(to)) = (from, spaced.first_chunk_mut()) {
            *to = *from;
        }
        while kept != 0 {
            let start = kept.trailing_zeros() as usize;
            let len = (kept >> start).trailing_ones() as usize;
            let from = spaced[start..].first_chunk::<BLOCK>();
            let to = self.buffer[self.len..].first_chunk_mut::<BLOCK>();
            if let (Some(from), Some(to)) = (from, to) {
                *to = *from;
            }
            self.len += len;
            // The lowest run of ones carries into the bit after it.
            kept &= kept.wrapping_add(1 << start);
        }
    }

    /// Takes the bytes from `start` to `end` and the rest of a character, and returns the number of bytes taken.
    fn push_slowly(&mut self, bytes: &[u8], start: usize, end: usize) -> usize {
        let mut index = start;
        while index < end {
            let byte = bytes[index];
            let mut class = CLASSES[usize::from(byte)];
            let mut width = 1;
            if class == MAYBE_SPACE {
                (class, width) = class_of_character(bytes, index);
            }
            let is_space = class == SPACE;
            self.buffer[self.len] = if is_space { b' ' } else { byte };
            self.len += usize::from(!(is_space && self.after_space));
            self.after_space = is_space;
            index += width;
        }
        index - start
    }
}

/// Returns the first byte at which non-ASCII white space begins, or may begin because the block ends in it; otherwise
/// the block's end.
fn white_beyond(block: &[u8; BLOCK]) -> usize {
    let mut marked = 0_u64;
    for (shift, &sixteen) in (0..).step_by(16).zip(block.as_chunks::<16>().0) {
        let bytes = u8x16::from(sixteen);
        let may_begin = within(bytes, 0xe1, 0xe3) | bytes.simd_eq(u8x16::splat(0xc2));
        marked |= u64::from(may_begin.to_bitmask()) << shift;
    }
    while marked != 0 {
        let at = marked.trailing_zeros() as usize;
        if at + 3 > BLOCK || class_of_character(block, at).0 == SPACE {
            return at;
        }
        marked &= marked - 1;
    }
    BLOCK
}

const OTHER: u8 = 0;
const SPACE: u8 = 1;
/// The class of a first byte of possible white space: all of Unicode's non-ASCII white space begins with one of four
/// bytes.
const MAYBE_SPACE: u8 = 2;

static CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte {
            0x09..=0x0d | 0x20 => SPACE,
            0xc2 | 0xe1..=0xe3 => MAYBE_SPACE,
            _ => OTHER,
        };
        byte += 1;
    }
    classes
};

/// Returns the class of the character at `index`, and how many bytes to advance: the whole of a white space, the first
/// byte of anything else.
fn class_of_character(bytes: &[u8], index: usize) -> (u8, usize) {
    match bytes[index..] {
        [0xc2, 0x85 | 0xa0, ..] => (SPACE, 2),
        [0xe1, 0x9a, 0x80, ..]
        | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f, ..]
        | [0xe3, 0x80, 0x80, ..] => (SPACE, 3),
        _ => (OTHER, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> u64 {
        text_hash(text, &mut Vec::new())
    }

    #[test]
    fn white_space_makes_no_difference_and_letters_do() {
        let same = ["a b c", " a\tb\r\n\u{b}c\u{c}\n", "a\u{a0}b\u{2003}c", "a b\u{85}c"];
        for text in same {
            assert_eq!(hash(text), hash("a b c"), "{text:?}");
        }
        for text in ["abc", "a b", "a b c d", "A b c", "é a b c", ""] {
            assert_ne!(hash(text), hash("a b c"), "{text:?}");
        }
    }

    #[test]
    fn every_white_space_begins_with_a_listed_byte() {
        for character in ('\0'..=char::MAX).filter(|character| character.is_whitespace()) {
            let mut bytes = [0; 4];
            character.encode_utf8(&mut bytes);
            assert_ne!(CLASSES[usize::from(bytes[0])], OTHER, "{character:?}");
            assert_eq!(hash(&format!("x{character}y")), hash("x y"), "{character:?}");
        }
        for character in ('\0'..=char::MAX).filter(|character| !character.is_whitespace()) {
            let mut bytes = [0; 4];
            let text = character.encode_utf8(&mut bytes);
            assert_eq!(class_of_character(text.as_bytes(), 0), (OTHER, 1), "{character:?}");
        }
    }

    /// The hash equals that of joined words, wherever blocks and pieces cut the text.
    #[test]
    fn the_hash_is_the_naive_one() {
        let words = [
            " ", "  ", "\n", "a", "word", "\u{a0}", "\u{3000}", "é", "漢字", "’", "\t\t\t", "かな",
        ];
        let mut state = 1_u32;
        let mut next = |below: usize| {
            state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
            usize::try_from(state >> 8).unwrap() % below
        };
        for round in 0..3000 {
            let len = if round % 100 == 0 { 30_000 } else { next(40) };
            let plain = next(3);
            let text: String =
                (0..len).map(|_| words[if next(3) < plain { 4 } else { next(12) }]).collect();
            let words: Vec<&str> = text.split_whitespace().collect();
            assert_eq!(hash(&text), xxh3_64_with_seed(words.join(" ").as_bytes(), SALT), "{round}");
        }
    }

    /// A change of this number separates corpora that were prepared before it from later ones.
    #[test]
    fn the_hash_is_fixed_for_ever() {
        assert_eq!(hash("The quick brown fox"), hash(" The  quick brown\nfox "));
        assert_eq!(hash("The quick brown fox"), GOLDEN);
    }

    const GOLDEN: u64 = 6_482_004_254_523_186_440;
}
