//! `mixdown verify` of what training left, and `--verify` of the commands that read corpora.

use std::fs;

use mixdown_shards::Manifest;

use crate::sandbox::Sandbox;
use crate::sweep;

const RUN: &str = "train --pretraining corpora/general --hidden-size 16 --layers 1 --heads 1 --sequence-length 16 \
                   --batch-size 2 --eval-every 2 --eval-sequences 4";

fn flip(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    let whole = fs::read(sandbox.path(name)).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(sandbox.path(name), flipped).unwrap();
    whole
}

#[test]
fn a_run_is_checked_file_by_file() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok(&format!("{RUN} --steps 4 --out r"));
    let report = sandbox.json("verify r");
    assert_eq!(
        (report["kind"].as_str(), report["damage"].as_array().unwrap().len()),
        (Some("run"), 0)
    );
    for (name, commands) in [
        (
            "best/model.safetensors",
            &["generate r/best --prompt the", "eval r --corpus corpora/general"][..],
        ),
        ("checkpoints/step-4/state.json", &[]),
        ("losses.json", &["report r"]),
        ("metrics.jsonl", &["report r"]),
        (
            "run.toml",
            &["eval r --corpus corpora/general", "report r", "train r/run.toml --out new"],
        ),
        ("summary.json", &["report r"]),
    ] {
        let whole = flip(&sandbox, &format!("r/{name}"));
        let own = ["verify r"];
        for command in commands.iter().chain(&own) {
            let output = sandbox.run(command);
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert_eq!(output.status.code(), Some(3), "{command}: {text}");
            assert!(text.contains(&format!("{name}: expected BLAKE3 sum ")), "{command}: {text}");
        }
        fs::write(sandbox.path(&format!("r/{name}")), whole).unwrap();
    }
    assert_eq!(sandbox.json("verify r/best")["kind"], "model");
    // The run goes on from the checkpoint before a damaged one, as the message says.
    for name in ["r/summary.json", "r/losses.json"] {
        fs::remove_file(sandbox.path(name)).unwrap();
    }
    let expected = fs::read(sandbox.path("r/best/model.safetensors")).unwrap();
    flip(&sandbox, "r/checkpoints/step-4/optimizer.safetensors");
    let failure = sandbox.failure(&format!("{RUN} --steps 4 --out r"));
    assert!(
        failure.contains("remove r/checkpoints/step-4 and the same command goes on"),
        "{failure}"
    );
    fs::remove_dir_all(sandbox.path("r/checkpoints/step-4")).unwrap();
    sandbox.ok(&format!("{RUN} --steps 4 --out r"));
    assert!(fs::read(sandbox.path("r/best/model.safetensors")).unwrap() == expected);
    sandbox.ok("verify r");
}

#[test]
fn a_sweep_is_checked_with_its_runs() {
    let sandbox = sweep::sandbox();
    sandbox.ok("sweep sweep.toml --out s");
    assert_eq!(sandbox.json("verify s")["runs"], 10);
    let base = "s/bases/16/best/model.safetensors";
    let run = "s/runs/code-16-600-0pct-seed0/summary.json";
    for name in [base, run, "s/runs.jsonl", "s/runs.parquet", "s/sweep.toml", "s/runs.jsonl.blake3"]
    {
        let whole = flip(&sandbox, name);
        let output = sandbox.run("verify s");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{name}");
        assert!(text.contains(name), "{text}");
        if name.ends_with("runs.jsonl") || name.ends_with("runs.parquet") {
            assert!(sandbox.failure(&format!("fit {name}")).contains("expected BLAKE3 sum "));
        }
        fs::write(sandbox.path(name), whole).unwrap();
    }
    fs::rename(sandbox.path("s/sweep.toml"), sandbox.path("moved")).unwrap();
    let failure = sandbox.failure("report s --draws 20");
    assert!(failure.contains("s/sweep.toml: expected BLAKE3 sum "), "{failure}");
    fs::rename(sandbox.path("moved"), sandbox.path("s/sweep.toml")).unwrap();
    // A run of a base that is damaged is not trained.
    for name in ["s/runs.jsonl", "s/runs.jsonl.blake3"] {
        fs::remove_file(sandbox.path(name)).unwrap();
    }
    fs::remove_dir_all(sandbox.path("s/runs")).unwrap();
    flip(&sandbox, base);
    let failure = sandbox.failure("sweep sweep.toml --out s");
    assert!(failure.contains("model.safetensors: expected BLAKE3 sum "), "{failure}");
}

#[test]
fn corpora_are_checked_before_they_are_used_where_that_is_asked_for() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok(&format!("{RUN} --steps 2 --verify --out r"));
    let mix = "sequence_length = 16\nbatch_size = 2\n[[source]]\nname = 'a'\ncorpus = 'corpora/general'\nweight = 1\n";
    sandbox.write("mix.toml", mix);
    sandbox.write("sweep.toml", sandbox_sweep());
    let commands = [
        format!("{RUN} --steps 2 --verify --out other"),
        "mix mix.toml --verify --steps 1".to_owned(),
        "eval r --corpus corpora/general --verify".to_owned(),
        "sweep sweep.toml --verify --out s".to_owned(),
    ];
    let shard = "corpora/general/train/shard-00000.hashes";
    let whole = flip(&sandbox, shard);
    for command in &commands {
        let failure = sandbox.failure(command);
        assert!(
            failure.starts_with("exit code 3") && failure.contains(shard),
            "{command}: {failure}"
        );
        assert!(!sandbox.path("other").exists() && !sandbox.path("s").exists());
    }
    fs::write(sandbox.path(shard), whole).unwrap();
    // A manifest whose end-of-text id was changed, and sealed again.
    let folder = sandbox.path("corpora/general");
    let manifest = Manifest::read(&folder).unwrap();
    let end_of_text = manifest.end_of_text + 1;
    Manifest { end_of_text, ..manifest }.write_sealed(&folder).unwrap();
    let output = sandbox.run("verify corpora/general");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("a document's end with end_of_text 1"), "{text}");
    assert!(sandbox.failure(&commands[0]).contains("end_of_text 1"));
}

fn sandbox_sweep() -> String {
    sweep::sandbox().read("sweep.toml")
}

#[test]
fn what_is_none_of_these_is_said() {
    let sandbox = Sandbox::with_corpora();
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    for (name, got) in [("empty", "a folder without manifest.json"), ("none", "no folder")] {
        let failure = sandbox.failure(&format!("verify {name}"));
        let words = format!("{name}: expected the folder of a corpus, of a run");
        assert!(failure.starts_with("exit code 2"), "{failure}");
        assert!(failure.contains(&words) && failure.contains(got), "{failure}");
    }
}

#[test]
fn the_best_model_of_another_run_is_seen() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok(&format!("{RUN} --steps 4 --out r"));
    sandbox.ok(&format!("{RUN} --steps 4 --seed 5 --out s"));
    fs::rename(sandbox.path("r/best"), sandbox.path("own")).unwrap();
    sandbox.ok("verify r");
    fs::rename(sandbox.path("s/best"), sandbox.path("r/best")).unwrap();
    for command in ["verify r", "generate r --prompt the", "eval r --corpus corpora/general"] {
        let failure = sandbox.failure(command);
        assert!(failure.starts_with("exit code 3"), "{command}: {failure}");
    }
}
