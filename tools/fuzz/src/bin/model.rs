//! Model folders of any content. The first byte says what is fuzzed: config.json beside sound weights,
//! the weights' header with as many bytes of numbers as it asks for, the whole weights' file, or the
//! index of a weights' file.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mixdown_train::{Model, ModelConfig};
use serde_json::Value;

/// A model of few numbers: a config.json of the Llama family.
const CONFIG: &str = include_str!("../../seeds/model/config-llama.json");
/// No larger model is opened: its numbers are set aside before its weights are looked at.
const MOST_PARAMETERS: u64 = 1 << 20;
/// No larger model is made.
const MOST_OF_FRESH: u64 = 1 << 12;
/// No header gets more bytes of numbers.
const MOST_BYTES: u64 = 1 << 16;

/// The files of a sound model.
struct Sound {
    weights: Vec<u8>,
}

thread_local! {
    static SOUND: Sound = {
        let folder = tempfile::tempdir().expect("a scratch folder");
        fs::write(folder.path().join("config.json"), CONFIG).expect("room for a file");
        let config = ModelConfig::read(folder.path()).expect("a sound config.json");
        let model = Model::new(&config, 7).expect("a small model");
        model.save(folder.path()).expect("room for a model");
        Sound { weights: fs::read(folder.path().join("model.safetensors")).expect("the weights") }
    };
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("room");
    let weights = SOUND.with(|sound| sound.weights.clone());
    put("config.json", CONFIG.as_bytes());
    match kind % 4 {
        0 => {
            put("config.json", data);
            put("model.safetensors", &weights);
        }
        1 => put("model.safetensors", &with_numbers(data)),
        2 => put("model.safetensors", data),
        _ => {
            put("part.safetensors", &weights);
            put("model.safetensors.index.json", data);
        }
    }
    open(folder.path());
});

/// A safetensors file of this header.
fn with_numbers(header: &[u8]) -> Vec<u8> {
    let ends = serde_json::from_slice::<Value>(header).ok().and_then(|json| {
        let ends = json.as_object()?.values().map(|tensor| tensor["data_offsets"][1].as_u64());
        ends.flatten().max()
    });
    let numbers = vec![0x3c; ends.unwrap_or(0).min(MOST_BYTES) as usize];
    [&(header.len() as u64).to_le_bytes(), header, &numbers].concat()
}

fn open(folder: &Path) {
    let Ok(config) = ModelConfig::read(folder) else { return };
    if config.parameters() > MOST_PARAMETERS {
        return;
    }
    let fresh = (config.parameters() <= MOST_OF_FRESH).then(|| Model::new(&config, 7).ok());
    for model in fresh.flatten().into_iter().chain(Model::load(folder).ok()) {
        check(&model);
    }
}

/// A model that opens is of the size that it says, and comes back the same from its files.
fn check(model: &Model) {
    let numbers = model.parameters().len() as u64;
    assert_eq!(numbers, model.config().parameters());
    let copy = tempfile::tempdir().expect("a scratch folder");
    model.save(copy.path()).expect("a model that can be written");
    let again = Model::load(copy.path()).expect("a model that was written");
    assert_eq!(again.config().parameters(), numbers);
    let bits = |model: &Model| model.parameters().iter().map(|n| n.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&again), bits(model));
}
