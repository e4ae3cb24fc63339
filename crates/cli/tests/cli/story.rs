//! The README's walk through a user's own files: two folders of text, a base model, a finetuning run with
//! 5 % pretraining data, both losses, one page.

use crate::sandbox::Sandbox;

const SIZES: &str = "--sequence-length 16 --batch-size 8 --eval-every 10 --eval-sequences 8";

fn base(sandbox: &Sandbox) {
    sandbox.ok(&format!(
        "train --pretraining corpora/general --hidden-size 32 --layers 2 --heads 2 --steps 30 --out base {SIZES}"
    ));
}

fn finetune(sandbox: &Sandbox, inject: &str, out: &str) -> serde_json::Value {
    sandbox.json(&format!(
        "train --init base/best --target corpora/target --pretraining corpora/general --inject {inject} \
         --target-tokens 2000 --steps 40 --out {out} {SIZES}"
    ))
}

#[test]
fn from_text_to_the_page() {
    let sandbox = Sandbox::with_corpora();
    base(&sandbox);
    let without = finetune(&sandbox, "0", "runs/without");
    let with = finetune(&sandbox, "25%", "runs/with");
    assert_eq!(without["row"]["p_realised"], 0.0);
    assert_eq!(with["row"]["p_requested"], 0.25);
    assert_eq!(
        with["shares"][1]["sequences"].as_u64().map(|n| n * 3),
        with["shares"][0]["sequences"].as_u64()
    );
    for run in [&without, &with] {
        let row = &run["row"];
        let loss = |name: &str| row[name].as_f64().unwrap();
        assert!(loss("pretraining_loss_before") > 0.0 && loss("target_loss") < 8.0, "{row}");
        assert!(row["target_tokens"].as_u64().unwrap() <= 2000);
    }
    let evaluated = sandbox
        .json("eval runs/with/best --corpus corpora/general --sequence-length 16 --sequences 8");
    // Of the target the run reports half of the sequences: the other half chose the step.
    assert_eq!(evaluated[0]["loss"], with["best"][1]["loss"]);
    sandbox.ok("report runs/without runs/with --out page.html");
    let page = sandbox.read("page.html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("runs/with"));
    // Both runs are measured on the same sequences, so they are compared pair by pair.
    let claim = page.split("target loss changed by ").nth(1).unwrap();
    let claim = claim.split(" nats").next().unwrap();
    assert!(claim.contains('±'), "{claim}");
    assert!(page.contains("Measured on target: 4 sequences of "), "how much was measured is said");
    // A folder of an earlier version has no losses by sequence.
    for name in ["losses.json", "BLAKE3SUMS"] {
        std::fs::remove_file(sandbox.path(&format!("runs/without/{name}"))).unwrap();
    }
    sandbox.ok("report runs/without runs/with --out page.html");
    let page = sandbox.read("page.html");
    let claim = page.split("target loss changed by ").nth(1).unwrap();
    assert!(!claim.split('<').next().unwrap().contains('±'), "{claim}");
    assert!(page.contains("No error of the target loss against p = 0 is given for "));
}

#[test]
fn markup_in_a_document_and_in_a_name_is_shown_and_not_obeyed() {
    let sandbox = Sandbox::with_corpora();
    let markup = "<script>alert(1)</script><img/src=x/onerror=alert(2)> ".repeat(40);
    sandbox.write("markup.jsonl", format!("{}\n", serde_json::json!({ "text": markup })));
    sandbox.ok("prepare general.jsonl markup.jsonl --tokenizer tokenizer.json --out corpora/markup --holdout 10%");
    let name = "<img-onerror=alert(3)>";
    sandbox.ok(&format!(
        "train --pretraining corpora/markup --hidden-size 32 --layers 1 --heads 2 --steps 4 --out {name} {SIZES}"
    ));
    sandbox.ok(&format!("report {name} --title <b>bold</b> --out page.html"));
    let page = sandbox.read("page.html");
    for raw in ["<img-onerror", "<b>bold", "alert(1)</script>", "<img/src"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(page.contains("&lt;img-onerror=alert(3)&gt;") && page.contains("&lt;b&gt;bold"));
}

#[test]
fn the_resolved_file_repeats_the_run() {
    let sandbox = Sandbox::with_corpora();
    base(&sandbox);
    let first = finetune(&sandbox, "10%", "run");
    let again = sandbox.json("train run/run.toml --out again");
    assert_eq!(first["row"]["target_loss"], again["row"]["target_loss"]);
    assert_eq!(first["last"], again["last"]);
}

#[test]
fn a_length_in_tokens_or_epochs_is_as_many_steps() {
    let sandbox = Sandbox::with_corpora();
    let steps = |length: &str, out: &str| {
        let output = sandbox
            .command(&format!(
                "train --pretraining corpora/general --hidden-size 32 --layers 1 --heads 2 --inject 50% \
                 --target corpora/target --target-tokens 640 --out {out} --json {SIZES}"
            ))
            .args(["--steps", length])
            .output()
            .unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        summary["steps"].as_u64().unwrap()
    };
    assert_eq!(steps("6", "a"), 6);
    assert_eq!(steps("700 tokens", "b"), 6, "steps of 128 tokens, the last one whole");
    let sequences = (640 - 1) / 16_u64;
    assert_eq!(steps("1 epoch of target", "c"), (2 * sequences).div_ceil(8));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_to_the_same_end() {
    let sandbox = Sandbox::with_corpora();
    base(&sandbox);
    let undisturbed = finetune(&sandbox, "10%", "undisturbed");
    let words = format!(
        "train --init base/best --target corpora/target --pretraining corpora/general --inject 10% \
         --target-tokens 2000 --steps 40 --out interrupted {SIZES}"
    );
    sandbox.terminated(&words, "interrupted/metrics.jsonl", 200);
    let resumed = sandbox.json(&words);
    assert_eq!(undisturbed["last"], resumed["last"]);
    assert_eq!(undisturbed["best_step"], resumed["best_step"]);
    let metrics = |run: &str| {
        let text = sandbox.read(&format!("{run}/metrics.jsonl"));
        text.lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                (line["step"].as_u64().unwrap(), line["train_loss"].as_f64(), line["evals"].clone())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(metrics("undisturbed"), metrics("interrupted"));
}
