//! The files beside config.json and weights that a trained model's folder needs.

use mixdown_shards::Corpus;
use serde_json::{Value, json};

use crate::error::Error;
use crate::model::Model;
use crate::weights::{TOKENIZER_FILE, json_bytes, parse_json, refuse_pointer};

const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
const GENERATION_CONFIG_FILE: &str = "generation_config.json";

/// Adds the tokenizer of `corpus` to a model that came without one, and generation settings if it has none. A corpus
/// without a tokenizer file adds none; a corpus whose tokenizer file is damaged is refused.
pub(crate) fn complete(model: &mut Model, corpus: &Corpus) -> Result<(), Error> {
    let config = model.config().clone();
    let companions = model.companions_mut();
    if !companions.has(GENERATION_CONFIG_FILE) {
        let generation = json!({
            "_from_model_config": true,
            "bos_token_id": config.bos_token_id,
            "eos_token_id": config.eos_token_id,
        });
        companions.insert(GENERATION_CONFIG_FILE, json_bytes(&generation));
    }
    if companions.has(TOKENIZER_FILE) {
        return Ok(());
    }
    let Some(bytes) = corpus.tokenizer_file(TOKENIZER_FILE)? else { return Ok(()) };
    let tokenizer = corpus.tokenizer_path();
    refuse_pointer(&tokenizer, &bytes)?;
    let settings = if let Some(own) = corpus.tokenizer_file(TOKENIZER_CONFIG_FILE)? {
        own
    } else {
        let tokens = parse_json(&tokenizer, &bytes)?;
        json_bytes(&json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.max_position_embeddings,
            "clean_up_tokenization_spaces": false,
            "bos_token": content(&tokens, config.bos_token_id),
            "eos_token": content(&tokens, config.eos_token_id),
        }))
    };
    companions.insert(TOKENIZER_FILE, bytes);
    companions.insert(TOKENIZER_CONFIG_FILE, settings);
    Ok(())
}

/// Returns the text of an added token of a tokenizer.json.
fn content(tokenizer: &Value, id: Option<u64>) -> Option<&str> {
    let id = id?;
    let tokens = tokenizer["added_tokens"].as_array()?;
    tokens.iter().find(|token| token["id"].as_u64() == Some(id))?["content"].as_str()
}

#[cfg(test)]
mod tests {
    use super::complete;
    use crate::model::Model;
    use crate::model::config::tests::tiny;
    use crate::test_corpus::{corpus, tokens};

    #[test]
    fn a_damaged_file_of_the_tokenizer_is_not_copied() {
        let place = tempfile::tempdir().unwrap();
        let corpus = corpus(&place.path().join("corpus"), 40, &tokens(30, 1), &tokens(30, 2));
        std::fs::write(corpus.tokenizer_path(), "{}").unwrap();
        let settings = corpus.folder().join("tokenizer_config.json");
        std::fs::write(&settings, "{\"model_max_length\": 8}").unwrap();
        let config = std::fs::read(&settings).unwrap();
        complete(&mut Model::new(&tiny(), 1).unwrap(), &corpus).unwrap();
        std::fs::write(&settings, &config[1..]).unwrap();
        let refused = |model: &mut Model| complete(model, &corpus).unwrap_err().to_string();
        let error = refused(&mut Model::new(&tiny(), 1).unwrap());
        assert!(error.contains("tokenizer_config.json: expected one JSON value"), "{error}");
        // Of a sealed corpus also one that is JSON.
        std::fs::write(&settings, &config).unwrap();
        corpus.manifest().write_sealed(corpus.folder()).unwrap();
        complete(&mut Model::new(&tiny(), 1).unwrap(), &corpus).unwrap();
        std::fs::write(&settings, "{\"model_max_length\": 9}").unwrap();
        let error = refused(&mut Model::new(&tiny(), 1).unwrap());
        assert!(error.contains("tokenizer_config.json: expected a file with the hash"), "{error}");
        std::fs::remove_file(&settings).unwrap();
        let error = refused(&mut Model::new(&tiny(), 1).unwrap());
        assert!(error.contains("expected the file that the corpus was finished with"), "{error}");
    }

    #[test]
    fn a_tokenizer_of_more_than_16_mib_goes_with_the_model() {
        let place = tempfile::tempdir().unwrap();
        let corpus = corpus(&place.path().join("corpus"), 40, &tokens(30, 1), &tokens(30, 2));
        let large = format!("{{\"added_tokens\":[]{}}}", " ".repeat(17 << 20));
        std::fs::write(corpus.tokenizer_path(), &large).unwrap();
        let mut model = Model::new(&tiny(), 1).unwrap();
        complete(&mut model, &corpus).unwrap();
        model.save(place.path()).unwrap();
        let copied = std::fs::read(place.path().join("tokenizer.json")).unwrap();
        assert!(copied == large.as_bytes());
        assert!(place.path().join("tokenizer_config.json").exists());
        // A tokenizer that came with the model stays.
        let mut loaded = Model::load(place.path()).unwrap();
        std::fs::write(corpus.tokenizer_path(), "{}").unwrap();
        complete(&mut loaded, &corpus).unwrap();
        loaded.save(&place.path().join("corpus")).unwrap();
        let kept = std::fs::read(place.path().join("corpus/tokenizer.json")).unwrap();
        assert!(kept == large.as_bytes());
    }
}
