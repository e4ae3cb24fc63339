//! Tiny tokenizers of each kind and the ids that 0.23's Python package gave (tools/golden/golden_ids.py): both the
//! chosen library and the reference must give the same ids.

use std::fs;
use std::path::PathBuf;

use mixdown_documents::Labels;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;
use tokenizers::json::Json;
use tokenizers::pipeline::PipelineToken;

use crate::encode::encode_by_words;
use crate::encode::labels::LabelEncoder;
use crate::prepare::options::SpecialText;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::reference::Reference;

/// The tokenizers that the fast library encodes wrongly or cannot read.
const REFERENCE: [&str; 7] =
    ["bloom", "clip", "digits-2", "falcon", "flags", "lowercase-first", "roberta"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tokenizers")
}

fn ids_of(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

#[test]
fn every_kind_gives_the_ids_of_the_python_package_on_either_path() {
    let golden = fs::read_to_string(folder().join("ids.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let texts: Vec<&str> =
        golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for (name, modes) in golden["ids"].as_object().unwrap() {
        let path = folder().join(format!("{name}.json"));
        let tokenizer = Tokenizer::load(&path).unwrap();
        assert_eq!(tokenizer.pipeline().is_none(), REFERENCE.contains(&name.as_str()), "{name}");
        let file = fs::read_to_string(&path).unwrap();
        let reference = Reference::new(&file, &Json::parse(&file).unwrap()).unwrap();
        for (place, text) in texts.iter().enumerate() {
            let plain = &modes["plain"][place];
            let parse = Some(&modes["parse"][place]).filter(|ids| !ids.is_null()).unwrap_or(plain);
            for (special_text, expected) in
                [(SpecialText::Plain, plain), (SpecialText::Parse, parse)]
            {
                let expected = ids_of(expected);
                let (mut chosen, mut slow) = (Vec::new(), Vec::new());
                tokenizer.encode_onto(text, special_text, &mut chosen).unwrap();
                reference.encode_onto(text, special_text, &mut slow).unwrap();
                let case = format!("{name}, {special_text:?}: {text:?}");
                assert_eq!(PipelineToken::cast_slice(&slow), expected, "0.23, {case}");
                assert_eq!(PipelineToken::cast_slice(&chosen), expected, "{case}");
            }
        }
    }
}

/// Labeled documents are encoded in another way: if everything is content, they must give the ids of special tokens as
/// plain text; if nothing is, the ids of special tokens as tokens.
#[test]
fn labeled_documents_have_the_same_ids_for_every_kind() {
    let golden = fs::read_to_string(folder().join("ids.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    for (name, modes) in golden["ids"].as_object().unwrap() {
        let tokenizer = Tokenizer::load(&folder().join(format!("{name}.json"))).unwrap();
        let encoder = LabelEncoder::new(&tokenizer).unwrap();
        for (place, text) in golden["texts"].as_array().unwrap().iter().enumerate() {
            let text = text.as_str().unwrap();
            let plain = &modes["plain"][place];
            let parse = Some(&modes["parse"][place]).filter(|ids| !ids.is_null()).unwrap_or(plain);
            for (cuts, expected) in [((0..text.len()).collect(), plain), (Vec::new(), parse)] {
                let labels = Labels { targets: Vec::new(), plain: cuts };
                let labeled = encoder.encode(text, &labels).unwrap();
                assert_eq!(labeled.ids, ids_of(expected), "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn what_is_random_is_refused_and_what_is_not_used_is_ignored() {
    let file = fs::read_to_string(folder().join("llama2.json")).unwrap();
    let mut value: Value = serde_json::from_str(&file).unwrap();
    value["truncation"] = serde_json::json!({"direction": "Right", "max_length": 2,
        "strategy": "LongestFirst", "stride": 0});
    value["padding"] = serde_json::json!({"strategy": {"Fixed": 9}, "direction": "Right",
        "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"});
    for suffix in [None, Some("</w>")] {
        value["model"]["end_of_word_suffix"] = suffix.into();
        let tokenizer = Tokenizer::from_json("t".into(), value.to_string()).unwrap();
        assert_eq!(tokenizer.pipeline().is_some(), suffix.is_none());
        let len = tokenizer.encode("what is not used is ignored").unwrap().len();
        assert!(len > 9, "{len}");
    }
    value["model"]["dropout"] = serde_json::json!(0.1);
    let error = Tokenizer::from_json("t".into(), value.to_string()).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("model.dropout is 0.1, expected null"), "{source}");
}

#[test]
fn the_reason_is_told_where_the_slower_library_encodes() {
    for (name, words) in [
        ("gpt2", "tokenizers 1.0.0-rc.3"),
        ("bloom", "because of the pattern of its pre-tokenizer"),
        ("clip", "because of the end_of_word_suffix of its BPE"),
        ("flags", "because of single_word or rstrip of its added token \"thing\""),
        ("lowercase-first", "because of its normalizer MetaspaceNormalizer"),
        ("roberta", "what that one says: a `ByteLevel` pre-tokenizer with"),
    ] {
        let tokenizer = Tokenizer::load(&folder().join(format!("{name}.json"))).unwrap();
        assert!(tokenizer.encoder().contains(words), "{name}: {}", tokenizer.encoder());
    }
}

/// 0.23 encodes only the words around disputed characters, with the same result as for the whole text.
#[test]
fn pieces_of_a_text_have_the_ids_of_the_whole() {
    let parts = [
        "word",
        " next",
        "A",
        " I",
        "'s",
        "'ſ",
        "ſ",
        " ",
        "  ",
        "\n",
        " \n ",
        "12",
        " 345",
        "!",
        " (x)",
        "é",
        "e\u{301}",
        "漢字",
        "\u{2e43}",
        " \u{2e52}",
        "\u{1e030}",
        "\u{16ea0}b",
        "\u{897}",
        "\u{323b0}\u{323b1}",
        "\u{11382}",
        "\t",
    ];
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for name in ["gpt2", "llama3", "qwen", "o200k"] {
        let path = folder().join(format!("{name}.json"));
        let tokenizer = Tokenizer::load(&path).unwrap();
        let file = fs::read_to_string(&path).unwrap();
        let reference = Reference::new(&file, &Json::parse(&file).unwrap()).unwrap();
        let fast = tokenizer.fast().unwrap();
        let mut scratch = fast.scratch(usize::MAX);
        for _ in 0..1500 {
            let len = 1 + random.next_u32() % 60;
            // Each text has few or many of the odd characters.
            let kinds = [4, 17, 26][random.next_u32() as usize % 3];
            let text: String = (0..len)
                .map(|_| match random.next_u32() % 5 {
                    0 => parts[random.next_u32() as usize % parts.len()],
                    _ => parts[random.next_u32() as usize % kinds],
                })
                .collect();
            let (mut pieces, mut whole) = (Vec::new(), Vec::new());
            let plain = SpecialText::Plain;
            encode_by_words(&fast, &tokenizer, &text, plain, &mut pieces, &mut scratch).unwrap();
            reference.encode_onto(&text, SpecialText::Plain, &mut whole).unwrap();
            let cast = PipelineToken::cast_slice;
            assert_eq!(cast(&pieces), cast(&whole), "{name}: {text:?}");
        }
    }
}
