//! Chats, completions and rows on the command line.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use crate::sandbox::Sandbox;

const CHATS: &str = r#"{"messages":[{"role":"user","content":"Is <|im_end|> text?"},{"role":"assistant","content":"Yes."}]}
{"messages":[{"role":"user","content":"Anybody?"}]}
{"messages":[{"role":"user","content":"One"},{"role":"assistant","content":"Two"},{"role":"user","content":"Three"},{"role":"assistant","content":"Four"}]}
"#;

const PREPARE: &str =
    "prepare chats.jsonl --tokenizer model --holdout 0 --no-shuffle --messages-field messages";

fn with_chats() -> Sandbox {
    let sandbox = Sandbox::new();
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/chat");
    sandbox.write("model/tokenizer.json", fs::read(testdata.join("tokenizer.json")).unwrap());
    sandbox.write("model/chat_template.jinja", fs::read(testdata.join("chatml.jinja")).unwrap());
    sandbox.write("chats.jsonl", CHATS);
    sandbox
}

#[test]
fn a_chat_is_shown_with_its_targets() {
    let sandbox = with_chats();
    assert_snapshot!(sandbox.ok(&format!("{PREPARE} --out chats")), @"chats: 90 tokens in 2 documents, 0 tokens in 0 held-out documents, documents with the text of a special token: 1, documents without a loss target left out: 1");
    assert_snapshot!(sandbox.ok("inspect chats --document 1"), @r#"
    <|im_start|>system
    You are a helpful assistant.<|im_end|>
    <|im_start|>user
    One<|im_end|>
    <|im_start|>assistant
    ⟦Two<|im_end|>
    ⟧<|im_start|>user
    Three<|im_end|>
    <|im_start|>assistant
    ⟦Four<|im_end|>
    <|endoftext|>⟧
    "#);
    let view = sandbox.json("inspect chats --document 0");
    assert_eq!(view["loss_tokens"], 6, "{view}");
    sandbox.ok("verify chats");
    sandbox.ok(&format!("{PREPARE} --train-on last-turn --out last"));
    assert_snapshot!(sandbox.ok("inspect last --document 1").lines().skip(3).collect::<Vec<_>>().join("\n"), @r#"
    One<|im_end|>
    <|im_start|>assistant
    Two<|im_end|>
    <|im_start|>user
    Three<|im_end|>
    <|im_start|>assistant
    ⟦Four<|im_end|>
    <|endoftext|>⟧
    "#);
}

#[test]
fn rows_are_counted_with_their_padding() {
    let sandbox = with_chats();
    let report = sandbox.json(&format!("{PREPARE} --pack 127 --out packed"));
    assert_eq!(report["train_tokens"], 128, "{report}");
    assert!(report["counts"]["padding_tokens"].as_u64().unwrap() > 0, "{report}");
    assert_snapshot!(sandbox.failure(&format!("{PREPARE} --pack 20 --out short")), @r#"
    exit code 2
    error: chats.jsonl, the document at byte 0: 38 ids, expected at most 21 to fit a row: drop or truncate such documents, or pack into rows of at least 37 inputs
      hint: --too-long drop|truncate drops or truncates them, --pack N makes rows of N inputs
    "#);
    let report = sandbox.json(&format!("{PREPARE} --pack 40 --too-long drop --out dropped"));
    assert_eq!(report["counts"]["too_long_documents"], 1, "{report}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let sandbox = with_chats();
    let prepare = format!("{PREPARE} --out none");
    sandbox.write("bad.jinja", "one\n{% endfor %}");
    assert_snapshot!(sandbox.failure(&format!("{prepare} --chat-template bad.jinja")), @r#"
    exit code 2
    error: bad.jinja: line 2: expected a chat template in Jinja, got an error: unknown tag 'endfor'; correct it or give another (the option chat_template)
    "#);
    sandbox.write("strict.jinja", "{{ raise_exception('Turns must alternate!') }}");
    assert_snapshot!(sandbox.failure(&format!("{prepare} --chat-template strict.jinja")), @r#"
    exit code 3
    error: chats.jsonl: line 1, byte 0: the chat template refuses it in its line 1: "Turns must alternate!"; bad records so far 1, tolerated 0: mend the record or tolerate 1 (the option skip_bad)
      hint: --skip-bad N skips up to N bad records
    "#);
    fs::remove_file(sandbox.path("model/chat_template.jinja")).unwrap();
    assert_snapshot!(sandbox.failure(&prepare), @r#"
    exit code 2
    error: model: expected a chat template in chat_template.jinja or tokenizer_config.json beside tokenizer.json, got none: give the file of a template, or take a model folder that has one
    "#);
    assert_snapshot!(sandbox.failure(&format!("{prepare} --template-date tomorrow")), @r#"
    exit code 2
    error: invalid value 'tomorrow' for '--template-date <DAY>': expected a day like 2026-01-31, got "tomorrow"

    For more information, try '--help'.
    "#);
    sandbox.write("chats.jsonl", "{\"messages\":\"hello\"}\n");
    let prepare = format!("{PREPARE} --out other");
    assert_snapshot!(sandbox.failure(&format!("{prepare} --chat-template strict.jinja")), @r#"
    exit code 3
    error: chats.jsonl: line 1, byte 0: expected a list of messages, or its JSON as a string, in "messages", got the string "hello" (byte 0: expected a JSON value, got 'h'); bad records so far 1, tolerated 0: mend the record or tolerate 1 (the option skip_bad)
      hint: --skip-bad N skips up to N bad records
    "#);
}

#[test]
fn mixing_counts_the_targets_of_a_corpus_with_a_mask() {
    let sandbox = with_chats();
    sandbox.ok(&format!("{PREPARE} --out chats"));
    let mix = "sequence_length = 8\nbatch_size = 4\nseed = 7\n[[source]]\nname = \"chats\"\n\
               corpus = \"chats\"\nweight = \"100%\"\n";
    sandbox.write("mix.toml", mix);
    let plan = sandbox.json("mix mix.toml --steps 5");
    let source = &plan["sources"][0];
    assert!(source["loss_tokens"].as_u64().unwrap() < source["tokens"].as_u64().unwrap());
}
