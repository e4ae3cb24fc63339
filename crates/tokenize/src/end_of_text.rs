//! Which token ends a text, and which one begins it.

use std::path::Path;

use serde_json::Value;

use crate::error::Error;
use crate::model_folder::{config, token, token_id};
use crate::tokenizer::Tokenizer;

/// Files beside tokenizer.json that may name special tokens.
pub(crate) const FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];
/// Files of a model that may give their ids.
const MODEL_FILES: [&str; 2] = ["generation_config.json", "config.json"];

/// Names in use, the unambiguous ones first: a chat model's `<|im_end|>` ends a turn and is taken
/// only where nothing ends a text.
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

/// The token that ends a text: the named one; else the `eos_token` of [`FILES`] or of the
/// tokenizer's own roles, the `eos_token_id` of [`MODEL_FILES`] (the first of a list), the one that
/// its post-processor puts after a text, the first of the usual names that it holds.
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

/// What tokenizer_config.json beside a tokenizer says of the token that begins a text: `None` if
/// nothing, `Some(None)` if there shall be none.
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
    use super::*;
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

    /// A configuration that was cut short may have named another token.
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
        for words in ["tokenizer_config.json", "<|endoftext|>", "<|im_end|>", "--end-of-text"] {
            assert!(text.contains(words), "{text}");
        }
        assert!(error.is_configuration());
    }
}
