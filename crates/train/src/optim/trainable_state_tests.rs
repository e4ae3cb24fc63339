//! Whole runs of adapters, frozen tensors and averages.

use std::fs;
use std::path::Path;

use mixdown_base::error_kind::ErrorKind;
use mixdown_runs::RunFolder;
use safetensors::SafeTensors;

use crate::adapter::AdapterLayout;
use crate::config::lora::LoraConfig;
use crate::config::run_config::RunConfig;
use crate::model::Model;
use crate::model::config::tests::tiny;
use crate::model::config::{Family, ModelConfig};
use crate::trainer::estimate::Preview;
use crate::trainer::tests::{TEXT, base as run_base, end, open, run, run_until, world};
use crate::weights::hugging_face::tensors;

pub(crate) const LORA: &str = "[train.lora]\nrank = 2\ntargets = \"all-linear\"";

/// A run of twelve steps from the folder `base`, with more of `[train]`.
pub(crate) fn text(more: &str) -> String {
    let (model, rest) = TEXT.split_once("[mixture]").unwrap();
    assert!(model.contains("seed = 3"));
    let (before, eval) = rest.split_once("[eval]").unwrap();
    format!("[model]\ninit = \"base\"\n[mixture]{before}\n{more}\n[eval]{eval}")
}

/// Corpora and a base model.
pub(crate) fn place(config: &ModelConfig) -> tempfile::TempDir {
    let place = world();
    let base = place.path().join("base");
    fs::create_dir(&base).unwrap();
    // That of the corpora is another's.
    let config = ModelConfig { tokenizer_fingerprint: None, ..config.clone() };
    Model::new(&config, 3).unwrap().save(&base).unwrap();
    place
}

fn llama() -> tempfile::TempDir {
    place(&tiny())
}

/// A tensor of a file.
fn tensor(path: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = file.tensor(name).unwrap().data().as_chunks().0;
    numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn weights(folder: &Path) -> Vec<f32> {
    Model::load(folder).unwrap().parameters().to_vec()
}

#[test]
fn stopping_anywhere_and_going_on_changes_no_bit() {
    let ema = "ema = 0.8";
    let freeze = "freeze = [\"*.0.*\", \"model.embed*\"]";
    for more in [
        LORA.to_owned(),
        format!("{ema}\n{LORA}"),
        ema.to_owned(),
        freeze.to_owned(),
        format!("{ema}\n{freeze}"),
    ] {
        let (place, text) = (llama(), text(&more));
        run(place.path(), &text, "whole").unwrap();
        let expected = end(place.path(), "whole");
        for calls in [1, 2, 5, 9, 16] {
            let out = format!("stopped-{calls}");
            assert_eq!(
                run_until(place.path(), &text, &out, calls).unwrap_err().kind(),
                ErrorKind::Interrupted
            );
            run(place.path(), &text, &out).unwrap();
            assert_eq!(end(place.path(), &out), expected, "{more}: stopped after {calls} calls");
        }
        while run_until(place.path(), &text, "often", 2).is_err() {}
        assert_eq!(end(place.path(), "often"), expected, "{more}");
    }
}

#[test]
fn a_kill_between_a_checkpoint_and_best_is_repaired() {
    for more in [LORA.to_owned(), format!("ema = 0.8\n{LORA}"), "ema = 0.8".to_owned()] {
        let (place, text) = (llama(), text(&format!("keep_checkpoints = 12\n{more}")));
        let summary = run(place.path(), &text, "out").unwrap();
        let folder = RunFolder::open(&place.path().join("out")).unwrap();
        assert!(summary.best_step > 0);
        for step in summary.best_step + 1..=12 {
            let _ = fs::remove_dir_all(folder.checkpoint(step));
        }
        // Killed before its end.
        fs::remove_file(folder.summary()).unwrap();
        let best = folder.best();
        let expected = fs::read(best.join("model.safetensors")).unwrap();
        fs::remove_dir_all(&best).unwrap();
        open(place.path(), &text, "out").unwrap();
        assert_eq!(fs::read(best.join("model.safetensors")).unwrap(), expected, "{more}");
        assert_eq!(best.join("adapter/adapter_config.json").exists(), more.contains("lora"));
    }
}

#[test]
fn an_adapter_leaves_small_checkpoints_and_a_merged_model() {
    for family in [Family::Llama, Family::Gpt2, Family::GptNeoX] {
        let mut config = crate::weights::hugging_face::test_models::tiny(family);
        config.max_position_embeddings = 32;
        let (place, text) = (place(&config), text("[train.lora]\nrank = 3"));
        let summary = run(place.path(), &text, "out").unwrap();
        assert!(summary.best[0].loss < summary.before[0].loss);
        assert_eq!(summary.row.unwrap().method.as_deref(), Some("lora"));
        let folder = RunFolder::open(&place.path().join("out")).unwrap();
        let checkpoint = folder.checkpoint(12);
        assert!(!checkpoint.join("model.safetensors").exists());
        let error = Model::load(&checkpoint).unwrap_err().to_string();
        assert!(
            error.contains("the checkpoint of an adapter, without its base: take best/ of the run")
        );
        let optimizer = checkpoint.join("optimizer.safetensors");
        let model = Model::load(&place.path().join("base")).unwrap();
        let lora = LoraConfig { rank: 3, ..LoraConfig::default() };
        let adapter = AdapterLayout::new(model.config(), model.layout(), &lora).unwrap();
        assert_eq!(tensor(&optimizer, "first_moment").len(), adapter.len);
        // The adapter's file over the base gives best/, added by its sums.
        let file = folder.best().join("adapter/adapter_model.safetensors");
        let mut numbers = vec![0.0; adapter.len];
        for part in adapter.tensors() {
            part.copy_in(0, &tensor(&file, &part.name), &mut numbers[part.range.clone()]);
        }
        let (base, best) = (weights(&place.path().join("base")), weights(&folder.best()));
        let mut merged = base.clone();
        adapter.merge(&adapter.base(&base).unwrap(), &numbers, &mut merged);
        assert_eq!(merged, best, "{family}");
        let changed = base.iter().zip(&best).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert!(changed > adapter.base_len * 9 / 10 && changed <= adapter.base_len);
    }
}

#[test]
fn frozen_tensors_stay_bit_for_bit() {
    let (place, text) = (llama(), text("freeze = [\"model.embed_tokens.*\", \"*.0.mlp.*\"]"));
    let summary = run(place.path(), &text, "out").unwrap();
    assert_eq!(summary.row.unwrap().method.as_deref(), Some("partial"));
    let optimizer = place.path().join("out/checkpoints/step-12/optimizer.safetensors");
    let moments = [tensor(&optimizer, "first_moment"), tensor(&optimizer, "second_moment")];
    let model = Model::load(&place.path().join("base")).unwrap();
    let (base, last) = (model.parameters(), weights(&place.path().join("out/checkpoints/step-12")));
    for tensor in tensors(model.config(), model.layout()) {
        let is_frozen = tensor.name.contains("embed") || tensor.name.contains(".0.mlp.");
        let range = tensor.range;
        assert_eq!(base[range.clone()] == last[range.clone()], is_frozen, "{}", tensor.name);
        for moments in &moments {
            let is_zero = moments[range.clone()].iter().all(|value| value.to_bits() == 0);
            assert_eq!(is_zero, is_frozen, "{}", tensor.name);
        }
    }
}

/// What the average is of is known from a run without it: an average changes no step.
#[test]
fn an_average_is_that_of_all_steps() {
    for more in ["", LORA] {
        let place = llama();
        let every = text(&format!("keep_checkpoints = 12\n{more}"))
            .replace("checkpoint_every = 4", "checkpoint_every = 1");
        run(place.path(), &every, "raw").unwrap();
        run(place.path(), &text(&format!("ema = 0.8\n{more}")), "averaged").unwrap();
        let raw = RunFolder::open(&place.path().join("raw")).unwrap();
        let last = place.path().join("averaged/checkpoints/step-12");
        let (optimizer, is_adapter) = ("optimizer.safetensors", !more.is_empty());
        let of = |folder: &Path| match is_adapter {
            true => tensor(&folder.join(optimizer), "parameters"),
            false => weights(folder),
        };
        assert_eq!(tensor(&last.join(optimizer), "parameters"), of(&raw.checkpoint(12)));
        let start = match is_adapter {
            true => {
                let model = Model::load(&place.path().join("base")).unwrap();
                let lora = RunConfig::parse(&every).unwrap().train.lora.unwrap();
                let adapter = AdapterLayout::new(model.config(), model.layout(), &lora).unwrap();
                adapter.initial(5).unwrap()
            }
            false => weights(&place.path().join("base")),
        };
        let mut expected: Vec<f64> = start.into_iter().map(f64::from).collect();
        for step in 1..=12 {
            for (average, now) in expected.iter_mut().zip(of(&raw.checkpoint(step))) {
                *average = 0.8 * *average + 0.2 * f64::from(now);
            }
        }
        let got = match is_adapter {
            true => tensor(&last.join(optimizer), "average"),
            false => weights(&last),
        };
        for (got, expected) in got.iter().zip(&expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-6, "{got} {expected}");
        }
        let [raw, averaged] = ["raw", "averaged"].map(|name| {
            let folder = RunFolder::open(&place.path().join(name)).unwrap();
            folder.read_metrics().unwrap().into_iter().map(|r| (r.train_loss, r.evals))
        });
        for (step, (raw, averaged)) in raw.zip(averaged).enumerate() {
            assert_eq!(raw.0, averaged.0, "steps are the same");
            let losses = |evals: &[mixdown_runs::EvalRecord]| evals.first().map(|e| e.loss);
            assert_eq!(losses(&raw.1) == losses(&averaged.1), step % 3 != 0 || step == 0);
        }
    }
}

#[test]
fn what_is_kept_is_what_was_evaluated() {
    for more in [LORA.to_owned(), format!("ema = 0.8\n{LORA}"), "ema = 0.8".to_owned()] {
        let place = llama();
        let summary = run(place.path(), &text(&more), "out").unwrap();
        // The same evaluation of best/ before the first step of another run.
        let again = text("").replace("init = \"base\"", "init = \"out/best\"");
        let again = run(place.path(), &again, "again").unwrap();
        for (best, again) in summary.best.iter().zip(&again.before) {
            assert_eq!(best.loss.to_bits(), again.loss.to_bits(), "{more}");
        }
    }
}

#[test]
fn the_estimate_shows_what_an_adapter_saves() {
    let place = llama();
    let preview = |more: &str| {
        let config = RunConfig::parse(&text(more)).unwrap();
        Preview::new(&config, run_base(place.path()), &place.path().join("out")).unwrap()
    };
    let (full, lora) = (preview(""), preview("[train.lora]\nrank = 1"));
    assert_eq!(full.trainable_parameters, full.parameters);
    assert_eq!(lora.parameters, full.parameters);
    // Two blocks; of 8 numbers in, queries 8 and values 8 out.
    assert_eq!(lora.trainable_parameters, 2 * 2 * (8 + 8));
    let bytes = 4 * lora.trainable_parameters;
    let estimate = lora.estimate;
    assert_eq!((estimate.gradients_bytes, estimate.moments_bytes), (bytes, 2 * bytes));
    assert_eq!(estimate.adapter_bytes, bytes + 4 * 2 * 2 * 64);
    assert_eq!(estimate.pass_bytes, full.estimate.pass_bytes);
    assert!(estimate.disk_bytes < full.estimate.disk_bytes / 2);
    let averaged = preview("ema = 0.5").estimate;
    assert_eq!(averaged.average_bytes, averaged.parameters_bytes);
    assert_eq!(averaged.memory_bytes, full.estimate.memory_bytes + 2 * averaged.parameters_bytes);
    let frozen = preview("freeze = [\"model.embed*\"]");
    assert_eq!(frozen.trainable_parameters, full.parameters - 40 * 8);
}

#[test]
fn other_adapters_and_targets_are_refused_by_name() {
    let place = llama();
    let refused = |more: &str, out: &str| {
        open(place.path(), &text(more), out).map(|_| ()).unwrap_err().to_string()
    };
    assert!(refused("[train.lora]\ntargets = [\"c_attn\"]", "a").contains("\"v_proj\"]"));
    assert!(refused("freeze = [\"model.layers.7.*\"]", "a").contains("model.layers.*.mlp.up_proj"));
    assert!(!place.path().join("a").exists());
    run_until(place.path(), &text(LORA), "b", 4).unwrap_err();
    let other = LORA.replace("rank = 2", "rank = 3");
    assert!(refused(&other, "b").contains("train.lora.rank"));
    assert!(refused("", "b").contains("train.lora"));
}
