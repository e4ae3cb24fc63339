//! The committed curve of PyTorch and transformers (tools/golden_curve.py), met step by step.

use std::path::Path;

use mixdown_mixer::Batch;
use mixdown_train::{AdamW, AdamWOptions, LearningRate, Model, Schedule};
use serde_json::Value;

fn splitmix64(counter: u64) -> u64 {
    let z = (counter + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn batch(step: u64, rows: u64, length: u64, vocabulary: u64) -> Batch {
    let count = rows * (length + 1);
    let tokens = (step * count..(step + 1) * count).map(|counter| {
        let z = splitmix64(counter);
        let product = ((z >> 32) % vocabulary) * ((z & 0xFFFF_FFFF) % vocabulary);
        u32::try_from(product / vocabulary).unwrap_or(u32::MAX)
    });
    let tokens = tokens.collect();
    Batch { tokens, rows, sequence_length: length, ..Batch::default() }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

#[test]
fn every_step_is_within_a_hundred_thousandth_of_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/train/golden");
    let curve = std::fs::read_to_string(folder.join("curve.json")).unwrap();
    let curve: Value = serde_json::from_str(&curve).unwrap();
    let (rate, adamw) = (&curve["learning_rate"], &curve["adamw"]);
    let rate = LearningRate {
        schedule: Schedule::Cosine,
        peak: rate["peak"].as_f64().unwrap(),
        final_share: rate["final_share"].as_f64().unwrap(),
        warmup_steps: rate["warmup_steps"].as_u64().unwrap(),
        steps: rate["steps"].as_u64().unwrap(),
    };
    let number = |name: &str| adamw[name].as_f64().unwrap();
    let options = AdamWOptions {
        beta1: number("beta1"),
        beta2: number("beta2"),
        epsilon: number("epsilon"),
        weight_decay: number("weight_decay"),
        clip: number("clip"),
    };
    let (rows, length) = (curve["rows"].as_u64().unwrap(), curve["length"].as_u64().unwrap());
    let model = Model::load(&folder).unwrap();
    let vocabulary = model.config().vocab_size;
    let first: Vec<f64> =
        batch(0, rows, length, vocabulary).tokens[..8].iter().map(|&id| f64::from(id)).collect();
    assert_eq!(first, numbers(&curve["first_tokens"]));

    let mut optimiser = AdamW::new(model.parameters(), options);
    let (losses, norms) = (numbers(&curve["losses"]), numbers(&curve["gradient_norms"]));
    assert_eq!((losses.len(), norms.len()), (20, 20));
    for (step, (expected, expected_norm)) in (0..).zip(losses.into_iter().zip(norms)) {
        let loss = model.loss(&batch(step, rows, length, vocabulary), rows * length).unwrap();
        let value = loss.value();
        let gradients = model.gradients(loss).unwrap();
        let norm = optimiser.step(model.parameters(), &gradients, rate.at(step)).unwrap();
        let loss = value;
        assert!((loss - expected).abs() < 1e-5, "step {step}: expected {expected}, got {loss}");
        assert!((norm / expected_norm - 1.0).abs() < 1e-5, "step {step}: norm {norm}");
    }
}
