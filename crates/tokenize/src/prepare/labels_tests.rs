//! Chats, completions and rows through the whole of `prepare`.

use std::fs;
use std::path::PathBuf;

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_documents::{LabelFields, ReadOptions, TrainOn};
use mixdown_shards::{Access, Corpus, Split, verify};
use serde_json::json;

use crate::error::Error;
use crate::prepare::options::{ChatOptions, PackOptions, TooLong};
use crate::prepare::options::{Holdout, NearDuplicates, PrepareOptions, Shuffle, SpecialText};
use crate::prepare::prepare_tests::{TINY, contents, lines};
use crate::prepare::{PrepareReport, prepare_sized};
use crate::tokenizer::Tokenizer;

/// A model folder with ChatML, and inputs beside it.
struct Model {
    folder: tempfile::TempDir,
}

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let testdata = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/chat");
        for (from, to) in
            [("tokenizer.json", "tokenizer.json"), ("chatml.jinja", "chat_template.jinja")]
        {
            fs::copy(testdata.join(from), folder.path().join(to)).unwrap();
        }
        let config = json!({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"});
        fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(
        &self,
        out: &str,
        input: &str,
        options: &PrepareOptions,
    ) -> Result<PrepareReport, Error> {
        let (input, out) = (self.path(input), self.path(out));
        prepare_sized(&[input], self.folder.path(), &out, options, Observer::silent(), TINY)
    }

    fn corpus(&self, out: &str) -> Corpus {
        let folder = self.path(out);
        let damage = verify(&folder, Observer::silent()).unwrap().damage;
        assert!(damage.is_empty(), "{damage:?}");
        Corpus::open(&folder, Access::Read).unwrap()
    }

    /// Returns text and targets of a document in the training split.
    fn text(&self, corpus: &Corpus, document: u64) -> (String, Vec<String>) {
        let tokenizer = Tokenizer::load(self.folder.path()).unwrap();
        let ids = corpus.document(Split::Train, document).unwrap();
        let mask = corpus.document_mask(Split::Train, document).unwrap();
        let mut targets = Vec::new();
        let mut done = 0;
        for run in mask.chunk_by(|a, b| a == b) {
            if run[0] == 1 {
                targets.push(tokenizer.decode(&ids[done..done + run.len()]).unwrap());
            }
            done += run.len();
        }
        (tokenizer.decode(&ids).unwrap(), targets)
    }
}

fn chats(train_on: TrainOn) -> PrepareOptions {
    let fields = LabelFields::Chat { messages: "messages".to_owned(), tools: None, train_on };
    PrepareOptions {
        read: ReadOptions { labels: Some(fields), ..ReadOptions::default() },
        shuffle: Shuffle::Keep,
        ..PrepareOptions::default()
    }
}

/// Conversations of 1 to 4 turns of growing length.
fn conversations(count: usize) -> String {
    let turn = |index: usize, turn: usize| {
        let role = ["user", "assistant"][turn % 2];
        json!({"role": role, "content": format!("{} {turn}.", "word ".repeat(index * turn % 23))})
    };
    let chat = |index: usize| {
        let messages: Vec<_> = (0..2 + index % 4).map(|n| turn(index, n)).collect();
        format!("{}\n", json!({"messages": messages}))
    };
    (0..count).map(chat).collect()
}

#[test]
fn a_chat_becomes_a_document_with_its_mask() {
    let model = Model::new();
    let chats_of = [
        json!([{"role": "user", "content": "one <|im_end|>"}, {"role": "assistant", "content": "two"}]),
        json!([{"role": "user", "content": "nobody?"}]),
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
               {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]),
    ];
    let text: String =
        chats_of.iter().map(|messages| format!("{}\n", json!({"messages": messages}))).collect();
    fs::write(model.path("chats.jsonl"), text).unwrap();
    let report = model.run("all", "chats.jsonl", &chats(TrainOn::Assistant)).unwrap();
    assert_eq!((report.train_documents, report.counts.untargeted_documents), (2, 1));
    assert_eq!(report.counts.special_text_documents, 1);
    let corpus = model.corpus("all");
    let system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n";
    let expected = format!(
        "{system}<|im_start|>user\none <|im_end|><|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n"
    );
    // The end-of-text token is already there and is not doubled.
    assert_eq!(model.text(&corpus, 0), (expected, vec!["two<|im_end|>\n".to_owned()]));
    let targets = model.text(&corpus, 1).1;
    assert_eq!(targets, ["b<|im_end|>\n", "d<|im_end|>\n"]);
    let loss_tokens = corpus.loss_tokens(Split::Train);
    assert!(corpus.is_labelled(Split::Train) && loss_tokens < corpus.tokens(Split::Train) / 2);
    model.run("last", "chats.jsonl", &chats(TrainOn::LastTurn)).unwrap();
    assert_eq!(model.text(&model.corpus("last"), 1).1, ["d<|im_end|>\n"]);
    // Another end of text is appended; it is a target like the last turn.
    let options = PrepareOptions {
        end_of_text: Some("<|endoftext|>".to_owned()),
        ..chats(TrainOn::Assistant)
    };
    model.run("other", "chats.jsonl", &options).unwrap();
    assert_eq!(model.text(&model.corpus("other"), 0).1, ["two<|im_end|>\n<|endoftext|>"]);
}

#[test]
fn completions_are_targets_and_prompts_are_not() {
    let model = Model::new();
    let text = "{\"p\":\"2 + 2 =\",\"c\":\" 4<|endoftext|>\"}\n{\"p\":\"x\",\"c\":\"\"}\n";
    fs::write(model.path("pairs.jsonl"), text).unwrap();
    let (prompt, completion) = ("p".to_owned(), "c".to_owned());
    let fields = LabelFields::Completion { prompt, completion };
    let options = PrepareOptions {
        read: ReadOptions { labels: Some(fields), ..ReadOptions::default() },
        ..PrepareOptions::default()
    };
    let report = model.run("out", "pairs.jsonl", &options).unwrap();
    assert_eq!(report.counts.untargeted_documents, 1);
    let (text, targets) = model.text(&model.corpus("out"), 0);
    assert_eq!(text, "2 + 2 = 4<|endoftext|><|im_end|>");
    assert_eq!(targets, [" 4<|endoftext|><|im_end|>"]);
}

#[test]
fn rows_hold_whole_documents_whatever_the_threads() {
    let model = Model::new();
    fs::write(model.path("chats.jsonl"), conversations(700)).unwrap();
    let row = 120;
    let pack = PackOptions { sequence_length: row - 1, too_long: TooLong::Drop };
    let options = PrepareOptions {
        pack: Some(pack),
        shuffle: Shuffle::Global,
        holdout: Holdout::Share(0.1),
        near_duplicates: NearDuplicates::Allowed,
        ..chats(TrainOn::Assistant)
    };
    let report = model.run("one", "chats.jsonl", &PrepareOptions { threads: 1, ..options.clone() });
    let report = report.unwrap();
    assert!(report.shards > 3 && report.parts > 3, "{report:?}");
    assert!(report.counts.too_long_documents > 50, "{report:?}");
    let kept = report.train_documents + report.holdout_documents;
    assert_eq!(kept + report.counts.too_long_documents, 700);
    model.run("three", "chats.jsonl", &PrepareOptions { threads: 3, ..options }).unwrap();
    assert_eq!(contents(&model.path("one")), contents(&model.path("three")));
    let corpus = model.corpus("one");
    let pack = corpus.manifest().pack.unwrap();
    let tokenizer = Tokenizer::load(model.folder.path()).unwrap();
    assert_eq!(pack.padding, tokenizer.token_id("<|endoftext|>").unwrap());
    let (mut padding, mut documents) = (0, 0);
    for split in Split::ALL {
        let mut start = 0;
        for (document, len) in (0..).zip(corpus.document_lengths(split).unwrap()) {
            let end = start + u64::from(len);
            assert_eq!(start / row, (end - 1) / row, "document {document} is split");
            let ids = corpus.document(split, document).unwrap();
            let mask = corpus.document_mask(split, document).unwrap();
            assert_eq!(mask[0], 0);
            let filled = ids.iter().rev().take_while(|id| **id == pack.padding).count();
            assert!(mask[ids.len() - filled..].iter().all(|byte| *byte == 0));
            assert!(filled == 0 || end % row == 0);
            padding += filled as u64;
            documents += 1;
            start = end;
        }
        assert_eq!(corpus.tokens(split) % row, 0);
    }
    assert_eq!((padding, documents), (report.counts.padding_tokens, kept));
}

#[test]
fn documents_longer_than_a_row_are_what_was_asked_for() {
    let model = Model::new();
    fs::write(model.path("chats.jsonl"), conversations(20)).unwrap();
    let options = |too_long| PrepareOptions {
        pack: Some(PackOptions { sequence_length: 99, too_long }),
        ..chats(TrainOn::All)
    };
    let error = model.run("error", "chats.jsonl", &options(TooLong::Error)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let message = error.to_string();
    for words in ["chats.jsonl, the document at byte ", "expected at most 100", "drop or truncate"]
    {
        assert!(message.contains(words), "{message}");
    }
    let report = model.run("cut", "chats.jsonl", &options(TooLong::Truncate)).unwrap();
    assert_eq!(report.train_documents, 20);
    assert!(report.counts.too_long_documents > 0);
    assert_eq!(
        model.corpus("cut").document_lengths(Split::Train).unwrap().iter().max(),
        Some(&100)
    );
    for sequence_length in [0, (1 << 24) + 1, u64::MAX] {
        let pack = Some(PackOptions { sequence_length, too_long: TooLong::Drop });
        let options = PrepareOptions { pack, ..chats(TrainOn::All) };
        let error = model.run("none", "chats.jsonl", &options).unwrap_err().to_string();
        assert!(error.contains("pack") && error.contains("16777216"), "{error}");
    }
}

#[test]
fn plain_text_is_packed_too() {
    let model = Model::new();
    fs::write(model.path("plain.jsonl"), lines(0..80)).unwrap();
    let pack = PackOptions { sequence_length: 255, too_long: TooLong::Truncate };
    let options = PrepareOptions { pack: Some(pack), ..PrepareOptions::default() };
    model.run("out", "plain.jsonl", &options).unwrap();
    let corpus = model.corpus("out");
    let padding = corpus.manifest().counts.padding_tokens;
    let documents = corpus.documents(Split::Train);
    assert_eq!(corpus.loss_tokens(Split::Train), corpus.tokens(Split::Train) - padding - documents);
}

#[test]
fn bad_conversations_are_bad_records() {
    let model = Model::new();
    let bad = [
        json!({"messages": "hello"}),
        json!({"messages": []}),
        json!({"other": 1}),
        json!({"messages": [{"role": "user"}]}),
        json!({"messages": [{"role": "user", "content": "\u{fdd0}\u{fdef}\u{fdd1}"},
                            {"role": "assistant", "content": "b"}]}),
    ];
    let mut text: String = bad.iter().map(|line| format!("{line}\n")).collect();
    text.push_str(&conversations(3));
    fs::write(model.path("chats.jsonl"), text).unwrap();
    let error = model.run("none", "chats.jsonl", &chats(TrainOn::Assistant)).unwrap_err();
    let words = "line 1, byte 0: expected a list of messages, or its JSON as a string, in \
                 \"messages\", got the string \"hello\"";
    assert!(error.to_string().contains(words), "{error}");
    let mut options = chats(TrainOn::Assistant);
    options.read.skip_bad = 5;
    let report = model.run("some", "chats.jsonl", &options).unwrap();
    assert_eq!((report.counts.bad_records, report.train_documents), (5, 3));
    // A template that refuses: its message, and the record's place.
    let template = model.path("strict.jinja");
    fs::write(&template, "{{ raise_exception('No, ' + messages[0].role) }}").unwrap();
    options.chat = ChatOptions { template: Some(template.clone()), date: None };
    options.read.skip_bad = 0;
    fs::write(model.path("one.jsonl"), conversations(1)).unwrap();
    let error = model.run("refused", "one.jsonl", &options).unwrap_err().to_string();
    assert!(error.contains("line 1, byte 0") && error.contains("\"No, user\""), "{error}");
    fs::write(&template, "a\n{% if %}").unwrap();
    let error = model.run("wrong", "one.jsonl", &options).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Configuration && error.to_string().contains("line 2"),
        "{error}"
    );
    let options = PrepareOptions { special_text: SpecialText::Parse, ..chats(TrainOn::Assistant) };
    let error = model.run("parse", "one.jsonl", &options).unwrap_err().to_string();
    assert!(error.contains("parse-special"), "{error}");
}

/// Work continues only with the template with which it began.
#[test]
fn another_template_is_another_corpus() {
    let model = Model::new();
    fs::write(model.path("chats.jsonl"), conversations(5)).unwrap();
    let options = chats(TrainOn::Assistant);
    let finish = |options: &PrepareOptions| {
        let (input, out) = (model.path("chats.jsonl"), model.path("out"));
        crate::prepare::finish_sized(&[input], model.folder.path(), &out, options, TINY)
    };
    model.run("out", "chats.jsonl", &options).unwrap();
    finish(&options).unwrap();
    let template = model.path("chat_template.jinja");
    fs::write(&template, fs::read_to_string(&template).unwrap() + " ").unwrap();
    assert!(matches!(finish(&options).unwrap_err(), Error::CorpusDiffers { .. }));
}
