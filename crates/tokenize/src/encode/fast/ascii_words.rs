//! The beginnings of words (pre-tokens) in a block of ASCII text, from bit operations on its character classes.
//!
//! A block starts at the beginning of a word, and a regular expression that splits text into words does not depend on
//! the text before the current word. So no state is carried from block to block: the words that are certainly complete
//! are taken, and the next block begins with the first uncertain one.

use wide::u8x16;

/// The differences between the common patterns, for ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    contractions: Contractions,
    /// The maximum number of digits in a word; 0 for any number.
    digits: usize,
    /// Whether a space joins the digits after it.
    space_before_digits: bool,
    /// Whether any character except a newline, letter or digit joins the letters after it; otherwise only a space does.
    any_before_letters: bool,
    /// Whether a capital letter after a small one begins a word.
    capitals: bool,
    /// Whether newlines are separated from other white space, and join signs before them.
    newlines: bool,
    /// Whether slashes among the newlines after signs join them as well.
    slashes: bool,
}

/// The handling of `'s`, `'t`, `'m`, `'d`, `'re`, `'ve` and `'ll`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contractions {
    /// Contractions are separate words, in lower case only.
    SmallWords,
    /// Contractions are separate words.
    Words,
    /// Contractions join the letters before them.
    Suffixes,
}

/// A pattern as a type, so that each one gets its own code.
pub(super) trait Pattern {
    const RULES: Rules;
}

/// GPT-2's pattern.
pub(super) struct Gpt2;
/// The pattern of cl100k and Llama 3.
pub(super) struct Cl100k;
/// The pattern of Qwen 2 and 3.
pub(super) struct Qwen;
/// The pattern of o200k.
pub(super) struct O200k;

impl Pattern for Gpt2 {
    const RULES: Rules = Rules {
        contractions: Contractions::SmallWords,
        digits: 0,
        space_before_digits: true,
        any_before_letters: false,
        newlines: false,
        ..Cl100k::RULES
    };
}

impl Pattern for Cl100k {
    const RULES: Rules = Rules {
        contractions: Contractions::Words,
        digits: 3,
        space_before_digits: false,
        any_before_letters: true,
        capitals: false,
        newlines: true,
        slashes: false,
    };
}

impl Pattern for Qwen {
    const RULES: Rules = Rules { digits: 1, ..Cl100k::RULES };
}

impl Pattern for O200k {
    const RULES: Rules = Rules {
        contractions: Contractions::Suffixes,
        capitals: true,
        slashes: true,
        ..Cl100k::RULES
    };
}

impl Rules {
    /// Returns the beginnings of the words after the first, which begins with the block; one bit per byte. Only
    /// beginnings that nothing after the leading ASCII bytes can change are included.
    #[inline(always)]
    pub(super) fn word_starts(&self, block: &[u8; BLOCK], classes: &CharacterClasses) -> u64 {
        let known = known_len(classes);
        if known == 0 {
            return 0;
        }
        let letter = classes.lower | classes.upper;
        let sign = classes.ascii & !(letter | classes.digit | classes.white);
        let (absorbed, after_absorbed) =
            if self.newlines { self.absorbed(classes, sign) } else { (0, 0) };
        let sign_start =
            (sign & !after(sign) & !after(classes.space) & !absorbed) | (after_absorbed & sign);
        let starts = self.white_starts(classes)
            | self.letter_starts(classes, letter, sign_start)
            | self.digit_starts(classes)
            | sign_start;
        let starts = (starts & !absorbed) | after_absorbed;
        self.with_contractions(block, classes, starts) & !1 & (u64::MAX >> (BLOCK - 1 - known))
    }

    /// Returns the newlines (and slashes) right after signs, which join them, and the bytes after those.
    #[inline(always)]
    fn absorbed(&self, classes: &CharacterClasses, sign: u64) -> (u64, u64) {
        let tail = classes.newline | if self.slashes { classes.slash } else { 0 };
        let (mut absorbed, mut ends) = (0, 0);
        let mut first = classes.newline & after(sign);
        while first != 0 {
            let start = first.trailing_zeros();
            let run = run_from(tail, start);
            absorbed |= run;
            ends |= after(run) & !run;
            first &= !run;
        }
        // An end that lies inside another run does not count.
        (absorbed, ends & !absorbed)
    }

    /// Handles runs of white space: a run without its last character is a word, and that character begins the next one;
    /// with newlines, the part up to the last newline is a word, and a newline at the end begins nothing.
    #[inline(always)]
    fn white_starts(&self, classes: &CharacterClasses) -> u64 {
        let white = classes.white;
        let last = white & !(white >> 1);
        if !self.newlines {
            return (white & !after(white)) | last;
        }
        let blank = white & !classes.newline;
        let mut starts = (white & !after(white)) | (last & blank);
        let mut rest = blank & after(classes.newline);
        while rest != 0 {
            let start = rest.trailing_zeros();
            let end = after(run_from(blank, start)) & !blank;
            if end & classes.newline == 0 {
                starts |= 1 << start;
            }
            rest &= rest - 1;
        }
        starts
    }

    #[inline(always)]
    fn letter_starts(&self, classes: &CharacterClasses, letter: u64, sign_start: u64) -> u64 {
        let opener = if self.any_before_letters {
            (classes.white & !classes.newline) | sign_start
        } else {
            classes.space
        };
        let inside = if self.capitals { classes.upper & after(classes.lower) } else { 0 };
        (letter & !after(letter) & !after(opener)) | inside
    }

    #[inline(always)]
    fn digit_starts(&self, classes: &CharacterClasses) -> u64 {
        let digit = classes.digit;
        let first = digit & !after(digit);
        match self.digits {
            1 => digit,
            0 if self.space_before_digits => first & !after(classes.space),
            0 => first,
            _ => {
                let whole = digit & after(digit) & after(after(digit));
                let (mut starts, mut group) = (first, first);
                while group != 0 {
                    group = (group << 3) & whole;
                    starts |= group;
                }
                starts
            }
        }
    }

    #[inline(always)]
    fn with_contractions(
        &self,
        block: &[u8; BLOCK],
        classes: &CharacterClasses,
        starts: u64,
    ) -> u64 {
        let any_case = self.contractions != Contractions::SmallWords;
        let suffixes = self.contractions == Contractions::Suffixes;
        let mut found = match self.contractions {
            Contractions::SmallWords | Contractions::Words => classes.apostrophe & starts,
            Contractions::Suffixes => classes.apostrophe & after(classes.lower | classes.upper),
        };
        let mut starts = starts;
        let mut taken = 0_u64;
        while found != 0 {
            let at = found.trailing_zeros();
            found &= found - 1;
            let len = contraction_len(block, at, any_case);
            // A word takes only one suffix: a second one begins a word.
            if len == 0 || (suffixes && (taken >> at) & 1 != 0) {
                continue;
            }
            let end = 1_u64.unbounded_shl(at + len);
            let whole = end.wrapping_sub(1 << at);
            let inner = if suffixes { whole } else { whole & (whole - 1) };
            starts = (starts & !inner) | end;
            taken = end;
        }
        starts
    }
}

/// Returns the last position at which a beginning is certain: it is followed by three more ASCII bytes, and white space
/// there is not followed by more white space, whose end could be outside the block.
fn known_len(classes: &CharacterClasses) -> usize {
    let Some(last) = (classes.ascii.trailing_ones() as usize).checked_sub(4) else { return 0 };
    let up_to_last = u64::MAX >> (BLOCK - 1 - last);
    let before_white = !classes.white & up_to_last;
    if (classes.white >> last) & 1 == 0 {
        return last;
    }
    BLOCK - before_white.leading_zeros() as usize
}

/// Moves each bit to the next byte.
fn after(bits: u64) -> u64 {
    bits << 1
}

/// Returns the run of `bits` from `start` on.
fn run_from(bits: u64, start: u32) -> u64 {
    let len = (bits >> start).trailing_ones();
    u64::MAX.unbounded_shr(u64::BITS - len) << start
}

/// Returns the bytes of the contraction whose apostrophe is at `at`; 0 if there is none.
fn contraction_len(block: &[u8; BLOCK], at: u32, any_case: bool) -> u32 {
    let letter = |offset: usize| {
        let byte = block.get(at as usize + offset).copied().unwrap_or(0);
        if any_case { byte.to_ascii_lowercase() } else { byte }
    };
    match (letter(1), letter(2)) {
        (b's' | b't' | b'm' | b'd', _) => 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => 3,
        _ => 0,
    }
}

/// Bytes that are classified at a time.
pub(super) const BLOCK: usize = 64;

/// The classes of a block: bit i is set if byte i belongs to the class. Non-ASCII bytes belong to none.
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

/// Returns the bytes from `first` to `last`: minus `first` they are at most `last - first`.
#[inline(always)]
pub(crate) fn within(bytes: u8x16, first: u8, last: u8) -> u8x16 {
    let above = bytes - u8x16::splat(first);
    above.min(u8x16::splat(last - first)).simd_eq(above)
}
