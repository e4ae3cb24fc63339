//! Output projections beside a config.json that ties them.

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
