//! Tiny models of transformers (tools/golden/golden_models.py): the same logits, the same loss at every step
//! of a training by PyTorch, the same gradient norms, and the same files back.

use std::path::PathBuf;

use candle_core::{DType, Device};
use mixdown_mixer::{Batch, Documents};
use serde_json::Value;

use crate::config::compute::{ComputePath, PassOptions};
use crate::config::lora::{LoraConfig, LoraTargets};
use crate::config::run_config::{RunConfig, TrainConfig};
use crate::engine::NEVER;
use crate::engine::decoder::{ActivationPolicy, Decoder};
use crate::engine::reference::Reference;
use crate::engine::rows::Rows;
use crate::model::Model;
use crate::optim::adamw::{AdamW, AdamWOptions};
use crate::optim::schedule::{LearningRate, Schedule};
use crate::optim::trainable_state::TrainableState;

const FAMILIES: [&str; 5] = ["gpt2", "llama", "qwen2", "qwen3", "pythia"];

struct Golden {
    folder: PathBuf,
    curve: Value,
}

impl Golden {
    fn open(family: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join("../../testdata/train").join(family);
        let curve = std::fs::read_to_string(folder.join("curve.json")).unwrap();
        Self { curve: serde_json::from_str(&curve).unwrap(), folder }
    }

    fn number(&self, place: &str) -> f64 {
        self.curve.pointer(place).and_then(Value::as_f64).unwrap()
    }

    fn count(&self, place: &str) -> u64 {
        self.curve.pointer(place).and_then(Value::as_u64).unwrap()
    }

    fn numbers(&self, place: &str) -> Vec<f64> {
        let values = self.curve.pointer(place).and_then(Value::as_array).unwrap();
        values.iter().map(|value| value.as_f64().unwrap()).collect()
    }

    fn batch(&self, step: u64) -> Batch {
        let (rows, length) = (self.count("/rows"), self.count("/length"));
        let count = rows * (length + 1);
        let tokens = (step * count..(step + 1) * count).map(|counter| {
            let z = splitmix64(counter);
            let product = ((z >> 32) % 256) * ((z & 0xFFFF_FFFF) % 256);
            u32::try_from(product / 256).unwrap()
        });
        let tokens = tokens.collect();
        Batch { tokens, rows, sequence_length: length, ..Batch::default() }
    }

    fn logits(&self) -> Vec<f32> {
        let bytes = std::fs::read(self.folder.join("logits.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let logits = file.tensor("logits").unwrap();
        assert_eq!(logits.shape(), [4, 32, 256]);
        logits.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn rate(&self) -> LearningRate {
        LearningRate {
            schedule: Schedule::Cosine,
            peak: self.number("/learning_rate/peak"),
            final_share: self.number("/learning_rate/final_share"),
            warmup_steps: self.count("/learning_rate/warmup_steps"),
            decay_steps: 1,
            steps: self.count("/learning_rate/steps"),
        }
    }

    fn adamw(&self) -> AdamWOptions {
        AdamWOptions {
            beta1: self.number("/adamw/beta1"),
            beta2: self.number("/adamw/beta2"),
            epsilon: self.number("/adamw/epsilon"),
            weight_decay: self.number("/adamw/weight_decay"),
            clip: self.number("/adamw/clip"),
        }
    }
}

fn splitmix64(counter: u64) -> u64 {
    let z = (counter + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn mean(losses: &[f32]) -> f64 {
    losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64
}

/// Figures for people: `MIXDOWN_PRINT=1 cargo test -p mixdown-train golden -- --nocapture`.
#[expect(clippy::print_stderr, reason = "asked for")]
fn print(line: &str) {
    if std::env::var_os("MIXDOWN_PRINT").is_some() {
        eprintln!("{line}");
    }
}

#[test]
fn logits_are_those_of_transformers() {
    for family in FAMILIES {
        let golden = Golden::open(family);
        let model = Model::load(&golden.folder).unwrap();
        let batch = golden.batch(0);
        let first: Vec<f64> = batch.tokens[..8].iter().map(|&id| f64::from(id)).collect();
        assert_eq!(first, golden.numbers("/first_tokens"));
        let rows = Rows::new(&batch, model.config()).unwrap();
        let expected = golden.logits();
        let mut fast = Decoder::new(model.config(), model.layout(), ActivationPolicy::Keep, None);
        let reference = Reference::new(model.config(), &Device::Cpu, DType::F32).unwrap();
        let reference = reference.logits(model.parameters(), &rows).unwrap();
        let both = [
            fast.logits(model.parameters(), &rows),
            reference.flatten_all().unwrap().to_vec1().unwrap(),
        ];
        for got in both {
            let pairs = got.iter().zip(&expected).map(|(got, expected)| (got - expected).abs());
            let worst = pairs.fold(0.0, f32::max);
            assert!(worst < 1e-4, "{family}: {worst:e}");
            print(&format!("{family}: logits differ by at most {worst:e}"));
        }
    }
}

#[test]
fn every_step_is_within_a_hundred_thousandth_of_pytorch() {
    for family in FAMILIES {
        for path in [ComputePath::Fast, ComputePath::Reference] {
            let golden = Golden::open(family);
            let mut model = Model::load(&golden.folder).unwrap();
            model.set_pass(PassOptions { path, ..PassOptions::default() }).unwrap();
            let mut optimizer = AdamW::new(&model, golden.adamw()).unwrap();
            let mut gradients = model.zero_gradients().unwrap();
            let (losses, norms) = (golden.numbers("/losses"), golden.numbers("/gradient_norms"));
            assert_eq!((losses.len(), norms.len()), (20, 20));
            let (mut worst, mut worst_norm) = (0.0_f64, 0.0_f64);
            for (step, (expected, expected_norm)) in (0..).zip(losses.into_iter().zip(norms)) {
                let batch = golden.batch(step);
                let losses = model.losses_and_gradients(&batch, 4 * 32, &mut gradients).unwrap();
                let rate = golden.rate().at(step);
                let norm = optimizer.step(&mut model, &mut gradients, rate).unwrap();
                worst = worst.max((mean(&losses) - expected).abs());
                worst_norm = worst_norm.max((norm / expected_norm - 1.0).abs());
            }
            print(&format!(
                "{family} {path:?}: losses differ by {worst:.1e}, norms by {worst_norm:.1e}"
            ));
            assert!(worst < 1e-5 && worst_norm < 1e-5, "{family} {path:?}: {worst} {worst_norm}");
        }
    }
}

#[test]
fn documents_are_kept_apart_as_rows_of_their_own_are() {
    for family in FAMILIES {
        let golden = Golden::open(family);
        let mut model = Model::load(&golden.folder).unwrap();
        let position_ids: Vec<u32> = (0..4).flat_map(|_| (0..13).chain(0..19)).collect();
        let documents = Some(Documents { position_ids, ..Documents::default() });
        let batch = Batch { documents, ..golden.batch(0) };
        let loss = mean(&model.losses(&batch).unwrap());
        let expected = golden.number("/document_loss");
        assert!((loss - expected).abs() < 1e-5, "{family}: expected {expected}, got {loss}");
    }
}

/// A PEFT adapter over a tiny model (tools/golden/golden_lora.py).
fn golden_adapter(family: &str) -> (Golden, RunConfig) {
    let golden = Golden::open(&format!("lora/{family}"));
    let targets = golden.curve["targets"].as_array().unwrap();
    let targets = targets.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let lora = LoraConfig {
        rank: golden.count("/rank"),
        alpha: golden.number("/alpha"),
        targets: Some(LoraTargets::Names(targets)),
    };
    let adamw = Golden::open(family).adamw();
    let train = TrainConfig {
        lora: Some(lora),
        beta1: adamw.beta1,
        beta2: adamw.beta2,
        epsilon: adamw.epsilon,
        weight_decay: adamw.weight_decay,
        clip: adamw.clip,
        ..TrainConfig::new(1)
    };
    let text = "[model]\ninit = 'm'\n[mixture]\nsequence_length = 8\nbatch_size = 4\nsource = []\n\
                [train]\nsteps = 1\n[eval]\nevery_steps = 1\nsequences = 1\ncorpus = []\n";
    (golden, RunConfig { train, ..RunConfig::parse(text).unwrap() })
}

#[test]
fn every_step_of_an_adapter_is_within_a_hundred_thousandth_of_peft() {
    for family in ["gpt2", "llama", "pythia"] {
        for path in [ComputePath::Fast, ComputePath::Reference] {
            let base = Golden::open(family);
            let (golden, config) = golden_adapter(family);
            let mut model = Model::load(&base.folder).unwrap();
            model.set_pass(PassOptions { path, ..PassOptions::default() }).unwrap();
            let mut trainable = TrainableState::new(&model, &config).unwrap();
            let bytes = std::fs::read(golden.folder.join("adapter_model.safetensors")).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let adapter = trainable.adapter().unwrap().clone();
            assert_eq!(file.len(), adapter.tensors().count());
            let mut numbers = vec![0.0; adapter.len];
            for tensor in adapter.tensors() {
                let stored = file.tensor(&tensor.name).unwrap();
                assert_eq!(stored.shape(), tensor.shape);
                let values: Vec<f32> =
                    stored.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                tensor.copy_in(0, &values, &mut numbers[tensor.range.clone()]);
            }
            let start = |buffers: &mut [(&str, &mut [f32])]| {
                buffers[2].1.copy_from_slice(&numbers);
                Ok(())
            };
            trainable.resume(&mut model, 0, start).unwrap();
            let mut gradients = trainable.zero_gradients(&model).unwrap();
            let (losses, norms) = (golden.numbers("/losses"), golden.numbers("/gradient_norms"));
            assert_eq!((losses.len(), norms.len()), (12, 12));
            let (mut worst, mut worst_norm) = (0.0_f64, 0.0_f64);
            for (step, (expected, expected_norm)) in (0..).zip(losses.into_iter().zip(norms)) {
                let batch = base.batch(step);
                let losses = trainable
                    .losses_and_gradients(&mut model, &batch, 4 * 32, &mut gradients, &NEVER)
                    .unwrap();
                let norm =
                    trainable.step(&mut model, &mut gradients, base.rate().at(step)).unwrap();
                worst = worst.max((mean(&losses) - expected).abs());
                worst_norm = worst_norm.max((norm / expected_norm - 1.0).abs());
            }
            let last = mean(&model.losses(&base.batch(0)).unwrap());
            worst = worst.max((last - golden.number("/last_loss")).abs());
            print(&format!(
                "{family} lora {path:?}: losses differ by {worst:.1e}, norms by {worst_norm:.1e}"
            ));
            assert!(worst < 1e-5 && worst_norm < 1e-5, "{family} {path:?}: {worst} {worst_norm}");
        }
    }
}
