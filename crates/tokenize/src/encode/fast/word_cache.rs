//! A cache of the ids that the model gave for words.
//!
//! Short words make up seven eighths of a text; they have a separate table of 16 bytes per entry, so that frequent ones
//! stay in the processor's second-level cache.

#![expect(clippy::cast_possible_truncation, reason = "words are taken apart into their halves")]

/// The number of ids that an entry holds; longer lists are stored separately.
pub(super) const INLINE_IDS: usize = 2;
/// The maximum number of separately stored ids, 4 MiB; then the cache is cleared.
const MAX_MORE_IDS: usize = 1 << 20;
/// The maximum bytes of a short, a longer and any word; with their length these are keys of 8, 16 and 32 bytes, so two
/// words never share a key.
const MAX_SHORT_BYTES: usize = 7;
const MAX_LONG_BYTES: usize = 15;
const MAX_BYTES: usize = 31;
/// The lines of four short words, 4 MiB, of two longer ones, 8 MiB, and of one of the longest, 512 KiB. A corpus of
/// prose, mathematics and code of 94 MB has 111,000 short and 106,000 longer words, and words of more than 15 bytes,
/// three in a thousand, are mostly white space.
const SHORT_LINES: usize = 1 << 16;
const LONG_LINES: usize = 1 << 17;
const LONGEST_LINES: usize = 1 << 13;

/// The ids of a word: the first one, the number of ids in the four bits above it, and the second one. If there are more
/// than two, the number is 0, and the second one is their position.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CachedIds(u64);

const ID_BITS: u32 = 28;

/// Words of one hash in a cache line, with their ids; the last requested word is first. A key of 0 means no word.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct CacheLine<K, const WAYS: usize> {
    /// The word's bytes from the lowest on, with its length in the top byte.
    keys: [K; WAYS],
    values: [CachedIds; WAYS],
}

type ShortLine = CacheLine<u64, 4>;
type LongLine = CacheLine<u128, 2>;
type LongestLine = CacheLine<[u128; 2], 1>;

/// A word in a text, and the line of its table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WordPlace {
    pub(super) start: usize,
    pub(super) end: usize,
    line: u32,
}

/// A cache of words with their ids.
pub(super) struct WordCache {
    short: Box<[ShortLine; SHORT_LINES]>,
    long: Box<[LongLine; LONG_LINES]>,
    longest: Box<[LongestLine; LONGEST_LINES]>,
    more_ids: Vec<u32>,
}

impl WordCache {
    pub(super) fn new() -> Self {
        Self { short: table(), long: table(), longest: table(), more_ids: Vec::new() }
    }

    /// Returns where to look for the word from `start` to `end`, and prefetches its line.
    #[inline(always)]
    pub(super) fn place(&self, text: &[u8], start: usize, end: usize) -> WordPlace {
        let len = end - start;
        let line = if len <= MAX_SHORT_BYTES {
            let line = short_index(short_key(text, start, len));
            prefetch(&self.short[line]);
            line
        } else if len <= MAX_LONG_BYTES {
            let line = long_index(long_key(text, start, len));
            prefetch(&self.long[line]);
            line
        } else {
            0
        };
        WordPlace { start, end, line: line as u32 }
    }

    /// Returns the cached value of a word.
    #[inline(always)]
    pub(super) fn find(&mut self, text: &[u8], place: WordPlace) -> Option<CachedIds> {
        let WordPlace { start, end, line } = place;
        let (len, line) = (end - start, line as usize);
        if len <= MAX_SHORT_BYTES {
            self.short[line & (SHORT_LINES - 1)].find(short_key(text, start, len))
        } else if len <= MAX_LONG_BYTES {
            self.long[line & (LONG_LINES - 1)].find(long_key(text, start, len))
        } else if len <= MAX_BYTES {
            let key = longest_key(text, start, len);
            self.longest[longest_index(key)].find(key)
        } else {
            None
        }
    }

    /// Returns the ids of a value that does not hold them itself.
    pub(super) fn more_ids(&self, value: CachedIds) -> &[u32] {
        let place = (value.0 >> 32) as usize;
        let stored = self.more_ids.get(place..).unwrap_or_default();
        let (len, rest) = stored.split_first().unwrap_or((&0, &[]));
        rest.get(..*len as usize).unwrap_or_default()
    }

    /// Caches the ids of a word, unless it is too long.
    pub(super) fn insert(&mut self, text: &[u8], place: WordPlace, ids: &[u32]) {
        let WordPlace { start, end, .. } = place;
        if self.more_ids.len() + ids.len() >= MAX_MORE_IDS {
            *self = Self::new();
        }
        let len = end - start;
        if len <= MAX_SHORT_BYTES {
            let key = short_key(text, start, len);
            let value = self.value(ids);
            self.short[short_index(key)].push_front(key, value);
        } else if len <= MAX_LONG_BYTES {
            let key = long_key(text, start, len);
            let value = self.value(ids);
            self.long[long_index(key)].push_front(key, value);
        } else if len <= MAX_BYTES {
            let key = longest_key(text, start, len);
            let value = self.value(ids);
            self.longest[longest_index(key)].push_front(key, value);
        }
    }

    fn value(&mut self, ids: &[u32]) -> CachedIds {
        let pack = |first: u32, count: u32, second: u32| {
            CachedIds(u64::from(first) | u64::from(count) << ID_BITS | u64::from(second) << 32)
        };
        match *ids {
            [first] => pack(first, 1, 0),
            [first, second] => pack(first, 2, second),
            _ => {
                let place = self.more_ids.len() as u32;
                self.more_ids.push(ids.len() as u32);
                self.more_ids.extend_from_slice(ids);
                pack(0, 0, place)
            }
        }
    }
}

impl CachedIds {
    /// Returns the number of ids that it holds; 0 if they are stored separately.
    #[inline(always)]
    pub(super) fn count(self) -> usize {
        (self.0 >> ID_BITS) as usize & 0xf
    }

    /// Returns the ids that it holds; the second may be unused.
    #[inline(always)]
    pub(super) fn ids(self) -> [u32; INLINE_IDS] {
        [self.0 as u32 & ((1 << ID_BITS) - 1), (self.0 >> 32) as u32]
    }
}

impl<K: Copy + PartialEq + Default, const WAYS: usize> CacheLine<K, WAYS> {
    fn empty() -> Self {
        Self { keys: [K::default(); WAYS], values: [CachedIds::default(); WAYS] }
    }

    #[inline(always)]
    fn find(&mut self, key: K) -> Option<CachedIds> {
        if self.keys[0] == key { Some(self.values[0]) } else { self.find_behind(key) }
    }

    /// Moves a word that is not first to the front.
    #[inline(never)]
    fn find_behind(&mut self, key: K) -> Option<CachedIds> {
        let way = self.keys.iter().position(|&other| other == key)?;
        self.keys[..=way].rotate_right(1);
        self.values[..=way].rotate_right(1);
        Some(self.values[0])
    }

    fn push_front(&mut self, key: K, value: CachedIds) {
        self.keys.rotate_right(1);
        self.values.rotate_right(1);
        (self.keys[0], self.values[0]) = (key, value);
    }
}

fn table<K: Copy + PartialEq + Default, const WAYS: usize, const LINES: usize>()
-> Box<[CacheLine<K, WAYS>; LINES]> {
    // The array is made from a vector because an array of this size does not fit the stack.
    let table: Box<[_]> = vec![CacheLine::empty(); LINES].into_boxed_slice();
    table.try_into().unwrap_or_else(|_| unreachable!())
}

/// Prefetches a line while others are processed: this saves 6 % of the time of `prepare` (medians of seven interleaved
/// runs, two threads), and a plain load that nothing waits for saved 2 %.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "no safe function of the standard library prefetches")]
fn prefetch<T>(line: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: prefetching reads nothing, and every x86-64 processor can.
    unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const *line).cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch<T>(_line: &T) {}

#[inline(always)]
fn short_key(text: &[u8], start: usize, len: usize) -> u64 {
    let bytes = match text.get(start..start + 8).and_then(<[u8]>::first_chunk::<8>) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => padded(text, start) as u64,
    };
    bytes & SHORT_MASKS[len & MAX_SHORT_BYTES] | (len as u64) << 56
}

#[inline(always)]
fn long_key(text: &[u8], start: usize, len: usize) -> u128 {
    let bytes = match text.get(start..start + 16).and_then(<[u8]>::first_chunk::<16>) {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => padded(text, start),
    };
    // There are at least eight bytes, so the lower half is complete.
    let upper =
        (bytes >> 64) as u64 & SHORT_MASKS[(len - 8) & MAX_SHORT_BYTES] | (len as u64) << 56;
    u128::from(bytes as u64) | u128::from(upper) << 64
}

/// This is not inlined because it is rare.
#[inline(never)]
fn longest_key(text: &[u8], start: usize, len: usize) -> [u128; 2] {
    let mut bytes = [0; MAX_BYTES + 1];
    let word = text.get(start..start + len).unwrap_or_default();
    bytes[..len].copy_from_slice(word);
    bytes[MAX_BYTES] = len as u8;
    let (halves, _) = bytes.as_chunks::<16>();
    [u128::from_le_bytes(halves[0]), u128::from_le_bytes(halves[1])]
}

/// Returns the last bytes of a text, as if zeros followed them.
#[cold]
#[inline(never)]
fn padded(text: &[u8], start: usize) -> u128 {
    let rest = text.get(start..).unwrap_or_default();
    rest.iter().take(16).rev().fold(0, |all, &byte| all << 8 | u128::from(byte))
}

#[inline(always)]
fn short_index(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & (SHORT_LINES - 1)
}

#[inline(always)]
fn long_index(key: u128) -> usize {
    let (low, high) = (key as u64, (key >> 64) as u64);
    let mixed = low.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ high;
    (mixed.wrapping_mul(0xd1b5_4a32_d192_ed03) >> 40) as usize & (LONG_LINES - 1)
}

#[inline(always)]
fn longest_index(key: [u128; 2]) -> usize {
    long_index(key[0] ^ key[1].rotate_left(29)) & (LONGEST_LINES - 1)
}

/// The lowest bytes that a word of each length has.
static SHORT_MASKS: [u64; MAX_SHORT_BYTES + 1] = {
    let mut masks = [0; MAX_SHORT_BYTES + 1];
    let mut len = 1;
    while len <= MAX_SHORT_BYTES {
        masks[len] = masks[len - 1] << 8 | 0xff;
        len += 1;
    }
    masks
};
