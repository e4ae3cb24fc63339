//! Bad input: every case ends with a message that names path, place, expected, got and the fix, and with
//! the exit code of its kind (2 usage or configuration, 3 bad data, 4 numerical failure).

use insta::assert_snapshot;

use crate::sandbox::Sandbox;

const PREPARE: &str = "prepare input.jsonl --tokenizer tokenizer.json --out corpus --holdout 0";

/// A sandbox with a tokenizer and one input file.
fn with_input(bytes: impl AsRef<[u8]>) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("words.txt", "one two three four five six seven eight nine ten ".repeat(20));
    sandbox.ok("tokenizer train words.txt --vocab-size 300 --out tokenizer.json");
    sandbox.write("input.jsonl", bytes);
    sandbox
}

fn mixture(weights: [&str; 2]) -> String {
    let [target, general] = weights;
    format!(
        "sequence_length = 16\nbatch_size = 4\n\
         [[source]]\nname = \"target\"\ncorpus = \"corpora/target\"\nweight = \"{target}\"\n\
         [[source]]\nname = \"general\"\ncorpus = \"corpora/general\"\nweight = \"{general}\"\n"
    )
}

#[test]
fn a_missing_file() {
    let sandbox = with_input("{\"text\": \"one\"}\n");
    assert_snapshot!(sandbox.failure(&PREPARE.replace("input.jsonl", "none.jsonl")), @"
    exit code 2
    error: input none.jsonl does not exist, expected a file or a folder: check the path
    ");
}

#[test]
fn a_missing_tokenizer() {
    let sandbox = with_input("{\"text\": \"one\"}\n");
    assert_snapshot!(sandbox.failure("prepare input.jsonl --tokenizer none.json --out corpus"), @"
    exit code 2
    error: no tokenizer at none.json: expected a tokenizer.json or a folder that holds one
    ");
}

#[test]
fn an_empty_file() {
    assert_snapshot!(with_input("").failure(PREPARE), @"
    exit code 3
    error: input input.jsonl is empty, expected JSON lines, JSON, CSV, UTF-8 text, Parquet or Arrow IPC: fetch it again or leave it out
    ");
}

#[test]
fn a_line_that_is_no_json() {
    assert_snapshot!(with_input("{\"text\": \"one\"}\n{\"text\": \n").failure(PREPARE), @r#"
    exit code 3
    error: input.jsonl: line 2, byte 16: expected a JSON object, got "{\"text\": " (EOF while parsing a value, column 9); bad records so far 1, tolerated 0: mend the record or tolerate 1 (the option skip_bad)
      hint: --skip-bad N skips up to N bad records
    "#);
}

#[test]
fn a_line_without_the_text_field() {
    let sandbox = with_input(
        "{\"text\": \"one\"}\n{\"body\": \"two\"}\n{\"text\": 3}\n{\"text\": \"four\"}\n",
    );
    assert_snapshot!(sandbox.failure(PREPARE), @r#"
    exit code 3
    error: input.jsonl: line 2, byte 16: the field "text" is missing, the record has "body"; bad records so far 1, tolerated 0: mend the record or tolerate 1 (the option skip_bad)
      hint: --skip-bad N skips up to N bad records
    "#);
    assert_snapshot!(sandbox.failure(&format!("{PREPARE} --skip-bad 1")), @r#"
    exit code 3
    error: input.jsonl: line 3, byte 32: expected a string in "text", got a number; bad records so far 2, tolerated 1: mend the record or tolerate 2 (the option skip_bad)
      hint: --skip-bad N skips up to N bad records
    "#);
    let report = sandbox.json(&format!("{PREPARE} --skip-bad 2"));
    assert_eq!(report["train_documents"], 2);
    assert_eq!(report["counts"]["bad_records"], 2);
}

#[test]
fn invalid_utf8() {
    assert_snapshot!(with_input(b"{\"text\": \"one\"}\n{\"text\": \"t\xFFwo\"}\n").failure(PREPARE), @"
    exit code 3
    error: input.jsonl: line 2, byte 16: invalid UTF-8 at byte 27 (0xff); bad records so far 1, tolerated 0: mend the record or tolerate 1 (the option skip_bad)
      hint: --skip-bad N skips up to N bad records
    ");
}

#[test]
fn a_truncated_archive() {
    let whole =
        zstd::encode_all("{\"text\": \"one two three\"}\n".repeat(500).as_bytes(), 3).unwrap();
    let sandbox = with_input("");
    sandbox.write("input.jsonl.zst", &whole[..whole.len() - 5]);
    let command = PREPARE.replace("input.jsonl", "input.jsonl.zst");
    assert_snapshot!(sandbox.failure(&command), @"
    exit code 3
    error: input.jsonl.zst: the zstd data end too early, after 0 decompressed bytes: the file is truncated, fetch it again
      cause: incomplete frame
    ");
}

#[test]
fn an_output_folder_that_holds_something_else() {
    let sandbox = with_input("{\"text\": \"one\"}\n");
    sandbox.write("corpus/thesis.tex", "precious");
    assert_snapshot!(sandbox.failure(PREPARE), @"
    exit code 2
    error: corpus exists already and holds thesis.tex, expected a folder that is empty, absent or an unfinished corpus: choose another output
    ");
    assert_eq!(sandbox.read("corpus/thesis.tex"), "precious");
}

#[test]
fn an_output_folder_that_is_a_corpus_already() {
    let sandbox = with_input("{\"text\": \"one\"}\n");
    let made = sandbox.ok(PREPARE);
    let again = sandbox.ok(PREPARE);
    assert_eq!(again, made.replace("corpus: ", "corpus: already done: "));
    assert_snapshot!(sandbox.failure(&format!("{PREPARE} --seed 7")), @"
    exit code 2
    error: corpus is already a corpus, which differs in options.seed (then 0, now 7): choose another folder, or delete it to build it again
    ");
}

#[test]
fn a_tokenizer_without_an_end_of_text_token() {
    let sandbox = with_input("{\"text\": \"one\"}\n");
    let text = sandbox.read("tokenizer.json").replace("<|endoftext|>", "<|unheard-of|>");
    sandbox.write("tokenizer.json", text);
    assert_snapshot!(sandbox.failure(PREPARE), @"
    exit code 2
    error: tokenizer tokenizer.json has no end-of-text token: looked for an eos_token in tokenizer_config.json or special_tokens_map.json beside it, an eos_token_id in generation_config.json or config.json, one token that its post-processor puts after a text, and <|endoftext|> <|end_of_text|> </s> <eos> <|eos|> [EOS] <｜end▁of▁sentence｜> <|eot_id|> <|im_end|>: name one of its tokens
      hint: --end-of-text TOKEN names it
    ");
}

#[test]
fn a_holdout_that_leaves_nothing() {
    let sandbox = with_input("{\"text\": \"one two\"}\n");
    let command = PREPARE.replace("--holdout 0", "--holdout 50%");
    assert_snapshot!(sandbox.failure(&command), @"
    exit code 2
    error: a holdout of 0.5 leaves 0 documents (0 tokens) to train on and 1 document (3 tokens) to validate with, expected at least one of each: choose another holdout, or 0 for none
    ");
}

#[test]
fn corpora_of_different_tokenizers() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok("tokenizer train target.jsonl --vocab-size 380 --out other.json");
    sandbox.ok("prepare target.jsonl --tokenizer other.json --out corpora/other --holdout 10%");
    sandbox.write("mix.toml", mixture(["99%", "1%"]).replace("corpora/target", "corpora/other"));
    assert_snapshot!(sandbox.failure("mix mix.toml"), @r#"
    exit code 2
    error: sources "target" and "general": expected one tokenizer, got fingerprint [fingerprint] in corpora/other and [fingerprint] in corpora/general; prepare both with the same tokenizer
    "#);
}

#[test]
fn weights_that_make_no_sense() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("zero.toml", mixture(["100%", "0%"]));
    assert_snapshot!(sandbox.failure("mix zero.toml"), @r#"
    exit code 2
    error: zero.toml: TOML parse error at line 10, column 10
       |
    10 | weight = "0%"
       |          ^^^^
    weight "0%": expected an exact positive number, but it is zero; write it like "1%", "0.001", "99" or "1/3"
    "#);
    sandbox.write("words.toml", mixture(["most", "1%"]));
    assert_snapshot!(sandbox.failure("mix words.toml"), @r#"
    exit code 2
    error: words.toml: TOML parse error at line 6, column 10
      |
    6 | weight = "most"
      |          ^^^^^^
    weight "most": expected an exact positive number, but it does not begin with a number; write it like "1%", "0.001", "99" or "1/3"
    "#);
    sandbox.write("sum.toml", mixture(["98%", "1%"]));
    assert_snapshot!(sandbox.failure("mix sum.toml"), @"
    exit code 2
    error: the weights' percentages: expected a sum of 100%, got 99%; correct them, or drop every % sign to have relative weights
    ");
}

#[test]
fn an_unknown_key() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("mix.toml", mixture(["99%", "1%"]).replace("batch_size", "batchsize"));
    assert_snapshot!(sandbox.failure("mix mix.toml"), @"
    exit code 2
    error: mix.toml: TOML parse error at line 2, column 1
      |
    2 | batchsize = 4
      | ^^^^^^^^^
    unknown field `batchsize`, expected one of `sequence_length`, `batch_size`, `seed`, `window_offset`, `shuffle_block`, `weight_unit`, `access`, `source`, `stage`
      hint: did you mean `batch_size`?
    ");
}

#[test]
fn a_corpus_shorter_than_one_sequence() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("mix.toml", mixture(["99%", "1%"]).replace("= 16", "= 1_000_000"));
    assert_snapshot!(sandbox.failure("mix mix.toml"), @r#"
    exit code 2
    error: source "target" (corpora/target): expected at least 1000001 tokens in its training part for one sequence, got 41849; prepare more text, hold less of it out, or shorten sequence_length
    "#);
}

#[test]
fn a_holdout_document_in_the_other_training_part() {
    let sandbox = Sandbox::with_corpora();
    sandbox.ok("prepare general.jsonl --tokenizer tokenizer.json --out corpora/leak --holdout 0");
    sandbox.write("mix.toml", mixture(["99%", "1%"]).replace("corpora/target", "corpora/leak"));
    assert_snapshot!(sandbox.failure("mix mix.toml"), @r#"
    exit code 2
    error: source "general" (corpora/general): expected no held-out document in the training part of source "target" (corpora/leak), got 48; prepare both corpora with the same holdout rule, or drop one
    "#);
}

#[test]
fn a_shard_name_that_leaves_the_folder() {
    let sandbox = Sandbox::with_corpora();
    let manifest = sandbox.read("corpora/general/manifest.json");
    for name in ["../../secret", "/etc/passwd"] {
        sandbox.write("corpora/general/manifest.json", manifest.replacen("shard-00000", name, 1));
        let stderr = sandbox.failure("inspect corpora/general");
        assert!(stderr.starts_with("exit code 3") && stderr.contains(name), "{stderr}");
    }
}

#[test]
fn damaged_bytes_are_named() {
    let sandbox = Sandbox::with_corpora();
    let name = "corpora/general/train/shard-00000.bin";
    let mut bytes = std::fs::read(sandbox.path(name)).unwrap();
    bytes[100] ^= 1;
    sandbox.write(name, bytes);
    let output = sandbox.run("verify corpora/general");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stdout}");
    assert!(stdout.contains("train/shard-00000.bin at byte 0"), "{stdout}");
}

#[test]
fn a_loss_that_is_not_finite() {
    let sandbox = Sandbox::with_corpora();
    let train = "train --pretraining corpora/general --out run --steps 20 --sequence-length 16 --batch-size 4 \
                 --learning-rate 1e38 --eval-every 10 --eval-sequences 4";
    let said = sandbox.failure(train);
    let (losses, said): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| line.starts_with("step 0 of 20: pretraining "));
    assert_eq!(losses.len(), 1);
    assert_snapshot!(said.join("\n"), @"
    exit code 4
    error: step 2: expected a finite training loss, got NaN: lower learning_rate or clip, or lengthen warmup_steps; the checkpoint of step 0 is kept
    ");
}

#[test]
fn a_run_folder_that_holds_something_else() {
    let sandbox = Sandbox::with_corpora();
    sandbox.write("run/thesis.tex", "precious");
    let train = "train --pretraining corpora/general --out run --steps 20 --sequence-length 16 --batch-size 4 \
                 --eval-every 10 --eval-sequences 4";
    assert_snapshot!(sandbox.failure(train), @"
    exit code 2
    error: run: expected an empty folder or a run's folder (with run.toml), got one that holds thesis.tex; choose another --out or move its contents away
    ");
    assert_eq!(sandbox.read("run/thesis.tex"), "precious");
}

#[test]
fn a_share_that_does_not_parse() {
    assert_snapshot!(Sandbox::new().failure("demo --inject 0,lots"), @r#"
    exit code 2
    error: invalid value 'lots' for '--inject <SHARES>': weight "lots": expected an exact positive number, but it does not begin with a number; write it like "1%", "0.001", "99" or "1/3"

    For more information, try '--help'.
    "#);
}
