//! A model without its weights, as config.json or a run's description defines it.

use std::path::Path;

use mixdown_shards::{Corpus, Fingerprint, Split};

use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::layout::Layout;
use crate::model::place::ModelPlace;
use crate::weights::TOKENIZER_FILE;
use crate::weights::weights_file::has_own_head;

/// A function that returns the fingerprint of a tokenizer.json, or the reason why the file cannot be read.
///
/// The trainer knows only token ids, so its caller provides the reader of tokenizers. The fingerprint must be the one
/// that corpora record.
pub type TokenizerFingerprint = fn(&Path) -> Result<Fingerprint, String>;

/// The number of tokens that are read at once to find the highest one.
const PART_TOKENS: usize = 1 << 20;

/// The architecture of a model and the layout of its weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelShape {
    pub(crate) config: ModelConfig,
    pub(crate) layout: Layout,
}

impl ModelShape {
    /// Returns the shape of a fresh model.
    ///
    /// # Errors
    /// A size is invalid.
    pub(crate) fn fresh(config: &ModelConfig) -> Result<Self, Error> {
        config
            .check()
            .map_err(|(field, expected, got)| Error::setting(run_key(field), expected, got))?;
        Self::of(config.clone())
    }

    /// Reads the shape of the model in a Hugging Face folder from its config.json and the headers of its weights.
    ///
    /// A config.json may tie the output projection to the embedding although the weights hold a different projection,
    /// as in resized and merged models. Such a projection is kept, as `transformers` does, and the written config.json
    /// says so.
    ///
    /// # Errors
    /// As [`Model::load`](crate::Model::load).
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let folder = &ModelPlace::find(Path::new(""), folder)?.folder;
        let mut config = ModelConfig::read(folder)?;
        if has_own_head(folder, &config)? {
            config.tied_embeddings = false;
            config.extra.insert("tie_word_embeddings".to_owned(), false.into());
        }
        Self::of(config)
    }

    fn of(config: ModelConfig) -> Result<Self, Error> {
        let expected = "sizes that fit memory";
        let layout = Layout::new(&config)
            .ok_or_else(|| Error::setting("model", expected, config.parameters()))?;
        Ok(Self { config, layout })
    }

    /// Takes the tokenizer of the folder's own tokenizer.json, where it has one, for the model's: tokens may have been
    /// added since config.json named a tokenizer.
    ///
    /// # Errors
    /// A tokenizer.json that cannot be read.
    pub(crate) fn take_tokenizer(
        &mut self,
        folder: &Path,
        fingerprint: TokenizerFingerprint,
    ) -> Result<(), Error> {
        let path = folder.join(TOKENIZER_FILE);
        if path.is_file() {
            let read = fingerprint(&path);
            let expected = "a tokenizer to compare with that of the corpora";
            let read = read.map_err(|got| Error::bad_file(&path, expected, got))?;
            self.config.tokenizer_fingerprint = Some(read);
        }
        Ok(())
    }

    /// Refuses a corpus that was made with another tokenizer than the model's, or that has an id without an embedding.
    ///
    /// A tokenizer may have more entries than the embedding has rows, such as a padding token, as long as no text
    /// contains them.
    pub(crate) fn check_corpus(&self, corpus: &Corpus) -> Result<(), Error> {
        let path = || corpus.folder().to_owned();
        match (self.config.tokenizer_fingerprint, corpus.tokenizer_fingerprint()) {
            (Some(expected), got) if expected != got => {
                return Err(Error::Tokenizer { path: path(), expected, got });
            }
            _ => {}
        }
        let (expected, got) = (self.config.vocab_size, corpus.manifest().vocab_size);
        if got <= expected {
            return Ok(());
        }
        match highest_id(corpus)? {
            Some(id) if u64::from(id) >= expected => {
                Err(Error::Vocabulary { path: path(), expected, got, id: u64::from(id) })
            }
            _ => Ok(()),
        }
    }
}

/// Reads a whole corpus and returns its highest id, because the manifest records only the size of the vocabulary.
fn highest_id(corpus: &Corpus) -> Result<Option<u32>, Error> {
    let mut highest = None;
    let mut ids: Vec<u32> = Vec::new();
    for split in [Split::Train, Split::Holdout] {
        let (tokens, mut start) = (corpus.tokens(split), 0);
        while start < tokens {
            let len = usize::try_from(tokens - start).unwrap_or(PART_TOKENS).min(PART_TOKENS);
            ids.resize(len, 0);
            corpus.read_tokens(split, start, &mut ids)?;
            highest = highest.max(ids.iter().copied().max());
            start += u64::try_from(len).unwrap_or(u64::MAX);
        }
    }
    Ok(highest)
}

/// Returns the key of a run's description that sets this field of a fresh model's config.json.
fn run_key(field: &str) -> &str {
    match field {
        "vocab_size" => "model.vocab_size",
        "hidden_size" => "model.hidden_size",
        "intermediate_size" => "model.intermediate_size",
        "num_hidden_layers" => "model.layers",
        "num_attention_heads" => "model.heads",
        "max_position_embeddings" => "mixture.sequence_length",
        // The constants: no key sets them.
        _ => field,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::ModelShape;
    use crate::model::Model;
    use crate::model::config::{Family, ModelConfig};
    use crate::weights::hugging_face::test_models::{every, tiny};

    /// Changes config.json to tie the output projection to the embedding.
    fn tie(folder: &std::path::Path) {
        let path = folder.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["tie_word_embeddings"] = json!(true);
        fs::write(&path, config.to_string()).unwrap();
    }

    #[test]
    fn a_projection_of_other_numbers_is_kept_whatever_the_config_says() {
        for config in every().into_iter().filter(|config| !config.tied_embeddings) {
            let place = tempfile::tempdir().unwrap();
            let model = Model::new(&config, 5).unwrap();
            model.save(place.path()).unwrap();
            tie(place.path());
            let back = Model::load(place.path()).unwrap();
            assert!(!back.config().tied_embeddings, "{}", config.family);
            assert_eq!(back.parameters(), model.parameters());
            let again = tempfile::tempdir().unwrap();
            back.save(again.path()).unwrap();
            assert_eq!(Model::load(again.path()).unwrap().parameters(), model.parameters());
            let written = ModelConfig::read(again.path()).unwrap();
            assert!(!written.tied_embeddings, "{}", config.family);
        }
    }

    #[test]
    fn a_projection_that_is_the_embedding_once_more_is_none() {
        for family in [Family::Llama, Family::Gpt2, Family::GptNeoX] {
            let place = tempfile::tempdir().unwrap();
            let config = ModelConfig { tied_embeddings: false, ..tiny(family) };
            let mut model = Model::new(&config, 5).unwrap();
            let (embedding, head) =
                (model.layout().embedding.clone(), model.layout().head.clone().unwrap());
            let numbers = model.parameters()[embedding].to_vec();
            model.parameters_mut()[head.clone()].copy_from_slice(&numbers);
            model.save(place.path()).unwrap();
            tie(place.path());
            assert!(ModelShape::read(place.path()).unwrap().config.tied_embeddings, "{family}");
            assert!(Model::load(place.path()).unwrap().config().tied_embeddings, "{family}");
            // The last number alone is another.
            model.parameters_mut()[head.end - 1] += 1.0;
            model.save(place.path()).unwrap();
            tie(place.path());
            assert!(!ModelShape::read(place.path()).unwrap().config.tied_embeddings, "{family}");
        }
    }
}
