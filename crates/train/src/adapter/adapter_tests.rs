//! Adapters: names and places, gradients against central differences, merged against added.

use candle_core::{DType, Device};

use super::{AdapterGradients, AdapterLayout};
use crate::config::lora::{LoraConfig, LoraPreset, LoraTargets};
use crate::engine::NEVER;
use crate::engine::decoder::tests::{parameters, rows};
use crate::engine::decoder::{ActivationPolicy, Decoder};
use crate::engine::kernels::check::{close, numbers, on_threads};
use crate::engine::kernels::number::Number;
use crate::engine::reference::Reference;
use crate::model::Model;
use crate::model::config::{Family, ModelConfig};
use crate::weights::hugging_face::test_models::{every, layout, tiny};
use crate::weights::hugging_face::{Arrangement, FileTensor, tensors};

fn adapter(config: &ModelConfig, rank: u64, targets: Option<LoraTargets>) -> AdapterLayout {
    let lora = LoraConfig { rank, alpha: 3.0, targets };
    AdapterLayout::new(config, &layout(config), &lora).unwrap()
}

fn all() -> Option<LoraTargets> {
    Some(LoraTargets::Preset(LoraPreset::AllLinear))
}

/// Parameters with an adapter merged in, whatever A and B are.
fn merged(layout: &AdapterLayout, base: &[f64], numbers: &[f64]) -> Vec<f64> {
    let targets: Vec<f64> =
        layout.parts.iter().flat_map(|part| base[part.weight.clone()].to_vec()).collect();
    let mut merged = base.to_vec();
    layout.merge(&targets, numbers, &mut merged);
    merged
}

#[test]
fn gradients_agree_with_central_differences() {
    let rows = rows(2, 7, 3);
    for config in every().into_iter().step_by(3) {
        for targets in [None, all()] {
            let adapter = adapter(&config, 3, targets);
            let base = parameters::<f64>(&layout(&config));
            let mut at = numbers::<f64>(adapter.len, 5);
            let mut gradients = vec![0.0; adapter.len];
            let mut decoder =
                Decoder::<f64>::new(&config, &layout(&config), ActivationPolicy::Keep, Some(1));
            let gradient = AdapterGradients {
                layout: &adapter,
                numbers: &at.clone(),
                gradients: &mut gradients,
            };
            let weights = merged(&adapter, &base, &at);
            decoder.losses_and_adapter_gradients(&weights, &rows, 5.0, gradient, &NEVER).unwrap();
            let mut expected = Vec::new();
            for index in 0..adapter.len {
                let (value, step) = (at[index], 1e-5);
                let mut loss = |value: f64| {
                    at[index] = value;
                    decoder
                        .losses(&merged(&adapter, &base, &at), &rows, &NEVER)
                        .unwrap()
                        .iter()
                        .sum::<f64>()
                        / 5.0
                };
                let (above, below) = (loss(value + step), loss(value - step));
                at[index] = value;
                expected.push((above - below) / (2.0 * step));
            }
            close(&gradients, &expected, 1e-6, &config.family.to_string());
        }
    }
}

/// By way of the gradients of all parameters, as an engine without thin products does.
#[test]
fn gradients_are_those_that_follow_from_all_parameters() {
    let rows = rows(3, 20, 8);
    for config in every() {
        let adapter = adapter(&config, 5, all());
        let at = numbers::<f64>(adapter.len, 5);
        let weights = merged(&adapter, &parameters::<f64>(&layout(&config)), &at);
        let mut fast = vec![0.0; adapter.len];
        let gradients = AdapterGradients { layout: &adapter, numbers: &at, gradients: &mut fast };
        let mut decoder =
            Decoder::<f64>::new(&config, &layout(&config), ActivationPolicy::Checkpoint, None);
        decoder.losses_and_adapter_gradients(&weights, &rows, 5.0, gradients, &NEVER).unwrap();
        let reference = Reference::new(&config, &Device::Cpu, DType::F64).unwrap();
        let mut whole = vec![0.0; weights.len()];
        reference.losses_and_gradients(&weights, &rows, 5.0, &mut whole).unwrap();
        let mut slow = vec![0.0; adapter.len];
        AdapterGradients { layout: &adapter, numbers: &at, gradients: &mut slow }.add_whole(&whole);
        close(&fast, &slow, 1e-11, &config.family.to_string());
    }
}

/// A naive model: each entry of `W + s · B · A` by its sum, in the file's own order.
#[test]
fn merged_weights_are_the_sums_of_the_formula_in_the_order_of_files() {
    for config in every() {
        let adapter = adapter(&config, 3, all());
        let at = numbers::<f64>(adapter.len, 5);
        let base = parameters::<f64>(&layout(&config));
        let merged = merged(&adapter, &base, &at);
        let narrow = |values: &[f64]| values.iter().map(|v| f32::of(*v)).collect::<Vec<f32>>();
        let file = |tensor: &FileTensor, values: &[f64]| {
            let values = narrow(&values[tensor.range.clone()]);
            let mut numbers = vec![0.0; values.len()];
            tensor.copy_out(0, &values, &mut numbers);
            numbers
        };
        let mut changed = vec![false; base.len()];
        for part in &adapter.parts {
            let module = part.a.name.strip_prefix("base_model.model.").unwrap();
            let module = module.strip_suffix(".lora_A.weight").unwrap();
            let name = format!("{module}.weight");
            let all = tensors(&config, &layout(&config));
            let target = all.iter().find(|tensor| tensor.name == name).unwrap();
            let [a, b] = [file(&part.a, &at), file(&part.b, &at)];
            let [before, after] = [file(target, &base), file(target, &merged)];
            let (inputs, outputs) = (part.inputs(), part.b.shape[0]);
            for (output, input) in (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i))) {
                let delta: f32 = (0..3).map(|r| b[output * 3 + r] * a[r * inputs + input]).sum();
                let place = match target.arrangement {
                    Arrangement::Transposed => input * outputs + output,
                    _ => output * inputs + input,
                };
                // alpha / rank is 1.
                assert!((after[place] - before[place] - delta).abs() < 1e-6, "{name}");
            }
            changed[part.weight.clone()].fill(true);
        }
        for (place, changed) in changed.into_iter().enumerate() {
            assert!(changed || merged[place].to_bits() == base[place].to_bits());
        }
    }
}

#[test]
fn a_fresh_adapter_changes_no_bit_of_the_model() {
    let model = Model::new(&tiny(Family::Qwen2), 1).unwrap();
    let adapter = adapter(model.config(), 8, all());
    let first = adapter.initial(7).unwrap();
    assert_eq!(
        (adapter.initial(7).unwrap() == first, adapter.initial(8).unwrap() == first),
        (true, false)
    );
    let mut parameters = model.parameters().to_vec();
    adapter.merge(&adapter.base(&parameters).unwrap(), &first, &mut parameters);
    assert_eq!(parameters, model.parameters());
    for part in &adapter.parts {
        let bound = 1.0 / (part.inputs() as f32).sqrt();
        let a = &first[part.a.range.clone()];
        assert!(a.iter().all(|value| value.abs() <= bound));
        assert!(a.iter().any(|value| value.abs() > 0.8 * bound), "uniform up to the bound");
        assert!(first[part.b.range.clone()].iter().all(|value| *value == 0.0));
    }
}

#[test]
fn targets_name_the_matrices_of_blocks_alone() {
    let names = |config: &ModelConfig, targets| -> Vec<String> {
        let adapter = adapter(config, 2, targets);
        adapter.tensors().map(|tensor| tensor.name.clone()).collect()
    };
    let llama = tiny(Family::Llama);
    assert_eq!(
        names(&llama, None)[..3],
        [
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
            "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
            "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight",
        ]
    );
    assert_eq!((names(&llama, None).len(), names(&llama, all()).len()), (8, 28));
    let gpt2 = names(&tiny(Family::Gpt2), None);
    assert_eq!(gpt2[0], "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight");
    let wrong = Some(LoraTargets::Names(vec!["lm_head".to_owned()]));
    let lora = LoraConfig { targets: wrong, ..LoraConfig::default() };
    let error = AdapterLayout::new(&llama, &layout(&llama), &lora).unwrap_err().to_string();
    assert!(error.contains("\"k_proj\", \"o_proj\"") && error.ends_with("got \"lm_head\""));
    let lora = LoraConfig { rank: u64::MAX, ..LoraConfig::default() };
    assert!(AdapterLayout::new(&llama, &layout(&llama), &lora).is_err());
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let config = ModelConfig { hidden_size: 192, intermediate_size: 400, ..tiny(Family::Llama) };
    let adapter = adapter(&config, 8, all());
    let run = || {
        let at = numbers::<f32>(adapter.len, 5);
        let mut weights = parameters::<f32>(&layout(&config));
        let base = adapter.base(&weights).unwrap();
        adapter.merge(&base, &at, &mut weights);
        let mut gradients = vec![0.0; adapter.len];
        let to = AdapterGradients { layout: &adapter, numbers: &at, gradients: &mut gradients };
        let mut decoder =
            Decoder::<f32>::new(&config, &layout(&config), ActivationPolicy::Keep, None);
        decoder.losses_and_adapter_gradients(&weights, &rows(40, 31, 1), 5.0, to, &NEVER).unwrap();
        (weights, gradients)
    };
    let one = on_threads(1, run);
    for threads in [2, 3, 5] {
        assert!(on_threads(threads, run) == one, "{threads} threads");
    }
}
