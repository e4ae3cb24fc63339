//! `fit` and `design`.

use insta::assert_snapshot;
use mixdown_runs::{RunRow, RunsTable};
use mixdown_scaling::{ForgettingLaw, Simulation, TargetLaw, full_grid};

use crate::sandbox::Sandbox;

const PLAN: &str = "--budget 0.1 --model-size 1.27B --target-tokens 30M";

/// 18 runs of known laws, B = 1500, α = 0.45, β = 0.3, with 0.3 % noise.
pub fn rows(domain: &str, seed: u64) -> Vec<RunRow> {
    rows_of(domain, seed, &full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and positive")]
fn count(value: f64) -> u64 {
    value as u64
}

/// The same for another grid.
fn rows_of(domain: &str, seed: u64, grid: &[(f64, f64, f64)]) -> Vec<RunRow> {
    let simulation = Simulation {
        forgetting: ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 },
        target: TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 },
        noise: 0.003,
    };
    let runs = simulation.runs(grid, seed).into_iter().enumerate();
    let row = |(number, run): (usize, mixdown_scaling::Observation)| RunRow {
        run_id: format!("{domain}-{number}"),
        domain: domain.to_owned(),
        model_size: count(run.model_size),
        non_embedding_parameters: count(run.model_size),
        target_tokens: count(run.target_tokens),
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
    let line = |line: &str| {
        let ends = ["; gradient ", ": the fit did not converge"];
        let end = ends.iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
        line[..end].trim_end().to_owned()
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a whole page of output")]
fn the_laws_and_the_advice_are_readable() {
    let sandbox = with_runs(|_| {});
    let text = sandbox.ok(&format!("fit runs.csv --draws 100 {PLAN}"));
    assert_snapshot!(stable(&text), @r#"
    domain math: 18 runs, 18 configurations
      N  41M, 109M, 334M
      D  300K, 1M, 3M
      p  0 %, 1 %

    forgetting = A·D^β / ((1 + B·p)·N)^α, nats per token over the loss before finetuning
          value      95 % interval
    ───────────────────────────────
     A    26.47     [19.15, 34.53]
     B     1568       [1410, 1781]
     α   0.4524   [0.4358, 0.4654]
     β   0.2981   [0.2852, 0.3124]
    residuals 0.24 % (root mean square of log loss)

    α and ln B are determined jointly: their correlation is -0.79

    target loss = A / (N^α·D^β) + E, nats per token
          value      95 % interval
    ───────────────────────────────
     A     2969       [2188, 3919]
     E    1.205     [1.088, 1.299]
     α   0.1995    [0.1889, 0.209]
     β   0.2506   [0.2384, 0.2609]
    residuals 0.23 % (root mean square of log loss)

    hold-outs (naive: the pretraining loss stays, the target loss is the mean)
     left out                 loss   runs   mean error    worst   within 95 %   naive error
    ────────────────────────────────────────────────────────────────────────────────────────
     largest N         pretraining      6       0.29 %   0.43 %         100 %        6.26 %
     largest N              target      6       0.23 %   0.51 %         100 %       26.29 %
     largest D         pretraining      6       0.27 %   0.45 %         100 %       11.73 %
     largest D              target      6       0.29 %   0.61 %         100 %       34.05 %
     largest N and D   pretraining      2       0.63 %   0.66 %         100 %        8.32 %
     largest N and D        target      2       0.22 %   0.41 %         100 %       61.70 %
     N = 41M           pretraining      6       0.47 %   0.70 %         100 %       11.87 %
     N = 41M                target      6       0.25 %   0.48 %         100 %       16.65 %
     N = 109M          pretraining      6       0.33 %   0.89 %          83 %        8.66 %
     N = 109M               target      6       0.22 %   0.50 %         100 %       13.87 %
     N = 334M          pretraining      6       0.29 %   0.43 %         100 %        6.26 %
     N = 334M               target      6       0.23 %   0.51 %         100 %       26.29 %

    laws compared, the best first
     law                     loss   hold-out error     AICc                                 formula
    ────────────────────────────────────────────────────────────────────────────────────────────────
     reported         pretraining           0.33 %   -202.6       L0 + A*D^beta/((1 + B*p)*N)^alpha
     offset           pretraining           0.40 %   -198.2   L0 + A*D^beta/((1 + B*p)*N)^alpha + E
     additive share   pretraining           1.25 %   -145.7           L0 + A*D^beta/(N + B*p)^alpha
     reported              target           0.26 %   -203.7                  E + A/(N^alpha*D^beta)
     p-term                target           0.32 %   -201.9            E + A/(N^alpha*D^beta) + C*p
     Chinchilla            target                -   -111.4                E + A/N^alpha + B/D^beta
    not fitted: own exponent of the share (pretraining): own exponent: expected at least two N and three shares p, got 18 rows with 18 configurations: N 4.1e7, 1.09e8, 3.34e8; D 3e5, 1e6, 3e6; p 0, 0.01
    not fitted: D-CPT (pretraining): D-CPT: expected at least two N, two D and three shares p, got 18 rows with 18 configurations: N 4.1e7, 1.09e8, 3.34e8; D 3e5, 1e6, 3e6; p 0, 0.01
    not fitted: data-constrained (target)

    to forget at most 0.1 nats per token with N = 1.27B, D = 30M: p* = 0.8979 % (95 % interval 0.7871 % to 1.023 %)
    price: 1.0091 times the tokens; a pass over the target is 30.3M tokens, 462 steps instead of 458
     p                       forgetting   pretraining loss             target loss
    ───────────────────────────────────────────────────────────────────────────────
     0.8979 %   0.1000 [0.0945, 0.1056]                  -   1.8109 [1.769, 1.852]
     0 %        0.3412 [0.3256, 0.3575]                  -   1.8109 [1.769, 1.852]
     0.1 %       0.2227 [0.213, 0.2327]                  -   1.8109 [1.769, 1.852]
     0.5 %       0.1273 [0.1208, 0.134]                  -   1.8109 [1.769, 1.852]
     1 %        0.0955 [0.0902, 0.1009]                  -   1.8109 [1.769, 1.852]
     5 %         0.0472 [0.044, 0.0504]                  -   1.8109 [1.769, 1.852]

    warning: the model size is outside the runs by a factor of 3.8
    warning: the target tokens are outside the runs by a factor of 10

    the mixture, ready for `mixdown mix` and `[mixture]` of a run:

    # caution: the model size is outside the runs by a factor of 3.8
    # caution: the target tokens are outside the runs by a factor of 10
    sequence_length = 1024
    batch_size = 64
    seed = 0

    [[source]]
    name = "target"
    corpus = "corpora/target"
    weight = "99.102%"
    max_tokens = 30000000

    [[source]]
    name = "pretraining"
    corpus = "corpora/pretraining"
    weight = "0.898%"
    "#);
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
    // What the laws themselves ask for.
    let truth = 0.009_69;
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
    assert_eq!(fit["refused"].as_array().unwrap().len(), 0);
    assert_eq!(sandbox.json("fit runs.csv --draws 0 --domain code")["domain"], "code");
    assert_snapshot!(sandbox.failure("fit runs.csv --draws 0 --domain law"), @r#"
    exit code 3
    error: no run of the domain "law"
      hint: the domains are "code", "math"
    "#);
    let many = format!("fit runs.csv --draws 0 {PLAN} --mixture-out mix.toml");
    assert_snapshot!(sandbox.failure(&many), @"
    exit code 2
    error: --mixture-out takes one domain, got 2
      hint: choose one with --domain
    ");
}

#[test]
fn different_recipes_are_pooled_only_when_asked() {
    let sandbox = with_runs(|rows| rows[3].learning_rate = Some(3e-4));
    assert_snapshot!(sandbox.failure("fit runs.csv --draws 0"), @r#"
    exit code 3
    error: domain "math": expected runs of one recipe, got different learning_rate 0.0001, 0.0003
      hint: the recipe affects forgetting, too: keep the runs of one recipe, or fit all together with --pool-recipes
    "#);
    assert_eq!(sandbox.json("fit runs.csv --draws 0 --pool-recipes")["runs"], 18);
    let sandbox = with_runs(|rows| rows[3].tokenizer = Some("another".to_owned()));
    assert_snapshot!(sandbox.failure("fit runs.csv --draws 0 --pool-recipes"), @r#"
    exit code 3
    error: domain "math": expected one tokenizer, got 0123456789ab, another; losses per token of different tokenizers do not compare
      hint: keep the runs of one tokenizer
    "#);
}

#[test]
fn too_few_runs_say_what_is_missing() {
    let sandbox = with_runs(|rows| rows.truncate(3));
    assert_snapshot!(sandbox.failure("fit runs.csv"), @r#"
    exit code 3
    error: domain "math": forgetting law: expected at least three shares p (there is only one N) and 5 configurations (N, D, p), got 3 rows with 3 configurations: N 4.1e7; D 3e5, 1e6; p 0, 0.01
    "#);
    let sandbox = with_runs(|rows| rows.retain(|row| row.p_requested == 0.0));
    assert_snapshot!(sandbox.failure("fit runs.csv"), @r#"
    exit code 3
    error: domain "math": forgetting law: expected at least two shares p and 5 configurations (N, D, p), got 9 rows with 9 configurations: N 4.1e7, 1.09e8, 3.34e8; D 3e5, 1e6, 3e6; p 0
    "#);
}

#[test]
fn one_model_size_says_nothing_about_others() {
    let sandbox = with_runs(|rows| {
        let grid = full_grid(&[109e6], &[3e5, 1e6, 3e6], &[0.0, 0.005, 0.01, 0.05]);
        *rows = rows_of("math", 0, &grid);
    });
    assert_snapshot!(sandbox.failure(&format!("fit runs.csv --draws 0 {PLAN}")), @r#"
    exit code 2
    error: domain "math": model size: expected 1.09e8, the only one that was run, got 1.27e9; a law fitted at one value says nothing about others: add runs at a second one
    "#);
    let own = "--budget 0.1 --model-size 109M --target-tokens 3M";
    assert!(sandbox.ok(&format!("fit runs.csv --draws 20 {own}")).contains("p* = "));
}

#[test]
fn losses_that_are_no_numbers_and_runs_that_stand_twice_are_named() {
    let sandbox = with_runs(|_| {});
    let table = sandbox.read("runs.csv");
    let cell = table.lines().nth(2).unwrap().split(',').nth(8).unwrap().to_owned();
    sandbox.write("nan.csv", table.replace(&cell, "NaN"));
    assert_snapshot!(sandbox.failure("fit nan.csv"), @r#"
    exit code 3
    error: nan.csv, row 2, column "target_loss": expected a finite number, got "NaN"
    "#);
    assert_snapshot!(sandbox.failure("fit runs.csv runs.csv"), @r#"
    exit code 3
    error: runs.csv: expected every run_id once, got "math-0", which runs.csv has already
      hint: remove one of the two
    "#);
    let sandbox = with_runs(|rows| {
        let copy = RunRow { run_id: "copy".to_owned(), ..rows[0].clone() };
        rows.push(copy);
    });
    assert_snapshot!(sandbox.failure("fit runs.csv"), @r#"
    exit code 3
    error: runs "math-0" and "copy": expected different runs, got the same model, data, seed and losses
      hint: remove one of the two
    "#);
    assert_snapshot!(sandbox.failure("fit none.parquet"), @"
    exit code 2
    error: none.parquet: cannot read it
      cause: No such file or directory (os error 2)
    ");
}

/// Rows in another order, the first one last.
fn turned(rows: &[RunRow], by: usize) -> Vec<RunRow> {
    let mut turned = rows.to_vec();
    turned.rotate_left(by % rows.len());
    turned.reverse();
    turned
}

#[test]
fn a_table_has_no_order_for_fits_and_pages() {
    let sandbox = with_runs(|rows| {
        // Losses that no law fits, so that little things decide what is best.
        for (number, row) in (0_u32..).zip(rows.iter_mut()) {
            row.pretraining_loss *= 1.0 + 0.02 * f64::from(number * 7 % 5);
        }
    });
    let table = RunsTable::read(&sandbox.path("runs.csv")).unwrap();
    let words = format!("--draws 50 {PLAN}");
    let fit = sandbox.json(&format!("fit runs.csv {words}"));
    for by in [1, 5, 11] {
        let rows = turned(table.rows(), by);
        RunsTable::new(rows.clone()).unwrap().write(&sandbox.path("other.csv")).unwrap();
        assert_eq!(sandbox.json(&format!("fit other.csv {words}")), fit, "{by}");
        let halves = rows.split_at(9);
        RunsTable::new(halves.0.to_vec()).unwrap().write(&sandbox.path("one.csv")).unwrap();
        RunsTable::new(halves.1.to_vec()).unwrap().write(&sandbox.path("two.jsonl")).unwrap();
        assert_eq!(sandbox.json(&format!("fit two.jsonl one.csv {words}")), fit, "{by}");
    }
    // A page of a sweep is made of the rows by their names: other names, another order, the same laws.
    let page = |rows: Vec<RunRow>| {
        std::fs::create_dir_all(sandbox.path("s")).unwrap();
        RunsTable::new(rows).unwrap().write(&sandbox.path("s/runs.jsonl")).unwrap();
        sandbox.ok("report s --draws 50");
        let page = sandbox.read("s/report.html");
        let laws = page.split("Law of forgetting").nth(1).unwrap().to_owned();
        let compared =
            page.split("Laws compared").nth(1).unwrap().split("</table>").next().unwrap();
        (laws.split("</table>").next().unwrap().to_owned(), compared.to_owned())
    };
    let first = page(table.rows().to_vec());
    let renamed = turned(table.rows(), 5).into_iter().enumerate();
    let renamed = renamed.map(|(place, row)| RunRow { run_id: format!("r{place:02}"), ..row });
    assert_eq!(page(renamed.collect()), first);
    for coefficient in ["A", "B", "alpha", "beta"] {
        let value = format!("data-raw=\"{}\"", fit["forgetting"][coefficient].as_f64().unwrap());
        assert!(first.0.contains(&value), "{coefficient}: the page has the law of `fit`: {value}");
    }
}

#[test]
fn an_answer_far_beyond_the_runs_is_no_finding() {
    let sandbox = with_runs(|_| {});
    let far = "--draws 20 --budget 0.005 --model-size 334B --target-tokens 3M";
    let text = sandbox.ok(&format!("fit runs.csv {far} --mixture-out mix.toml"));
    assert!(text.contains("no finding, only an extrapolation: the law gives p* = "), "{text}");
    assert!(
        text.contains("warning: the model size is outside the runs by a factor of 1,000"),
        "{text}"
    );
    let mixture = sandbox.read("mix.toml");
    let first = mixture.lines().next().unwrap();
    assert!(first.starts_with("# caution: this share is an extrapolation"), "{mixture}");
    let config: toml::Table = mixture.parse().unwrap();
    assert_eq!(config["source"].as_array().unwrap().len(), 2);
    let advice = &sandbox.json(&format!("fit runs.csv {far}"))["advice"];
    assert_eq!(
        (&advice["status"], &advice["extrapolated"]),
        (&"extrapolated".into(), &true.into())
    );
    assert!((advice["extrapolation"].as_f64().unwrap() - 1000.0).abs() < 1e-6, "{advice}");
    let near = &sandbox.json(&format!("fit runs.csv --draws 0 {PLAN}"))["advice"];
    assert_eq!((&near["status"], &near["extrapolated"]), (&"identified".into(), &false.into()));
    // Design says so, too.
    let design = format!("design {} --simulations 5", far.replace("--draws 20", ""));
    let expected = "warning: the model size is outside the runs by a factor of 1,000";
    assert!(sandbox.ok(&design).contains(expected));
    assert_eq!(sandbox.json(&design)["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn a_share_that_the_runs_do_not_identify_is_not_written() {
    let sandbox = with_runs(|rows| {
        for pair in rows.chunks_mut(2) {
            // The share does nothing but noise.
            pair[1].pretraining_loss = pair[0].pretraining_loss * 1.0005;
        }
    });
    let words = "--draws 20 --budget 0.305 --model-size 334M --target-tokens 3M";
    let text = sandbox.ok(&format!("fit runs.csv {words}"));
    assert!(
        text.contains("p* is not identified: the runs do not bound it (95 % interval"),
        "{text}"
    );
    assert!(!text.contains("p* = ") && !text.contains("the mixture, ready"), "{text}");
    let advice = &sandbox.json(&format!("fit runs.csv {words}"))["advice"];
    assert_eq!(
        (&advice["p"], &advice["mixture"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(
        (&advice["status"], &advice["identified"]),
        (&"not_identified".into(), &false.into())
    );
    let failure =
        sandbox.failure(&format!("fit runs.csv {words} --out fit.json --mixture-out mix.toml"));
    assert!(
        failure.starts_with("exit code 3\nerror: the runs do not identify p* (95 % interval"),
        "{failure}"
    );
    assert!(!sandbox.path("mix.toml").exists() && sandbox.path("fit.json").exists());
    sandbox.ok("report fit.json");
    assert!(
        !sandbox.read("fit.html").contains("is the least share of pretraining data that keeps")
    );
}

/// Under a cosine over a number of passes the steps depend on p and D, the recipe does not.
#[test]
fn a_schedule_over_passes_is_one_recipe() {
    let passes = |rows: &mut [RunRow], passes: f64| {
        for row in rows {
            let batch = 65_536.0 * (1.0 - row.p_requested) / (row.target_tokens as f64);
            row.schedule = Some("cosine".to_owned());
            row.horizon_steps = Some(count((passes / batch).ceil()));
            row.warmup_steps = row.horizon_steps.map(|steps| steps / 20);
        }
    };
    let sandbox = with_runs(|rows| passes(rows, 8.0));
    let fit = sandbox.json("fit runs.csv --draws 0");
    assert_eq!(fit["recipe"]["horizon_steps"], "8 passes over the target tokens");
    let sandbox = with_runs(|rows| {
        let (first, second) = rows.split_at_mut(9);
        passes(first, 8.0);
        passes(second, 16.0);
    });
    let failure = sandbox.failure("fit runs.csv --draws 0");
    assert!(
        failure.contains("expected runs of one recipe, got different horizon_steps"),
        "{failure}"
    );
    let text = sandbox.ok("fit runs.csv --draws 0 --pool-recipes");
    assert!(
        text.contains("warning: runs of different horizon_steps are fitted together: "),
        "{text}"
    );
}

#[test]
fn a_row_that_lacks_an_optional_value_is_a_row() {
    let sandbox = with_runs(|rows| {
        rows[3].learning_rate = None;
        rows[4].learning_rate = None;
        rows.iter_mut().for_each(|row| row.method = None);
    });
    let fit = sandbox.json("fit runs.csv --draws 0");
    assert_eq!((&fit["runs"], &fit["recipe"]["learning_rate"]), (&18.into(), &"0.0001".into()));
    let warning =
        "learning_rate is unknown for 2 of 18 runs: it is assumed to be that of the others";
    assert!(fit["warnings"].as_array().unwrap().contains(&warning.into()), "{fit}");
}

#[test]
fn a_budget_of_nothing_is_refused() {
    let sandbox = with_runs(|_| {});
    let none = "fit runs.csv --draws 0 --budget 0 --model-size 1M --target-tokens 1M";
    assert_snapshot!(sandbox.failure(none), @r#"
    exit code 2
    error: domain "math": forgetting budget: expected a finite number of nats above 0, got 0
    "#);
}

#[test]
fn a_planned_grid_says_what_it_would_tell() {
    let sandbox = with_runs(|_| {});
    let grid = "--grid-model-sizes 41M,109M,334M --grid-target-tokens 300k,3M --grid-shares 0,1%";
    let text = sandbox.ok(&format!("design {PLAN} {grid} --noise 0.3% --simulations 40"));
    assert_snapshot!(text, @"
    12 runs, simulated 40 times from B = 3000, α = 0.5, β = 0.3, noise 0.30 % of the loss (40 fitted)

    to forget at most 0.1 nats per token with N = 1.27B, D = 30M:
    p* of these coefficients   0.2667 %
    p* expected of the fit     median 0.2695 %, 95 % interval 0.215 % to 0.3192 %
    forgetting at p = 0        predicted within factors [0.9305, 1.068]

    the next runs that narrow the interval of that forgetting the most (its width, now 1)
     N       D       p   width
    ───────────────────────────
     109M   3M   0.1 %   0.884
     334M   3M   0.1 %   0.887
     41M    3M   0.5 %   0.898
     109M   3M   0.5 %   0.905
     41M    3M     1 %   0.909
    ");
    let design = sandbox.json(&format!("design {PLAN} --noise 0.01% --simulations 20 --seeds 2"));
    assert_eq!(design["runs"], 36);
    let truth = design["true_p"].as_f64().unwrap();
    assert!((design["share"]["median"].as_f64().unwrap() / truth - 1.0).abs() < 0.05);
    sandbox.ok("fit runs.csv --draws 20 --out fit.json");
    let from = sandbox.json(&format!("design {PLAN} --from fit.json --simulations 10"));
    assert!(from["forgetting"]["b"].as_f64().unwrap() < 3000.0);
}

#[test]
fn a_domain_without_a_law_is_recorded_beside_those_with_one() {
    let sandbox = with_runs(|all| all.extend(rows("code", 1).into_iter().take(3)));
    // Files of a person beside it stay, whatever they are called.
    let neighbors = ["fit.tmp", "fit.json.tmp"];
    for name in neighbors {
        sandbox.write(name, name);
    }
    let text = sandbox.ok("fit runs.csv --draws 20 --out fit.json");
    for name in neighbors {
        assert_eq!(sandbox.read(name), name);
    }
    let reason = "forgetting law: expected at least";
    assert!(text.contains(&format!("domain code: no law: {reason}")), "{text}");
    let fit = sandbox.json("fit runs.csv --draws 20");
    let fitted = fit["domains"].as_array().unwrap();
    assert_eq!((fitted.len(), fitted[0]["domain"].as_str()), (1, Some("math")));
    assert_eq!(fit["refused"][0]["domain"], "code");
    assert!(fit["refused"][0]["reason"].as_str().unwrap().starts_with(reason));
    let file: serde_json::Value = serde_json::from_str(&sandbox.read("fit.json")).unwrap();
    assert_eq!(file["refused"], fit["refused"]);
    // Alone it ends the command.
    let failure = sandbox.failure("fit runs.csv --draws 20 --domain code --out code.json");
    assert!(failure.starts_with("exit code 3") && failure.contains(reason), "{failure}");
    assert!(!sandbox.path("code.json").exists());
}

#[test]
fn a_grid_that_determines_nothing_is_refused() {
    let sandbox = with_runs(|_| {});
    let few = format!("design {PLAN} --grid-model-sizes 41M --grid-target-tokens 3M");
    assert_snapshot!(sandbox.failure(&few), @r#"
    exit code 2
    error: the planned grid: forgetting law: expected at least three shares p (there is only one N) and 4 configurations (N, D, p), got 2 rows with 2 configurations: N 4.1e7; D 3e6; p 0, 0.01
      hint: plan more sizes, target tokens or shares
    "#);
    assert_snapshot!(sandbox.failure(&format!("design {PLAN} --from runs.csv")), @"
    exit code 3
    error: runs.csv: expected a fit, got expected value at line 1 column 1
      hint: that is a table of runs: fit it first with `mixdown fit runs.csv --out FIT.json`
    ");
}
