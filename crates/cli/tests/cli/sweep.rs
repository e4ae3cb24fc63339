//! `mixdown sweep`: a small grid that is killed and continued, extended, refused, failing, and divided into tasks;
//! and one with another program as the trainer.

use std::collections::BTreeSet;
use std::fs;

use crate::sandbox::Sandbox;

const SWEEP: &str = r#"
pretraining = "corpora/general"
p = ["0", "10%"]
target_tokens = [600, 1_200]
[train]
sequence_length = 16
batch_size = 4
epochs = 3
patience = 2
learning_rate = 3e-3
warmup_steps = 2
checkpoint_every = 7
[eval]
sequences = 8
[[domain]]
name = "code"
corpus = "corpora/target"
[[model]]
name = "16"
hidden_size = 16
layers = 1
heads = 2
tokens = 3_000
[[model]]
name = "32"
hidden_size = 32
layers = 1
heads = 2
tokens = 3_000
"#;

pub fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("sweep.toml", SWEEP);
    sandbox
}

/// The sweep with some of its text replaced.
fn change(sandbox: &Sandbox, name: &str, changes: &[(&str, &str)]) {
    let mut text = SWEEP.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    sandbox.write(name, text);
}

pub fn rows(sandbox: &Sandbox, folder: &str) -> Vec<serde_json::Value> {
    let text = sandbox.read(&format!("{folder}/runs.jsonl"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(rows: &[serde_json::Value]) -> Vec<&str> {
    rows.iter().map(|row| row["run_id"].as_str().unwrap()).collect()
}

#[test]
fn a_grid_is_one_row_a_run_and_nothing_is_done_twice() {
    let sandbox = sandbox();
    let report = sandbox.json("sweep sweep.toml --out s");
    let rows = rows(&sandbox, "s");
    assert_eq!(
        ids(&rows),
        [
            "code-16-600-0pct-seed0",
            "code-16-600-10pct-seed0",
            "code-16-1200-0pct-seed0",
            "code-16-1200-10pct-seed0",
            "code-32-600-0pct-seed0",
            "code-32-600-10pct-seed0",
            "code-32-1200-0pct-seed0",
            "code-32-1200-10pct-seed0",
        ]
    );
    assert_eq!(report["runs"], serde_json::Value::Array(rows.clone()));
    assert_eq!(
        (report["planned"].as_u64(), report["failures"].as_array().unwrap().len()),
        (Some(8), 0)
    );
    let before: BTreeSet<String> =
        rows[..4].iter().map(|row| row["pretraining_loss_before"].to_string()).collect();
    assert_eq!(before.len(), 1, "all runs of a model start from one base model");
    for row in &rows {
        let id = row["run_id"].as_str().unwrap();
        assert_eq!(
            (row["domain"].as_str(), row["schedule"].as_str()),
            (Some("code"), Some("constant"))
        );
        assert_eq!(row["base_tokens"].as_u64().unwrap() % 64, 0);
        assert!(row["base_tokens"].as_u64().unwrap() <= 3_008);
        assert!(row["tokenizer"].is_string() && row["horizon_steps"].as_u64().unwrap() > 20);
        let expected = if id.contains("1200") { 1_184 } else { 592 };
        assert_eq!(row["target_tokens"], expected, "an epoch's whole sequences");
        assert!(sandbox.path(&format!("s/runs/{id}/metrics.jsonl")).exists());
        assert!(sandbox.path(&format!("s/runs/{id}/summary.json")).exists());
        assert!(!sandbox.path(&format!("s/runs/{id}/best")).exists());
        assert!(!sandbox.path(&format!("s/runs/{id}/checkpoints")).exists());
    }
    assert!(sandbox.path("s/bases/16/best/model.safetensors").exists());
    let kept = sandbox.read("s/runs.jsonl");
    fs::remove_dir_all(sandbox.path("s/runs")).unwrap();
    fs::remove_dir_all(sandbox.path("s/bases")).unwrap();
    let again = sandbox.json("sweep s/sweep.toml --out s");
    assert_eq!(again, report);
    assert_eq!(sandbox.read("s/runs.jsonl"), kept);
    assert!(!sandbox.path("s/bases").exists() && !sandbox.path("s/runs").exists());
    let table = sandbox.ok("sweep sweep.toml --out s");
    assert!(table.contains("code-32-1200-10pct-seed0") && table.contains("8 of 8 runs"), "{table}");
}

/// Killed with SIGKILL again and again, each time a little later.
#[cfg(unix)]
#[test]
fn a_sweep_killed_again_and_again_has_the_same_rows() {
    let sandbox = sandbox();
    sandbox.ok("sweep sweep.toml --out straight");
    // What a kill before the first file has its name leaves: its sum, and half of either.
    fs::create_dir(sandbox.path("killed")).unwrap();
    for name in [
        "sweep.toml.blake3",
        "sweep.toml.0123456789abcdef.tmp",
        "sweep.toml.blake3.0123456789abcdef.tmp",
    ] {
        sandbox.write(&format!("killed/{name}"), "");
    }
    let kills = sandbox.killed_again_and_again("sweep sweep.toml --out killed", 60);
    assert_eq!(
        sandbox.read("straight/runs.jsonl"),
        sandbox.read("killed/runs.jsonl"),
        "{kills} kills"
    );
    for run in fs::read_dir(sandbox.path("killed/runs")).unwrap() {
        let run = run.unwrap().path();
        assert!(!run.join("checkpoints").exists() && !run.join("best").exists(), "{run:?}");
    }
    assert!(!sandbox.path("killed/bases/16/checkpoints").exists());
    let names = fs::read_dir(sandbox.path("killed")).unwrap().map(|one| one.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().ends_with(".tmp")));
}

#[cfg(unix)]
#[test]
fn a_stopped_sweep_goes_on() {
    let sandbox = sandbox();
    sandbox.ok("sweep sweep.toml --out straight");
    let stderr = sandbox.terminated(
        "sweep sweep.toml --out stopped",
        "stopped/runs/code-16-1200-0pct-seed0/metrics.jsonl",
        200,
    );
    assert!(stderr.is_empty() || stderr.contains("the same command again"), "{stderr}");
    sandbox.ok("sweep sweep.toml --out stopped");
    assert_eq!(sandbox.read("straight/runs.jsonl"), sandbox.read("stopped/runs.jsonl"));
}

#[test]
fn a_grid_grows_and_other_settings_are_refused() {
    let sandbox = sandbox();
    change(&sandbox, "small.toml", &[("[600, 1_200]", "[600]"), ("\"0\", \"10%\"", "\"0\"")]);
    sandbox.ok("sweep small.toml --out s");
    let small = rows(&sandbox, "s");
    assert_eq!(ids(&small), ["code-16-600-0pct-seed0", "code-32-600-0pct-seed0"]);
    change(
        &sandbox,
        "more.toml",
        &[
            ("[600, 1_200]", "[600]"),
            ("p = ", "seeds = [0, 1]\np = "),
            ("\"0\", \"10%\"", "\"0\", \"1/3\""),
        ],
    );
    let output = sandbox.run("sweep more.toml --out s");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("6 runs to do of 8") && !stderr.contains("base 16:"), "{stderr}");
    let more = rows(&sandbox, "s");
    assert_eq!((more.len(), &more[..2]), (8, &small[..]));
    assert!(ids(&more).contains(&"code-32-600-100over3pct-seed1"));
    let there = (sandbox.read("s/sweep.toml"), sandbox.read("s/runs.jsonl"));
    for (from, to, words) in [
        ("epochs = 3", "epochs = 4", "train.epochs: expected 3, got 4"),
        ("sequences = 8", "sequences = 9", "eval.sequences: expected 8, got 9"),
        ("hidden_size = 32", "hidden_size = 64", "model 32.hidden_size: expected 32, got 64"),
        (
            "[eval]",
            "[pretrain]\nbatch_size = 2\n[eval]",
            "pretrain.batch_size: expected nothing, got 2",
        ),
        ("corpora/target", "corpora/general", "fingerprint of domain code: expected"),
        ("[train]", "command = \"x {run}\"\n[train]", "command: expected nothing, got \"x {run}\""),
    ] {
        change(&sandbox, "other.toml", &[(from, to)]);
        let failure = sandbox.failure("sweep other.toml --out s");
        assert!(failure.starts_with("exit code 2") && failure.contains(words), "{failure}");
    }
    assert_eq!(there, (sandbox.read("s/sweep.toml"), sandbox.read("s/runs.jsonl")));
}

#[test]
fn what_no_sweep_can_be_is_refused() {
    let sandbox = sandbox();
    for (from, to, words) in [
        ("epochs = 3", "epochz = 3", "did you mean `epochs`?"),
        ("name = \"16\"", "name = \"a/b\"", "model.name: expected a letter or digit"),
        ("name = \"16\"", "name = \"32\"", "model.name: expected each name once, got \"32\" twice"),
        ("hidden_size = 32", "size = \"tiny\"", "model 32: expected one of init, size"),
        ("tokens = 3_000", "", "model 16: expected tokens of pretraining"),
        ("1_200]", "1_200_000_000]", "target_tokens of domain code: expected at most"),
        ("p = [\"0\", \"10%\"]", "", "p: expected at least one, as the grid has, got none"),
        ("\"10%\"", "\"100%\"", "expected a share below 100 %"),
        ("warmup_steps = 2", "warmup_steps = 2_000", "train.warmup_steps: expected at most"),
        ("epochs = 3", "epochs = 0", "train.epochs: expected at least 1"),
        ("p = [", "design = \"minimal\"\np = [", "[[model]]: expected at least three"),
        ("[train]", "command = \"x\"\n[train]", "command: expected {run} in it"),
        (
            "[[domain]]",
            "[[run]]\nmodel = \"x\"\ndomain = \"code\"\ntarget_tokens = 1\np = 0\n[[domain]]",
            "run.model",
        ),
    ] {
        change(&sandbox, "bad.toml", &[(from, to)]);
        let failure = sandbox.failure("sweep bad.toml --out s");
        assert!(failure.starts_with("exit code 2") && failure.contains(words), "{failure}");
    }
    sandbox.write("full/thesis.tex", "x");
    assert!(sandbox.failure("sweep sweep.toml --out full").contains("got something else"));
    // Settings that were lost, of which the sum is left.
    sandbox.write("full/sweep.toml.blake3", "x");
    let failure = sandbox.failure("sweep sweep.toml --out full");
    let words = "full/sweep.toml: expected the file whose sum is beside it, got no file";
    assert!(failure.starts_with("exit code 3") && failure.contains(words), "{failure}");
    assert!(!sandbox.path("s").exists());
}

#[test]
fn single_runs_and_the_minimal_design() {
    let sandbox = sandbox();
    let run = "[[run]]\nmodel = \"32\"\ndomain = \"code\"\ntarget_tokens = 700\np = \"5%\"\nseed = 3\n[[domain]]";
    change(
        &sandbox,
        "list.toml",
        &[("p = [\"0\", \"10%\"]\ntarget_tokens = [600, 1_200]", ""), ("[[domain]]", run)],
    );
    let preview = sandbox.json("sweep list.toml --out s --dry-run");
    assert_eq!(preview["runs"][0]["name"], "code-32-700-5pct-seed3");
    assert_eq!(
        (preview["runs"].as_array().unwrap().len(), preview["bases"][0]["name"].as_str()),
        (1, Some("32"))
    );
    let third =
        "[[model]]\nname = \"8\"\nhidden_size = 8\nlayers = 1\nheads = 1\ntokens = 640\n[[domain]]";
    change(
        &sandbox,
        "large.toml",
        &[
            ("[600, 1_200]", "[500, 600, 1_000, 1_200]"),
            ("[[domain]]", third),
            ("\"0\", \"10%\"", "\"5%\""),
        ],
    );
    let preview = sandbox.json("sweep large.toml --out s --design minimal --dry-run");
    assert_eq!(preview["runs"].as_array().unwrap().len(), 18);
    assert_eq!(preview["bases"].as_array().unwrap().len(), 3);
    let names = preview["runs"].to_string();
    assert!(
        names.contains("code-8-1k-1pct-seed0") && names.contains("code-32-500-0pct-seed0"),
        "{names}"
    );
}

#[test]
fn a_dry_run_says_the_cost_and_writes_nothing() {
    let sandbox = sandbox();
    let preview = sandbox.json("sweep sweep.toml --out s --dry-run --tokens-per-second 1000");
    let sum = |list: &str| -> u64 {
        preview[list].as_array().unwrap().iter().map(|part| part["tokens"].as_u64().unwrap()).sum()
    };
    assert_eq!(sum("bases"), 2 * 47 * 64);
    assert_eq!(preview["tokens"].as_u64().unwrap(), sum("bases") + sum("runs"));
    assert_eq!(preview["rate"], "given");
    assert!(preview["seconds"].as_f64().unwrap() > 1.0);
    assert!(
        preview["memory_bytes"].as_u64().unwrap() > 0
            && preview["disk_bytes"].as_u64().unwrap() > 0
    );
    let text = sandbox.ok("sweep sweep.toml --out s --dry-run");
    assert!(text.contains("2 base models and 8 runs to do, 0 runs done"), "{text}");
    assert!(!sandbox.path("s").exists());
    sandbox.ok("sweep sweep.toml --out s --bases-only");
    assert!(!sandbox.path("s/runs.jsonl").exists());
    let after = sandbox.json("sweep sweep.toml --out s --dry-run");
    assert_eq!(
        (after["bases"].as_array().unwrap().len(), after["rate"].as_str()),
        (0, Some("measured"))
    );
    assert_eq!(after["expected_seconds"], after["seconds"], "no run is done");
    // At this rate the target's loss only rises: both evaluations of the patience follow at once.
    let early = ("learning_rate = 3e-3", "learning_rate = 1.0");
    change(&sandbox, "half.toml", &[early, ("[600, 1_200]", "[1_200]")]);
    change(&sandbox, "whole.toml", &[early]);
    sandbox.ok("sweep half.toml --out early");
    let half = sandbox.json("sweep whole.toml --out early --dry-run");
    let seconds = |name: &str| half[name].as_f64().unwrap();
    assert!(seconds("expected_seconds") < seconds("seconds"), "{half}");
}

#[test]
fn a_failed_run_is_recorded_and_the_others_go_on() {
    let sandbox = sandbox();
    change(
        &sandbox,
        "nan.toml",
        &[("learning_rate = 3e-3", "learning_rate = 1e30"), ("[600, 1_200]", "[600]")],
    );
    let failure = sandbox.failure("sweep nan.toml --out s");
    assert!(failure.starts_with("exit code 4") && failure.contains("4 runs failed:"), "{failure}");
    assert!(failure.contains("code-32-600-10pct-seed0: step"), "{failure}");
    let lines = sandbox.read("s/failures.jsonl");
    assert_eq!(lines.lines().count(), 4);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["run_id"].as_str(), first["numerical"].as_bool()),
        (Some("code-16-600-0pct-seed0"), Some(true))
    );
    assert!(!sandbox.path("s/runs.jsonl").exists());
    // One base model of two cannot be made: it is tried once, and the other one's runs are done.
    change(
        &sandbox,
        "base.toml",
        &[
            ("[600, 1_200]", "[600]"),
            (
                "heads = 2\ntokens = 3_000\n[[model]]",
                "heads = 2\nlearning_rate = 1e30\ntokens = 3_000\n[[model]]",
            ),
        ],
    );
    let failure = sandbox.failure("sweep base.toml --out t");
    assert!(failure.starts_with("exit code 4") && failure.contains("2 runs failed"), "{failure}");
    assert!(sandbox.read("t/failures.jsonl").contains("base model 16: "));
    assert_eq!(ids(&rows(&sandbox, "t")), ["code-32-600-0pct-seed0", "code-32-600-10pct-seed0"]);
}

#[test]
fn tasks_do_what_one_process_does() {
    let sandbox = sandbox();
    sandbox.ok("sweep sweep.toml --out one");
    sandbox.ok("sweep sweep.toml --out many --bases-only --task 1/2");
    assert!(sandbox.path("many/bases/32/summary.json").exists());
    assert!(!sandbox.path("many/bases/16").exists());
    let first = sandbox.json("sweep sweep.toml --out many --task 0/3");
    assert_eq!(first["runs"].as_array().unwrap().len(), 3);
    assert!(!sandbox.path("many/runs.jsonl").exists());
    sandbox.ok("sweep sweep.toml --out many --task 1/3");
    let sorted = |folder: &str| {
        let text = sandbox.read(&format!("{folder}/runs.jsonl"));
        text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    // The rest by a process without a task, which takes over the rows of both.
    let output = sandbox.run("sweep sweep.toml --out many");
    assert!(String::from_utf8(output.stderr).unwrap().contains("2 runs to do of 8"));
    assert_eq!(sorted("one"), sorted("many"));
    for task in ["1/2", "0/2"] {
        sandbox.ok(&format!("sweep sweep.toml --out two --task {task}"));
    }
    assert_eq!(sorted("one"), sorted("two"), "the last task writes the table of all");
}

/// Under a cosine the horizon in steps depends on D and p; it is as many passes everywhere.
#[test]
fn a_sweep_under_a_cosine_is_one_recipe_for_its_fit() {
    let sandbox = sandbox();
    change(
        &sandbox,
        "cosine.toml",
        &[
            (
                "warmup_steps = 2",
                "warmup_steps = 2\nschedule = \"cosine\"\nfinal_learning_rate_share = 0.0",
            ),
            ("[600, 1_200]", "[600, \"1.2k\"]"),
        ],
    );
    let text = sandbox.ok("sweep cosine.toml --out s --dry-run");
    let expected = "recipe: the same for all runs, as `mixdown fit` requires: ";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("horizon_steps 3 passes over the target tokens"), "{text}");
    assert!(text.contains("under schedule = \"constant\" it does not"), "{text}");
    assert!(text.contains("2 base models and 8 runs to do, 0 runs done"), "{text}");
    let preview = sandbox.json("sweep cosine.toml --out s --dry-run");
    assert_eq!(preview["recipe"]["schedule"], "cosine");
    assert!(preview["different"].as_object().unwrap().is_empty());
    let output = sandbox.run("sweep cosine.toml --out s");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("; 7 runs left, about ") && said.contains("; 1 run left, about "),
        "{said}"
    );
    assert!(sandbox.read("s/sweep.toml").contains("final_learning_rate_share = 0.0"));
    let fit = sandbox.json("fit s/runs.jsonl --draws 0");
    assert_eq!(fit["recipe"]["horizon_steps"], "3 passes over the target tokens");
    sandbox.ok("report s --draws 0");
    let page = sandbox.read("s/report.html");
    assert!(page.contains("<dt>horizon_steps</dt><dd>3 passes over the target tokens</dd>"));
}

#[test]
fn a_key_that_the_trainer_does_not_have_is_named_where_it_stands() {
    let sandbox = sandbox();
    change(&sandbox, "typo.toml", &[("warmup_steps = 2", "warmup_stpes = 2")]);
    let failure = sandbox.failure("sweep typo.toml --out s --dry-run");
    assert!(failure.starts_with("exit code 2"), "{failure}");
    for part in ["warmup_stpes = 2", "unknown field `warmup_stpes`", "did you mean `warmup_steps`?"]
    {
        assert!(failure.contains(part), "{part}: {failure}");
    }
    change(&sandbox, "steps.toml", &[("warmup_steps = 2", "steps = 200")]);
    let failure = sandbox.failure("sweep steps.toml --out s --dry-run");
    assert!(failure.contains("`steps` is no setting of a sweep"), "{failure}");
}

/// Another program as the trainer: it takes what it is told from the run file and measures nothing.
#[cfg(unix)]
const TRAINER: &str = r#"
field() { sed -n "s/^ *\"$1\": \"*\([^\",]*\)\"*,*\$/\1/p" "$2" | head -n 1; }
row=$(field row "$1"); seed=$(field seed "$1")
test "$seed" = 1 && { echo "no luck with seed 1" >&2; exit 9; }
loss=2.5
test "$seed" = 2 && loss=NaN
test -e "$(field init "$1")/model.safetensors" || exit 8
printf '{"model_size": 1000, "non_embedding_parameters": 500, "p_realised": %s, "best_step": 7, "target_loss": %s,
 "pretraining_loss": 3.5, "pretraining_loss_before": 3.25, "evaluation_tokens": 64, "method": "lora"}' \
    "$(field p_requested "$1")" "$loss" > "$row"
"#;

#[test]
#[cfg(unix)]
fn another_program_is_the_trainer() {
    let sandbox = sandbox();
    sandbox.write("trainer.sh", TRAINER);
    let command = "command = \"sh trainer.sh {run}\"\nseeds = [0, 1, 2]\n[train]";
    change(&sandbox, "own.toml", &[("[train]", command), ("[600, 1_200]", "[600]")]);
    let failure = sandbox.failure("sweep own.toml --out s");
    assert!(failure.starts_with("exit code 4") && failure.contains("8 runs failed"), "{failure}");
    assert!(failure.contains("exit status: 9: no luck with seed 1"), "{failure}");
    assert!(failure.contains("got NaN in it"), "{failure}");
    let rows = rows(&sandbox, "s");
    assert_eq!(rows.len(), 4);
    for (name, expected) in [("method", "lora"), ("domain", "code"), ("schedule", "constant")] {
        assert_eq!(rows[0][name], expected);
    }
    assert_eq!(rows[1]["p_requested"], 0.1);
    assert_eq!(rows[1]["target_tokens"], 592);
    // A row of another run is none.
    let liar = TRAINER.replace("\"model_size\"", "\"seed\": 5, \"model_size\"");
    sandbox.write("trainer.sh", liar);
    let failure = sandbox.failure("sweep own.toml --out t");
    assert!(failure.contains("got seed = 5 in the place of 0"), "{failure}");
}

#[test]
#[cfg(unix)]
fn a_program_is_stopped_with_the_sweep() {
    let sandbox = sandbox();
    let trainer = "trap 'echo yes > ended; exit 1' TERM; echo yes > begun; sleep 600 & wait";
    sandbox.write("trainer.sh", trainer);
    let command = "command = \"sh trainer.sh {run}\"\n[train]";
    change(&sandbox, "own.toml", &[("[train]", command)]);
    let stderr = sandbox.terminated("sweep own.toml --out s", "begun", 2);
    assert!(stderr.contains("the same command again"), "{stderr}");
    assert!(sandbox.path("ended").exists(), "it was asked to end");
    assert!(!sandbox.path("s/failures.jsonl").exists());
}
