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
    // The base model's run reports half of its held-out sequences, this one all of them, as does `eval` of a model that
    // lies in no run's folder.
    std::fs::rename(sandbox.path("base/best"), sandbox.path("model")).unwrap();
    let evaluated =
        sandbox.json("eval model --corpus corpora/general --sequence-length 16 --sequences 4");
    assert_eq!(again["before"][1]["loss"], evaluated[0]["loss"]);
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
    assert!(missing.starts_with("exit code 2") && missing.contains("base/best"), "{missing}");
}

#[test]
fn a_finetuning_has_defaults_of_its_own_and_says_them() {
    let sandbox = Sandbox::with_corpora();
    train(&sandbox, "--out base");
    let finetune = "train --init base/best --target corpora/target --pretraining corpora/general";
    let preview = |more: &str| sandbox.json(&format!("{finetune} {more} --out run --dry-run"));
    let of_its_size = preview("");
    assert_eq!(of_its_size["learning_rate"].as_f64(), Some(3e-4));
    // The model has 16 positions.
    assert_eq!(of_its_size["sequence_length"].as_u64(), Some(16));
    assert_eq!(of_its_size["warmup_steps"].as_u64(), Some(10));
    assert_eq!(preview("--lora-rank 2")["learning_rate"].as_f64(), Some(3e-3));
    assert_eq!(preview("--learning-rate 3e-5")["learning_rate"].as_f64(), Some(3e-5));
    let fresh = train(&sandbox, "--out other --dry-run");
    assert_eq!(fresh["learning_rate"].as_f64(), Some(1e-3));
    let text = sandbox.ok(&format!("{finetune} --out run --dry-run"));
    let words = "learning rate 3e-4 at most, after a warm-up of 10 steps (cosine); 16 sequences of 16 tokens";
    assert!(text.contains(words), "{text}");
    // A description that says no rate.
    sandbox.ok(&format!("{finetune} --steps 2 {SIZES} --out run"));
    let run = sandbox.read("run/run.toml");
    assert!(run.contains("learning_rate = 0.0003\n"), "{run}");
    sandbox.write("run.toml", run.replace("learning_rate = 0.0003\n", ""));
    let described = sandbox.json("train run.toml --out described --dry-run");
    assert_eq!(described["learning_rate"].as_f64(), Some(3e-4));
}

#[test]
fn a_runs_folder_stands_for_its_best_and_no_other_thing_for_a_model() {
    let sandbox = Sandbox::with_corpora();
    train(&sandbox, "--out base");
    let eval = "--corpus corpora/general --sequence-length 16 --sequences 4";
    let output = sandbox.run(&format!("eval base --json {eval}"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("base is a run's folder: its best/ is used"), "{said}");
    let of_run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(of_run, sandbox.json(&format!("eval base/best {eval}")));
    let finetune =
        format!("--target corpora/target --pretraining corpora/general --steps 2 {SIZES}");
    sandbox.ok(&format!("train --init base {finetune} --out run"));
    sandbox.ok("generate run --max-tokens 3 --prompt The");
    let download = "`hf download some-organization/model --local-dir model`";
    for words in [
        format!("eval some-organization/model {eval}"),
        format!("train --init some-organization/model {finetune} --out other"),
        "generate some-organization/model --prompt The".to_owned(),
    ] {
        let failure = sandbox.failure(&words);
        assert!(failure.contains(download), "{failure}");
    }
    assert!(!sandbox.path("other").exists());
}

#[test]
fn a_corpus_of_another_tokenizer_than_the_models_own_is_refused() {
    let sandbox = Sandbox::with_corpora();
    train(&sandbox, "--out base");
    let own = sandbox.read("base/best/tokenizer.json");
    let config = sandbox.read("base/best/config.json");
    let foreign = |name: &str, tokenizer: &str| {
        for file in ["model.safetensors", "generation_config.json", "tokenizer_config.json"] {
            let bytes = std::fs::read(sandbox.path(&format!("base/best/{file}"))).unwrap();
            sandbox.write(&format!("{name}/{file}"), bytes);
        }
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config.as_object_mut().unwrap().remove("mixdown_tokenizer_fingerprint").unwrap();
        sandbox.write(&format!("{name}/config.json"), config.to_string());
        sandbox.write(&format!("{name}/tokenizer.json"), tokenizer);
    };
    let eval = |name: &str| {
        format!("eval {name} --corpus corpora/general --sequence-length 16 --sequences 4")
    };
    // The same tokenizer in another form of its file.
    let spelled: serde_json::Value = serde_json::from_str(&own).unwrap();
    foreign("same", &spelled.to_string());
    sandbox.ok(&eval("same"));
    let mut other = spelled;
    let tokens = other["added_tokens"].as_array_mut().unwrap();
    let mut more = tokens[0].clone();
    (more["content"], more["id"]) = ("<|more|>".into(), 5_000.into());
    tokens.push(more);
    foreign("other", &other.to_string());
    let failure = sandbox.failure(&eval("other"));
    assert!(failure.contains("prepare the corpus with the model's tokenizer.json"), "{failure}");
}
