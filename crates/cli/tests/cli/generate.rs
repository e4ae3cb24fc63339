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
    let refused = sandbox.failure("generate base/best --prompt a --count 9223372036854775808");
    let expected = "--count: expected 1 to 10000 texts, got 9223372036854775808";
    assert!(refused.starts_with("exit code 2") && refused.contains(expected), "{refused}");
    insta::assert_snapshot!(sandbox.failure("generate base/best --prompt a --top-p 1.5"), @r"
    exit code 2
    error: top_p: expected a number above 0, at most 1, got 1.5
    ");
    let missing = sandbox.failure("generate base/best");
    assert!(missing.contains("--prompt <TEXT>"), "{missing}");
}

/// Short, as the model has 32 positions.
const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a{% endif %}";

/// A copy of the trained model, without its sums and with a chat template.
fn give_template(sandbox: &Sandbox) {
    for entry in std::fs::read_dir(sandbox.path("base/best")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() && name != "BLAKE3SUMS" {
            sandbox.write(&format!("model/{name}"), std::fs::read(&path).unwrap());
        }
    }
    sandbox.write("model/chat_template.jinja", TEMPLATE);
}

#[test]
fn a_chat_is_asked_in_its_own_format() {
    let sandbox = trained();
    let words = "generate base/best --max-tokens 4 --temperature 0";
    let refused = sandbox.failure(&format!("{words} --chat --prompt music"));
    assert!(refused.contains("expected a chat template"), "{refused}");
    // A template that came later is not taken for one of the run's files.
    sandbox.write("base/best/chat_template.jinja", TEMPLATE);
    let refused = sandbox.failure(&format!("{words} --chat --prompt music"));
    assert!(refused.contains("chat_template.jinja: expected no file"), "{refused}");
    give_template(&sandbox);
    let words = words.replace("base/best", "model");
    let chat = sandbox.json(&format!("{words} --chat --prompt music"));
    sandbox.write("prompt.txt", "umusic\na");
    let text = sandbox.json(&format!("{words} --prompt-file prompt.txt"));
    assert_eq!(chat["prompt_tokens"], text["prompt_tokens"]);
    assert_eq!(chat["samples"][0]["ids"], text["samples"][0]["ids"]);
    let system = sandbox.json(&format!("{words} --chat --system sing --prompt music"));
    assert!(system["prompt_tokens"].as_u64() > chat["prompt_tokens"].as_u64());
    let refused = sandbox.failure(&format!("{words} --system sing --prompt music"));
    assert!(refused.contains("--chat"), "{refused}");
}

#[test]
fn a_chat_line_by_line_remembers_what_was_said() {
    let sandbox = trained();
    give_template(&sandbox);
    let words = "--json generate model --max-tokens 2 --temperature 0 --chat";
    let lines = sandbox.write("lines.txt", "a\n\nb\n");
    let mut command = sandbox.command(words);
    let output = command.stdin(std::fs::File::open(&lines).unwrap()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answers: Vec<serde_json::Value> = (String::from_utf8(output.stdout).unwrap().lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 2);
    let said = answers[0]["samples"][0]["text"].as_str().unwrap();
    sandbox.write("prompt.txt", format!("ua\na{said}\nub\na"));
    let whole =
        sandbox.json("generate model --max-tokens 2 --temperature 0 --prompt-file prompt.txt");
    assert_eq!(answers[1]["prompt_tokens"], whole["prompt_tokens"]);
    assert_eq!(answers[1]["samples"], whole["samples"]);
    let refused = sandbox.failure("generate model --chat --count 2");
    assert!(refused.contains("--count"), "{refused}");
}

#[test]
fn special_tokens_of_a_prompt_are_read_as_such_when_asked() {
    let sandbox = trained();
    let tokens = |more: &str| {
        let words = format!("generate base/best --max-tokens 1 --prompt <|endoftext|>{more}");
        sandbox.json(&words)["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens(" --parse-special"), 1);
    assert!(tokens("") > 1);
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
