//! The table of disputed characters, compared with both libraries' results for every character.

#![expect(clippy::print_stdout, reason = "the test of every character prints the table")]

use std::collections::BTreeSet;

use tokenizers::normalizers as new_normalizers;
use tokenizers::pipeline::{
    Normalizer as NewNormalizer, PipelinePreTokenizer, PreTokenizer as NewPreTokenizer,
    PreTokenizerScratch,
};
use tokenizers::pre_tokenizers as new_pre;
use tokenizers_023::normalizers as old_normalizers;
use tokenizers_023::pre_tokenizers as old_pre;
use tokenizers_023::{
    NormalizedString, Normalizer as OldNormalizer, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer as OldPreTokenizer,
};

use crate::tokenizer::disputed::{DISPUTED, holds_disputed, is_disputed};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[test]
fn ranges_are_in_order_and_found_wherever_they_stand() {
    for pair in DISPUTED.windows(2) {
        assert!(pair[0].1 + 1 < pair[1].0, "{pair:x?}");
    }
    let plain = "abc é “quoted” 漢字 ч ş 한국어 😀 ".repeat(9);
    assert!(!holds_disputed(&plain) && !holds_disputed(""));
    for &(first, last) in &DISPUTED {
        for code in [first, last] {
            let Some(character) = char::from_u32(code) else { continue };
            for len in [0, 1, 61, 62, 63, 64, 65, 200] {
                let mut text = "x".repeat(len);
                text.push(character);
                assert!(holds_disputed(&text), "{code:x} after {len}");
                text.push_str(&plain);
                assert!(holds_disputed(&format!("{plain}{text}")), "{code:x} after {len}");
            }
        }
        for code in [first - 1, last + 1] {
            let there = DISPUTED.iter().any(|&(first, last)| (first..=last).contains(&code));
            let found = char::from_u32(code).is_some_and(is_disputed);
            assert!(found == there, "{code:x}");
        }
    }
}

/// A component with its name, and whether both libraries give the same result for a text.
type Component = (&'static str, Box<dyn Fn(&str) -> bool>);

/// Both libraries' results for the texts around a character, for every component that `agreement` lets the fast one
/// run.
struct Components {
    normalizers: Vec<Component>,
    splitters: Vec<Component>,
}

fn normalizer(
    old: impl OldNormalizer + 'static,
    new: impl NewNormalizer + 'static,
) -> Box<dyn Fn(&str) -> bool> {
    Box::new(move |text| {
        let mut normalized = NormalizedString::from(text);
        old.normalize(&mut normalized).unwrap();
        normalized.get() == new.normalize(text, 0).unwrap()
    })
}

fn splitter(
    old: impl OldPreTokenizer + 'static,
    new: impl NewPreTokenizer + 'static,
) -> Box<dyn Fn(&str) -> bool> {
    Box::new(move |text| {
        let mut split = PreTokenizedString::from(text);
        old.pre_tokenize(&mut split).unwrap();
        let old = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let old = old.into_iter().map(|(piece, ..)| piece).filter(|piece| !piece.is_empty());
        let mut spans = Vec::new();
        new.pre_tokenize(text, &mut PreTokenizerScratch::default(), &mut spans).unwrap();
        let new = spans.iter().map(|span| &text[span.range()]).filter(|piece| !piece.is_empty());
        old.eq(new)
    })
}

fn pattern(pattern: &str) -> (old_pre::split::Split, new_pre::split::Split) {
    let old = old_pre::split::SplitPattern::Regex(pattern.to_owned());
    let old =
        old_pre::split::Split::new(old, tokenizers_023::SplitDelimiterBehavior::Isolated, false);
    let new = new_pre::split::SplitPattern::Regex(pattern.to_owned());
    let new =
        new_pre::split::Split::native(new, tokenizers::SplitDelimiterBehavior::Isolated, false);
    (old.unwrap(), new.unwrap())
}

fn deepseek() -> Box<dyn Fn(&str) -> bool> {
    let (old, new): (Vec<_>, Vec<_>) =
        tokenizers::utils::DEEPSEEK_PATTERNS.into_iter().map(pattern).unzip();
    let old = old.into_iter().map(old_pre::PreTokenizerWrapper::from).collect();
    let new = new.into_iter().map(PipelinePreTokenizer::Split).collect();
    splitter(old_pre::sequence::Sequence::new(old), new_pre::sequence::PipelineSequence::new(new))
}

fn components() -> Components {
    let bert = |accents| {
        normalizer(
            old_normalizers::BertNormalizer::new(true, true, accents, true),
            new_normalizers::BertNormalizer::new(true, true, accents, true),
        )
    };
    let of = |(old, new)| splitter(old, new);
    let o200k = TEKKEN.replacen("]+|", "]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|", 1);
    let o200k = o200k.replacen("]*|", "]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|", 1);
    let o200k = o200k.replace(r"|\p{N}|", r"|\p{N}{1,3}|");
    for known in [GPT2, CL100K, TEKKEN, &o200k] {
        assert!(tokenizers::utils::recognize(known).is_some(), "{known}");
    }
    let isolated = tokenizers::SplitDelimiterBehavior::Isolated;
    Components {
        normalizers: vec![
            ("NFC", normalizer(old_normalizers::NFC, new_normalizers::NFC)),
            ("NFD", normalizer(old_normalizers::NFD, new_normalizers::NFD)),
            ("NFKC", normalizer(old_normalizers::NFKC, new_normalizers::NFKC)),
            ("NFKD", normalizer(old_normalizers::NFKD, new_normalizers::NFKD)),
            (
                "StripAccents",
                normalizer(old_normalizers::StripAccents, new_normalizers::StripAccents::new()),
            ),
            ("Lowercase", normalizer(old_normalizers::Lowercase, new_normalizers::Lowercase)),
            ("Nmt", normalizer(old_normalizers::Nmt, new_normalizers::Nmt)),
            ("Bert", bert(None)),
            ("Bert, accents kept", bert(Some(false))),
        ],
        splitters: vec![
            (
                "BertPreTokenizer",
                splitter(old_pre::bert::BertPreTokenizer, new_pre::bert::BertPreTokenizer),
            ),
            (
                "Punctuation",
                splitter(
                    old_pre::punctuation::Punctuation::default(),
                    new_pre::punctuation::Punctuation::new(isolated),
                ),
            ),
            (
                "Whitespace",
                splitter(old_pre::whitespace::Whitespace, new_pre::whitespace::Whitespace),
            ),
            (
                "WhitespaceSplit",
                splitter(
                    old_pre::whitespace::WhitespaceSplit,
                    new_pre::whitespace::WhitespaceSplit,
                ),
            ),
            (
                "Digits",
                splitter(old_pre::digits::Digits::new(true), new_pre::digits::Digits::new(true)),
            ),
            (
                "Digits in runs",
                splitter(old_pre::digits::Digits::new(false), new_pre::digits::Digits::new(false)),
            ),
            ("GPT-2", of(pattern(GPT2))),
            ("cl100k", of(pattern(CL100K))),
            ("Qwen", of(pattern(&CL100K.replace("{1,3}", "")))),
            ("o200k", of(pattern(&o200k))),
            ("tekken", of(pattern(TEKKEN))),
            ("DeepSeek", deepseek()),
        ],
    }
}

fn disagreements(
    components: &[Component],
    around: impl Fn(char) -> Vec<String>,
    found: &mut BTreeSet<u32>,
    codes: impl Iterator<Item = u32> + Clone,
) {
    for (name, agree) in components {
        let disagree = |character: &char| !around(*character).iter().all(|text| agree(text));
        let here: Vec<_> = codes.clone().filter_map(char::from_u32).filter(disagree).collect();
        println!("{name}: {} characters", here.len());
        found.extend(here.into_iter().map(u32::from));
    }
}

/// Returns the characters on which the libraries' components differ in some context.
fn disputed_among(codes: impl Iterator<Item = u32> + Clone) -> BTreeSet<u32> {
    let components = components();
    let mut found = BTreeSet::new();
    let composed = |c: char| {
        vec![
            format!("{c}"),
            format!("a{c}b"),
            format!("e{c}\u{301}"),
            format!("e\u{301}{c}\u{327}"),
            format!("\u{1100}{c}"),
        ]
    };
    let in_text = |c: char| {
        let contractions = format!("A'{c} {c}'s!{c}{c}");
        vec![format!("a{c}b"), format!(" {c}1{c}2"), contractions, format!("\n{c}\n  {c}  .{c} \n")]
    };
    disagreements(&components.normalizers, composed, &mut found, codes.clone());
    disagreements(&components.splitters, in_text, &mut found, codes);
    found
}

/// Every 97th character, and all around the edges of the table.
#[test]
fn a_sample_of_characters_is_disputed_only_where_the_table_says_so() {
    let edges = DISPUTED.iter().flat_map(|&(first, last)| [first - 1, last + 1]);
    let codes: BTreeSet<u32> = (0..0x11_0000).step_by(97).chain(0..0x250).chain(edges).collect();
    for code in disputed_among(codes.iter().copied()) {
        assert!(char::from_u32(code).is_some_and(is_disputed), "{code:x} is missing");
    }
}

/// Prints the table: `cargo test -p mixdown-tokenize every_character -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes; to be run when one of the libraries changes its version"]
fn every_character_is_disputed_only_where_the_table_says_so() {
    // Planes 4 to 13 are empty, 15 and 16 private: they are the same in every version.
    let mut found = disputed_among((0..0x4_0000).chain(0xe_0000..0xe_1000));
    // The parts of a new character were new as well, or it would have been composed before.
    let decomposed = |code: &u32| {
        let mut first = None;
        let character = char::from_u32(*code)?;
        unicode_normalization::char::decompose_canonical(character, |c| first = first.or(Some(c)));
        first.map(u32::from).filter(|&first| first >= 0x1_0000)
    };
    let bases: Vec<_> = found.iter().filter_map(decomposed).collect();
    found.extend(bases);
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &code in &found {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == code => *last = code,
            _ => ranges.push((code, code)),
        }
    }
    for (first, last) in &ranges {
        println!("    ({first:#x}, {last:#x}),");
    }
    let missing: Vec<_> =
        found.iter().filter(|&&code| !char::from_u32(code).is_some_and(is_disputed)).collect();
    assert!(missing.is_empty(), "{missing:x?}");
}
