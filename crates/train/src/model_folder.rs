//! A Hugging Face model folder: what `transformers` opens as it is.

use std::path::Path;

use mixdown_shards::Corpus;
use serde_json::{Value, json};

use crate::error::Error;
use crate::files::{
    LARGEST_TOKENIZER_BYTES, TOKENIZER_FILE, parse_json, read_capped, sync_folder, write_json,
    write_synced,
};
use crate::model::Model;

const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
const GENERATION_CONFIG_FILE: &str = "generation_config.json";

/// Writes model, tokenizer and their settings into an existing folder, synced to the disk.
///
/// The tokenizer is that of `corpus`; a corpus made without a tokenizer file gives none.
pub(crate) fn write(folder: &Path, model: &Model, corpus: &Corpus) -> Result<(), Error> {
    model.save(folder)?;
    let config = model.config();
    let generation = json!({
        "_from_model_config": true,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
    });
    write_json(&folder.join(GENERATION_CONFIG_FILE), &generation)?;
    write_tokenizer(folder, model, corpus)?;
    sync_folder(folder);
    Ok(())
}

fn write_tokenizer(folder: &Path, model: &Model, corpus: &Corpus) -> Result<(), Error> {
    let tokenizer = corpus.tokenizer_path();
    if !tokenizer.is_file() {
        return Ok(());
    }
    let bytes = read_capped(&tokenizer, LARGEST_TOKENIZER_BYTES)?;
    write_synced(&folder.join(TOKENIZER_FILE), &bytes)?;
    let own = corpus.folder().join(TOKENIZER_CONFIG_FILE);
    if own.is_file() {
        let bytes = read_capped(&own, LARGEST_TOKENIZER_BYTES)?;
        return write_synced(&folder.join(TOKENIZER_CONFIG_FILE), &bytes);
    }
    let tokens = parse_json(&tokenizer, &bytes)?;
    let config = model.config();
    let settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_position_embeddings,
        "clean_up_tokenization_spaces": false,
        "bos_token": content(&tokens, config.bos_token_id),
        "eos_token": content(&tokens, config.eos_token_id),
    });
    write_json(&folder.join(TOKENIZER_CONFIG_FILE), &settings)
}

/// The text of an added token of a tokenizer.json.
fn content(tokenizer: &Value, id: Option<u64>) -> Option<&str> {
    let id = id?;
    let tokens = tokenizer["added_tokens"].as_array()?;
    tokens.iter().find(|token| token["id"].as_u64() == Some(id))?["content"].as_str()
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::model::Model;
    use crate::model_config::tests::tiny;
    use crate::test_corpus::{corpus, tokens};

    #[test]
    fn a_tokenizer_of_more_than_16_mib_goes_with_the_model() {
        let place = tempfile::tempdir().unwrap();
        let corpus = corpus(&place.path().join("corpus"), 40, &tokens(30, 1), &tokens(30, 2));
        let large = format!("{{\"added_tokens\":[]{}}}", " ".repeat(17 << 20));
        std::fs::write(corpus.tokenizer_path(), &large).unwrap();
        write(place.path(), &Model::new(&tiny(), 1).unwrap(), &corpus).unwrap();
        let copied = std::fs::read(place.path().join("tokenizer.json")).unwrap();
        assert!(copied == large.as_bytes());
        assert!(place.path().join("tokenizer_config.json").exists());
    }
}
