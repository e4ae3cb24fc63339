//! Whole runs with `device = "cuda"` on the emulator: training, checkpoints and resumes give the same as on the CPU.

use std::path::Path;

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_runs::{MetricsRecord, RunFolder};

use crate::config::run_file::AllowedChanges;
use crate::generate::samples::tests::Digits;
use crate::model::config::tests::{all_kinds, tiny};
use crate::optim::trainable_state::tests::{LORA, place, text};
use crate::ranks::tests::on_ranks;
use crate::trainer::tests::{end, open, open_as, run, run_until};

const EMA: &str = "ema = 0.8";
const FREEZE: &str = "freeze = [\"*.0.*\", \"model.embed*\"]";

fn on_device(more: &str) -> String {
    text(&format!("device = \"cuda\"\n{more}"))
}

fn records(place: &Path, out: &str) -> Vec<MetricsRecord> {
    RunFolder::open(&place.join(out)).unwrap().read_metrics().unwrap()
}

/// Returns the norms of the first gradients. Later norms drift apart, because Adam's steps are as long for a gradient
/// of rounding errors as for any other.
fn first_norms(place: &Path, out: &str) -> Vec<f64> {
    let norms: Vec<f64> =
        records(place, out).iter().filter_map(|record| record.gradient_norm).collect();
    norms[..3].to_vec()
}

/// All losses of a run.
fn losses(place: &Path, out: &str) -> Vec<f64> {
    let of = |record: &MetricsRecord| -> Vec<f64> {
        let evals = record.evals.iter().map(|eval| eval.loss);
        record.train_loss.into_iter().chain(evals).collect()
    };
    records(place, out).iter().flat_map(of).collect()
}

fn check_close(a: &[f64], b: &[f64], limit: f64, what: &str) {
    assert_eq!(a.len(), b.len());
    let far = |(a, b): (&f64, &f64)| (a - b).abs() / a.abs().max(1.0);
    let worst = a.iter().zip(b).map(far).fold(0.0, f64::max);
    assert!(worst < limit, "{what}: {worst}\n{a:?}\n{b:?}");
}

#[test]
fn all_that_can_be_trained_has_the_losses_of_the_cpu() {
    let place = place(&tiny());
    let place = place.path();
    let both = [format!("{EMA}\n{LORA}"), format!("{EMA}\n{FREEZE}")];
    let kinds = ["", LORA, EMA, FREEZE, &both[0], &both[1]];
    for (number, more) in kinds.into_iter().enumerate() {
        let [cpu, device, narrow] =
            ["cpu", "device", "bf16"].map(|kind| format!("{kind}-{number}"));
        let here = run(place, &text(more), &cpu).unwrap();
        let there = run(place, &on_device(more), &device).unwrap();
        let expected = losses(place, &cpu);
        check_close(&expected, &losses(place, &device), 2e-4, more);
        check_close(&first_norms(place, &cpu), &first_norms(place, &device), 1e-5, more);
        assert_eq!(here.best_step, there.best_step);
        let narrowly = on_device(&format!("precision = \"bf16\"\n{more}"));
        run(place, &narrowly, &narrow).unwrap();
        check_close(&expected, &losses(place, &narrow), 3e-2, more);
    }
}

#[test]
fn adapters_of_every_family_are_as_on_the_cpu() {
    for config in all_kinds() {
        let place = place(&config);
        run(place.path(), &text(LORA), "cpu").unwrap();
        run(place.path(), &on_device(LORA), "device").unwrap();
        let [cpu, device] = ["cpu", "device"].map(|out| losses(place.path(), out));
        check_close(&cpu, &device, 2e-4, &config.family.to_string());
        let [cpu, device] = ["cpu", "device"].map(|out| first_norms(place.path(), out));
        check_close(&cpu, &device, 1e-5, &config.family.to_string());
    }
}

#[test]
fn stopping_and_going_on_changes_no_bit() {
    let place = place(&tiny());
    let place = place.path();
    let both = [format!("{EMA}\n{LORA}"), format!("{EMA}\n{FREEZE}")];
    for (number, more) in ["", &both[0], &both[1]].into_iter().enumerate() {
        let whole = format!("whole-{number}");
        run(place, &on_device(more), &whole).unwrap();
        let expected = end(place, &whole);
        for calls in [2, 9] {
            let out = format!("stopped-{number}-{calls}");
            let stopped = run_until(place, &on_device(more), &out, calls);
            assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
            run(place, &on_device(more), &out).unwrap();
            assert_eq!(end(place, &out), expected, "{more}: stopped after {calls} calls");
        }
    }
}

#[test]
fn two_devices_have_the_losses_of_one() {
    let place = place(&tiny());
    let place = place.path();
    for (number, more) in ["", LORA].into_iter().enumerate() {
        let [one, two] = ["one", "two"].map(|kind| format!("{kind}-{number}"));
        let text = on_device(more);
        run(place, &text, &one).unwrap();
        on_ranks(2, |world| {
            let mut trainer = open_as(place, (&text, &two), AllowedChanges::None, world).unwrap();
            trainer.run(Observer::silent()).unwrap();
        });
        check_close(&losses(place, &one), &losses(place, &two), 2e-4, more);
    }
}

/// Samples are the most likely ids of the weights that are evaluated, which are the average if there is one.
#[test]
fn samples_are_those_of_the_cpu() {
    let place = place(&tiny());
    let place = place.path();
    let samples = "[eval.samples]\nprompts = [\"1 2\", \"3\"]\nmax_tokens = 5\ntemperature = 0";
    let both = format!("{EMA}\n{LORA}");
    for (number, more) in ["", EMA, &both].into_iter().enumerate() {
        let drawn = ["cpu", "device"].map(|kind| {
            let text = if kind == "cpu" { text(more) } else { on_device(more) };
            let text = text.replacen("[[eval.corpus]]", &format!("{samples}\n[[eval.corpus]]"), 1);
            let out = format!("{kind}-{number}");
            let mut trainer = open(place, &text, &out).unwrap();
            trainer.set_text_codec(Box::new(Digits)).unwrap();
            trainer.run(Observer::silent()).unwrap();
            RunFolder::open(&place.join(&out)).unwrap().read_samples().unwrap()
        });
        assert!(drawn[0].len() > 4 && drawn[0].first() != drawn[0].last());
        assert_eq!(drawn[0], drawn[1], "{more}");
    }
}
