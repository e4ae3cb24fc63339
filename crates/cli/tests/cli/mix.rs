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

/// JSON lines of 60 words each, of which one is `edit`.
fn documents(numbers: std::ops::Range<u64>, edit: &str) -> String {
    let document = |number: u64| {
        let words = (0..60).map(|place| match place {
            30 => edit.to_owned(),
            _ => format!("w{}", (number * 60 + place).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48),
        });
        let text = words.collect::<Vec<_>>().join(" ");
        format!("{}\n", serde_json::json!({ "text": text }))
    };
    numbers.map(document).collect()
}

#[test]
fn near_duplicates_of_held_out_documents_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("one.jsonl", documents(0..40, "first"));
    sandbox.write("two.jsonl", documents(0..30, "second") + &documents(100..120, "second"));
    sandbox.ok("tokenizer train one.jsonl two.jsonl --vocab-size 300 --out tokenizer.json");
    sandbox.ok("prepare one.jsonl --tokenizer tokenizer.json --out one --holdout 50%");
    let prepare = "prepare two.jsonl --tokenizer tokenizer.json --holdout 0";
    sandbox.ok(&format!("{prepare} --out two"));
    sandbox.ok(&format!("{prepare} --out without --without one"));
    sandbox.ok(&format!("{prepare} --out off --near-duplicates off"));
    let mix = |other: &str| {
        let source = |name: &str, corpus: &str| {
            format!("[[source]]\nname = {name:?}\ncorpus = {corpus:?}\nweight = \"50%\"\n")
        };
        let sources = source("target", "one") + &source("pretraining", other);
        let name = format!("{other}.toml");
        sandbox.write(&name, format!("sequence_length = 16\nbatch_size = 2\n{sources}"));
        format!("mix {name} --steps 10")
    };
    assert_snapshot!(sandbox.failure(&mix("two")), @r#"
    exit code 2
    error: source "target" (one): expected no held-out document with a near-duplicate in the training part of source "pretraining" (two), got 13; prepare the second corpus again without the near-duplicates of the first one's held-out documents, or drop one
      hint: prepare --without CORPUS leaves near-duplicates of that corpus' held-out documents out; `mixdown inspect CORPUS --overlap OTHER` shows some
    "#);
    let clean = sandbox.run(&mix("without"));
    assert_eq!((clean.status.code(), clean.stderr), (Some(0), Vec::new()));
    let unknown = sandbox.run(&mix("off"));
    assert_eq!(unknown.status.code(), Some(0));
    assert_snapshot!(String::from_utf8(unknown.stderr).unwrap(), @"mix: warning: no sketches of texts in off (imported, prepared by an older version, or with --near-duplicates off): near-duplicates of held-out documents in another corpus are not detected");

    let overlap = sandbox.json("inspect one --overlap two");
    let near = &overlap["near_duplicates"];
    assert_eq!(overlap["equal_texts"], 0);
    let (first, documents) = (&near["examples"][0], near["documents"].as_u64().unwrap());
    assert!((10..=20).contains(&documents), "{documents}");
    assert!(first["estimate"].as_f64().unwrap() > 0.61, "{first}");
    let beginning = |text: &str| first[text].as_str().unwrap()[..60].to_owned();
    assert_eq!(beginning("text"), beginning("train_text"));
    let text = sandbox.ok("inspect one --overlap two");
    let lines: Vec<&str> = text.lines().take(4).collect();
    assert_snapshot!(lines.join("\n"), @"
    one (holdout) in the training split of two: 17 documents
    with an equal text there: 0 documents
    with a near-duplicate there (an estimated similarity of 0.61 or more): 13 documents (76.5 %)
      document 0, similarity 0.87 to training document 40
    ");
    assert!(text.contains("\n    \"w32259 w7226"), "{text}");
    assert_eq!(sandbox.json("inspect one --overlap without")["near_duplicates"]["documents"], 0);
    assert!(sandbox.json("inspect one --overlap off")["near_duplicates"].is_null());
    let unknown = sandbox.ok("inspect one --overlap off");
    assert!(unknown.contains("near-duplicates unknown"), "{unknown}");
}
