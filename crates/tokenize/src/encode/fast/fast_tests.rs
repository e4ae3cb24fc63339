//! Every split and every id, compared with the library's.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokenizers::pipeline::{PipelineToken, PreTokenizer, PreTokenizerScratch};
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, utils::recognize};

use super::KnownPattern;
use super::ascii_words::{Cl100k, Gpt2, O200k, Pattern, Qwen};
use super::splitter::Splitter;
use super::word_cache::WordCache;
use crate::prepare::options::SpecialText;
use crate::tokenizer::tests::tiny;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Pieces that make every rule of every pattern meet every other one.
const PIECES: [&str; 48] = [
    " ", " ", " ", "  ", "   ", "\n", "\n", "\r\n", "\n\n", "\t", "\u{b}", "\u{c}", "\u{0}",
    "\u{1f}", "\u{7f}", "a", "b", "the", "The", "THE", "tHe", "Hello", "x", "1", "12", "3", "4567",
    "!", "!!", "/", "//", "'", "'s", "'S", "'t", "'re", "'RE", "'ll", "'x", "''", "_", "{",
    "\u{a0}", "é", "É", "漢", "\u{301}", "😀",
];

fn split_for(pattern: &str) -> Split {
    Split::native(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .unwrap()
}

fn expected_words(split: &Split, text: &str) -> Vec<(usize, usize)> {
    let (mut scratch, mut spans) = (PreTokenizerScratch::default(), Vec::new());
    split.pre_tokenize(text, &mut scratch, &mut spans).unwrap();
    spans.iter().map(|span| (span.start as usize, span.end as usize)).collect()
}

fn check<P: Pattern>(pattern: &str, text: &str) {
    let split = split_for(pattern);
    let mut words = Vec::new();
    Splitter::default().split::<P>(&split, text, |start, end| words.push((start, end))).unwrap();
    let expected = expected_words(&split, text);
    let differs = words.iter().zip(&expected).position(|(ours, theirs)| ours != theirs);
    let near = differs.map(|at| &text[expected[at.saturating_sub(2)].0..expected[at].1]);
    assert_eq!(words, expected, "{pattern}: near {near:?} in {text:?}");
}

fn check_all(text: &str) {
    check::<Gpt2>(GPT2, text);
    check::<Cl100k>(CL100K, text);
    check::<Qwen>(&CL100K.replace("{1,3}", ""), text);
    check::<O200k>(O200K, text);
}

fn random_text(random: &mut ChaCha8Rng, pieces: &[&str], count: u32) -> String {
    let piece = |random: &mut ChaCha8Rng| pieces[random.next_u32() as usize % pieces.len()];
    (0..count).map(|_| piece(random)).collect()
}

#[test]
fn the_patterns_are_the_library_s() {
    assert!(matches!(KnownPattern::of(recognize(GPT2).unwrap()), Some(KnownPattern::Gpt2)));
    assert!(matches!(KnownPattern::of(recognize(CL100K).unwrap()), Some(KnownPattern::Cl100k)));
    let qwen = recognize(&CL100K.replace("{1,3}", "")).unwrap();
    assert!(matches!(KnownPattern::of(qwen), Some(KnownPattern::Qwen)));
    assert!(matches!(KnownPattern::of(recognize(O200K).unwrap()), Some(KnownPattern::O200k)));
}

#[test]
fn random_texts_are_cut_as_the_library_cuts_them() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for round in 0..6000 {
        // Pure ASCII stays in the blocks; an occasional foreign character leaves them and returns.
        let pieces = if round % 3 == 0 { &PIECES[..] } else { &PIECES[..42] };
        check_all(&random_text(&mut random, pieces, 30 + round % 300));
    }
}

/// White space whose end, or last newline, is outside a block or a slice; words longer than both.
#[test]
fn long_runs_are_cut_as_the_library_cuts_them() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let runs = [" ", "\n", "\t", "a", "A", "7", "!", "/", "é", "\u{a0}", "漢", "\u{301}"];
    for _ in 0..600 {
        let mut text = String::new();
        for _ in 0..8 {
            let run = runs[random.next_u32() as usize % runs.len()];
            let most = if random.next_u32() % 8 == 0 { 6000 } else { 90 };
            text.push_str(&run.repeat(random.next_u32() as usize % most));
            text.push_str(&random_text(&mut random, &PIECES, 2));
        }
        check_all(&text);
    }
}

/// Every pair of ASCII characters after every third one of a kind, far from any end.
#[test]
fn every_ascii_pair_is_cut_as_the_library_cuts_it() {
    let mut text = String::new();
    for before in ["a", "A", "1", " ", "\n", "\t", "!", "/", "'", "\n!", " '"] {
        for first in 0..128_u8 {
            for second in [0, 9, 10, 13, 32, 33, 39, 47, 48, 65, 97, 115, 127] {
                text.push_str(before);
                text.push(char::from(first));
                text.push(char::from(second));
                text.push_str("s x");
            }
        }
        check_all(&text);
        text.clear();
    }
}

#[test]
fn ids_are_the_library_s_cold_and_warm() {
    let tokenizer = tiny();
    let fast = tokenizer.fast().unwrap();
    let mut scratch = fast.scratch(usize::MAX);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let words = [
        "the",
        " thing",
        " in",
        "a long-winded-word",
        " antidisestablishment",
        "\n",
        "é",
        "th",
        " t",
    ];
    for _ in 0..300 {
        let text = random_text(&mut random, &words, 200);
        for _ in 0..2 {
            let mut expected = Vec::new();
            tokenizer.encode_onto(&text, SpecialText::Plain, &mut expected).unwrap();
            let got = fast.encode(&text, &mut scratch).unwrap().unwrap();
            assert_eq!(got, PipelineToken::cast_slice(&expected), "{text:?}");
        }
    }
    assert!(fast.spells_added("a [X]") && fast.spells_added("<|endoftext|>"));
    assert!(!fast.spells_added("a [Y] <|endoftex"));
}

/// Compared with a map: a word that is found has its own ids, whatever was evicted in between.
#[test]
fn the_cache_never_mixes_words_up() {
    let mut cache = WordCache::new();
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let ids_of = |word: &[u8]| -> Vec<u32> {
        let len = u32::try_from(word.len()).unwrap();
        (0..1 + len % 5).map(|n| n * 1000 + u32::from(word[0]) + len).collect()
    };
    let mut found = 0;
    for _ in 0..400_000 {
        let number = random.next_u32() % 150_000;
        let word = format!("{number:0width$}", width = 1 + number as usize % 35);
        let text = if number % 2 == 0 { format!("{word} and more after it") } else { word.clone() };
        let place = cache.place(text.as_bytes(), 0, word.len());
        match cache.find(text.as_bytes(), place) {
            None => cache.insert(text.as_bytes(), place, &ids_of(word.as_bytes())),
            Some(value) => {
                found += 1;
                let inline = value.ids();
                let got = if value.count() > 0 {
                    &inline[..value.count()]
                } else {
                    cache.more_ids(value)
                };
                assert_eq!(got, ids_of(word.as_bytes()), "{word}");
            }
        }
    }
    assert!(found > 100_000, "{found}");
}
