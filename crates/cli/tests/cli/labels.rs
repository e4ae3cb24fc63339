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
    assert_snapshot!(sandbox.ok(&format!("{PREPARE} --out chats")), @"");
    assert_snapshot!(sandbox.ok("inspect chats --document 1"), @"");
    let view = sandbox.json("inspect chats --document 0");
    assert_eq!(view["loss_tokens"], 6, "{view}");
    sandbox.ok("verify chats");
    sandbox.ok(&format!("{PREPARE} --train-on last-turn --out last"));
    assert_snapshot!(sandbox.ok("inspect last --document 1").lines().skip(3).collect::<Vec<_>>().join("\n"), @"");
}

#[test]
fn rows_are_counted_with_their_padding() {
    let sandbox = with_chats();
    let report = sandbox.json(&format!("{PREPARE} --pack 127 --out packed"));
    assert_eq!(report["train_tokens"], 128, "{report}");
    assert!(report["counts"]["padding_tokens"].as_u64().unwrap() > 0, "{report}");
    assert_snapshot!(sandbox.failure(&format!("{PREPARE} --pack 20 --out short")), @"");
    let report = sandbox.json(&format!("{PREPARE} --pack 60 --too-long drop --out dropped"));
    assert_eq!(report["counts"]["too_long_documents"], 1, "{report}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let sandbox = with_chats();
    let prepare = format!("{PREPARE} --out none");
    sandbox.write("bad.jinja", "one\n{% endfor %}");
    assert_snapshot!(sandbox.failure(&format!("{prepare} --chat-template bad.jinja")), @"");
    sandbox.write("strict.jinja", "{{ raise_exception('Turns must alternate!') }}");
    assert_snapshot!(sandbox.failure(&format!("{prepare} --chat-template strict.jinja")), @"");
    fs::remove_file(sandbox.path("model/chat_template.jinja")).unwrap();
    assert_snapshot!(sandbox.failure(&prepare), @"");
    assert_snapshot!(sandbox.failure(&format!("{prepare} --template-date tomorrow")), @"");
    sandbox.write("chats.jsonl", "{\"messages\":\"hello\"}\n");
    assert_snapshot!(sandbox.failure(&format!("{prepare} --chat-template strict.jinja")), @"");
}

/// Trained on without its mask, prompts would count.
#[test]
fn mixing_refuses_a_corpus_with_a_mask() {
    let sandbox = with_chats();
    sandbox.ok(&format!("{PREPARE} --out chats"));
    let mix = "sequence_length = 8\nbatch_size = 4\nseed = 7\n[[source]]\nname = \"chats\"\n\
               corpus = \"chats\"\nweight = \"100%\"\n";
    sandbox.write("mix.toml", mix);
    assert_snapshot!(sandbox.failure("mix mix.toml --steps 1"), @"");
}
