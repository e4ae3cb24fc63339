//! The tokens that end and begin a text.

use std::path::Path;

use serde_json::Value;

use crate::error::Error;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::model_folder::{config, token, token_id};

/// Files beside tokenizer.json that may name special tokens.
pub(crate) const FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];
/// Files of a model that may give the tokens' ids.
const MODEL_FILES: [&str; 2] = ["generation_config.json", "config.json"];

/// Names in use, the unambiguous ones first: a chat model's `<|im_end|>` ends a turn and is used only if no token ends
/// a text.
const NAMES: [&str; 9] = [
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<|eos|>",
    "[EOS]",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "<|eot_id|>",
    "<|im_end|>",
];

/// Returns the token that ends a text: the named one; otherwise the `eos_token` of [`FILES`] or of the tokenizer's own
/// roles, the `eos_token_id` of [`MODEL_FILES`] (the first of a list), the one that its post-processor puts after a
/// text, or the first of the usual names in its vocabulary.
pub(crate) fn find(tokenizer: &Tokenizer, named: Option<&str>) -> Result<u32, Error> {
    if let Some(named) = named {
        return named_token(tokenizer, named);
    }
    let folder = tokenizer.path().parent().unwrap_or(Path::new(""));
    for file in FILES {
        let config = config(&folder.join(file))?;
        let token = config.as_ref().and_then(|config| token(config, "eos_token"));
        if let Some(id) = token.and_then(|token| tokenizer.token_id(token)) {
            return Ok(id);
        }
    }
    if let Some(id) = tokenizer.role("eos_token").and_then(|token| tokenizer.token_id(token)) {
        return Ok(id);
    }
    for file in MODEL_FILES {
        let config = config(&folder.join(file))?;
        let id = config.as_ref().and_then(|config| token_id(config, "eos_token_id"));
        if let Some(id) = id.filter(|&id| u64::from(id) < tokenizer.vocab_size()) {
            return Ok(id);
        }
    }
    let around =
        tokenizer.suffix().or_else(|| NAMES.iter().find_map(|name| tokenizer.token_id(name)));
    around.ok_or_else(|| Error::NoEndOfText {
        path: tokenizer.path().to_owned(),
        expected: format!(
            "an eos_token in {} beside it, an eos_token_id in {}, one token that its \
             post-processor puts after a text, and {}",
            FILES.join(" or "),
            MODEL_FILES.join(" or "),
            NAMES.join(" ")
        ),
    })
}

/// Returns the setting in tokenizer_config.json beside a tokenizer for the token that begins a text: `None` without a
/// setting, `Some(None)` if there must be no such token.
pub(crate) fn configured_beginning(tokenizer: &Tokenizer) -> Result<Option<Option<u32>>, Error> {
    let folder = tokenizer.path().parent().unwrap_or(Path::new(""));
    let Some(config) = config(&folder.join("tokenizer_config.json"))? else { return Ok(None) };
    let bos = || token(&config, "bos_token").and_then(|token| tokenizer.token_id(token));
    Ok(match config.get("add_bos_token").and_then(Value::as_bool) {
        Some(true) => bos().map(Some),
        Some(false) => Some(None),
        None => None,
    })
}

fn named_token(tokenizer: &Tokenizer, named: &str) -> Result<u32, Error> {
    let as_id = || named.parse().ok().filter(|&id: &u32| u64::from(id) < tokenizer.vocab_size());
    tokenizer.token_id(named).or_else(as_id).ok_or_else(|| Error::NoSuchToken {
        path: tokenizer.path().to_owned(),
        role: "end of text",
        expected: tokenizer.vocab_size(),
        got: named.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;
    use crate::prepare::options::BeginningOfText::Auto;
    use crate::tokenizer::tests::tiny_json;
    use serde_json::json;
    use std::fs;

    fn load(tokenizer: &Value, config: Option<Value>) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap().keep();
        fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        if let Some(config) = config {
            fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
        }
        Tokenizer::load(&folder).unwrap()
    }

    #[test]
    fn the_named_token_wins_then_the_files_then_the_names() {
        let plain = load(&tiny_json(), None);
        assert_eq!(plain.end_of_text().unwrap(), 261);
        assert_eq!(plain.end_of_text_named(Some("[X]")).unwrap(), 262);
        assert_eq!(plain.end_of_text_named(Some("97")).unwrap(), 97);
        for config in [json!({"eos_token": "[X]"}), json!({"eos_token": {"content": "[X]"}})] {
            assert_eq!(load(&tiny_json(), Some(config)).end_of_text().unwrap(), 262);
        }
        let stray = load(&tiny_json(), Some(json!({"eos_token": "not there"})));
        assert_eq!(stray.end_of_text().unwrap(), 261);
        let error = plain.end_of_text_named(Some("</s>")).unwrap_err();
        let words = "has no token \"</s>\" to be the end of text, expected one of its 263 tokens";
        assert!(error.to_string().contains(words), "{error}");
        assert!(plain.end_of_text_named(Some("263")).is_err());
    }

    /// A model's folder: `tokens` get the ids from 261 on, `files` are stored beside tokenizer.json.
    fn model(tokens: &[&str], post_processor: Value, files: &[(&str, Value)]) {
        let folder = tempfile::tempdir().unwrap();
        let mut tokenizer = tiny_json();
        let added = tokens.iter().zip(261..).map(|(token, id)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        });
        tokenizer["added_tokens"] = added.collect();
        tokenizer["post_processor"] = post_processor;
        fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content.to_string()).unwrap();
        }
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let found = (tokenizer.end_of_text().unwrap(), tokenizer.beginning_of_text(Auto).unwrap());
        let name = |id: u32| tokens[usize::try_from(id - 261).unwrap()];
        let found = (name(found.0), found.1.map_or("none", name));
        let expected = files.iter().find(|(name, _)| *name == "expected").unwrap();
        assert_eq!(json!([found.0, found.1]), expected.1, "{tokens:?} {files:?}");
    }

    fn around(before: &[(&str, u32)], after: &[(&str, u32)]) -> Value {
        let piece = |(name, _): &(&str, u32)| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        let (before_pieces, after_pieces) = (before.iter().map(piece), after.iter().map(piece));
        let single: Vec<_> = before_pieces.chain([text("A")]).chain(after_pieces).collect();
        let pair: Vec<_> = single.iter().cloned().chain([text("B")]).collect();
        let table = before.iter().chain(after).map(|(name, id)| {
            ((*name).to_owned(), json!({"id": name, "ids": [id], "tokens": [name]}))
        });
        let table: serde_json::Map<_, _> = table.collect();
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": table})
    }

    /// The forms in which models come; `expected` is the end and the beginning of a text.
    #[test]
    fn real_folders_tell_both_ends_of_a_text() {
        let (none, bos) = (Value::Null, around(&[("<|begin_of_text|>", 262)], &[]));
        let llama3 = ["<|eot_id|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>"];
        let chat = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        let expect = |end: &str, begin: &str| ("expected", json!([end, begin]));
        model(&["<|endoftext|>"], none.clone(), &[expect("<|endoftext|>", "none")]);
        // Llama 3 without its tokenizer_config.json: the first id of the list ends a text.
        let list = ("generation_config.json", json!({"eos_token_id": [263, 264, 261]}));
        model(&llama3, bos.clone(), &[list, expect("<|end_of_text|>", "<|begin_of_text|>")]);
        // As an instruct model, it says that turns end its texts.
        let config = (
            "tokenizer_config.json",
            json!({"eos_token": "<|eot_id|>",
            "bos_token": "<|begin_of_text|>"}),
        );
        model(&llama3, bos.clone(), &[config, expect("<|eot_id|>", "<|begin_of_text|>")]);
        let config = ("config.json", json!({"eos_token_id": 263, "model_type": "llama"}));
        model(&llama3, bos, &[config, expect("<|end_of_text|>", "<|begin_of_text|>")]);
        // Qwen: no beginning; the map as an object.
        let qwen = ("tokenizer_config.json", json!({"add_bos_token": false, "bos_token": null}));
        let map = ("special_tokens_map.json", json!({"eos_token": {"content": "<|im_end|>"}}));
        model(&chat, none.clone(), &[qwen, map, expect("<|im_end|>", "none")]);
        // Mistral and Llama 2: the configuration decides, whatever the post-processor does.
        let pieces = ["<unk>", "<s>", "</s>"];
        let begins = around(&[("<s>", 262)], &[]);
        let told = |add: bool| {
            (
                "tokenizer_config.json",
                json!({"add_bos_token": add,
            "bos_token": "<s>", "eos_token": "</s>"}),
            )
        };
        model(&pieces, none.clone(), &[told(true), expect("</s>", "<s>")]);
        model(&pieces, begins.clone(), &[told(false), expect("</s>", "none")]);
        model(&pieces, begins, &[expect("</s>", "<s>")]);
        // T5 and BERT: the token that the post-processor puts after a text.
        let ends = around(&[], &[("<done>", 262)]);
        model(&["</s>", "<done>"], ends, &[expect("<done>", "none")]);
        let bert = json!({"type": "BertProcessing", "cls": ["[CLS]", 261], "sep": ["[SEP]", 262]});
        model(&["[CLS]", "[SEP]"], bert, &[expect("[SEP]", "[CLS]")]);
    }

    #[test]
    fn a_folder_with_a_tokenizer_of_another_form_says_how_to_convert_it() {
        for name in ["tokenizer.model", "tekken.json", "vocab.json"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), "x").unwrap();
            let error = Tokenizer::load(folder.path()).err().unwrap();
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("save_pretrained"), "{text}");
            assert_eq!(error.kind(), ErrorKind::Configuration);
        }
    }

    /// A truncated configuration may have named another token.
    #[test]
    fn a_file_that_cannot_be_read_is_not_passed_over() {
        for file in FILES {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("tokenizer.json"), tiny_json().to_string()).unwrap();
            let path = folder.path().join(file);
            fs::write(&path, "{\"eos_token\": \"[X").unwrap();
            for _ in 0..2 {
                let error = Tokenizer::load(folder.path()).unwrap().end_of_text().unwrap_err();
                assert!(matches!(&error, Error::BadTokenizer { path: bad, .. } if *bad == path));
                fs::remove_file(&path).ok();
                fs::create_dir_all(&path).unwrap();
            }
        }
    }

    #[test]
    fn a_tokenizer_without_one_says_what_was_looked_for() {
        let mut none = tiny_json();
        none["added_tokens"] = json!([]);
        let error = load(&none, None).end_of_text().unwrap_err();
        let text = error.to_string();
        for words in
            ["tokenizer_config.json", "<|endoftext|>", "<|im_end|>", "name one of its tokens"]
        {
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}
