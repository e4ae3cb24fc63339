//! The tokenizers that the fast library (1.0.0-rc.3) encodes as 0.23 does, recognized by their files.
//!
//! This is a list of what is known to agree rather than of what is known to differ: a form that was never compared goes
//! to the reference and costs time instead of wrong ids. docs/design/tokenizers.md has the differences.

use std::collections::BTreeSet;

use serde_json::Value;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::utils::{Grammar, is_deepseek, recognize};

use crate::tokenizer::disputed::holds_disputed;
use crate::tokenizer::parts::{TokenizerParts, Tokens};

/// The extent to which the two libraries agree on a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// They agree on every text.
    Full,
    /// They agree on every text without a character on which their Unicode tables differ
    /// ([`disputed`](crate::tokenizer::disputed)).
    Undisputed,
}

impl Agreement {
    /// Returns the extent of agreement on this tokenizer.
    ///
    /// # Errors
    /// The agreement is unknown, or they are known to differ: the part of the file that shows it.
    pub(crate) fn on(file: &TokenizerParts<'_>) -> Result<Self, String> {
        let added = file.rest.get("added_tokens").and_then(Value::as_array);
        added_tokens(added.map_or(&[], Vec::as_slice))?;
        model(file)?;
        let normalizers = members(file.rest.get("normalizer"), "normalizers");
        let splitters = members(file.rest.get("pre_tokenizer"), "pretokenizers");
        let mut full = true;
        for normalizer in &normalizers {
            full &= normalizer_agrees(normalizer, normalizers.len())?;
        }
        match *splitters {
            [a, b, c] if is_deepseek_split([a, b, c]) => full = false,
            _ => {
                for member in splitters {
                    full &= splitter(member)?;
                }
            }
        }
        Ok(if full { Self::Full } else { Self::Undisputed })
    }
}

/// Returns a component, or the members of a sequence of them, also of nested sequences.
fn members<'v>(component: Option<&'v Value>, key: &str) -> Vec<&'v Value> {
    match component.and_then(|component| component.get(key)).and_then(Value::as_array) {
        Some(inner) => inner.iter().flat_map(|member| members(Some(member), key)).collect(),
        None => component.filter(|component| !component.is_null()).into_iter().collect(),
    }
}

fn kind(component: &Value) -> &str {
    component.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn flag(component: &Value, name: &str) -> bool {
    component.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// Returns whether a normalizer agrees in full; `count` is the number of normalizers.
fn normalizer_agrees(normalizer: &Value, count: usize) -> Result<bool, String> {
    let literal = normalizer.pointer("/pattern/String").is_some();
    let spaces = normalizer.pointer("/pattern/Regex").and_then(Value::as_str) == Some(" {2,}");
    let first = normalizer.get("prepend").and_then(Value::as_str) == Some("first");
    match kind(normalizer) {
        "Prepend" | "Strip" | "Lowercase" | "Nmt" | "StripAccents" | "Precompiled" => Ok(true),
        "Replace" if literal || spaces => Ok(true),
        // 0.23 treats a text that a normalizer changed as if it did not begin the input.
        "MetaspaceNormalizer" if !first || count == 1 => Ok(true),
        "NFC" | "NFD" | "NFKC" | "NFKD" | "BertNormalizer" => Ok(false),
        other => Err(format!("its normalizer {other}")),
    }
}

/// Returns whether a pre-tokenizer agrees in full.
fn splitter(splitter: &Value) -> Result<bool, String> {
    let pattern = splitter.pointer("/pattern/Regex").and_then(Value::as_str);
    let literal = splitter.pointer("/pattern/String").is_some();
    let isolated =
        matches!(splitter.get("behavior").and_then(Value::as_str), None | Some("Isolated"));
    match (kind(splitter), pattern.and_then(recognize)) {
        ("Split", _) if literal && !flag(splitter, "invert") => Ok(true),
        ("Split", Some(grammar)) if isolated && !flag(splitter, "invert") => match grammar {
            Grammar::Gpt2
            | Grammar::Tekken
            | Grammar::O200k
            | Grammar::Cl100k { digit_cap: 1 | 3 } => Ok(false),
            _ => Err("the pattern of its pre-tokenizer".to_owned()),
        },
        ("Split", _) => Err("the pattern of its pre-tokenizer".to_owned()),
        (
            "WhitespaceSplit" | "Digits" | "CharDelimiterSplit" | "FixedLength" | "UnicodeScripts",
            _,
        ) => Ok(true),
        ("Whitespace" | "BertPreTokenizer" | "Punctuation", _) => Ok(false),
        (other, _) => Err(format!("its pre-tokenizer {other}")),
    }
}

fn is_deepseek_split(splits: [&Value; 3]) -> bool {
    let plain = |split: &Value| {
        split.get("behavior").and_then(Value::as_str) == Some("Isolated") && !flag(split, "invert")
    };
    let patterns = splits.map(|split| split.pointer("/pattern/Regex").and_then(Value::as_str));
    match patterns {
        [Some(a), Some(b), Some(c)] => is_deepseek(a, b, c) && splits.into_iter().all(plain),
        _ => false,
    }
}

/// Refuses models that are known to differ, or whose special cases were never compared.
fn model(file: &TokenizerParts<'_>) -> Result<(), String> {
    let model = file.rest.get("model").unwrap_or(&Value::Null);
    let spelled = |name| model.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match kind(model) {
        "BPE" => {
            for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
                if spelled(name).is_some() {
                    return Err(format!("the {name} of its BPE"));
                }
            }
            let byte_level = model.get("byte_level").and_then(Value::as_bool) == Some(true);
            if byte_level && !has_every_byte(file) {
                return Err("its BPE over bytes, which lacks some".to_owned());
            }
            Ok(())
        }
        "Unigram" => match &file.vocabulary {
            Tokens::Scores(pieces) if file.sorted_ids().len() == pieces.len() => Ok(()),
            _ => Err("its Unigram model, which has a token twice".to_owned()),
        },
        "WordPiece" => Ok(()),
        "WordLevel" => {
            let unknown = spelled("unk_token").unwrap_or_default();
            has(file, &BTreeSet::from([unknown.to_owned()]))
                .then_some(())
                .ok_or_else(|| "its WordLevel model, which lacks the unknown token".to_owned())
        }
        other => Err(format!("its model {other}")),
    }
}

fn has_every_byte(file: &TokenizerParts<'_>) -> bool {
    has(file, &ByteLevel::alphabet().into_iter().map(String::from).collect())
}

/// Returns whether the vocabulary holds all of these tokens.
fn has(file: &TokenizerParts<'_>, tokens: &BTreeSet<String>) -> bool {
    let Tokens::Ids(vocabulary) = &file.vocabulary else { return false };
    let found: BTreeSet<_> =
        vocabulary.iter().map(|(token, _)| *token).filter(|t| tokens.contains(*t)).collect();
    found.len() == tokens.len()
}

/// Refuses flags whose matches differ, and ids that the two libraries would assign differently.
fn added_tokens(added: &[Value]) -> Result<(), String> {
    let content = |token: &'_ Value| {
        token.get("content").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let contents: BTreeSet<String> = added.iter().map(content).collect();
    if contents.len() != added.len() || contents.contains("") {
        return Err("an added token that is empty or there twice".to_owned());
    }
    if let Some(odd) = added.iter().find(|t| flag(t, "single_word") || flag(t, "rstrip")) {
        return Err(format!("single_word or rstrip of its added token {:?}", content(odd)));
    }
    if let Some(disputed) = contents.iter().find(|content| holds_disputed(content)) {
        return Err(format!("its added token {disputed:?}, which may have two normal forms"));
    }
    // Tokens outside the vocabulary get the next ids: in the order of the file, or of these ids.
    let ids = added.iter().map(|token| token.get("id").and_then(Value::as_u64));
    if !ids.is_sorted() {
        return Err("its added tokens, which are not in the order of their ids".to_owned());
    }
    Ok(())
}
