//! Tests of the reference path against central differences, and of its parts against the whole.

use std::ops::Range;

use candle_core::{DType, Device};
use serde_json::Map;

use super::Reference;
use crate::engine::kernels::cross_entropy::IGNORED;
use crate::engine::rows::Rows;
use crate::error::Error;
use crate::model::config::{
    Activation, Family, ModelConfig, Norm, Positions, RotaryConfig, RotaryScaling,
};
use crate::model::initial::Normal;
use crate::model::layout::Layout;

const TARGET_TOKENS: f64 = 9.0;

fn rotary(theta: f64, width: u64, scaling: RotaryScaling) -> Positions {
    Positions::Rotary(RotaryConfig { theta, width, scaling })
}

/// A model with grouped heads and a separate output projection. Of its four frequencies, one stays, two are
/// interpolated and one is divided.
fn llama() -> ModelConfig {
    let scaling = RotaryScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 8.0,
        original_positions: 64,
    };
    ModelConfig {
        family: Family::Llama,
        vocab_size: 13,
        hidden_size: 8,
        intermediate_size: 10,
        layers: 2,
        heads: 4,
        key_value_heads: 2,
        head_width: 8,
        max_position_embeddings: 16,
        norm: Norm::Rms,
        norm_epsilon: 1e-5,
        activation: Activation::SwiGlu,
        positions: rotary(100.0, 8, scaling),
        query_key_value_bias: false,
        attention_output_bias: false,
        mlp_bias: false,
        query_key_norm: false,
        parallel_residual: false,
        tied_embeddings: false,
        sliding_window: None,
        bos_token_id: None,
        eos_token_id: None,
        tokenizer_fingerprint: None,
        extra: Map::new(),
    }
}

fn qwen2() -> ModelConfig {
    let positions = rotary(10.0, 4, RotaryScaling::Linear { factor: 2.0 });
    let biased = ModelConfig { query_key_value_bias: true, tied_embeddings: true, ..llama() };
    ModelConfig { family: Family::Qwen2, head_width: 4, positions, ..biased }
}

fn qwen3() -> ModelConfig {
    let positions = rotary(10.0, 6, RotaryScaling::None);
    let normed = ModelConfig { query_key_norm: true, tied_embeddings: true, ..llama() };
    ModelConfig { family: Family::Qwen3, head_width: 6, positions, ..normed }
}

fn gpt2() -> ModelConfig {
    ModelConfig {
        family: Family::Gpt2,
        key_value_heads: 4,
        head_width: 2,
        norm: Norm::Layer,
        activation: Activation::GeluTanh,
        positions: Positions::Learned,
        query_key_value_bias: true,
        attention_output_bias: true,
        mlp_bias: true,
        tied_embeddings: true,
        ..llama()
    }
}

fn neox() -> ModelConfig {
    ModelConfig {
        family: Family::GptNeoX,
        heads: 2,
        key_value_heads: 2,
        head_width: 4,
        activation: Activation::Gelu,
        positions: rotary(10.0, 2, RotaryScaling::None),
        parallel_residual: true,
        tied_embeddings: false,
        ..gpt2()
    }
}

fn mistral() -> ModelConfig {
    let positions = rotary(10.0, 8, RotaryScaling::None);
    ModelConfig { family: Family::Mistral, sliding_window: Some(3), positions, ..llama() }
}

fn configs() -> [ModelConfig; 6] {
    [llama(), qwen2(), qwen3(), gpt2(), neox(), mistral()]
}

fn reference(config: &ModelConfig) -> Reference {
    Reference::new(config, &Device::Cpu, DType::F64).unwrap()
}

fn parameters(config: &ModelConfig) -> Vec<f64> {
    let len = usize::try_from(config.parameters()).unwrap();
    Normal::new(5, 0).weights(0.5).take(len).map(f64::from).collect()
}

/// Rows of documents of the given lengths; tokens and targets are arbitrary.
fn rows(documents: &[&[u32]]) -> Rows {
    let length = documents[0].iter().sum::<u32>();
    let mut positions = Vec::new();
    let mut starts = Vec::new();
    for row in documents {
        assert_eq!(row.iter().sum::<u32>(), length);
        let mut start = 0;
        for &len in *row {
            positions.extend(0..len);
            starts.extend((0..len).map(|_| start));
            start += len;
        }
    }
    let inputs = u32::try_from(positions.len()).unwrap();
    let tokens = (0..inputs).map(|i| (i * i + 3 * i + 1) % 13).collect();
    let targets = (0..inputs).map(|i| (5 * i + 2) % 13).collect();
    let length = usize::try_from(length).unwrap();
    Rows { rows: documents.len(), length, tokens, targets, positions, starts }
}

/// Part of a row as a separate row.
fn part(rows: &Rows, range: Range<usize>) -> Rows {
    let length = range.len();
    let cut = |list: &[u32]| list[range.clone()].to_vec();
    let [tokens, targets, positions] =
        [&rows.tokens, &rows.targets, &rows.positions].map(|list| cut(list));
    Rows { rows: 1, length, tokens, targets, positions, starts: vec![0; length] }
}

fn differentiate(config: &ModelConfig, parameters: &[f64], rows: &Rows) -> (Vec<f64>, Vec<f64>) {
    let mut gradients = vec![0.0; parameters.len()];
    let losses = reference(config)
        .losses_and_gradients(parameters, rows, TARGET_TOKENS, &mut gradients)
        .unwrap();
    (losses, gradients)
}

fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (idx, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{idx}: {a} {b}");
    }
}

/// Returns the range of every tensor, with queries, keys and values separate.
fn tensors(layout: &Layout) -> Vec<Range<usize>> {
    let queries = layout.sizes.attended();
    let shared = layout.sizes.key_value_heads * layout.sizes.head_width;
    let mut all = vec![layout.embedding.clone(), layout.last_norm.weight.clone()];
    all.extend(layout.positions.clone().into_iter().chain(layout.head.clone()));
    all.extend(layout.last_norm.bias.clone());
    for block in &layout.blocks {
        let mut start = block.qkv.weight.start;
        for outputs in [queries, shared, shared] {
            all.push(start..start + outputs * layout.sizes.hidden);
            start += outputs * layout.sizes.hidden;
        }
        assert_eq!(start, block.qkv.weight.end);
        all.extend(block.query_norm.clone().into_iter().chain(block.key_norm.clone()));
        all.extend(block.qkv.bias.clone());
        for linear in [&block.output, &block.up, &block.down] {
            all.extend([linear.weight.clone()].into_iter().chain(linear.bias.clone()));
        }
        for norm in [&block.attention_norm, &block.mlp_norm] {
            all.extend([norm.weight.clone()].into_iter().chain(norm.bias.clone()));
        }
    }
    assert_eq!(all.iter().map(Range::len).sum::<usize>(), layout.len);
    all
}

/// Returns the derivative of the loss with respect to one parameter, by central differences of fourth order in the
/// step.
fn difference(reference: &Reference, parameters: &[f64], rows: &Rows, idx: usize) -> f64 {
    let loss = |step: f64| {
        let mut moved = parameters.to_vec();
        moved[idx] += step;
        let losses = reference.losses(&moved, rows).unwrap();
        losses.iter().sum::<f64>() / TARGET_TOKENS
    };
    let slope = |step: f64| (loss(step) - loss(-step)) / (2.0 * step);
    let step = 5e-4;
    (4.0 * slope(step) - slope(2.0 * step)) / 3.0
}

#[test]
fn gradients_are_those_of_central_differences() {
    let mut rows = rows(&[&[7], &[3, 4]]);
    rows.targets[2] = IGNORED;
    rows.targets[9] = IGNORED;
    for config in configs() {
        let reference = reference(&config);
        let parameters = parameters(&config);
        let (_, gradients) = differentiate(&config, &parameters, &rows);
        assert!(gradients.iter().all(|gradient| gradient.is_finite()));
        let mut checked: Vec<usize> = (0..5).map(|i| i * 7919 % gradients.len()).collect();
        for range in tensors(&reference.layout) {
            let larger = |a: &usize, b: &usize| gradients[*a].abs().total_cmp(&gradients[*b].abs());
            let largest = range.clone().max_by(larger).unwrap();
            assert!(gradients[largest].abs() > 1e-5, "{} {range:?}", config.family);
            checked.push(largest);
        }
        for idx in checked {
            let got = gradients[idx];
            let expected = difference(&reference, &parameters, &rows, idx);
            let is_close = (got - expected).abs() <= 1e-6 * expected.abs() + 1e-11;
            assert!(is_close, "{} {idx}: {got:e} {expected:e}", config.family);
        }
    }
}

#[test]
fn ignored_targets_have_no_loss_and_no_influence() {
    for config in configs() {
        let parameters = parameters(&config);
        let whole = rows(&[&[6]]);
        let mut without_last = whole.clone();
        without_last.targets[5] = IGNORED;
        let (losses, gradients) = differentiate(&config, &parameters, &without_last);
        let (all, _) = differentiate(&config, &parameters, &whole);
        assert_close(&losses[..5], &all[..5], 0.0);
        assert!(losses[5] == 0.0 && all[5] > 0.0);
        // No other input attends to the last one, so a row without it is the same.
        let shorter = part(&whole, 0..5);
        let (_, expected) = differentiate(&config, &parameters, &shorter);
        assert_close(&gradients, &expected, 1e-13);
        without_last.targets.fill(IGNORED);
        let (losses, gradients) = differentiate(&config, &parameters, &without_last);
        assert!(losses.iter().chain(&gradients).all(|value| *value == 0.0));
    }
}

#[test]
fn documents_of_a_row_are_as_rows_of_their_own() {
    for config in configs() {
        let parameters = parameters(&config);
        let both = rows(&[&[4, 5]]);
        let (losses, gradients) = differentiate(&config, &parameters, &both);
        let (mut expected, mut sum) = differentiate(&config, &parameters, &part(&both, 0..4));
        let second = reference(&config)
            .losses_and_gradients(&parameters, &part(&both, 4..9), TARGET_TOKENS, &mut sum)
            .unwrap();
        expected.extend(second);
        assert_close(&losses, &expected, 1e-13);
        assert_close(&gradients, &sum, 1e-13);
        let mut together = both.clone();
        together.starts.fill(0);
        let (losses, _) = differentiate(&config, &parameters, &together);
        assert_close(&losses[..4], &expected[..4], 1e-13);
        assert!((losses[6] - expected[6]).abs() > 1e-3, "{}", config.family);
    }
}

#[test]
fn what_an_input_sees_is_what_its_loss_depends_on() {
    for config in configs() {
        // The model has one block, because every further block widens the window.
        let config = ModelConfig { layers: 1, ..config };
        let parameters = parameters(&config);
        let before = rows(&[&[7]]);
        let losses = |rows: &Rows| reference(&config).losses(&parameters, rows).unwrap();
        let expected = losses(&before);
        for changed in 0..7 {
            let mut after = before.clone();
            after.tokens[changed] = (after.tokens[changed] + 1) % 13;
            for (idx, (got, expected)) in losses(&after).iter().zip(&expected).enumerate() {
                let window = config.sliding_window.map_or(7, |w| usize::try_from(w).unwrap());
                let is_seen = changed <= idx && idx - changed < window;
                let differs = got.to_bits() != expected.to_bits();
                assert_eq!(differs, is_seen, "{} {changed} {idx}", config.family);
            }
        }
    }
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is wanted")]
fn f32_is_f64_rounded() {
    for config in configs() {
        let parameters = parameters(&config);
        let rows = rows(&[&[7], &[3, 4]]);
        let (losses, gradients) = differentiate(&config, &parameters, &rows);
        let single: Vec<f32> = parameters.iter().map(|value| *value as f32).collect();
        for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 2e-7)] {
            let reference = Reference::new(&config, &Device::Cpu, dtype).unwrap();
            let mut sum = vec![1.0; single.len()];
            let got =
                reference.losses_and_gradients(&single, &rows, TARGET_TOKENS, &mut sum).unwrap();
            let wide = |list: &[f32]| list.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
            assert_close(&wide(&got), &losses, tolerance);
            let expected: Vec<f64> = gradients.iter().map(|gradient| gradient + 1.0).collect();
            assert_close(&wide(&sum), &expected, tolerance);
            assert_eq!(reference.losses(&single, &rows).unwrap(), got);
            let logits = reference.logits(&single, &rows).unwrap();
            assert_eq!((logits.dims(), logits.dtype()), (&[2, 7, 13][..], dtype));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (config, rows) = (gpt2(), rows(&[&[4]]));
    let parameters = parameters(&config);
    let message = |rows: &Rows, parameters: &[f64]| {
        let error = reference(&config).losses(parameters, rows).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }));
        error.to_string()
    };
    assert!(message(&rows, &parameters[1..]).starts_with("parameters: expected "));
    let mut gradients = vec![0.0; parameters.len()];
    let error = reference(&config)
        .losses_and_gradients(&parameters, &rows, 0.0, &mut gradients)
        .unwrap_err();
    assert_eq!(error.to_string(), "target_tokens: expected a positive number, got 0");
    let bad = ModelConfig { heads: 3, ..config };
    assert!(Reference::new(&bad, &Device::Cpu, DType::F64).is_err());
}
