//! `eval`: the numbers of the run that left the checkpoint, and what makes them others.

use serde_json::Value;

use crate::sandbox::Sandbox;

const SIZES: &str = "--hidden-size 32 --layers 2 --heads 2 --sequence-length 16 --batch-size 4 --eval-every 5 \
                     --eval-sequences 12";

fn loss(record: &Value) -> f64 {
    record["loss"].as_f64().unwrap()
}

#[test]
fn a_runs_checkpoint_is_measured_as_the_run_measured_it() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok(&format!("train --pretraining corpora/general --steps 5 --out base {SIZES}"));
    let summary = sandbox.json(
        "train --init base/best --target corpora/target --pretraining corpora/general --inject 25% --steps 10 \
         --sequence-length 16 --batch-size 4 --eval-every 5 --eval-sequences 12 --out run",
    );
    let numbers = [
        "loss",
        "standard_error",
        "bits_per_byte",
        "tokens",
        "sequences",
        "documents",
        "selection_loss",
    ];
    let last = format!("run/checkpoints/step-{}", summary["steps"]);
    for (checkpoint, of) in [("run/best", "best"), (last.as_str(), "last")] {
        let measured = sandbox
            .json(&format!("eval {checkpoint} --corpus corpora/target --corpus corpora/general"));
        for (measured, own) in
            measured.as_array().unwrap().iter().zip(summary[of].as_array().unwrap())
        {
            for number in numbers {
                assert_eq!(measured[number], own[number], "{checkpoint}: {number}");
            }
        }
    }
    // Half of the target's sequences chose the step.
    assert_eq!(
        (&summary["best"][0]["sequences"], &summary["best"][1]["sequences"]),
        (&6.into(), &12.into())
    );
    let more = sandbox.run("eval run/best --corpus corpora/target --sequences 5 --json");
    let records: Value = serde_json::from_slice(&more.stdout).unwrap();
    assert_eq!(
        (&records[0]["sequences"], &records[0]["selection_loss"]),
        (&5.into(), &Value::Null)
    );
    let said = String::from_utf8(more.stderr).unwrap();
    assert!(
        said.contains("run/run.toml, except for sequences 5 instead of 12: losses may differ"),
        "{said}"
    );
    assert!(said.contains("16 tokens per sequence"), "{said}");
}

#[test]
fn packed_rows_are_measured_as_they_are_trained_on() {
    let sandbox = Sandbox::with_corpora();
    // Documents of a few tokens, so that several share a row.
    let short = |number: u32| format!("{{\"text\":\"let a = {number} ;\"}}\n");
    sandbox.write("short.jsonl", (0..400).map(short).collect::<String>());
    sandbox.ok("prepare short.jsonl --tokenizer tokenizer.json --out corpora/packed --holdout 20% --pack 64 --too-long truncate");
    sandbox.ok(&format!("train --pretraining corpora/general --steps 5 --out base {SIZES}")
        .replace("16 --b", "128 --b"));
    let summary = sandbox.json(
        "train --init base/best --target corpora/packed --pretraining corpora/general --steps 2 --sequence-length 64 \
         --batch-size 4 --eval-every 5 --eval-sequences 8 --out run",
    );
    let before = |corpus: usize| loss(&summary["before"][corpus]);
    // The run that made the model knew no packed rows, nor does the model's folder alone.
    let by_run = sandbox.json("eval base/best --corpus corpora/packed --sequences 8");
    std::fs::rename(sandbox.path("base/best"), sandbox.path("model")).unwrap();
    let packed = sandbox.json("eval model --corpus corpora/packed --sequences 8");
    let both =
        sandbox.json("eval model --corpus corpora/packed --sequences 8 --separate-documents=true");
    let across =
        sandbox.json("eval model --corpus corpora/packed --sequences 8 --separate-documents=false");
    assert_eq!(packed, both);
    assert!((loss(&packed[0]) - loss(&by_run[0])).abs() < 1e-6);
    assert!((loss(&packed[0]) - loss(&across[0])).abs() > 1e-4);
    // All eight sequences are the four that report and the four that choose.
    let chosen = summary["before"][0]["selection_loss"].as_f64().unwrap();
    let tokens = |record: &Value| record["tokens"].as_f64().unwrap();
    let own = tokens(&summary["before"][0]) / tokens(&packed[0]);
    let mean = before(0) * own + chosen * (1.0 - own);
    assert!((mean - loss(&packed[0])).abs() < 1e-5, "{mean} {packed}");
    // The run keeps to documents in the other corpus as well, and its checkpoint is measured so.
    let general = sandbox.json("eval run/best --corpus corpora/general");
    assert_eq!(general[0]["loss"], summary["best"][1]["loss"]);
}

#[test]
fn one_sequence_has_no_standard_error() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok(&format!("train --pretraining corpora/general --steps 2 --out base {SIZES}"));
    let one = "eval base/best --corpus corpora/general --sequence-length 4 --sequences 1";
    let record = sandbox.json(one);
    assert_eq!((&record[0]["standard_error"], &record[0]["sequences"]), (&Value::Null, &1.into()));
    let text = sandbox.ok(one);
    assert!(text.contains("no standard error, because only one sequence has targets"), "{text}");
    assert!(!text.contains('±'), "{text}");
}
