//! The order: epochs, targets, batches, ranks, seeking, limits.

use std::collections::BTreeSet;

use mixdown_mixer::{Batch, Mixer, Rank, Slot, WindowOffset};
use mixdown_shards::Access;
use proptest::prelude::*;

use crate::corpora::{TestMixer, mixer, mixer_with};
use crate::random::Random;

fn three() -> TestMixer {
    mixer(&[("math", "70%", 1_000), ("code", "20%", 333), ("general", "10%", 2_000)])
}

fn batch(mixer: &Mixer, step: u64, rank: Rank) -> Batch {
    let mut batch = Batch::default();
    mixer.batch(step, rank, &mut batch).unwrap();
    batch
}

/// The row of a slot by the words of the contract, from the token numbers of its corpus.
fn naive_row(mixer: &Mixer, slot: &Slot) -> Vec<u32> {
    let (length, first) = (mixer.sequence_length(), slot.source * 100_000);
    let targets = mixer.mixture().sequences(slot.source).unwrap() * length;
    let start = slot.start_token;
    std::iter::once(start)
        .chain((0..length).map(|i| (start + i) % targets + 1))
        .map(|token| first + u32::try_from(token).unwrap())
        .collect()
}

#[test]
fn each_epoch_is_a_permutation_that_hits_every_target_once() {
    let test = three();
    let mixer = &test.mixer;
    for source in 0..3 {
        let sequences = mixer.mixture().sequences(source).unwrap();
        let mut orders = BTreeSet::new();
        let mut offsets = BTreeSet::new();
        for epoch in 0..5 {
            let slots: Vec<Slot> = (epoch * sequences..(epoch + 1) * sequences)
                .map(|k| mixer.slot(mixer.slot_of(source, k).unwrap()).unwrap())
                .collect();
            assert!(slots.iter().all(|slot| slot.epoch == epoch && slot.source == source));
            let windows: BTreeSet<u64> = slots.iter().map(|slot| slot.window).collect();
            assert!(windows.iter().copied().eq(0..sequences));
            let mut rows = Batch::<u32>::default();
            mixer.gather(&slots, &mut rows).unwrap();
            let mut targets: Vec<u32> =
                rows.tokens.chunks_exact(17).flat_map(|row| row[1..].to_vec()).collect();
            targets.sort_unstable();
            let first = source * 100_000 + 1;
            assert!(targets.into_iter().eq(first..first + u32::try_from(sequences * 16).unwrap()));
            orders.insert(slots.iter().map(|slot| slot.window).collect::<Vec<_>>());
            offsets.insert(slots[0].start_token % 16);
        }
        assert_eq!(orders.len(), 5, "epochs must differ in order");
        assert!(offsets.len() > 1, "epochs must differ in their window offset");
    }
}

#[test]
fn rows_are_the_windows_their_slots_name() {
    let test = three();
    let mixer = &test.mixer;
    let mut seams = 0;
    for step in 0..40 {
        let batch = batch(mixer, step, Rank::single());
        assert_eq!(batch.rows, 24);
        assert_eq!(batch.sequence_length, 16);
        assert!(batch.slots.iter().copied().eq(step * 24..step * 24 + 24));
        for (row, (&slot, &source)) in
            batch.tokens.chunks_exact(17).zip(batch.slots.iter().zip(&batch.sources))
        {
            let slot = mixer.slot(slot).unwrap();
            assert_eq!(slot.source, source);
            assert_eq!(row, naive_row(mixer, &slot));
            seams += row.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        }
    }
    assert!(seams > 0, "no window ran over the end: the test does not test it");
}

#[test]
fn the_batch_is_the_same_for_every_world_size() {
    let test = three();
    let mixer = &test.mixer;
    for step in [0, 1, 2, 3, 50, 1_000_003, 1 << 50] {
        let whole = batch(mixer, step, Rank::single());
        for world_size in [1, 2, 3, 8, 24] {
            let mut parts: Vec<Batch> = (0..world_size)
                .map(|rank| batch(mixer, step, Rank::new(rank, world_size).unwrap()))
                .collect();
            parts.sort_by_key(|part| part.slots[0]);
            let joined = Batch {
                tokens: parts.iter().flat_map(|part| part.tokens.clone()).collect(),
                rows: parts.iter().map(|part| part.rows).sum(),
                sequence_length: 16,
                sources: parts.iter().flat_map(|part| part.sources.clone()).collect(),
                slots: parts.iter().flat_map(|part| part.slots.clone()).collect(),
                loss_mask: Vec::new(),
                documents: None,
            };
            assert_eq!(joined, whole, "step {step}, {world_size} ranks");
        }
    }
}

#[test]
fn no_rank_gets_all_sequences_of_a_small_source() {
    let sources = [("target", "63", 2_000), ("pretraining", "1", 2_000)];
    let test = mixer_with(&sources, |config| config.batch_size = 64);
    let mut steps_with = [0_u32; 8];
    for step in 0..400 {
        for rank in 0..8 {
            let slots = test.mixer.slots(step, Rank::new(rank, 8).unwrap()).unwrap();
            let has = slots.clone().any(|slot| test.mixer.slot(slot).unwrap().source == 1);
            steps_with[rank as usize] += u32::from(has);
        }
    }
    assert_eq!(steps_with.iter().sum::<u32>(), 400, "one sequence a batch");
    assert!(steps_with.iter().all(|&steps| (25..=80).contains(&steps)), "{steps_with:?}");
}

#[test]
fn the_order_does_not_know_the_batch_size() {
    let test = three();
    let other = test.reopened(|config| config.batch_size = 5);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for step in 0..5 {
        ours.extend(batch(&test.mixer, step, Rank::single()).tokens);
    }
    for step in 0..24 {
        theirs.extend(batch(&other, step, Rank::single()).tokens);
    }
    assert_eq!(ours, theirs);
    assert_eq!(other.resume(&test.mixer.state(31)).unwrap(), 31);
}

#[test]
fn seeking_to_a_slot_is_replaying_to_it() {
    let test = three();
    let mut planner = test.mixer.planner();
    let replayed: Vec<Slot> = (0..3_000).map(|slot| planner.slot(slot).unwrap()).collect();
    let mut random = Random(5);
    let other = test.reopened(|_| {});
    for _ in 0..500 {
        let slot = random.below(3_000);
        let expected = &replayed[usize::try_from(slot).unwrap()];
        assert_eq!(&other.slot(slot).unwrap(), expected);
        assert_eq!(other.slot_of(expected.source, expected.sequence).unwrap(), slot);
    }
}

#[test]
fn a_resumed_run_goes_on_with_the_same_bytes() {
    let test = three();
    let mut random = Random(6);
    for world_size in [1, 2, 3, 8] {
        for _ in 0..10 {
            let step = random.below(100_000);
            let bytes = test.mixer.state(step * 24).to_bytes();
            let resumed = test.reopened(|_| {});
            let state = mixdown_mixer::MixerState::from_bytes(&bytes).unwrap();
            let next = resumed.resume(&state).unwrap() / 24;
            let rank = Rank::new(world_size - 1, world_size).unwrap();
            assert_eq!(batch(&resumed, next, rank), batch(&test.mixer, step, rank));
        }
    }
}

#[test]
fn max_tokens_are_nested_and_never_passed() {
    let read = |max_tokens: Option<u64>| -> BTreeSet<u32> {
        let test = mixer_with(&[("math", "1", 1_000)], |config| {
            config.source[0].max_tokens = max_tokens;
        });
        let slots: Vec<Slot> = (0..300).map(|slot| test.mixer.slot(slot).unwrap()).collect();
        let mut rows = Batch::<u32>::default();
        test.mixer.gather(&slots, &mut rows).unwrap();
        rows.tokens.chunks_exact(17).flat_map(|row| row[1..].to_vec()).collect()
    };
    let all = read(None);
    let mut smaller = BTreeSet::new();
    for max_tokens in [17, 32, 33, 100, 640, 993] {
        let tokens = read(Some(max_tokens));
        assert!(tokens.iter().all(|&token| u64::from(token) < max_tokens));
        assert_eq!(tokens.len() as u64, (max_tokens - 1) / 16 * 16);
        assert!(smaller.is_subset(&tokens) && tokens.is_subset(&all));
        smaller = tokens;
    }
    assert_eq!(read(Some(5_000)), all);
}

#[test]
fn fixed_offsets_keep_the_windows_of_every_epoch() {
    let sources = [("math", "1", 500)];
    let test = mixer_with(&sources, |config| config.window_offset = WindowOffset::Fixed);
    for slot in 0..200 {
        let slot = test.mixer.slot(slot).unwrap();
        assert_eq!(slot.start_token, slot.window * 16);
    }
}

#[test]
fn reading_delivers_what_mapping_does() {
    let sources = [("math", "2", 500), ("general", "1", 900)];
    let mapped = mixer_with(&sources, |_| {});
    let read = mixer_with(&sources, |config| config.access = Access::Read);
    for step in 0..6 {
        let batches = [&mapped, &read].map(|test| batch(&test.mixer, step, Rank::single()));
        assert_eq!(batches[0].tokens, batches[1].tokens);
    }
}

#[test]
fn seeds_and_names_order_and_the_folder_does_not() {
    let test = three();
    let starts = |mixer: &Mixer| -> Vec<u64> {
        (0..200).map(|slot| mixer.slot(slot).unwrap().start_token).collect()
    };
    let ours = starts(&test.mixer);
    assert_ne!(ours, starts(&test.reopened(|config| config.seed = 8)));
    assert_ne!(ours, starts(&test.reopened(|config| config.source[0].name = "m".to_owned())));
    assert_eq!(ours, starts(&three().mixer));
}

#[test]
fn shares_count_what_was_delivered() {
    let test = three();
    for slots in [0, 1, 10, 999, 12_345] {
        let shares = test.mixer.shares(slots);
        let delivered: Vec<Slot> = (0..slots).map(|slot| test.mixer.slot(slot).unwrap()).collect();
        for (source, share) in (0..).zip(&shares) {
            let own: Vec<&Slot> = delivered.iter().filter(|slot| slot.source == source).collect();
            let unique: BTreeSet<u64> =
                own.iter().filter(|slot| slot.epoch == 0).map(|slot| slot.window).collect();
            assert_eq!(share.sequences, own.len() as u64);
            assert_eq!(share.tokens, own.len() as u64 * 16);
            assert_eq!(share.unique_tokens, unique.len() as u64 * 16);
            let epochs = own.len() as f64 / test.mixer.mixture().sequences(source).unwrap() as f64;
            assert!((share.epochs - epochs).abs() < 1e-12);
            assert!(share.largest_deviation <= share.deviation_bound);
            assert_eq!(share.deviation_slots, slots);
        }
        let total: f64 = shares.iter().map(|share| share.realised).sum();
        assert!((total - if slots == 0 { 0.0 } else { 1.0 }).abs() < 1e-12);
    }
    let names: Vec<String> = test.mixer.shares(1).into_iter().map(|share| share.name).collect();
    assert_eq!(names, ["math", "code", "general"]);
}

#[test]
fn max_epochs_name_the_first_step_beyond() {
    let sources = [("target", "99%", 1_000), ("pretraining", "1%", 50_000)];
    let test = mixer_with(&sources, |config| config.source[0].max_epochs = Some(2));
    // There are 62 sequences per epoch: sequence 124 is the first one of the third epoch.
    let slot = test.mixer.slot_of(0, 124).unwrap();
    assert!(test.mixer.check_run(slot).is_ok());
    let message = test.mixer.check_run(slot + 1).unwrap_err().to_string();
    assert!(message.contains(&format!("from step {} on (slot {slot})", slot / 24)), "{message}");
    assert!(message.contains("\"target\"") && message.contains("2 epochs"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// In a mixture of any shape, rows follow the contract's words, and each sequence comes once, in turn.
    #[test]
    fn any_mixture_keeps_the_contract(
        sizes in prop::collection::vec((40_u32..900, 1_u64..30_000), 1..7),
        sequence_length in 1_u64..30,
        seed in any::<u64>(),
        fixed in any::<bool>(),
    ) {
        let names: Vec<String> = (0..sizes.len()).map(|i| format!("source {i}")).collect();
        let weights: Vec<String> = sizes.iter().map(|size| size.1.to_string()).collect();
        let sources: Vec<(&str, &str, u32)> = names.iter().zip(&weights).zip(&sizes)
            .map(|((name, weight), size)| (name.as_str(), weight.as_str(), size.0)).collect();
        let test = mixer_with(&sources, |config| {
            config.sequence_length = sequence_length;
            config.seed = seed;
            config.window_offset = if fixed { WindowOffset::Fixed } else { WindowOffset::Epoch };
        });
        let mut next = vec![0; sizes.len()];
        let mut rows = Batch::<u32>::default();
        for number in 0..300 {
            let slot = test.mixer.slot(number).unwrap();
            let sequences = test.mixer.mixture().sequences(slot.source).unwrap();
            let count = &mut next[slot.source as usize];
            prop_assert_eq!(slot.sequence, *count);
            prop_assert_eq!(slot.epoch, *count / sequences);
            prop_assert_eq!(test.mixer.slot_of(slot.source, *count).unwrap(), number);
            *count += 1;
            test.mixer.gather(&[slot], &mut rows).unwrap();
            prop_assert_eq!(&rows.tokens, &naive_row(&test.mixer, &slot));
        }
    }
}

/// For every integer type of the caller, batches of any number of rows hold the same ids.
#[test]
fn memory_of_the_callers_is_filled_with_the_same_ids() {
    let test = three();
    let mixer = &test.mixer;
    let row_len = usize::try_from(mixer.sequence_length()).unwrap() + 1;
    for rows in [0, 1, 7, 24, 100] {
        let (mut plan, mut expected) = (Vec::new(), Batch::default());
        mixer.planner().plan(500..500 + rows, &mut plan).unwrap();
        mixer.gather(&plan, &mut expected).unwrap();
        let len = plan.len() * row_len;
        let (mut signed, mut wide) = (vec![-1_i32; len], vec![-1_i64; len]);
        mixer.fill(&plan, &mut signed).unwrap();
        mixer.fill(&plan, &mut wide).unwrap();
        assert!(signed.iter().map(|&id| id.cast_unsigned()).eq(expected.tokens.iter().copied()));
        assert!(wide.iter().copied().eq(expected.tokens.iter().map(|&id| i64::from(id))));
        let (mut planned, mut ids) = (Vec::new(), vec![0_u32; len]);
        mixer.planner().fill(500..500 + rows, &mut planned, &mut ids).unwrap();
        assert_eq!((planned, ids), (plan.clone(), expected.tokens));
        // A buffer that is one id longer or shorter is refused.
        for len in [len + 1, len.wrapping_sub(1)] {
            let Some(mut other) = (len < 1 << 20).then(|| vec![0_u32; len]) else { continue };
            let error = mixer.fill(&plan, &mut other).unwrap_err().to_string();
            assert!(error.contains(&format!("{}", plan.len() * row_len)), "{error}");
        }
        // The corpora have 2^24 ids.
        let narrow = mixer.fill(&plan, &mut vec![0_u16; plan.len() * row_len]);
        assert_eq!(narrow.is_err(), rows > 0);
        if let Err(error) = narrow {
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("integers up to 65535"), "{error}: {cause}");
        }
    }
}

/// Slots planned one by one and together, forwards and from anywhere, are equal.
#[test]
fn slots_planned_together_are_those_planned_alone() {
    let test = three();
    let mut planner = test.mixer.planner();
    let mut plan = Vec::new();
    for (start, len) in [(0, 1), (0, 400), (399, 3), (77, 64), (1 << 40, 65), (5, 0), (400, 2_000)]
    {
        planner.plan(start..start + len, &mut plan).unwrap();
        let alone: Vec<Slot> =
            (start..start + len).map(|slot| test.mixer.slot(slot).unwrap()).collect();
        assert_eq!(plan, alone, "{start} {len}");
    }
}

/// Of 24 targets a sequence has 16; with an offset anywhere every epoch leaves out different ones.
#[test]
fn anywhere_every_target_comes_over_epochs_and_at_most_once_in_each() {
    let sources = [("small", "1", 25), ("two", "1", 60)];
    let fixed = crate::corpora::mixer(&sources);
    let test = fixed.reopened(|config| config.window_offset = WindowOffset::Anywhere);
    for (source, targets) in [(0, 24_u64), (1, 59)] {
        let sequences = test.mixture().sequences(source).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for epoch in 0..40 {
            let mut hits = Vec::new();
            for sequence in epoch * sequences..(epoch + 1) * sequences {
                let slot = test.slot(test.slot_of(source, sequence).unwrap()).unwrap();
                let mut row = Batch::<u32>::default();
                test.gather(&[slot], &mut row).unwrap();
                let ids: Vec<u64> =
                    row.tokens[1..].iter().map(|&id| u64::from(id - source * 100_000)).collect();
                let ranges = test.target_ranges(&slot).unwrap();
                assert!(ranges.into_iter().flatten().eq(ids.iter().copied()));
                hits.extend(ids);
            }
            let len = hits.len();
            hits.sort_unstable();
            hits.dedup();
            assert_eq!((hits.len(), len as u64), (len, sequences * 16));
            seen.extend(hits);
            let slots = test.slot_of(source, (epoch + 1) * sequences - 1).unwrap() + 1;
            let share = &test.shares(slots)[source as usize];
            assert_eq!(share.unique_tokens, seen.len() as u64);
            assert_eq!(share.left_out_tokens, targets - seen.len() as u64);
        }
        assert!(seen.into_iter().eq(1..=targets));
        let share = &fixed.mixer.shares(10_000)[source as usize];
        assert_eq!(share.left_out_tokens, targets % 16);
    }
    let message = test.resume(&fixed.mixer.state(9)).unwrap_err().to_string();
    assert!(message.contains("window_offset"), "{message}");
}
