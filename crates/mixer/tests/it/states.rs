//! The state: its forms, and resumes that are refused.

use mixdown_mixer::{Error, Mixer, MixerState, Mixture, MixtureConfig, WindowOffset};

use crate::corpora::{CorpusPlan, TestMixer, mixer, write};

fn two() -> TestMixer {
    mixer(&[("math", "99%", 1_000), ("general", "1%", 2_000)])
}

#[test]
fn both_forms_read_back() {
    let state = two().mixer.state(123_456_789_012);
    let bytes = state.to_bytes();
    assert!(bytes.len() <= 64);
    assert_eq!(bytes.len() as u64, MixerState::LEN_BYTES);
    assert_eq!(MixerState::from_bytes(&bytes).unwrap(), state);
    let json = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<MixerState>(&json).unwrap(), state);
    assert_eq!(state.slot(), 123_456_789_012);
}

#[test]
fn bytes_that_are_no_state() {
    let bytes = two().mixer.state(5).to_bytes();
    for len in 0..bytes.len() {
        let message = MixerState::from_bytes(&bytes[..len]).unwrap_err().to_string();
        assert!(message.contains(&format!("got {len} bytes")), "{message}");
    }
    assert!(MixerState::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    let mut later = bytes;
    later[0] = 9;
    let message = MixerState::from_bytes(&later).unwrap_err().to_string();
    assert!(message.contains("expected version 1, got version 9"), "{message}");
}

#[track_caller]
fn assert_refused(test: &TestMixer, difference: &str, change: impl FnOnce(&mut MixtureConfig)) {
    let error = test.reopened(change).resume(&test.mixer.state(77)).unwrap_err();
    let message = error.to_string();
    let Error::OtherOrder { differences, .. } = error else { panic!("{message}") };
    assert!(differences.contains(difference), "{difference:?} is missing in: {message}");
    assert!(!differences.contains(';'), "one thing changed: {message}");
    assert!(message.contains("slot 77"), "{message}");
}

#[test]
fn a_resume_under_another_order_names_the_difference() {
    let test = two();
    assert_eq!(test.reopened(|_| {}).resume(&test.mixer.state(77)).unwrap(), 77);
    assert_refused(&test, "the seed (now 8)", |config| config.seed = 8);
    assert_refused(&test, "the weights (now 49:1)", |config| {
        config.source[0].weight = Some("98%".parse().unwrap());
        config.source[1].weight = Some("2%".parse().unwrap());
    });
    assert_refused(&test, "names (now \"maths\", \"general\")", |config| {
        config.source[0].name = "maths".to_owned();
    });
    assert_refused(&test, "window_offset", |config| config.window_offset = WindowOffset::Fixed);
    assert_refused(&test, "max_tokens", |config| config.source[0].max_tokens = Some(600));
}

#[test]
fn equal_proportions_are_the_same_weights() {
    let test = two();
    let other = test.reopened(|config| {
        config.source[0].weight = Some("9.9".parse().unwrap());
        config.source[1].weight = Some("1/10".parse().unwrap());
        config.batch_size = 7;
        config.source[0].max_epochs = Some(3);
    });
    assert_eq!(other.resume(&test.mixer.state(77)).unwrap(), 77);
}

#[test]
fn other_data_are_named_by_source_and_fingerprint() {
    let test = two();
    let folder = tempfile::tempdir().unwrap();
    for (name, first_token, train_tokens) in [("math", 0, 1_000), ("general", 3, 2_000)] {
        let plan = CorpusPlan { name, first_token, train_tokens, ..Default::default() };
        write(folder.path(), &plan);
    }
    let mixture = Mixture::open(&test.config, folder.path()).unwrap();
    let now = mixture.sources()[1].corpus.fingerprint().to_string();
    let error = Mixer::new(mixture).unwrap().resume(&test.mixer.state(77)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("the data fingerprint of source \"general\""), "{message}");
    assert!(message.contains(&now) && !message.contains("\"math\""), "{message}");
}

/// A state of two sources, resumed with one: the differing data belong to a missing source, and the message used to end
/// in "the data fingerprint of source " without a name.
#[test]
fn data_of_a_source_that_is_gone_leave_no_empty_list() {
    let test = two();
    let one = test.reopened(|config| {
        config.source.truncate(1);
        config.source[0].weight = Some("100%".parse().unwrap());
    });
    let message = one.resume(&test.mixer.state(77)).unwrap_err().to_string();
    assert!(message.contains("the sources or their names (now \"math\")"), "{message}");
    assert!(!message.contains("the data fingerprint"), "{message}");
}

#[test]
fn a_state_of_another_schedule_is_refused() {
    let test = two();
    let mut bytes = test.mixer.state(77).to_bytes();
    bytes[2] = 1;
    let state = MixerState::from_bytes(&bytes).unwrap();
    let message = test.mixer.resume(&state).unwrap_err().to_string();
    assert!(message.contains("schedule version (state 1, this mixdown 2)"), "{message}");
}
