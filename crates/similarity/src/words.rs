//! The words of a text as hashes: maximal runs of letters and digits, in lower case.
//!
//! A character of a script that is written without spaces (Chinese, Japanese, Thai, Lao, Tibetan, Burmese, Khmer) is a
//! word by itself. ASCII text is classified 64 bytes at a time, because a branch per byte is mispredicted at every end
//! of a word.

use wide::u8x16;

/// Bytes that are classified together, one bit per byte.
const BLOCK: usize = 64;
/// Bytes beyond ASCII of a block that has mostly others.
const FEW: u32 = 16;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Sets the bit that tells lower case letters from upper case ones in ASCII; digits have it.
const LOWER_CASE: u64 = 0x2020_2020_2020_2020;

/// Calls `word` with the hash of each word of `text`, in order.
#[inline(always)]
pub(crate) fn each_word(text: &str, mut word: impl FnMut(u64)) {
    let bytes = text.as_bytes();
    let (mut at, mut start) = (0, None);
    while at < bytes.len() {
        let (inside, foreign) = classify(bytes, at);
        let plain = foreign.trailing_zeros();
        // A bit where a word begins or ends; bytes behind the text's end are no words. Whether a word ends before a
        // character beyond ASCII is not known yet.
        let before = 1_u64.checked_shl(plain).unwrap_or(0).wrapping_sub(1);
        let mut edges = before & (inside ^ (inside << 1 | u64::from(start.is_some())));
        while edges != 0 {
            let place = at + edges.trailing_zeros() as usize;
            edges &= edges - 1;
            start = match start {
                Some(start) => {
                    word(hash_ascii(bytes, start, place));
                    None
                }
                None => Some(place),
            };
        }
        if foreign == 0 {
            at += BLOCK;
            continue;
        }
        // Where such characters are few, only the words around them are taken one character at a time.
        let place = at + plain as usize;
        let end = if foreign.count_ones() > FEW { at + BLOCK } else { place + 1 };
        at = each_word_slowly(text, start.take().unwrap_or(place), end, &mut word);
    }
    if let Some(start) = start {
        word(hash_ascii(bytes, start, bytes.len()));
    }
}

/// Returns masks of the 64 bytes from `at`: letters and digits of ASCII, and bytes beyond ASCII.
#[inline(always)]
fn classify(bytes: &[u8], at: usize) -> (u64, u64) {
    let mut padded = [0; BLOCK];
    let block = match bytes[at..].first_chunk::<BLOCK>() {
        Some(block) => block,
        None => {
            padded[..bytes.len() - at].copy_from_slice(&bytes[at..]);
            &padded
        }
    };
    let (mut inside, mut foreign) = (0_u64, 0_u64);
    let (sixteens, _) = block.as_chunks::<16>();
    for (shift, &sixteen) in (0..).step_by(16).zip(sixteens) {
        let bytes = u8x16::from(sixteen);
        let lower = bytes | u8x16::splat(0x20);
        let letters = within(lower, b'a', b'z') | within(bytes, b'0', b'9');
        inside |= u64::from(letters.to_bitmask()) << shift;
        foreign |= u64::from(bytes.to_bitmask()) << shift;
    }
    (inside, foreign)
}

/// Returns all ones where a byte is from `first` to `last`.
#[inline(always)]
fn within(bytes: u8x16, first: u8, last: u8) -> u8x16 {
    let above = bytes - u8x16::splat(first);
    above.min(u8x16::splat(last - first)).simd_eq(above)
}

/// Takes words from `start`, which is at the beginning of a word or between words, until a place between words at or
/// behind `end`; returns that place.
#[inline(never)]
fn each_word_slowly(text: &str, start: usize, end: usize, word: &mut impl FnMut(u64)) -> usize {
    let mut hasher = WordHasher::default();
    for (offset, character) in text[start..].char_indices() {
        if character.is_ascii_alphanumeric() {
            hasher.push(character as u8 | 0x20);
            continue;
        }
        // General punctuation, such as quotation marks, has no letters or digits.
        let is_mark = ('\u{2000}'..='\u{206f}').contains(&character);
        let is_of_word = !is_mark && character.is_alphanumeric();
        let stands_alone = is_written_without_spaces(character);
        if stands_alone || !is_of_word {
            hasher.finish(&mut *word);
            if start + offset >= end {
                return start + offset;
            }
        }
        if is_of_word {
            for lower in character.to_lowercase() {
                lower.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| hasher.push(byte));
            }
        }
        if stands_alone {
            hasher.finish(&mut *word);
        }
    }
    hasher.finish(word);
    text.len()
}

/// Returns whether words of the character's script are not separated by spaces.
fn is_written_without_spaces(character: char) -> bool {
    matches!(u32::from(character),
        0x0e00..=0x0fff      // Thai, Lao, Tibetan
        | 0x1000..=0x109f    // Burmese
        | 0x1780..=0x17ff    // Khmer
        | 0x3040..=0x30ff    // Hiragana, Katakana
        | 0x31f0..=0x31ff
        | 0x3400..=0x4dbf    // Han
        | 0x4e00..=0x9fff
        | 0xf900..=0xfaff
        | 0xff66..=0xff9f    // half-width Katakana
        | 0x20000..=0x3ffff)
}

/// Returns the hash of the ASCII word from `start` to `end`, which is [`WordHasher`]'s hash of its bytes in lower case.
#[inline(always)]
fn hash_ascii(bytes: &[u8], start: usize, end: usize) -> u64 {
    let len = end - start;
    let mut hash = 0;
    let mut at = start;
    loop {
        let left = end - at;
        let chunk = match bytes[at..].first_chunk::<8>() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => {
                let mut chunk = [0; 8];
                chunk[..bytes.len() - at].copy_from_slice(&bytes[at..]);
                u64::from_le_bytes(chunk)
            }
        };
        if left <= 8 {
            let chunk = (chunk | LOWER_CASE) & (u64::MAX >> (64 - 8 * left));
            return finish(add(hash, chunk), len as u64);
        }
        hash = add(hash, chunk | LOWER_CASE);
        at += 8;
    }
}

#[inline(always)]
fn add(hash: u64, chunk: u64) -> u64 {
    let mixed = (hash ^ chunk).wrapping_mul(MULTIPLIER);
    mixed ^ (mixed >> 32)
}

#[inline(always)]
fn finish(hash: u64, len: u64) -> u64 {
    (hash ^ len).wrapping_mul(MULTIPLIER)
}

/// The hash of a word that comes byte by byte.
#[derive(Default)]
struct WordHasher {
    hash: u64,
    chunk: u64,
    len: u64,
}

impl WordHasher {
    fn push(&mut self, byte: u8) {
        if self.len > 0 && self.len.is_multiple_of(8) {
            self.hash = add(self.hash, self.chunk);
            self.chunk = 0;
        }
        self.chunk |= u64::from(byte) << (8 * (self.len % 8));
        self.len += 1;
    }

    /// Ends a word, if there is one.
    fn finish(&mut self, word: &mut impl FnMut(u64)) {
        let Self { hash, chunk, len } = std::mem::take(self);
        if len > 0 {
            word(finish(add(hash, chunk), len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<u64> {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word));
        words
    }

    /// The definition, word by word.
    fn naive(text: &str) -> Vec<u64> {
        let (mut found, mut word) = (Vec::new(), String::new());
        let mut end = |word: &mut String| {
            if !word.is_empty() {
                let mut hasher = WordHasher::default();
                word.bytes().for_each(|byte| hasher.push(byte));
                hasher.finish(&mut |hash| found.push(hash));
                word.clear();
            }
        };
        for character in text.chars() {
            if is_written_without_spaces(character) || !character.is_alphanumeric() {
                end(&mut word);
            }
            if character.is_alphanumeric() {
                word.extend(character.to_lowercase());
            }
            if is_written_without_spaces(character) {
                end(&mut word);
            }
        }
        end(&mut word);
        found
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        assert_eq!(words("The *thin* tea, É2"), words("the\tthin - TEA é2."));
        assert_eq!(words("the thin tea").len(), 3);
        assert_ne!(words("a b"), words("b a"));
        assert_ne!(words("ab"), words("a b"));
        assert_eq!(words(" ,").len(), 0);
        assert_eq!(words("漢字とかな, naïve").len(), 6);
    }

    #[test]
    fn blocks_and_characters_give_the_same_words() {
        let pieces = [
            "a",
            "Bc",
            " ",
            "  ",
            "é",
            "Straße",
            "漢",
            "字",
            "12",
            "ΑΣ",
            "\u{e33}",
            "x_y",
            "abcdefgh",
            "ABCDEFGHI",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            ",",
            "\n",
            "İ",
            "ﬁ",
            "\u{301}",
            "\u{212a}",
        ];
        let mut state = 1_u64;
        for len in 0..400 {
            let mut text = String::new();
            for _ in 0..len {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Long stretches of ASCII too, so that both ways are taken within one text.
                let many = if state >> 62 == 0 { pieces.len() } else { 4 };
                text.push_str(pieces[usize::try_from(state >> 33).unwrap() % many]);
            }
            assert_eq!(words(&text), naive(&text), "{text:?}");
        }
    }
}
