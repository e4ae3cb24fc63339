//! `mixdown train`: sizes by name, previews, schedules, what is refused.

use crate::sandbox::Sandbox;

const SIZES: &str = "--sequence-length 16 --batch-size 4 --eval-every 5 --eval-sequences 4";

fn train(sandbox: &Sandbox, more: &str) -> serde_json::Value {
    sandbox.json(&format!("train --pretraining corpora/general --steps 6 {SIZES} {more}"))
}

#[test]
fn a_size_by_name_is_a_gpt2_that_goes_on() {
    let sandbox = Sandbox::with_corpora();
    let summary = train(&sandbox, "--size tiny --schedule wsd --out base");
    let config: serde_json::Value =
        serde_json::from_str(&sandbox.read("base/best/config.json")).unwrap();
    assert_eq!(
        (config["model_type"].as_str(), config["n_embd"].as_u64(), config["n_positions"].as_u64()),
        (Some("gpt2"), Some(64), Some(16))
    );
    let again = sandbox.json(&format!(
        "train --init base/best --target corpora/target --pretraining corpora/general --steps 2 --out run {SIZES}"
    ));
    // The base model's run reports half of its held-out sequences, this one all of them.
    let evaluated =
        sandbox.json("eval base/best --corpus corpora/general --sequence-length 16 --sequences 4");
    assert_eq!(again["before"][1]["loss"], evaluated["evaluations"][0]["loss"]);
    assert!(summary["best"][0]["selection_loss"].is_number());
    assert!(sandbox.read("run/best/generation_config.json").contains("eos_token_id"));
}

#[test]
fn a_dry_run_says_what_it_takes_and_writes_nothing() {
    let sandbox = Sandbox::with_corpora();
    let preview = train(&sandbox, "--size 41M --out base --dry-run");
    let bytes = |name: &str| preview["estimate"][name].as_u64().unwrap();
    assert_eq!(bytes("parameters_bytes"), 4 * preview["parameters"].as_u64().unwrap());
    assert!(bytes("memory_bytes") > 7 * bytes("parameters_bytes"));
    assert!(preview["flops"].as_f64().unwrap() > 6.0 * 25e6 * 6.0 * 64.0);
    assert!(!sandbox.path("base").exists());
    let text = sandbox
        .ok(&format!("train --pretraining corpora/general --steps 6 {SIZES} --out base --dry-run"));
    assert!(text.contains("rows computed at once") && text.contains("checkpoints: "), "{text}");
}

#[test]
fn paths_and_micro_batches_give_one_loss() {
    let sandbox = Sandbox::with_corpora();
    train(&sandbox, "--out plain");
    let run = sandbox.read("plain/run.toml");
    let changed = run.replace("recompute = false\n", "").replace("path = \"fast\"\n", "");
    let loss = |out: &str, more: &str| {
        sandbox.write("run.toml", changed.replace("[train]\n", &format!("[train]\n{more}\n")));
        let summary = sandbox.json(&format!("train run.toml --out {out}"));
        summary["last"][0]["loss"].as_f64().unwrap()
    };
    let plain = loss("again", "");
    for (out, more) in [
        ("micro", "micro_batch_size = 1"),
        ("recomputed", "recompute = true"),
        ("reference", "path = \"reference\""),
    ] {
        let got = loss(out, more);
        assert!((got - plain).abs() < 1e-5, "{out}: expected {plain}, got {got}");
    }
}

#[test]
fn sizes_and_schedules_that_there_are_not_are_refused() {
    let sandbox = Sandbox::with_corpora();
    let refused = |more: &str| {
        sandbox.failure(&format!("train --pretraining corpora/general --out x {SIZES} {more}"))
    };
    assert!(refused("--size 42M").contains("tiny, small, 41M, 109M, 334M, 665M, 1.27B"));
    assert!(refused("--size 41M --layers 3").contains("cannot be used with"));
    assert!(refused("--schedule cosin").contains("cosine"));
}

/// Killed with SIGKILL again and again, each time a little later in the run, wherever that is: between
/// two steps, in an evaluation, while a checkpoint is written or put in place.
#[cfg(unix)]
#[test]
fn a_run_killed_again_and_again_has_the_same_bits() {
    let sandbox = Sandbox::with_corpora();
    let words = |out: &str| {
        format!(
            "train --pretraining corpora/general --hidden-size 32 --layers 2 --heads 2 --steps 60 \
             --sequence-length 16 --batch-size 8 --eval-every 3 --eval-sequences 8 --out {out}"
        )
    };
    sandbox.ok(&words("straight"));
    let kills = sandbox.killed_again_and_again(&words("killed"), 20);
    for file in [
        "best/model.safetensors",
        "checkpoints/step-60/model.safetensors",
        "checkpoints/step-60/optimizer.safetensors",
    ] {
        let bytes = |run: &str| std::fs::read(sandbox.path(&format!("{run}/{file}"))).unwrap();
        assert!(bytes("straight") == bytes("killed"), "{file} after {kills} kills");
    }
    let state = |run: &str| -> serde_json::Value {
        let text = sandbox.read(&format!("{run}/checkpoints/step-60/state.json"));
        let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
        for clock in ["seconds", "training_seconds"] {
            state[clock] = 0.into();
        }
        state
    };
    assert_eq!(state("straight"), state("killed"));
}

#[test]
fn a_written_description_trains_and_takes_single_settings() {
    let sandbox = Sandbox::with_corpora();
    let flags = "--hidden-size 32 --layers 2 --heads 2 --sequence-length 16 --batch-size 4 --steps 3 --eval-every 3 \
                 --eval-sequences 4";
    let text = sandbox.ok(&format!("train --pretraining corpora/general {flags} --print-config"));
    assert!(text.contains("# ema = 0.999") && text.contains("[[mixture.source]]"), "{text}");
    sandbox.write("run.toml", &text);
    sandbox.ok(&format!("train --pretraining corpora/general {flags} --out flags"));
    sandbox.ok("train run.toml -o file");
    assert_eq!(
        sandbox.read("flags/metrics.jsonl").lines().count(),
        sandbox.read("file/metrics.jsonl").lines().count()
    );
    let summary =
        sandbox.json("train run.toml --set train.steps=2 --set mixture.batch_size=8 --out less");
    assert_eq!(
        (summary["steps"].as_u64(), summary["shares"][0]["sequences"].as_u64()),
        (Some(2), Some(16))
    );
    // What a run left, with a setting changed; and flags with one that has no flag.
    let again = sandbox
        .json("train less/run.toml --set train.steps=3 --set mixture.batch_size=4 --out again");
    let file = sandbox.json("train run.toml --out file");
    assert_eq!(again["best"][0]["loss"], file["best"][0]["loss"]);
    let patient = sandbox.json(&format!(
        "train --pretraining corpora/general {flags} --set train.weight_decay=0 --print-config"
    ));
    assert_eq!(patient["train"]["weight_decay"], 0.0);
    insta::assert_snapshot!(sandbox.failure("train run.toml --set train.lerning_rate=1e-4 --out x"), @r"
    exit code 2
    error: --set train.lerning_rate=1e-4: unknown field `lerning_rate`, expected one of `steps`, `learning_rate`, `warmup_steps`, `schedule`, `decay_steps`, `final_learning_rate_share`, `weight_decay`, `beta1`, `beta2`, `epsilon`, `clip`, `micro_batch_size`, `recompute`, `path`, `device`, `precision`, `separate_documents`, `keep_checkpoints`, `checkpoint_every`, `patience`, `freeze`, `ema`, `lora`
      hint: did you mean `learning_rate`?
    ");
    assert!(!sandbox.path("x").exists());
    // Without a flag it is a template, which can be read.
    sandbox.write("template.toml", sandbox.ok("train --print-config"));
    let missing = sandbox.failure("train template.toml --out x --dry-run");
    assert!(missing.starts_with("exit code 2") && missing.contains("corpora/"), "{missing}");
}
