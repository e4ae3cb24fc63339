//! Tests of the whole decoder: gradients against central differences in f64, and parts against the whole.

use candle_core::{DType, Device};

use super::{ActivationPolicy, Decoder};
use crate::engine::NEVER;
use crate::engine::kernels::check::{close, numbers, on_threads};
use crate::engine::kernels::cross_entropy::IGNORED;
use crate::engine::kernels::number::Number;
use crate::engine::reference::Reference;
use crate::engine::rows::Rows;
use crate::model::config::tests::all_kinds;
use crate::model::config::{ModelConfig, Positions};
use crate::model::layout::Layout;

/// Rows of pseudorandom tokens.
pub(crate) fn rows(rows: usize, length: usize, seed: u64) -> Rows {
    let ids = |seed: u64| -> Vec<u32> {
        numbers::<f32>(rows * length, seed).iter().map(|value| value.to_bits() / 7 % 40).collect()
    };
    let (tokens, targets) = (ids(seed), ids(seed + 1));
    let positions = (0..rows).flat_map(|_| 0..u32::try_from(length).unwrap()).collect();
    Rows { rows, length, tokens, targets, positions, starts: vec![0; rows * length] }
}

/// Rows with some ignored targets; the second row has two documents.
fn difficult() -> Rows {
    let mut rows = rows(2, 7, 3);
    rows.targets[2] = IGNORED;
    rows.targets[9] = IGNORED;
    for place in 4..7 {
        rows.starts[7 + place] = 4;
        rows.positions[7 + place] = u32::try_from(place).unwrap() - 4;
    }
    rows
}

/// Parameters large enough that every part of the model matters.
pub(crate) fn parameters<F: Number>(layout: &Layout) -> Vec<F> {
    numbers::<f64>(layout.len, 11).iter().map(|value| F::of(0.7 * value)).collect()
}

fn run<F: Number>(config: &ModelConfig, rows: &Rows, policy: ActivationPolicy) -> (Vec<F>, Vec<F>) {
    let layout = Layout::new(config).unwrap();
    let mut gradients = vec![F::ZERO; layout.len];
    let mut decoder = Decoder::new(config, &layout, policy, None);
    let parameters = parameters::<F>(&layout);
    let losses =
        decoder.losses_and_gradients(&parameters, rows, 5.0, &mut gradients, &NEVER).unwrap();
    assert_eq!(decoder.losses(&parameters, rows, &NEVER).unwrap(), losses);
    (losses, gradients)
}

#[test]
fn gradients_agree_with_central_differences() {
    let rows = difficult();
    for config in all_kinds() {
        let layout = Layout::new(&config).unwrap();
        let (_, gradients) = run::<f64>(&config, &rows, ActivationPolicy::Keep);
        let mut decoder = Decoder::<f64>::new(&config, &layout, ActivationPolicy::Discard, None);
        let mut at = parameters::<f64>(&layout);
        let mut expected = Vec::new();
        for index in 0..layout.len {
            let (value, step) = (at[index], 1e-5);
            let mut loss = |value: f64| {
                at[index] = value;
                decoder.losses(&at, &rows, &NEVER).unwrap().iter().sum::<f64>() / 5.0
            };
            let (above, below) = (loss(value + step), loss(value - step));
            at[index] = value;
            expected.push((above - below) / (2.0 * step));
        }
        close(&gradients, &expected, 1e-6, &config.family.to_string());
    }
}

/// Compares the fast path with the reference path; the two share only the layout.
#[test]
fn losses_and_gradients_are_those_of_composed_operations() {
    for config in all_kinds() {
        let layout = Layout::new(&config).unwrap();
        for rows in [difficult(), rows(3, 32, 8)] {
            let (losses, gradients) = run::<f64>(&config, &rows, ActivationPolicy::Keep);
            let reference = Reference::new(&config, &Device::Cpu, DType::F64).unwrap();
            let mut expected = vec![0.0; layout.len];
            let parameters = parameters::<f64>(&layout);
            let reference = reference.losses_and_gradients(&parameters, &rows, 5.0, &mut expected);
            close(&losses, &reference.unwrap(), 1e-11, "losses");
            close(&gradients, &expected, 1e-11, &config.family.to_string());
        }
    }
}

#[test]
fn f32_agrees_with_f64_and_recomputing_changes_no_bit() {
    for config in all_kinds() {
        let rows = difficult();
        let wide = run::<f64>(&config, &rows, ActivationPolicy::Keep);
        let narrow = run::<f32>(&config, &rows, ActivationPolicy::Keep);
        close(&narrow.0, &wide.0, 1e-5, "losses");
        close(&narrow.1, &wide.1, 1e-4, "gradients");
        assert_eq!(run::<f32>(&config, &rows, ActivationPolicy::Checkpoint), narrow);
    }
}

#[test]
fn every_parameter_has_a_finite_gradient_that_is_not_zero() {
    for mut config in all_kinds() {
        config.max_position_embeddings = 24;
        // These rows use every entry of the embedding tables.
        let rows = rows(60, 24, 5);
        let (_, gradients) = run::<f64>(&config, &rows, ActivationPolicy::Keep);
        let layout = Layout::new(&config).unwrap();
        let is_idle = |gradient: &f64| !gradient.is_finite() || gradient.abs() < 1e-12;
        let mut idle: Vec<bool> = gradients.iter().map(is_idle).collect();
        // The bias of a key that is not rotated adds the same number to all scores of a query, so it has no effect.
        let width = layout.sizes.head_width;
        let first = layout.sizes.heads * width;
        let keys = first..first + layout.sizes.key_value_heads * width;
        let turned = match &config.positions {
            Positions::Learned => 0,
            Positions::Rotary(rotary) => usize::try_from(rotary.width).unwrap(),
        };
        for bias in layout.blocks.iter().filter_map(|block| block.qkv.bias.clone()) {
            for place in keys.clone().filter(|key| key % width >= turned) {
                assert!(std::mem::take(&mut idle[bias.start + place]));
            }
        }
        assert!(!idle.contains(&true), "{}", config.family);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for config in all_kinds() {
        let run = || run::<f32>(&config, &rows(5, 31, 1), ActivationPolicy::Keep);
        assert_eq!(on_threads(1, run), on_threads(2, run));
    }
}

#[test]
fn two_documents_in_a_row_are_two_rows() {
    let both = difficult();
    let piece = |from: usize, to: usize| Rows {
        rows: 1,
        length: to - from,
        tokens: both.tokens[from..to].to_vec(),
        targets: both.targets[from..to].to_vec(),
        positions: (0..u32::try_from(to - from).unwrap()).collect(),
        starts: vec![0; to - from],
    };
    for config in all_kinds() {
        let (losses, gradients) = run::<f64>(&config, &both, ActivationPolicy::Keep);
        let parts = [piece(0, 7), piece(7, 11), piece(11, 14)]
            .map(|p| run::<f64>(&config, &p, ActivationPolicy::Keep));
        close(
            &losses,
            &parts.iter().flat_map(|p| p.0.clone()).collect::<Vec<_>>(),
            1e-12,
            "losses",
        );
        let sum = |index: usize| parts.iter().map(|part| part.1[index]).sum::<f64>();
        close(&gradients, &(0..gradients.len()).map(sum).collect::<Vec<_>>(), 1e-12, "gradients");
    }
}

#[test]
fn rows_at_once_change_nothing_but_rounding() {
    let mut rows = rows(5, 9, 2);
    rows.targets[0..13].fill(IGNORED);
    for config in all_kinds() {
        let layout = Layout::new(&config).unwrap();
        let (losses, gradients) = run::<f64>(&config, &rows, ActivationPolicy::Keep);
        for micro_batch in [1, 2, 4] {
            let mut decoder =
                Decoder::new(&config, &layout, ActivationPolicy::Keep, Some(micro_batch));
            let (parameters, mut sum) = (parameters::<f64>(&layout), vec![0.0; layout.len]);
            let got =
                decoder.losses_and_gradients(&parameters, &rows, 5.0, &mut sum, &NEVER).unwrap();
            close(&got, &losses, 1e-12, "losses");
            close(&sum, &gradients, 1e-12, "gradients");
        }
    }
}
