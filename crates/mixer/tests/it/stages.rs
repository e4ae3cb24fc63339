//! Stages: weights that change during a run.

use std::collections::BTreeMap;

use mixdown_mixer::{Error, Mixer, MixtureConfig, RunLength, StageConfig, Weight};

use crate::corpora::{TestMixer, mixer, mixer_with};
use crate::random::Random;

fn stage(start: &str, weights: &[(&str, &str)]) -> StageConfig {
    let weight = |text: &str| text.parse::<Weight>().unwrap();
    StageConfig {
        start: start.parse().unwrap(),
        weights: weights.iter().map(|&(name, text)| (name.to_owned(), weight(text))).collect(),
        from: None,
        to: None,
        over: None,
    }
}

const SOURCES: &[(&str, &str, u32)] =
    &[("math", "70%", 1_000), ("code", "20%", 333), ("general", "10%", 2_000), ("late", "1", 700)];

/// Three sources; from slot 101 on two of them and a new one; from slot 1,000 on one.
fn staged() -> TestMixer {
    mixer_with(SOURCES, |config| {
        config.source[3].weight = None;
        config.stage = vec![
            stage("101 sequences", &[("math", "1"), ("late", "2"), ("general", "0.007")]),
            stage("1000 sequences", &[("code", "100%")]),
        ];
    })
}

fn sources_of(mixer: &Mixer, slots: std::ops::Range<u64>) -> Vec<u32> {
    slots.map(|slot| mixer.slot(slot).unwrap().source).collect()
}

#[test]
fn a_stage_draws_by_its_own_weights_and_goes_on_where_each_source_stood() {
    let test = staged();
    let mut counts = BTreeMap::new();
    for slot in 0..1_500 {
        let found = test.mixer.slot(slot).unwrap();
        let count = counts.entry(found.source).or_insert(0);
        assert_eq!(found.sequence, *count, "slot {slot}");
        assert_eq!(test.mixer.slot_of(found.source, found.sequence).unwrap(), slot);
        *count += 1;
    }
    assert!(sources_of(&test.mixer, 0..101).iter().all(|&source| source < 3));
    assert!(sources_of(&test.mixer, 101..1_000).iter().all(|&source| source != 1));
    assert!(sources_of(&test.mixer, 1_000..1_500).iter().all(|&source| source == 1));
    assert!(test.mixer.slot_of(3, 100_000).is_err(), "no stage gives it so often");
    // Planning across the borders at once and every seek give the same slots.
    let mut planner = test.mixer.planner();
    let mut plan = Vec::new();
    planner.plan(50..1_200, &mut plan).unwrap();
    let mut random = Random(9);
    for _ in 0..300 {
        let slot = 50 + random.below(1_150);
        let planned = plan[usize::try_from(slot - 50).unwrap()];
        assert_eq!(test.mixer.slot(slot).unwrap(), planned);
    }
}

#[test]
fn counts_are_exact_from_the_beginning_of_the_run_on() {
    let test = staged();
    let weights = [1.0, 2.0, 0.007].map(|weight| weight / 3.007);
    let mut counts = [0.0; 4];
    let first = [0.7, 0.2, 0.1, 0.0].map(|weight| 101.0 * weight);
    sources_of(&test.mixer, 0..101).into_iter().for_each(|source| counts[source as usize] += 1.0);
    for (n, source) in (1..).zip(sources_of(&test.mixer, 101..1_000)) {
        counts[source as usize] += 1.0;
        for (source, weight) in [0, 3, 2].into_iter().zip(weights) {
            let deviation: f64 = counts[source] - first[source] - f64::from(n) * weight;
            assert!(deviation.abs() <= 1.0 + 1e-9, "{source} after {n}: {deviation}");
        }
    }
    let shares = test.mixer.stage_shares(1_200);
    let ranges: Vec<_> = shares.iter().map(|stage| (stage.start_slot, stage.end_slot)).collect();
    assert_eq!(ranges, [(0, 101), (101, 1_000), (1_000, 1_200)]);
    assert!((shares[1].sources[3].requested - weights[1]).abs() < 1e-12);
    assert_eq!(shares[1].sources[1].sequences, 0);
    assert_eq!(shares[2].sources[1].sequences, 200);
    let whole = test.mixer.shares(1_200);
    for (source, whole) in whole.iter().enumerate() {
        let parts: u64 = shares.iter().map(|stage| stage.sources[source].sequences).sum();
        assert_eq!(parts, whole.sequences);
        assert_eq!(whole.unique_tokens, shares[2].sources[source].unique_tokens);
    }
}

#[test]
fn the_slots_before_a_stage_are_those_without_it() {
    let test = staged();
    let without = test.reopened(|config| config.stage.clear());
    for slot in 0..101 {
        assert_eq!(test.mixer.slot(slot).unwrap(), without.slot(slot).unwrap());
    }
    // A state from before a stage, or exactly at its start, fits both; a later one does not.
    for slot in [0, 50, 101] {
        assert_eq!(test.mixer.resume(&without.state(slot)).unwrap(), slot);
        assert_eq!(without.resume(&test.mixer.state(slot)).unwrap(), slot);
    }
    for slot in [102, 5_000] {
        for (state, mixer) in
            [(without.state(slot), &test.mixer), (test.mixer.state(slot), &without)]
        {
            let message = mixer.resume(&state).unwrap_err().to_string();
            assert!(message.contains(&format!("\"{slot} sequences\" or later")), "{message}");
        }
    }
}

fn differences(test: &TestMixer, slot: u64, change: impl FnOnce(&mut MixtureConfig)) -> String {
    match test.reopened(change).resume(&test.mixer.state(slot)) {
        Err(Error::OtherOrder { differences, .. }) => differences,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_resume_behind_a_changed_stage_is_refused() {
    let test = staged();
    let moved = |config: &mut MixtureConfig| config.stage[0].start = RunLength::Sequences(100);
    assert!(differences(&test, 500, moved).contains("a stage that begins before that slot"));
    let other = |config: &mut MixtureConfig| {
        config.stage[0].weights.insert("late".to_owned(), "3".parse().unwrap());
    };
    assert!(differences(&test, 2_000, other).contains("the weights"));
    let later = |config: &mut MixtureConfig| {
        config.stage[1].weights.insert("math".to_owned(), "1%".parse().unwrap());
        config.stage[1].weights.insert("code".to_owned(), "99%".parse().unwrap());
    };
    assert!(test.reopened(later).resume(&test.mixer.state(1_000)).is_ok());
    assert!(differences(&test, 1_001, later).contains("names"));
}

/// A state from an older mixdown, in which every stage rounded again, has another hash after the second stage's start.
#[test]
fn a_state_of_the_old_rule_of_stages_is_refused_by_name() {
    let test = staged();
    let mut hasher = blake3::Hasher::new_derive_key("mixdown-mixer stage 1");
    hasher.update(test.mixer.state(50).order().as_bytes());
    let mixture = test.mixer.mixture();
    let members = [0_u32, 2, 3].map(|place| (place, &mixture.sources()[place as usize]));
    let names = members.map(|(_, source)| {
        [&(source.name.len() as u64).to_le_bytes(), source.name.as_bytes()].concat()
    });
    let weights = [1_000_u64, 7, 2_000, 101].map(u64::to_le_bytes).concat();
    let sizes = members.map(|(place, _)| mixture.sequences(place).unwrap().to_le_bytes());
    let data = members.map(|(_, source)| source.corpus.fingerprint().as_bytes().to_vec());
    for part in [names.concat(), weights, sizes.concat(), data.concat()] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(&part);
    }
    let old = mixdown_shards::Fingerprint::from_bytes(*hasher.finalize().as_bytes());
    let mut state = serde_json::to_value(test.mixer.state(500)).unwrap();
    state["order"] = serde_json::to_value(old).unwrap();
    let state: mixdown_mixer::MixerState = serde_json::from_value(state).unwrap();
    let message = test.mixer.resume(&state).unwrap_err().to_string();
    assert!(message.contains("rounded again") && !message.contains("[[stage]]"), "{message}");
}

#[test]
fn a_stage_to_come_in_steps_holds_a_resume_to_its_batch_size() {
    let counted = |start: &str, over: Option<&str>| {
        mixer_with(&SOURCES[..3], |config| {
            let mut stage = stage(start, &[("code", "1")]);
            if let Some(over) = over {
                stage.to = Some(std::mem::take(&mut stage.weights));
                stage.over = Some(over.parse().unwrap());
            }
            config.stage = vec![stage];
        })
    };
    for (start, over, held) in [
        ("10 steps", None, true),
        ("240 sequences", None, false),
        ("240 sequences", Some("3 steps"), true),
        ("240 sequences", Some("72 sequences"), false),
    ] {
        let test = counted(start, over);
        let state = test.mixer.state(48);
        assert_eq!(test.mixer.resume(&state).unwrap(), 48);
        let resumed = test.reopened(|config| config.batch_size = 12).resume(&state);
        match resumed {
            Err(Error::BatchSize { slot: 48, got: 12 }) if held => {}
            Ok(48) if !held => {}
            other => panic!("{start} {over:?}: {other:?}"),
        }
        // In sequences, it stays where it was planned.
        let said = test.reopened(|config| {
            config.batch_size = 12;
            config.stage[0].start = RunLength::Sequences(240);
            config.stage[0].over = over.map(|_| RunLength::Sequences(72));
        });
        assert_eq!(said.resume(&state).unwrap(), 48);
    }
}

#[test]
fn ramps_that_cannot_be() {
    let test = mixer(&[("math", "3", 1_000), ("general", "1", 2_000)]);
    let refusal = |change: &dyn Fn(&mut StageConfig)| {
        let mut config = test.config.clone();
        let mut stage = stage("3 steps", &[]);
        stage.to = Some([("math".to_owned(), "1".parse().unwrap())].into());
        stage.over = Some(RunLength::Sequences(1_000));
        change(&mut stage);
        config.stage = vec![stage];
        let opened = mixdown_mixer::Mixture::open(&config, test.folder.path());
        opened.map(|_| ()).map_err(|error| error.to_string())
    };
    refusal(&|_| {}).unwrap();
    let told = |change: &dyn Fn(&mut StageConfig), parts: &[&str]| {
        let message = refusal(change).unwrap_err();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    told(&|stage| stage.over = None, &["stage 1", "a ramp without `over`"]);
    told(&|stage| stage.to = None, &["a ramp without `to`"]);
    told(&|stage| stage.weights.clone_from(stage.to.as_ref().unwrap()), &["`weights` and a ramp"]);
    told(&|stage| stage.over = Some(RunLength::Sequences(0)), &["`over` of nothing"]);
    let epochs = RunLength::Epochs { epochs: 2, source: None };
    told(&|stage| stage.over = Some(epochs.clone()), &["in epochs"]);
    told(&|stage| stage.over = Some(RunLength::Sequences(1 << 62)), &["ramp", "rounder weights"]);
    let beginning = |stage: &mut StageConfig| {
        stage.start = RunLength::Sequences(0);
        stage.from.clone_from(&stage.to);
    };
    told(&beginning, &["`from` at the beginning of the run"]);
}

#[test]
fn starts_in_steps_tokens_and_epochs() {
    let test = mixer(&[("math", "3", 1_000), ("general", "1", 2_000)]);
    for (start, slot) in [
        ("2 steps", 48),
        ("161 tokens", 11),
        ("1 epoch of math", test.mixer.slot_of(0, 61).unwrap() + 1),
        ("2 epochs of general", test.mixer.slot_of(1, 247).unwrap() + 1),
    ] {
        let staged = test.reopened(|config| config.stage = vec![stage(start, &[("general", "1")])]);
        assert_eq!(sources_of(&staged, slot..slot + 50), [1; 50], "{start}");
        assert_eq!(staged.slot(slot - 1).unwrap(), test.mixer.slot(slot - 1).unwrap());
    }
    for (length, steps) in [("5 steps", 5), ("25 sequences", 2), ("1 epoch", 4), ("384 tokens", 1)]
    {
        assert_eq!(test.mixer.steps(&length.parse().unwrap()).unwrap(), steps, "{length}");
    }
    let error = test.mixer.steps(&"1 epoch of nothing".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("no source named \"nothing\""), "{error}");
}

#[test]
fn stages_that_cannot_be() {
    let test = mixer(&[("math", "3", 1_000), ("general", "1", 2_000)]);
    let refusal = |stages: Vec<StageConfig>| {
        let mut config = test.config.clone();
        config.stage = stages;
        let opened = mixdown_mixer::Mixture::open(&config, test.folder.path());
        opened.map(|_| ()).unwrap_err().to_string()
    };
    let some = [("math", "1")];
    assert!(
        refusal(vec![stage("0 steps", &some)]).contains("stage 1: expected a start after slot 0")
    );
    let twice = refusal(vec![stage("3 steps", &some), stage("72 sequences", &some)]);
    assert!(
        twice.contains("stage 2: expected a start after slot 72") && twice.contains("got slot 72")
    );
    let unknown = refusal(vec![stage("3 steps", &[("maths", "1")])]);
    assert!(unknown.contains("stage 1") && unknown.contains("\"maths\""), "{unknown}");
    let sum = refusal(vec![stage("3 steps", &[("math", "50%"), ("general", "40%")])]);
    assert!(sum.contains("got 90%"), "{sum}");
    assert!(refusal(vec![stage("3 steps", &[])]).contains("at least one source"));
    let never = vec![stage("3 steps", &some), stage("9 epochs of general", &some)];
    assert!(refusal(never).contains("that no stage draws"));
}

#[test]
fn max_epochs_counts_over_all_stages() {
    let test = mixer_with(&SOURCES[..3], |config| {
        config.source[1].max_epochs = Some(2);
        config.stage = vec![stage("10 steps", &[("code", "1")])];
    });
    // Code has 20 sequences per epoch; 48 of the first 240 slots are more than two epochs.
    let error = test.mixer.check_run(240).unwrap_err();
    assert!(matches!(error, Error::MaxEpochs { .. }), "{error}");
    let late = test.reopened(|config| {
        config.source[1].max_epochs = Some(3);
        config.stage = vec![stage("10 steps", &[("code", "1")])];
    });
    assert!(late.check_run(252).is_ok());
    match late.check_run(253).unwrap_err() {
        Error::MaxEpochs { step, slot, .. } => assert_eq!((step, slot), (10, 252)),
        other => panic!("{other}"),
    }
}

/// Random stages over random mixtures: positions carry over, and counts stay within the bounds of each.
#[test]
fn random_stages_agree_with_counting() {
    let mut random = Random(77);
    let names = ["math", "code", "general", "late"];
    for _ in 0..20 {
        let mut weights = || -> Vec<(&str, String)> {
            let kept = names.iter().filter(|_| random.below(3) > 0).copied();
            let mut kept: Vec<&str> = kept.collect();
            if kept.is_empty() {
                kept.push("math");
            }
            kept.into_iter().map(|name| (name, (1 + random.below(30_000)).to_string())).collect()
        };
        let stages: Vec<StageConfig> = [40, 41, 500, 1_300]
            .into_iter()
            .map(|start| {
                let weights = weights();
                let weights: Vec<(&str, &str)> =
                    weights.iter().map(|(name, text)| (*name, text.as_str())).collect();
                stage(&format!("{start} sequences"), &weights)
            })
            .collect();
        let test = mixer_with(
            &SOURCES.iter().map(|&(name, _, tokens)| (name, "1", tokens)).collect::<Vec<_>>(),
            |config| config.stage.clone_from(&stages),
        );
        let mut counts = [0; 4];
        let mut plan = Vec::new();
        test.mixer.planner().plan(0..2_000, &mut plan).unwrap();
        for slot in plan {
            let count = &mut counts[slot.source as usize];
            assert_eq!(slot.sequence, *count);
            assert_eq!(test.mixer.slot_of(slot.source, slot.sequence).unwrap(), slot.slot);
            *count += 1;
        }
        let mut owed = [0.0; 4];
        for stage in test.mixer.stage_shares(2_000) {
            for (share, owed) in stage.sources.into_iter().zip(&mut owed) {
                let slots = (stage.end_slot - stage.start_slot) as f64;
                *owed += slots * share.requested - share.sequences as f64;
                assert!(owed.abs() <= share.deviation_bound + 1e-9);
                assert!(share.largest_deviation <= share.deviation_bound + 1e-9);
            }
        }
    }
}
