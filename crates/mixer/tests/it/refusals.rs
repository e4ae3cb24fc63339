//! Refused mixtures, with messages that name both sides.

use mixdown_base::error_kind::ErrorKind;
use mixdown_mixer::{Batch, Error, Mixture, MixtureConfig, Rank, Slot};

use crate::corpora::{CorpusPlan, config, mixer, mixer_with, source, write};

/// Opens a mixture of two sound corpora after a change of its description.
fn refusal(change: impl FnOnce(&mut MixtureConfig)) -> Error {
    let folder = tempfile::tempdir().unwrap();
    for name in ["math", "general"] {
        write(folder.path(), &CorpusPlan { name, ..Default::default() });
    }
    let mut config = config(vec![source("math", "99%"), source("general", "1%")]);
    change(&mut config);
    Mixture::open(&config, folder.path()).unwrap_err()
}

#[track_caller]
fn assert_names(error: &Error, parts: &[&str]) {
    let message = error.to_string();
    assert!(!message.contains('\n'));
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

#[test]
fn numbers_out_of_range() {
    let error = refusal(|config| config.sequence_length = 0);
    assert_names(&error, &["sequence_length", "from 1 to", "got 0"]);
    let error = refusal(|config| config.sequence_length = 1 << 40);
    assert_names(&error, &["sequence_length", "1099511627776"]);
    let error = refusal(|config| config.batch_size = 0);
    assert_names(&error, &["batch_size", "got 0"]);
    let error = refusal(|config| config.source[1].max_epochs = Some(0));
    assert_names(&error, &["max_epochs", "\"general\"", "got 0"]);
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[test]
fn weights_that_do_not_fit() {
    let error = refusal(|config| config.source[1].weight = Some("2%".parse().unwrap()));
    assert_names(&error, &["100%", "got 101%"]);
    let error = refusal(|config| config.source[1].weight = Some("1".parse().unwrap()));
    assert_names(&error, &["\"math\"", "\"general\"", "percentage"]);
    let error = refusal(|config| {
        config.source[0].weight = Some("1/18446744073709551557".parse().unwrap());
        config.source[1].weight = Some("1/18446744073709551533".parse().unwrap());
    });
    assert_names(&error, &["9223372036854775807", "rounder"]);
}

#[test]
fn sources_without_a_name_of_their_own() {
    let error = refusal(|config| config.source[1].name = "math".to_owned());
    assert_names(&error, &["\"math\"", "twice"]);
    let error = refusal(|config| config.source[1].name = String::new());
    assert_names(&error, &["source number 2", "empty"]);
    assert_names(&refusal(|config| config.source.clear()), &["at least one"]);
}

#[test]
fn less_than_one_sequence() {
    let error = refusal(|config| config.sequence_length = 1_000);
    assert_names(&error, &["\"math\"", "at least 1001 tokens", "training part", "got 1000"]);
    let error = refusal(|config| config.source[1].max_tokens = Some(16));
    assert_names(&error, &["\"general\"", "at least 17 tokens", "max_tokens", "got 16"]);
    let error = refusal(|config| config.source[1].max_tokens = Some(0));
    assert_names(&error, &["max_tokens", "got 0"]);
}

#[test]
fn a_corpus_that_is_not_there() {
    let error = refusal(|config| config.source[1].corpus = "nowhere".into());
    assert_names(&error, &["\"general\"", "nowhere"]);
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn different_tokenizers() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &CorpusPlan { name: "math", ..Default::default() });
    let other = CorpusPlan { name: "general", tokenizer: b"two", ..Default::default() };
    write(folder.path(), &other);
    let config = config(vec![source("math", "99%"), source("general", "1%")]);
    let error = Mixture::open(&config, folder.path()).unwrap_err();
    assert!(matches!(error, Error::Tokenizers { .. }));
    assert_names(&error, &["\"math\"", "\"general\"", "same tokenizer", "fingerprint"]);
}

#[test]
fn a_holdout_in_another_training_part() {
    let folder = tempfile::tempdir().unwrap();
    let holdout = CorpusPlan {
        name: "math",
        train_hashes: &[1, 2, 3],
        holdout_hashes: &[50, 51, 52],
        ..Default::default()
    };
    write(folder.path(), &holdout);
    let train = CorpusPlan {
        name: "general",
        first_token: 9,
        train_hashes: &[51, 4, 52, 5],
        ..Default::default()
    };
    write(folder.path(), &train);
    let pair = |one, other| config(vec![source(one, "99%"), source(other, "1%")]);
    for config in [pair("math", "general"), pair("general", "math")] {
        let error = Mixture::open(&config, folder.path()).unwrap_err();
        assert!(matches!(error, Error::Overlap { got: 2, .. }), "{error}");
        assert_names(&error, &["source \"math\"", "training part of source \"general\"", "got 2"]);
    }
    let mut same = pair("math", "other name");
    same.source[1].corpus = "math".into();
    assert!(Mixture::open(&same, folder.path()).is_ok(), "a corpus beside itself is sound");
}

#[test]
fn near_duplicates_in_another_training_part() {
    let folder = tempfile::tempdir().unwrap();
    let holdout = CorpusPlan {
        name: "math",
        train_hashes: &[601, 602],
        holdout_hashes: &[501, 502, 503],
        sketched: true,
        ..Default::default()
    };
    write(folder.path(), &holdout);
    let train = |name, sketched| {
        let train_hashes = &[1501, 1401, 2501, 1503];
        let plan =
            CorpusPlan { name, first_token: 9, train_hashes, sketched, ..Default::default() };
        write(folder.path(), &plan);
    };
    train("general", true);
    train("older", false);
    let pair = |one, other| config(vec![source(one, "99%"), source(other, "1%")]);
    for config in [pair("math", "general"), pair("general", "math")] {
        let error = Mixture::open(&config, folder.path()).unwrap_err();
        assert!(matches!(error, Error::NearOverlap { got: 2, .. }), "{error}");
        let parts = ["source \"math\"", "training part of source \"general\"", "got 2"];
        assert_names(&error, &parts);
    }
    assert!(Mixture::open(&pair("math", "older"), folder.path()).is_ok(), "nothing is known");
    // Its own near-duplicates are a matter of `prepare`.
    let own = CorpusPlan { name: "own", train_hashes: &[1501], ..holdout };
    write(folder.path(), &own);
    let mut same = pair("own", "other name");
    same.source[1].corpus = "own".into();
    assert!(Mixture::open(&same, folder.path()).is_ok());
}

/// All holdouts are in one table; the reported pair is the first by holdout, then by training split, and a document
/// counts once, however often the training split or another holdout contains it.
#[test]
fn of_many_sources_the_first_pair_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let plans: [(&str, &[u64], &[u64]); 4] = [
        ("a", &[1, 2], &[]),
        ("b", &[3, 70, 70, 80], &[90, 91]),
        ("c", &[4, 90], &[70, 80, 81]),
        ("d", &[5, 70, 71, 91], &[80]),
    ];
    for (place, (name, train_hashes, holdout_hashes)) in (0_u32..).zip(plans) {
        let first_token = place * 100_000;
        let plan =
            CorpusPlan { name, first_token, train_hashes, holdout_hashes, ..Default::default() };
        write(folder.path(), &plan);
    }
    let named = |names: &[&str], holdout: &str, train: &str, count: u64| {
        let sources = names.iter().map(|name| source(name, "1")).collect();
        let error = Mixture::open(&config(sources), folder.path()).unwrap_err();
        let expected = [
            format!("source {holdout:?}"),
            format!("training part of source {train:?}"),
            format!("got {count}"),
        ];
        assert_names(&error, &expected.each_ref().map(String::as_str));
    };
    named(&["a", "b", "c", "d"], "b", "c", 1);
    named(&["d", "c", "b", "a"], "d", "b", 1);
    named(&["c", "a", "b"], "c", "b", 2);
    named(&["c", "d"], "c", "d", 1);
    let alone = config(vec![source("a", "1"), source("d", "1")]);
    assert!(Mixture::open(&alone, folder.path()).is_ok());
}

#[test]
fn ranks_that_do_not_divide_the_batch() {
    let test = mixer(&[("math", "1", 500)]);
    let rank = Rank::new(0, 5).unwrap();
    let error = test.mixer.batch(0, rank, &mut Batch::<u32>::default()).unwrap_err();
    assert_names(&error, &["batch_size 24", "world size 5"]);
    assert_names(&Rank::new(2, 2).unwrap_err(), &["rank 2", "world size 2"]);
    assert!(Rank::new(0, 0).is_err());
}

#[test]
fn steps_and_sequences_beyond_64_bits() {
    let test = mixer(&[("math", "1", 500), ("general", "99", 500)]);
    let error = test.mixer.slots(u64::MAX / 24, Rank::single()).unwrap_err();
    assert_names(&error, &["step", "got 768614336404564650"]);
    assert!(test.mixer.slots(u64::MAX / 24 - 1, Rank::single()).is_ok());
    assert!(test.mixer.slot(u64::MAX).is_ok());
    assert!(test.mixer.slot_of(0, u64::MAX).is_err());
    assert_names(&test.mixer.slot_of(2, 0).unwrap_err(), &["at most 1", "got 2"]);
}

/// 2³¹ rows of 65,537 tokens are 512 TiB, more than a process can address. They are refused before any of their slots
/// is planned: the plan alone would be 96 GiB and take minutes.
#[test]
fn a_batch_too_large_for_the_machine() {
    let test = mixer_with(&[("math", "1", 70_000)], |config| {
        config.batch_size = 1 << 31;
        config.sequence_length = 1 << 16;
    });
    let mut batch = Batch::<u32>::default();
    let error = test.mixer.batch(0, Rank::single(), &mut batch).unwrap_err();
    assert_names(&error, &["2147483648 rows of 65537 tokens"]);
    assert_eq!(batch, Batch::default());
}

#[test]
fn slots_of_another_mixer() {
    let test = mixer(&[("math", "1", 500)]);
    let sound = test.mixer.slot(3).unwrap();
    let mut rows = Batch::<u32>::default();
    for slot in [Slot { source: 1, ..sound }, Slot { start_token: 1_000, ..sound }] {
        assert!(test.mixer.gather(&[slot], &mut rows).is_err());
    }
}

#[test]
fn a_description_in_toml() {
    let text = r#"
        sequence_length = 16
        batch_size = 4
        [[source]]
        name = "math"
        corpus = "math"
        weight = "99%"
        max_tokens = 3_000
        [[source]]
        name = "general"
        corpus = "general"
        weight = "1%"
    "#;
    let config: MixtureConfig = toml::from_str(text).unwrap();
    assert_eq!(config.seed, 0);
    assert_eq!(config.source[1].weight.unwrap().to_string(), "1%");
    let again: MixtureConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let integer = text.replace("\"99%\"", "99").replace("\"1%\"", "1");
    assert!(toml::from_str::<MixtureConfig>(&integer).is_ok());
    for (wrong, reason) in [
        ("0.1", "write it as a string, weight = \\\"0.1\\\""),
        ("0", "zero"),
        ("-3", "negative"),
        ("nan", "string"),
        ("\"some\"", "begin with a number"),
        ("true", "a weight"),
    ] {
        let broken = text.replace("\"1%\"", wrong);
        let message = toml::from_str::<MixtureConfig>(&broken).unwrap_err().to_string();
        let reason = reason.replace("\\\"", "\"");
        assert!(message.contains(&reason), "{wrong}: {message}");
    }
    let unknown = text.replace("max_tokens", "max_token");
    let message = toml::from_str::<MixtureConfig>(&unknown).unwrap_err().to_string();
    assert!(message.contains("max_token"), "{message}");
}
