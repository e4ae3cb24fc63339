//! Characters that the two libraries' tables of Unicode tell apart: those that got another
//! normal form, combining class or category after the older tables were made, and the long s, which
//! ends a contraction of o200k's pattern in one and not in the other.
//!
//! A text that holds one is encoded by 0.23 where it matters. The table is wider than the difference and one
//! for all components: what it costs is that such a text is slower than it had to be.

/// All but the characters that have had their forms and categories since before the older tables
/// were made: Latin, Greek, Cyrillic, kana, the unified ideographs, Hangul syllables, and the usual
/// punctuation, arrows and signs. Ranges, both ends within, in order. The test of every character in
/// disputed_tests.rs prints those that do differ; the table may be wider than it must be.
#[rustfmt::skip]
pub(crate) const DISPUTED: [(u32, u32); 13] = [
    (0x17f, 0x17f),
    (0x300, 0x36f),
    (0x530, 0x200f),
    (0x2028, 0x202f),
    (0x205f, 0x218f),
    (0x2300, 0x3000),
    (0x302a, 0x3040),
    (0x3097, 0x30a0),
    (0x30ff, 0x4dff),
    (0x9fa6, 0xabff),
    (0xd7a4, 0xff00),
    (0xff5f, 0x1f5ff),
    (0x1f641, 0x10ffff),
];

/// Which blocks of 256 characters hold one, so that most of a text is passed over.
const BLOCKS: [bool; 0x1100] = {
    let mut blocks = [false; 0x1100];
    let mut range = 0;
    while range < DISPUTED.len() {
        let (first, last) = DISPUTED[range];
        let mut block = first >> 8;
        while block <= last >> 8 {
            blocks[block as usize] = true;
            block += 1;
        }
        range += 1;
    }
    blocks
};

/// The least byte that one begins with, U+0100 and above do.
const FIRST_BYTE: u8 = 0xc4;

/// Whether a text holds one. Text below U+0100 costs a scan of its bytes (20 GB/s or so), other
/// characters some 2 ns each.
pub(crate) fn holds_disputed(text: &str) -> bool {
    let chunks = text.as_bytes().chunks(64).zip((0..).step_by(64));
    let mut foreign = chunks.filter(|(chunk, _)| {
        chunk.iter().fold(0, |highest, &byte| highest.max(byte)) >= FIRST_BYTE
    });
    foreign.any(|(chunk, start): (&[u8], usize)| {
        let places = chunk.iter().zip(start..).filter(|&(&byte, _)| byte >= FIRST_BYTE);
        let mut characters = places.filter_map(|(_, place)| text.get(place..)?.chars().next());
        characters.any(is_disputed)
    })
}

pub(crate) fn is_disputed(character: char) -> bool {
    let code = u32::from(character);
    let block = usize::try_from(code >> 8).ok().and_then(|block| BLOCKS.get(block));
    block == Some(&true) && {
        let place = DISPUTED.partition_point(|&(_, last)| last < code);
        DISPUTED.get(place).is_some_and(|&(first, _)| first <= code)
    }
}
