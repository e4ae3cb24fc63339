//! `report`: pages of a fit and of a sweep.

use std::fs;

use mixdown_runs::RunsTable;

use crate::fit::rows;
use crate::sandbox::Sandbox;
use crate::sweep;

#[test]
fn a_fit_becomes_a_page_beside_it() {
    let sandbox = Sandbox::new();
    RunsTable::new(rows("math", 0)).unwrap().write(&sandbox.path("runs.csv")).unwrap();
    sandbox.ok("fit runs.csv --draws 50 --budget 0.1 --model-size 1.27B --target-tokens 30M --out fit.json");
    let written = sandbox.json("report fit.json");
    assert_eq!(written["report"], "fit.html");
    assert_eq!(written["runs"], 18);
    let page = sandbox.read("fit.html");
    assert!(page.contains("<title>Fit fit.json</title>"));
    assert!(
        page.contains(
            "is the least share of pretraining data that keeps forgetting within 0.1 nats"
        )
    );
    assert!(page.contains("<dt>learning_rate</dt><dd>0.0001</dd>"));
    sandbox.ok("report fit.json --out other.html --title Other");
    let other = sandbox.read("other.html");
    assert!(
        other.contains("<title>Other</title>")
            && other.len() == page.replace("Fit fit.json", "Other").len()
    );
}

#[test]
fn a_sweep_becomes_a_page_in_its_folder_also_without_its_runs() {
    let sandbox = sweep::sandbox();
    sandbox.ok("sweep sweep.toml --out s");
    assert_eq!(sandbox.json("report s --draws 20")["runs"], 8);
    let page = sandbox.read("s/report.html");
    for part in ["code: losses of every run", "Pretraining progress lost", "checkpoint_every = 7"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("known by their rows only"));
    assert!(page.contains("tokens per parameter. The laws were reported for models with 100"));
    // N = 2, D = 2 and p = 2 determine both laws; without their folders the rows still do.
    fs::remove_dir_all(sandbox.path("s/runs")).unwrap();
    fs::remove_dir_all(sandbox.path("s/bases")).unwrap();
    sandbox.ok("report s --draws 20");
    let page = sandbox.read("s/report.html");
    assert!(page.contains("known by their rows only: 8"));
    for part in ["code: losses of every run", "Pretraining progress lost"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(!sandbox.path("s/report.html.tmp").exists());
}

#[test]
fn a_folder_of_runs_becomes_a_page_of_the_finished_ones() {
    let sandbox = sweep::sandbox();
    sandbox.ok("sweep sweep.toml --out s");
    fs::rename(sandbox.path("s/runs"), sandbox.path("runs")).unwrap();
    fs::remove_file(sandbox.path("runs/code-16-600-0pct-seed0/summary.json")).unwrap();
    sandbox.write("runs/notes.txt", "mine");
    let output = sandbox.run("report runs --json");
    let written: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&written["report"], &written["runs"]), (&"runs/report.html".into(), &7.into()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Not finished and left out: runs/code-16-600-0pct-seed0."), "{said}");
    let page = sandbox.read("runs/report.html");
    assert!(page.contains("<title>Runs in runs</title>"));
    assert!(page.contains("Not finished and left out: runs/code-16-600-0pct-seed0."));
    // Beside a single run, and of nothing that is finished.
    fs::create_dir(sandbox.path("more")).unwrap();
    fs::rename(
        sandbox.path("runs/code-32-600-0pct-seed0"),
        sandbox.path("more/code-32-600-0pct-seed0"),
    )
    .unwrap();
    let both = sandbox.json("report runs/code-32-600-10pct-seed0 more --out both.html");
    assert_eq!(both["runs"], 2);
    fs::remove_file(sandbox.path("more/code-32-600-0pct-seed0/summary.json")).unwrap();
    let failure = sandbox.failure("report more");
    assert!(failure.starts_with("exit code 3\nerror: expected a finished run"), "{failure}");
}

#[test]
fn laws_that_the_rows_do_not_determine_are_refused_on_the_page() {
    let sandbox = Sandbox::new();
    let mut few = rows("math", 0);
    few.truncate(2);
    fs::create_dir(sandbox.path("s")).unwrap();
    RunsTable::new(few).unwrap().write(&sandbox.path("s/runs.jsonl")).unwrap();
    sandbox.ok("report s");
    let page = sandbox.read("s/report.html");
    assert!(page.contains("The laws are not determined by these runs: "));
    assert!(page.contains("math: measured at N"));
}

#[test]
fn other_inputs_are_refused_and_leave_the_page_that_is_there() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.json", "{\"format\": \"notes\"}");
    sandbox.write("notes.html", "mine");
    fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.write("s/sweep.toml", "");
    for (words, code, expected) in [
        ("report notes.json", 3, "notes.json: expected a fit, got missing field"),
        ("report missing", 2, "missing"),
        ("report empty", 2, "no run.toml"),
        ("report s", 3, "s: expected the row of a finished run in runs.jsonl, got none"),
        ("report empty s --out x.html", 2, "s: expected runs on a page of several inputs"),
    ] {
        let error = sandbox.failure(words);
        assert!(error.starts_with(&format!("exit code {code}\n")), "{words}: {error}");
        assert!(error.contains(expected), "{words}: {error}");
    }
    assert_eq!(sandbox.read("notes.html"), "mine");
    assert!(!sandbox.path("s/report.html").exists() && !sandbox.path("x.html").exists());
}
