//! `mix`.

use insta::assert_snapshot;

use crate::sandbox::Sandbox;

const MIXTURE: &str = "\
sequence_length = 16
batch_size = 10
seed = 7
[[source]]
name = \"target\"
corpus = \"corpora/target\"
weight = \"90%\"
max_tokens = 3_000
[[source]]
name = \"general\"
corpus = \"corpora/general\"
weight = \"10%\"
";

#[test]
fn the_plan_is_exact() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("mix.toml", MIXTURE);
    let plan = sandbox.json("mix mix.toml --steps 1000");
    let target = &plan["sources"][0];
    assert_eq!(target["sequences"], 9_000);
    assert_eq!(target["realised"], 0.9);
    assert!(target["unique_tokens"].as_u64().unwrap() <= 3_000);
    assert!(plan["sources"][1]["largest_deviation"].as_f64().unwrap() <= 0.5);
    assert!(sandbox.ok("mix mix.toml --steps 1000").contains("largest deviation"));
}

#[test]
fn the_order_is_json_lines_and_a_range_is_a_window_of_it() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("mix.toml", MIXTURE);
    let whole = sandbox.ok("mix mix.toml --order 0..40");
    let window = sandbox.ok("mix mix.toml --order 17..23");
    let expected: Vec<&str> = whole.lines().skip(17).take(6).collect();
    assert_eq!(window.lines().collect::<Vec<_>>(), expected);
    let first: serde_json::Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    let keys: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["epoch", "sequence", "slot", "source", "start_token"]);
}

#[test]
fn a_run_beyond_max_epochs_is_refused_before_it_starts() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write(
        "mix.toml",
        MIXTURE.replace("max_tokens = 3_000", "max_tokens = 3_000\nmax_epochs = 2"),
    );
    assert_snapshot!(sandbox.failure("mix mix.toml --steps 1000"), @r#"
    exit code 2
    error: source "target": expected at most 2 epochs, got more from step 41 on (slot 416); shorten the run to 41 steps, lower its weight or raise max_epochs
    "#);
}
