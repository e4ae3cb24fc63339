//! `mixdown generate`, and samples of a run.

use crate::sandbox::Sandbox;

const RUN: &str = "--hidden-size 32 --layers 2 --heads 2 --steps 6 --sequence-length 32 --batch-size 4 \
                   --eval-every 3 --eval-sequences 4";

fn trained() -> Sandbox {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok(&format!("train --pretraining corpora/general {RUN} --out base"));
    sandbox
}

#[test]
fn text_comes_as_it_is_drawn_and_the_seed_decides() {
    let sandbox = trained();
    sandbox.write("prompt.txt", "the river follows");
    let words = "generate base/best --prompt-file prompt.txt --max-tokens 8";
    let one = sandbox.ok(words);
    let report = sandbox.json(words);
    let sample = &report["samples"][0];
    assert_eq!(format!("{}\n", sample["text"].as_str().unwrap()), one);
    assert_eq!(report["prompt"], "the river follows");
    assert!(sample["ids"].as_array().unwrap().len() <= 8);
    assert_ne!(sandbox.ok(&format!("{words} --seed 1")), one);
    // The first of several is the one alone.
    let three = sandbox.json(&format!("{words} --count 3"));
    assert_eq!(three["samples"][0], *sample);
    assert_ne!(three["samples"][1]["ids"], sample["ids"]);
    let shown = sandbox.ok(&format!("{words} --count 3"));
    assert!(shown.starts_with("── 1 of 3, ") && shown.contains("\n── 3 of 3, "), "{shown}");
    let greedy = format!("{words} --temperature 0");
    assert_eq!(sandbox.ok(&greedy), sandbox.ok(&format!("{greedy} --seed 5")));
    assert_eq!(sandbox.ok(&greedy), sandbox.ok(&format!("{words} --top-k 1")));
}

#[test]
fn the_context_is_a_limit_that_is_said() {
    let sandbox = trained();
    let output =
        sandbox.run("generate base/best --prompt the --max-tokens 1000 --seed 2 --count 4");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("ended by the model's 32 positions"), "{said}");
    sandbox.write("long.txt", "the river follows music ".repeat(40));
    let refused = sandbox.failure("generate base/best --prompt-file long.txt");
    assert!(
        refused.starts_with("exit code 2\nerror: prompt: expected 1 to 32 tokens"),
        "{refused}"
    );
    insta::assert_snapshot!(sandbox.failure("generate base/best --prompt a --top-p 1.5"), @r"
    exit code 2
    error: top_p: expected a number above 0, at most 1, got 1.5
    ");
    let missing = sandbox.failure("generate base/best");
    assert!(missing.contains("--prompt <TEXT>"), "{missing}");
}

#[test]
fn a_run_prints_and_keeps_its_samples() {
    let sandbox = trained();
    let run = sandbox.read("base/run.toml");
    let samples =
        "[eval.samples]\nprompts = [\"the river\", \"\"]\nmax_tokens = 5\n\n[[eval.corpus]]";
    sandbox.write("run.toml", run.replacen("[[eval.corpus]]", samples, 1));
    let output = sandbox.run("train run.toml --out out");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("step 3: the river│"), "{said}");
    let kept = sandbox.read("out/samples.jsonl");
    let lines: Vec<serde_json::Value> =
        kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 0, 3, 3, 6, 6]);
    // The last checkpoint draws what the last evaluation did.
    let mut command =
        sandbox.command("generate out/checkpoints/step-6 --max-tokens 5 --json --prompt");
    let again = command.arg("the river").output().unwrap();
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["samples"][0]["ids"], lines[4]["ids"]);
    assert_eq!(again["samples"][0]["text"], lines[4]["text"]);
    // The run is one without them in all else.
    let weights =
        |run: &str| std::fs::read(sandbox.path(&format!("{run}/best/model.safetensors"))).unwrap();
    assert!(weights("out") == weights("base"));
    sandbox.write("bad.toml", sandbox.read("run.toml").replace("max_tokens", "max_token"));
    let refused = sandbox.failure("train bad.toml --out bad");
    assert!(refused.contains("did you mean `max_tokens`?"), "{refused}");
}
