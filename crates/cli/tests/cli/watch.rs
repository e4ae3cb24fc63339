//! `mixdown watch`, without a terminal: lines, one object, what is refused.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use mixdown_runs::{EvalRecord, MetricsRecord, RunFolder};

use crate::sandbox::Sandbox;
use crate::sweep;

const RUN: &str = "--hidden-size 32 --layers 2 --heads 2 --steps 6 --sequence-length 16 --batch-size 4 \
                   --eval-every 3 --eval-sequences 4";

/// A run of ours that others may add to.
fn begun(sandbox: &Sandbox) -> RunFolder {
    let folder = RunFolder::create(&sandbox.path("run")).unwrap();
    folder
        .write_run_toml(
            "title = \"mine\\u001b[2J\"\n[train]\nsteps = 4\n[eval]\npretraining = 'general'\n",
        )
        .unwrap();
    for step in 0..=2 {
        folder.append_metrics(&record(step)).unwrap();
    }
    folder
}

fn record(step: u32) -> MetricsRecord {
    let eval = |corpus: &str, loss| EvalRecord {
        corpus: corpus.to_owned(),
        loss,
        ..EvalRecord::default()
    };
    let at = f64::from(step);
    let evals = vec![eval("target", 4.0 - at / 8.0), eval("general", 3.0 + at / 4.0)];
    MetricsRecord {
        step: step.into(),
        train_loss: (step > 0).then_some(3.5),
        tokens: 64 * u64::from(step),
        evals: if step.is_multiple_of(2) { evals } else { Vec::new() },
        ..MetricsRecord::default()
    }
}

#[test]
fn one_object_says_how_a_run_stands() {
    let sandbox = Sandbox::new();
    begun(&sandbox);
    let report = &sandbox.json("watch run")["runs"][0];
    assert_eq!((report["state"].as_str(), report["step"].as_u64()), (Some("running"), Some(2)));
    assert_eq!((report["steps"].as_u64(), report["best_step"].as_u64()), (Some(4), Some(2)));
    let general = &report["metrics"]["evals"][1];
    assert_eq!((general["loss"].as_f64(), general["before"].as_f64()), (Some(3.5), Some(3.0)));
    assert_eq!(general["change_since_before"], 0.5);
    assert_eq!(
        (general["is_forgetting"].as_bool(), report["metrics"]["damage"].is_null()),
        (Some(true), true)
    );
    let absent = &sandbox.json("watch not/there")["runs"][0];
    assert_eq!((absent["state"].as_str(), absent["steps"].is_null()), (Some("waiting"), true));
    assert!(!sandbox.path("not").exists());
}

#[test]
fn a_pipe_gets_lines_until_the_run_is_done() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok(&format!("train --pretraining corpora/general {RUN} --out base"));
    let lines = sandbox.ok("watch base");
    let lines: Vec<&str> = lines.lines().collect();
    let [before, middle, last, end] = lines.as_slice() else { panic!("{lines:?}") };
    for (line, step) in [(before, 0), (middle, 3), (last, 6)] {
        let expected = format!("base: evaluation at {step}: pretraining ");
        assert!(line.starts_with(&expected), "{line}");
    }
    assert!(end.starts_with("base: done, step 6 of 6, 100 %, loss "), "{end}");
    let several = sandbox.ok("watch base base");
    assert_eq!(several.lines().filter(|line| line.contains("evaluation at 6")).count(), 1);
    assert_eq!(sandbox.json("watch .")["runs"][0]["state"], "done");
}

/// The lines of a run that goes on meanwhile come as it does, and a signal ends them in order.
#[cfg(unix)]
#[test]
fn lines_follow_a_run_and_end_with_a_signal() {
    let sandbox = Sandbox::new();
    let folder = begun(&sandbox);
    let mut command = sandbox.command("watch run");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), "mine[2J: evaluation at 0: target 4.0000, general 3.0000");
    assert_eq!(
        next(),
        "mine[2J: evaluation at 2: target 3.7500 (-0.2500), general 3.5000 (+0.5000 forgotten)"
    );
    assert_eq!(next(), "mine[2J: step 2 of 4, 50 %, loss 3.5000");
    // A run that goes on from a checkpoint.
    folder.truncate_after(Some(1)).unwrap();
    for step in 2..=4 {
        folder.append_metrics(&MetricsRecord { gradient_norm: Some(1.0), ..record(step) }).unwrap();
    }
    assert_eq!(
        next(),
        "mine[2J: evaluation at 4: target 3.5000 (-0.5000), general 4.0000 (+1.0000 forgotten)"
    );
    let id = child.id().to_string();
    std::process::Command::new("kill").arg(id).status().unwrap();
    assert_eq!(next(), "mine[2J: step 4 of 4, 100 %, loss 3.5000");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_sweep_is_a_line_each_run() {
    let sandbox = sweep::sandbox();
    sandbox.ok("sweep sweep.toml --out s");
    let report = sandbox.json("watch s");
    let runs = report["runs"].as_array().unwrap();
    let ids: Vec<&str> = runs.iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(&ids[..3], ["base 16", "base 32", "code-16-600-0pct-seed0"]);
    assert_eq!((ids.len(), runs[3]["p"].as_f64()), (10, Some(0.1)));
    assert!(runs.iter().all(|run| run["state"] == "done"), "{report}");
    let row = &sweep::rows(&sandbox, "s")[0];
    assert_eq!(runs[2]["target_loss"], row["target_loss"]);
    // A run that is left to do, and one that failed.
    let rows: String =
        sandbox.read("s/runs.jsonl").lines().skip(2).map(|row| format!("{row}\n")).collect();
    sandbox.write("s/runs.jsonl", rows);
    fs::remove_file(sandbox.path("s/runs.jsonl.blake3")).unwrap();
    for id in ["code-16-600-0pct-seed0", "code-16-600-10pct-seed0"] {
        fs::remove_dir_all(sandbox.path(&format!("s/runs/{id}"))).unwrap();
    }
    let failure =
        "{\"run_id\": \"code-16-600-10pct-seed0\", \"reason\": \"NaN\", \"numerical\": true}\n";
    sandbox.write("s/failures.jsonl", failure);
    let report = sandbox.json("watch s");
    let state = |place: usize| {
        (report["runs"][place]["run"].as_str(), report["runs"][place]["state"].as_str())
    };
    assert_eq!(state(2), (Some("code-16-600-0pct-seed0"), Some("waiting")));
    assert_eq!(state(3), (Some("code-16-600-10pct-seed0"), Some("failed")));
    assert_eq!(report["runs"][2]["target_tokens"], 600);
    // A run that another program does is known by what that writes.
    for name in ["run.json", "stdout.log"] {
        sandbox.write(&format!("s/runs/code-16-600-0pct-seed0/{name}"), "");
    }
    assert_eq!(sandbox.json("watch s")["runs"][2]["state"], "running");
}

#[test]
fn a_folder_shows_the_runs_and_sweeps_in_it() {
    let sandbox = sweep::sandbox();
    sandbox.ok("sweep sweep.toml --out work/sweeps/first");
    sandbox.ok(&format!("train --pretraining corpora/general {RUN} --out work/runs/alone"));
    let report = sandbox.json("watch work");
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(
        (runs[0]["run"].as_str(), runs[0]["best_step"].is_u64()),
        (Some("work/runs/alone"), true)
    );
    assert_eq!(runs[0]["folder"], "work/runs/alone");
    let named = |run: &serde_json::Value| run["run"].as_str().unwrap().starts_with("sweeps/first/");
    assert!(runs.len() > 8 && runs[1..].iter().all(named), "{report}");
    assert!(runs[3]["folder"].as_str().unwrap().starts_with("work/sweeps/first/runs/"), "{report}");
    let lines = sandbox.ok("watch work");
    assert!(
        lines.contains("work/runs/alone: evaluation at 6") && lines.contains("runs done"),
        "{lines}"
    );
    // A corpus is no run, and several folders are one table.
    let both = sandbox.json("watch work/runs/alone work/sweeps/first");
    assert_eq!(both["runs"].as_array().unwrap().len(), runs.len());
}

#[test]
fn other_things_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("notes/thesis.tex", "x");
    let folder = begun(&sandbox);
    insta::assert_snapshot!(sandbox.failure("watch notes"), @"
    exit code 2
    error: notes: expected a run's or a sweep's folder, got one that holds thesis.tex
      hint: name the folder given to --out of train or sweep
    ");
    insta::assert_snapshot!(sandbox.failure("watch run/run.toml"), @"
    exit code 2
    error: run/run.toml: expected a run's or a sweep's folder, got a file
      hint: name the folder that the file is in
    ");
    fs::write(folder.metrics(), "{}\n").unwrap();
    insta::assert_snapshot!(sandbox.failure("watch run"), @"
    exit code 3
    error: run/metrics.jsonl, line 1: expected one metrics record as JSON, got missing field `step` at line 1 column 2: the run cannot be followed
    ");
}

#[test]
fn training_without_a_terminal_has_the_meter() {
    let sandbox = Sandbox::with_corpora();
    let output =
        sandbox.run(&format!("train --pretraining corpora/general {RUN} --out base --watch"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0]
            .starts_with("--watch: there is no terminal to draw on, so progress is shown as usual"),
        "{said}"
    );
    assert!(lines[1].starts_with("step 0 of 6: pretraining "), "{said}");
    assert!(lines[4].starts_with("train base: best step "), "{said}");
}
