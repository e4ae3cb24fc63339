//! `--json`: one object on standard output, whatever happens; and what the arguments of all commands have in common.

use crate::sandbox::Sandbox;

/// The one object of a command that fails, with its exit code.
fn failed(sandbox: &Sandbox, words: &str) -> (serde_json::Value, i32) {
    let output = sandbox.run(&format!("{words} --json"));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "{words}: {stdout}");
    let object: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    // What people read stays on standard error.
    assert!(String::from_utf8_lossy(&output.stderr).contains("error: "), "{words}");
    (object, output.status.code().unwrap())
}

#[test]
fn every_kind_of_error_is_an_object() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("bad.jsonl", "{\"text\": 3}\n");
    let train = "train --pretraining corpora/general --out run --steps 20 --sequence-length 16 --batch-size 4 \
                 --learning-rate 1e38 --eval-every 10 --eval-sequences 4";
    for (words, kind, code, message) in [
        ("inspect none", "usage", 2, "expected a corpus folder"),
        ("mix corpora", "usage", 2, "expected a description in TOML, got a folder"),
        ("prepare bad.jsonl --tokenizer tokenizer.json --out bad", "data", 3, "expected a string"),
        (train, "numerical", 4, "expected a finite training loss"),
        ("trian", "usage", 2, "unrecognized subcommand 'trian'"),
        ("train --lr 3", "usage", 2, "unexpected argument '--lr' found"),
        ("eval", "usage", 2, "required arguments were not provided"),
    ] {
        let (object, exit) = failed(&sandbox, words);
        let error = &object["error"];
        assert_eq!(
            (error["kind"].as_str(), error["exit_code"].as_u64()),
            (Some(kind), Some(code)),
            "{object}"
        );
        assert_eq!(u64::try_from(exit).unwrap(), code, "{words}");
        assert!(error["message"].as_str().unwrap().contains(message), "{object}");
        assert!(error["causes"].is_array(), "{object}");
    }
    let hint = &failed(&sandbox, "finetune").0["error"]["hint"];
    assert!(hint.as_str().unwrap().contains("mixdown train"), "{hint}");
}

#[test]
fn a_report_and_its_error_are_one_object() {
    let sandbox = Sandbox::with_corpora();
    let name = "corpora/general/train/shard-00000.bin";
    let mut bytes = std::fs::read(sandbox.path(name)).unwrap();
    bytes[100] ^= 1;
    sandbox.write(name, bytes);
    let (object, exit) = failed(&sandbox, "verify corpora/general");
    assert_eq!(exit, 3);
    assert_eq!(object["damage"].as_array().unwrap().len(), 1, "{object}");
    assert_eq!(object["error"]["kind"], "data");
    assert!(
        object["error"]["message"].as_str().unwrap().ends_with("damaged in 1 place"),
        "{object}"
    );
}

#[test]
fn results_are_objects_of_one_shape() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write(
        "mix.toml",
        "sequence_length = \"16\"\nbatch_size = 4\n[[source]]\nname = \"a\"\ncorpus = \"corpora/general\"\n\
         weight = \"1\"\nmax_tokens = \"2k tokens\"\n",
    );
    for words in [
        "inspect corpora/general",
        "inspect corpora/general --document 0",
        "verify corpora/general",
        "mix mix.toml --steps 1e1",
        "export corpora/general --to nanogpt -o exported",
        "completions bash",
        "man -o manual",
        "watch none",
    ] {
        assert!(sandbox.json(words).is_object(), "{words}");
    }
    let pages = sandbox.json("man -o manual")["pages"].clone();
    for page in pages.as_array().unwrap() {
        assert!(sandbox.path("manual").join(page.as_str().unwrap()).is_file(), "{page}");
    }
    assert!(sandbox.json("completions zsh")["script"].as_str().unwrap().contains("_mixdown"));
}

#[test]
fn streams_stay_streams() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write(
        "mix.toml",
        "sequence_length = 16\nbatch_size = 4\n[[source]]\nname = \"a\"\ncorpus = \"corpora/general\"\nweight = \"1\"\n",
    );
    let lines = sandbox.ok("mix mix.toml --order 0..3 --json");
    assert_eq!(lines.lines().count(), 3, "{lines}");
}

#[test]
fn quiet_says_no_progress_and_verbose_is_its_opposite() {
    let sandbox = Sandbox::with_corpora();
    let said = |words: &str| String::from_utf8(sandbox.run(words).stderr).unwrap();
    assert!(said("verify corpora/general").contains("verify: read"));
    assert_eq!(said("verify corpora/general -q"), "");
    assert!(said("verify corpora/general -v").contains("verify: read"));
    assert!(said("verify corpora/general -q -v").contains("cannot be used with"));
    // Errors are no progress.
    assert!(said("verify none -q").starts_with("error: "));
}

#[test]
fn a_folder_in_the_place_of_a_description_is_told_apart() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("mixes/a.toml", "");
    sandbox.write("runs/one/run.toml", "");
    insta::assert_snapshot!(sandbox.failure("mix mixes"), @"
    exit code 2
    error: mixes: expected a description in TOML, got a folder
      hint: give one of its files: mixes/a.toml
    ");
    insta::assert_snapshot!(sandbox.failure("mix corpora/general"), @"
    exit code 2
    error: corpora/general: expected a description in TOML, got a folder
      hint: this is a corpus: a description names corpora, each as a source
    ");
    insta::assert_snapshot!(sandbox.failure("train runs/one --out again"), @"
    exit code 2
    error: runs/one: expected a description in TOML, got a folder
      hint: this is a run's folder, whose description is runs/one/run.toml
    ");
    sandbox.write("bytes.toml", [0xFF, 0xFE, 0x00]);
    insta::assert_snapshot!(sandbox.failure("mix bytes.toml"), @"
    exit code 2
    error: bytes.toml: expected TOML, got bytes that are not text
      hint: give a description in TOML, such as MIX.toml or RUN.toml
    ");
}

#[test]
fn names_from_outside_do_not_steer_the_terminal() {
    let sandbox = Sandbox::with_corpora();
    let (title, red) = ("\u{1b}]0;title\u{7}", "\u{1b}[31m");
    sandbox.write(&format!("in{title}.jsonl"), "{\"text\": 5}\n");
    let source = |name: &str| {
        format!(
            "sequence_length = 16\nbatch_size = 4\n[[source]]\nname = \"{name}\"\ncorpus = \"corpora/general\"\nweight = \"1\"\n"
        )
    };
    sandbox.write("mix.toml", source("a\\u001b[31mred\\nline"));
    sandbox.write("key.toml", source("a") + "\"wei\\u001b[31mght\" = 1\n");
    sandbox.write(&format!("key{red}.toml"), "x = ");
    let words = [
        format!("prepare in{title}.jsonl --tokenizer tokenizer.json --out c"),
        "mix mix.toml --steps 2".to_owned(),
        "mix key.toml".to_owned(),
        format!("mix key{red}.toml"),
        format!("train {red}.toml --out r"),
        format!("watch key{red}.toml"),
        format!("inspect c{red}"),
        format!("report r{red}"),
        format!("verify c{red}"),
        format!("demo --target t{red} --pretraining p{red} --out d{red}"),
    ];
    for words in words {
        let output = sandbox.run(&words);
        let all = [output.stdout, output.stderr].concat();
        assert!(
            !all.contains(&0x1B) && !all.contains(&0x07),
            "{words:?}: {}",
            String::from_utf8_lossy(&all)
        );
    }
    // A line end in a name does not break its row either.
    let plan = sandbox.ok("mix mix.toml --steps 2");
    let row = |line: &str| line.contains("a\\u{1b}[31mred\\nline ") && line.contains("100 %");
    assert!(plan.lines().any(row), "{plan}");
}
