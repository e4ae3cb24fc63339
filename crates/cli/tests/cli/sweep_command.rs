//! `mixdown sweep` with another program as the trainer.
#![cfg(unix)]

use crate::sweep::{change, rows, sandbox};

/// A trainer that takes what it is told from the run file and measures nothing.
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
