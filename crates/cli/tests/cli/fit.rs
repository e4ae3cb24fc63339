//! `fit` and `design`.

use insta::assert_snapshot;
use mixdown_runs::{RunRow, RunsTable};
use mixdown_scaling::{ForgettingLaw, Simulation, TargetLaw, full_grid};

use crate::sandbox::Sandbox;

const PLAN: &str = "--budget 0.1 --model-size 1.27B --target-tokens 30M";

/// 18 runs of known laws, B = 1500, α = 0.45, β = 0.3, with 0.3 % noise.
fn rows(domain: &str, seed: u64) -> Vec<RunRow> {
    let simulation = Simulation {
        forgetting: ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 },
        target: TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 },
        noise: 0.003,
    };
    let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
    let runs = simulation.runs(&grid, seed).into_iter().enumerate();
    let row = |(number, run): (usize, mixdown_scaling::Observation)| RunRow {
        run_id: format!("{domain}-{number}"),
        domain: domain.to_owned(),
        model_size: run.model_size as u64,
        non_embedding_parameters: run.model_size as u64,
        target_tokens: run.target_tokens as u64,
        p_requested: run.p,
        p_realised: run.p,
        best_step: 100,
        target_loss: run.target_loss,
        pretraining_loss: run.pretraining_loss,
        pretraining_loss_before: run.pretraining_loss_before,
        evaluation_tokens: 1_000_000,
        seed: 0,
        fingerprint: String::new(),
        learning_rate: Some(1e-4),
        schedule: Some("constant".to_owned()),
        horizon_steps: Some(1000),
        warmup_steps: Some(10),
        batch_tokens: Some(65_536),
        sequence_length: Some(1024),
        weight_decay: Some(0.1),
        optimizer: Some("adamw".to_owned()),
        method: Some("full".to_owned()),
        tokenizer: Some("0123456789abcdef".to_owned()),
        base_tokens: None,
    };
    runs.map(row).collect()
}

/// A folder with such runs in `runs.csv`, changed.
fn with_runs(change: impl FnOnce(&mut Vec<RunRow>)) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut rows = rows("math", 0);
    change(&mut rows);
    RunsTable::new(rows).unwrap().write(&sandbox.path("runs.csv")).unwrap();
    sandbox
}

/// What rounding decides is cut off.
fn stable(text: &str) -> String {
    let line = |line: &str| match line.split_once("; gradient ") {
        Some((before, _)) => before.to_owned(),
        None => line.trim_end().to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_laws_and_the_advice_are_readable() {
    let sandbox = with_runs(|_| {});
    let text = sandbox.ok(&format!("fit runs.csv --draws 100 {PLAN}"));
    assert_snapshot!(stable(&text), @"");
}

#[test]
fn tables_of_every_kind_give_the_same_fit() {
    let sandbox = with_runs(|_| {});
    let table = RunsTable::read(&sandbox.path("runs.csv")).unwrap();
    let fit = sandbox.json("fit runs.csv --draws 20");
    for name in ["runs.parquet", "runs.jsonl"] {
        table.write(&sandbox.path(name)).unwrap();
        assert_eq!(sandbox.json(&format!("fit {name} --draws 20")), fit, "{name}");
    }
}

#[test]
fn json_has_the_laws_hold_outs_and_advice() {
    let sandbox = with_runs(|_| {});
    let fit = sandbox.json(&format!("fit runs.csv --draws 100 {PLAN}"));
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert_eq!((&fit["domain"], &fit["runs"]), (&"math".into(), &18.into()));
    assert_eq!(fit["recipe"]["learning_rate"], "0.0001");
    let interval = &fit["forgetting"]["intervals"]["alpha"];
    assert!(number(&interval["low"]) < 0.45 && 0.45 < number(&interval["high"]));
    assert!(number(&fit["forgetting"]["convergence"]["gradient_norm"]) < 1e-6);
    assert!(fit["holdouts"].as_array().unwrap().len() >= 4);
    let advice = &fit["advice"];
    // The laws themselves ask for 0.77 %.
    let truth = 0.0077;
    assert!(number(&advice["interval"]["low"]) < truth, "{advice}");
    assert!(truth < number(&advice["interval"]["high"]), "{advice}");
    let shares: Vec<f64> =
        fit["predictions"].as_array().unwrap().iter().map(|one| number(&one["p"])).collect();
    assert_eq!(shares[1..], [0.0, 0.001, 0.005, 0.01, 0.05]);
    assert!(advice["mixture"].as_str().unwrap().contains("max_tokens = 30000000"));
}

#[test]
fn the_same_seed_gives_the_same_fit_for_any_number_of_threads() {
    let sandbox = with_runs(|_| {});
    let fit = |threads: &str| {
        let mut command = sandbox.command("fit runs.csv --draws 40 --seed 3 --json");
        command.env("RAYON_NUM_THREADS", threads).output().unwrap().stdout
    };
    assert_eq!(fit("1"), fit("3"));
}

#[test]
fn the_mixture_and_the_fit_are_written() {
    let sandbox = with_runs(|_| {});
    sandbox.ok(&format!(
        "fit runs.csv --draws 20 {PLAN} --out fit.json --mixture-out mix.toml --target t --pretraining g"
    ));
    let mixture = sandbox.read("mix.toml");
    assert!(mixture.contains("corpus = \"t\"") && mixture.contains("corpus = \"g\""), "{mixture}");
    let fit: mixdown_scaling::FitRecord = serde_json::from_str(&sandbox.read("fit.json")).unwrap();
    assert_eq!((fit.version, fit.domains.len()), (1, 1));
}

#[test]
fn several_domains_are_fitted_each_by_itself() {
    let sandbox = with_runs(|runs| runs.extend(rows("code", 1)));
    let fit = sandbox.json("fit runs.csv --draws 0");
    let names: Vec<_> =
        fit["domains"].as_array().unwrap().iter().map(|one| &one["domain"]).collect();
    assert_eq!(names, ["code", "math"]);
    assert_eq!(sandbox.json("fit runs.csv --draws 0 --domain code")["domain"], "code");
    assert_snapshot!(sandbox.failure("fit runs.csv --draws 0 --domain law"), @"");
    let many = format!("fit runs.csv --draws 0 {PLAN} --mixture-out mix.toml");
    assert_snapshot!(sandbox.failure(&many), @"");
}

#[test]
fn different_recipes_are_pooled_only_when_asked() {
    let sandbox = with_runs(|rows| rows[3].learning_rate = Some(3e-4));
    assert_snapshot!(sandbox.failure("fit runs.csv --draws 0"), @"");
    assert_eq!(sandbox.json("fit runs.csv --draws 0 --pool-recipes")["runs"], 18);
    let sandbox = with_runs(|rows| rows[3].tokenizer = Some("another".to_owned()));
    assert_snapshot!(sandbox.failure("fit runs.csv --draws 0 --pool-recipes"), @"");
}

#[test]
fn too_few_runs_say_what_is_missing() {
    let sandbox = with_runs(|rows| rows.truncate(3));
    assert_snapshot!(sandbox.failure("fit runs.csv"), @"");
    let sandbox = with_runs(|rows| rows.retain(|row| row.p_requested == 0.0));
    assert_snapshot!(sandbox.failure("fit runs.csv"), @"");
}

#[test]
fn one_model_size_says_nothing_about_others() {
    let sandbox = with_runs(|rows| rows.retain(|row| row.model_size == 109_000_000));
    assert_snapshot!(sandbox.failure(&format!("fit runs.csv --draws 0 {PLAN}")), @"");
    let own = "--budget 0.1 --model-size 109M --target-tokens 3M";
    assert!(sandbox.ok(&format!("fit runs.csv --draws 20 {own}")).contains("p* = "));
}

#[test]
fn losses_that_are_no_numbers_and_runs_that_stand_twice_are_named() {
    let sandbox = with_runs(|_| {});
    let table = sandbox.read("runs.csv");
    let cell = table.lines().nth(2).unwrap().split(',').nth(8).unwrap().to_owned();
    sandbox.write("nan.csv", table.replace(&cell, "NaN"));
    assert_snapshot!(sandbox.failure("fit nan.csv"), @"");
    assert_snapshot!(sandbox.failure("fit runs.csv runs.csv"), @"");
    let sandbox = with_runs(|rows| {
        let copy = RunRow { run_id: "copy".to_owned(), ..rows[0].clone() };
        rows.push(copy);
    });
    assert_snapshot!(sandbox.failure("fit runs.csv"), @"");
    assert_snapshot!(sandbox.failure("fit none.parquet"), @"");
    assert_snapshot!(sandbox.failure("fit runs.csv --budget -1 --model-size 1M --target-tokens 1M"), @"");
}

#[test]
fn a_planned_grid_says_what_it_would_tell() {
    let sandbox = with_runs(|_| {});
    let grid = "--grid-model-sizes 41M,109M,334M --grid-target-tokens 300k,3M --grid-shares 0,1%";
    let text = sandbox.ok(&format!("design {PLAN} {grid} --noise 0.3% --simulations 40"));
    assert_snapshot!(text, @"");
    let design = sandbox.json(&format!("design {PLAN} --noise 0.01% --simulations 20 --seeds 2"));
    assert_eq!(design["runs"], 36);
    let truth = design["true_p"].as_f64().unwrap();
    assert!((design["share"]["median"].as_f64().unwrap() / truth - 1.0).abs() < 0.05);
    sandbox.ok("fit runs.csv --draws 20 --out fit.json");
    let from = sandbox.json(&format!("design {PLAN} --from fit.json --simulations 10"));
    assert!(from["forgetting"]["b"].as_f64().unwrap() < 3000.0);
}

#[test]
fn a_grid_that_determines_nothing_is_refused() {
    let sandbox = with_runs(|_| {});
    let few = format!("design {PLAN} --grid-model-sizes 41M --grid-target-tokens 3M");
    assert_snapshot!(sandbox.failure(&few), @"");
    assert_snapshot!(sandbox.failure(&format!("design {PLAN} --from runs.csv")), @"");
}
