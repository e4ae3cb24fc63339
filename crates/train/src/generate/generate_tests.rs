//! Generations beside those of transformers (tools/golden/golden_generate.py), and where they end.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use mixdown_base::error_kind::ErrorKind;
use serde_json::Value;

use super::{FinishReason, GenerateOptions, Generated, generate};
use crate::engine::kernels::check::on_threads;
use crate::error::Error;
use crate::generate::sampling::Sampling;
use crate::model::Model;
use crate::model::config::tests::{all_kinds, tiny};

const WARM: Sampling = Sampling { temperature: 1.0, top_k: None, top_p: Some(0.9) };

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

fn run(
    model: &mut Model,
    prompts: &[Vec<u32>],
    sampling: Sampling,
) -> Result<Vec<Generated>, Error> {
    let options = GenerateOptions { max_tokens: 40, sampling, seed: 7 };
    generate(model, prompts, &options, &mut |_, _| {}, &AtomicBool::new(false))
}

#[test]
fn greedy_ids_are_those_of_transformers() {
    for family in ["gpt2", "llama", "qwen2", "qwen3", "pythia"] {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join("../../testdata/train").join(family);
        let golden = std::fs::read_to_string(folder.join("generate.json")).unwrap();
        let golden: Value = serde_json::from_str(&golden).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!((cases.len(), golden["max_tokens"].as_u64()), (4, Some(40)));
        let prompts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["prompt"])).collect();
        let expected: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["ids"])).collect();
        let got = run(&mut Model::load(&folder).unwrap(), &prompts, Sampling::GREEDY).unwrap();
        for ((mut got, expected), prompt) in got.into_iter().zip(expected).zip(prompts) {
            // transformers gives the id that ends the text, too.
            if got.finish_reason == FinishReason::EndOfText {
                got.ids.push(0);
            }
            assert_eq!(got.ids, expected, "{family} {prompt:?}");
            let full = 64 - prompt.len() + 1;
            let ending = match () {
                () if expected.last() == Some(&0) => FinishReason::EndOfText,
                () if expected.len() == 40 => FinishReason::MaxTokens,
                () if expected.len() == full => FinishReason::ContextFull,
                () => panic!("{} ids", expected.len()),
            };
            assert_eq!(got.finish_reason, ending, "{family}");
        }
    }
}

#[test]
fn a_prompt_draws_the_same_alone_and_with_any_number_of_threads() {
    for mut config in all_kinds() {
        config.eos_token_id = None;
        let mut model = Model::new(&config, 1).unwrap();
        let prompts = [vec![3, 1, 4], vec![1], vec![5, 9, 2, 6, 5]];
        let all = || run(&mut Model::new(&config, 1).unwrap(), &prompts, WARM).unwrap();
        let three = on_threads(3, all);
        assert_eq!(on_threads(1, all), three);
        assert_eq!(run(&mut model, &prompts[..1], WARM).unwrap()[0], three[0]);
        // Positions 0 to 31 are read; what is drawn after the last one is given, too.
        let lengths: Vec<usize> = three.iter().map(|generated| generated.ids.len()).collect();
        assert_eq!(lengths, [30, 32, 28]);
        assert!(three.iter().all(|generated| generated.finish_reason == FinishReason::ContextFull));
    }
}

#[test]
fn ids_are_told_as_they_come() {
    let mut config = tiny();
    config.eos_token_id = None;
    let mut model = Model::new(&config, 1).unwrap();
    let mut told = vec![Vec::new(); 2];
    let options = GenerateOptions { max_tokens: 5, sampling: WARM, seed: 1 };
    let mut on_token = |prompt: usize, id: u32| told[prompt].push(id);
    let never = AtomicBool::new(false);
    let prompts = [vec![1], vec![1]];
    let generated = generate(&mut model, &prompts, &options, &mut on_token, &never).unwrap();
    let expected: Vec<Vec<u32>> = generated.iter().map(|one| one.ids.clone()).collect();
    assert_eq!(told, expected);
    assert_eq!(expected[0].len(), 5);
    // Two samples of one prompt.
    assert_ne!(expected[0], expected[1]);
}

#[test]
fn any_of_the_ids_that_end_a_text_ends_it() {
    let mut config = tiny();
    config.eos_token_id = None;
    let mut model = Model::new(&config, 1).unwrap();
    let free = run(&mut model, &[vec![1]], WARM).unwrap().remove(0);
    let end = free.ids[6];
    let first = free.ids.iter().position(|&id| id == end).unwrap();
    let file = format!(r#"{{"eos_token_id": [39, {end}]}}"#);
    let expected = free.ids.iter().position(|&id| id == 39).unwrap_or(first).min(first);
    let expected =
        Generated { ids: free.ids[..expected].to_vec(), finish_reason: FinishReason::EndOfText };
    let mut listed = Model::new(&config, 1).unwrap();
    listed.companions_mut().insert("generation_config.json", file.clone().into_bytes());
    assert_eq!(run(&mut listed, &[vec![1]], WARM).unwrap().remove(0), expected);
    // The list of config.json alone; generation_config.json may name one of them.
    let extra: Value = serde_json::from_str(&file).unwrap();
    config.extra = extra.as_object().unwrap().clone();
    let mut listed = Model::new(&config, 1).unwrap();
    let one = br#"{"eos_token_id": 39}"#.to_vec();
    listed.companions_mut().insert("generation_config.json", one);
    assert_eq!(run(&mut listed, &[vec![1]], WARM).unwrap().remove(0), expected);
}

#[test]
fn what_cannot_be_gone_on_from_is_refused() {
    let mut model = Model::new(&tiny(), 1).unwrap();
    let mut refused =
        |prompts: &[Vec<u32>]| run(&mut model, prompts, WARM).unwrap_err().to_string();
    assert_eq!(refused(&[]), "prompts: expected at least one, got 0");
    let limit = "prompt: expected 1 to 32 tokens (the model's positions), got";
    assert_eq!(refused(&[vec![1], vec![]]), format!("{limit} 0"));
    assert_eq!(refused(&[vec![1; 33]]), format!("{limit} 33"));
    assert_eq!(
        refused(&[vec![40]]),
        "prompt: expected ids below 40 (the model's vocab_size), got 40"
    );
    assert_eq!(run(&mut model, &[vec![1; 32]], WARM).unwrap()[0].ids.len(), 1);
    let mut options = GenerateOptions { max_tokens: 0, sampling: WARM, seed: 0 };
    let mut run = |options: &GenerateOptions, stop: bool| {
        let stop = AtomicBool::new(stop);
        generate(&mut model, &[vec![1]], options, &mut |_, _| {}, &stop).unwrap_err()
    };
    assert_eq!(run(&options, false).kind(), ErrorKind::Configuration);
    options.max_tokens = u64::MAX;
    let stopped = run(&options, true);
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    assert_eq!(stopped.to_string(), "generating was stopped before its end");
}
