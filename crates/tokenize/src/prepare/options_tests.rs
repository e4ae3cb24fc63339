//! The effect of options and unusual inputs on a corpus.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicBool;

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_shards::Split;

use crate::error::Error;
use crate::prepare::options::{BeginningOfText, Holdout, PrepareOptions, SpecialText};
use crate::prepare::prepare_sized;
use crate::prepare::prepare_tests::{Setting, TINY, options};

#[test]
fn holdouts_part_texts_not_documents() {
    let mut setting = Setting::new();
    let line = |index: usize, space: &str| {
        let text = format!("the{space}thing {}{space}in", index / 2);
        serde_json::json!({ "text": text }).to_string() + "\n"
    };
    let one: String = (0..400).map(|index| line(index, [" ", "\n\t "][index % 2])).collect();
    let two: String = (100..300).rev().map(|index| line(index, "  ")).collect();
    fs::write(setting.path("one.jsonl"), one).unwrap();
    fs::write(setting.path("two.jsonl"), two).unwrap();
    let mut hashes = BTreeMap::new();
    for name in ["one", "two"] {
        setting.inputs = vec![setting.path(&format!("{name}.jsonl"))];
        let options = PrepareOptions { holdout: Holdout::Share(0.2), ..options() };
        setting.run(name, &options).unwrap();
        for split in [Split::Train, Split::Holdout] {
            for hash in setting.corpus(name).document_hashes(split).unwrap() {
                assert_eq!(*hashes.entry(hash).or_insert(split), split);
            }
        }
    }
    assert_eq!(hashes.len(), 200);
    let overlap = mixdown_shards::overlap(&setting.corpus("one"), &setting.corpus("two"));
    assert_eq!(overlap.unwrap(), 0);

    let tokens = PrepareOptions { holdout: Holdout::Tokens(500), ..options() };
    let report = setting.run("tokens", &tokens).unwrap();
    assert!((400..=500).contains(&report.holdout_tokens), "{report:?}");
    for holdout in [Holdout::Share(1e-12), Holdout::Tokens(1), Holdout::Tokens(1 << 40)] {
        let error = setting.run("none", &PrepareOptions { holdout, ..options() }).unwrap_err();
        assert!(matches!(error, Error::HoldoutLeavesNothing { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
    let error = setting.run("none", &PrepareOptions { holdout: Holdout::Share(1.5), ..options() });
    assert!(matches!(error.unwrap_err(), Error::Option { .. }));
}

#[test]
fn prefix_and_special_text_are_as_told() {
    let mut setting = Setting::new();
    fs::write(setting.path("one.txt"), "a<|endoftext|>").unwrap();
    setting.inputs = vec![setting.path("one.txt")];
    let base = PrepareOptions::default();
    let cases = [
        (base.clone(), vec![97], 15),
        (
            PrepareOptions { special_text: SpecialText::Parse, ..base.clone() },
            vec![97, 261, 261],
            3,
        ),
        (
            PrepareOptions { beginning_of_text: BeginningOfText::Id(5), ..base.clone() },
            vec![5, 97],
            16,
        ),
        (PrepareOptions { end_of_text: Some("7".to_owned()), ..base.clone() }, vec![97], 15),
    ];
    for (index, (options, start, len)) in cases.into_iter().enumerate() {
        let out = format!("out{index}");
        let report = setting.run(&out, &options).unwrap();
        assert_eq!((report.train_tokens, report.counts.special_text_documents), (len, 1));
        let corpus = setting.corpus(&out);
        let ids = corpus.document(Split::Train, 0).unwrap();
        assert_eq!(ids[..start.len()], start);
        assert_eq!(ids.last(), Some(&corpus.manifest().end_of_text));
    }
    let far = PrepareOptions { beginning_of_text: BeginningOfText::Id(263), ..base };
    assert_eq!(setting.run("far", &far).unwrap_err().kind(), ErrorKind::Configuration);
}

#[test]
fn inputs_without_text_are_refused() {
    let mut setting = Setting::new();
    fs::write(setting.path("none.jsonl"), "{\"text\":\"\"}\n\n{\"text\":\"\"}\n").unwrap();
    setting.inputs = vec![setting.path("none.jsonl")];
    let error = setting.run("out", &PrepareOptions::default()).unwrap_err();
    let expected = format!(
        "no document with text in {}, expected at least one, got 2 empty documents and 0 bad \
         records: give other inputs, or name the field that holds their text",
        setting.path("none.jsonl").display()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.kind(), ErrorKind::Data);
}

/// The corpus gets the tokenizer that made the ids, with all files that name its special tokens.
#[test]
fn the_corpus_holds_the_tokenizer_as_it_was_loaded() {
    let setting = Setting::new();
    let text = fs::read(setting.path("tokenizer.json")).unwrap();
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        fs::write(setting.path(name), "{\"eos_token\": \"<|endoftext|>\"}").unwrap();
    }
    let (stop, out) = (AtomicBool::new(false), setting.path("out"));
    let exchange = |_| fs::write(setting.path("tokenizer.json"), "another").unwrap();
    let tokenizer = setting.path("tokenizer.json");
    prepare_sized(
        &setting.inputs,
        &tokenizer,
        &out,
        &options(),
        Observer::new(&exchange, &stop),
        TINY,
    )
    .unwrap();
    assert_eq!(fs::read(out.join("tokenizer.json")).unwrap(), text);
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(setting.path(name)).unwrap());
    }
}
