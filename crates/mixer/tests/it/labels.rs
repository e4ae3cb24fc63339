//! Loss masks, packed rows, shares of loss tokens, documents and blocks.

use std::collections::BTreeSet;

use mixdown_mixer::{Batch, Mixer, Mixture, Rank, Slot, WeightUnit};

use crate::corpora::{
    CorpusPlan, TestMixer, config, counts, mixer, mixer_of, mixer_with, source, write,
};

fn labeled(
    weights: [&str; 2],
    change: impl FnOnce(&mut mixdown_mixer::MixtureConfig),
) -> TestMixer {
    let sources = [("chats", weights[0], 1_001), ("general", weights[1], 2_000)];
    mixer_of(&sources, |plan| plan.labeled = plan.name == "chats", change)
}

fn batch(mixer: &Mixer, step: u64) -> Batch {
    let mut batch = Batch::default();
    mixer.batch(step, Rank::single(), &mut batch).unwrap();
    batch
}

#[test]
fn masks_go_with_their_targets() {
    let test = labeled(["1", "1"], |_| {});
    let mut masked = 0;
    for step in 0..30 {
        let batch = batch(&test.mixer, step);
        assert_eq!(batch.loss_mask.len(), 24 * 16);
        let rows = batch.tokens.chunks_exact(17).zip(batch.loss_mask.chunks_exact(16));
        for ((tokens, mask), source) in rows.zip(&batch.sources) {
            for (&target, &counted) in tokens[1..].iter().zip(mask) {
                let expected = if *source == 0 { counts(target) } else { 1 };
                assert_eq!(counted, expected, "target {target}");
                masked += u32::from(counted == 0);
            }
        }
        let counted: u64 = batch.loss_mask.iter().map(|&one| u64::from(one)).sum();
        assert_eq!(batch.loss_targets(), counted);
    }
    assert!(masked > 1_000);
    let plain = mixer(&[("math", "1", 500)]);
    let plain = batch(&plain.mixer, 0);
    assert!(plain.loss_mask.is_empty());
    assert_eq!(plain.loss_targets(), 24 * 16);
}

#[test]
fn the_targets_of_a_step_are_those_of_all_ranks() {
    let test = labeled(["1", "1"], |config| config.batch_size = 96);
    let mut counts = BTreeSet::new();
    for step in [0, 1, 2, 7, 100_000] {
        let targets = test.mixer.step_targets(step).unwrap();
        for world_size in [1, 2, 8] {
            let parts = (0..world_size).map(|rank| {
                let mut part = Batch::<u32>::default();
                test.mixer.batch(step, Rank::new(rank, world_size).unwrap(), &mut part).unwrap();
                part.loss_targets()
            });
            assert_eq!(parts.sum::<u64>(), targets, "step {step}, {world_size} ranks");
        }
        counts.insert(targets);
    }
    assert!(counts.len() > 1 && counts.iter().all(|&count| count < 96 * 16), "{counts:?}");
    let plain = mixer(&[("math", "1", 500)]);
    assert_eq!(plain.mixer.step_targets(5).unwrap(), 24 * 16);
    assert!(plain.mixer.step_targets(u64::MAX).is_err());
}

#[test]
fn shares_of_loss_tokens_are_exact_over_whole_epochs() {
    // Of the 62 · 16 targets of the chats three in five count, of the other corpus all.
    let test = labeled(["30%", "70%"], |config| config.weight_unit = WeightUnit::LossTokens);
    let mixture = test.mixer.mixture();
    let chats = (1..=992).filter(|&id| counts(id) == 1).count() as u64;
    assert_eq!(mixture.loss_tokens(0).unwrap(), chats);
    assert_eq!(mixture.loss_tokens(1).unwrap(), 124 * 16);
    // Over slots in which both sources complete whole epochs, the shares are exact.
    let parts = |source: u32, share: u64| {
        u128::from(share)
            * u128::from(mixture.sequences(source).unwrap())
            * u128::from(mixture.loss_tokens(1 - source).unwrap())
    };
    let (first, second) = (parts(0, 30), parts(1, 70));
    let shares = test.mixer.shares(1_000_000);
    let requested = first as f64 / (first + second) as f64;
    assert!((shares[0].requested - requested).abs() < 1e-12);
    let loss = |source: u32| {
        let mean =
            mixture.loss_tokens(source).unwrap() as f64 / mixture.sequences(source).unwrap() as f64;
        shares[source as usize].sequences as f64 * mean
    };
    assert!((loss(0) / (loss(0) + loss(1)) - 0.3).abs() < 1e-5);
    let limited = test.reopened(|config| config.source[0].max_tokens = Some(333));
    let some = (1..=320).filter(|&id| counts(id) == 1).count() as u64;
    assert_eq!(limited.mixture().loss_tokens(0).unwrap(), some);
}

/// Rows of 17 tokens in shards of whole rows: 60 of them.
fn packed(
    pack: u64,
    sequence_length: u64,
) -> Result<(tempfile::TempDir, Mixer), mixdown_mixer::Error> {
    let folder = tempfile::tempdir().unwrap();
    let plan = CorpusPlan {
        name: "packed",
        train_tokens: 17 * 60,
        labeled: true,
        pack: Some(pack),
        shard_len: Some(17 * 20),
        ..Default::default()
    };
    write(folder.path(), &plan);
    let mut config = config(vec![source("packed", "1")]);
    config.sequence_length = sequence_length;
    let mixture = Mixture::open(&config, folder.path())?;
    Ok((folder, Mixer::new(mixture)?))
}

#[test]
fn packed_rows_are_taken_as_they_are() {
    let (_folder, mixer) = packed(16, 16).unwrap();
    assert_eq!(mixer.mixture().sequences(0), Some(60));
    for epoch in 0..3 {
        let mut starts = BTreeSet::new();
        for slot in epoch * 60..(epoch + 1) * 60 {
            let slot = mixer.slot(slot).unwrap();
            assert_eq!(slot.start_token % 17, 0);
            starts.insert(slot.start_token);
            let mut row = Batch::<u32>::default();
            mixer.gather(&[slot], &mut row).unwrap();
            let first = u32::try_from(slot.start_token).unwrap();
            assert!(row.tokens.into_iter().eq(first..first + 17));
        }
        assert_eq!(starts.len(), 60);
    }
    let message = packed(16, 8).unwrap_err().to_string();
    assert!(
        message.contains("packed for sequence_length 8, got 16")
            && message.contains("prepare it packed for 8"),
        "{message}"
    );
}

/// Documents of the test corpora begin every 37 tokens of a shard.
#[test]
fn documents_of_rows() {
    let test = mixer(&[("math", "1", 1_000), ("general", "1", 900)]);
    let mixer = &test.mixer;
    let shard_len = |source: u32| if source == 0 { 334 } else { 301 };
    let starts_document = |source: u32, token: u64| (token % shard_len(source)).is_multiple_of(37);
    let mut seams = 0;
    for step in 0..20 {
        let mut batch = batch(mixer, step);
        mixer.add_documents(&mut batch).unwrap();
        let documents = batch.documents.as_ref().unwrap();
        assert_eq!(documents.segment_ids.len(), 24 * 16);
        let (mut cu_seqlens, mut longest) = (Vec::new(), 0);
        for (row, (&slot, tokens)) in
            (0..).zip(batch.slots.iter().zip(batch.tokens.chunks_exact(17)))
        {
            let slot: Slot = mixer.slot(slot).unwrap();
            let (mut segment, mut position) = (0, 0);
            for input in 0..16 {
                let token = u64::from(tokens[input] - slot.source * 100_000);
                let seam = input > 0 && tokens[input] != tokens[input - 1] + 1;
                seams += u32::from(seam);
                if input > 0 && (seam || starts_document(slot.source, token)) {
                    (segment, position) = (segment + 1, 0);
                }
                if position == 0 {
                    cu_seqlens.push(u32::try_from(row * 16 + input).unwrap());
                }
                assert_eq!(documents.segment_ids[row * 16 + input], segment);
                assert_eq!(documents.position_ids[row * 16 + input], position);
                position += 1;
                longest = longest.max(position);
            }
        }
        cu_seqlens.push(24 * 16);
        assert_eq!(documents.cu_seqlens, cu_seqlens);
        assert_eq!(documents.max_seqlen, longest);
    }
    assert!(seams > 0, "no window ran over the end");
}

#[test]
fn a_shuffle_block_keeps_neighbors_together() {
    let sources = [("math", "3", 10_000), ("general", "1", 5_000)];
    let test = mixer_with(&sources, |config| config.shuffle_block = Some(50));
    let other = test.reopened(|config| config.shuffle_block = None);
    let sequences = test.mixer.mixture().sequences(0).unwrap();
    for epoch in 0..3 {
        let order: Vec<u64> = (epoch * sequences..(epoch + 1) * sequences)
            .map(|k| test.mixer.slot(test.mixer.slot_of(0, k).unwrap()).unwrap().window)
            .collect();
        let windows: BTreeSet<u64> = order.iter().copied().collect();
        assert!(windows.into_iter().eq(0..sequences));
        let changes = order.windows(2).filter(|pair| pair[0] / 50 != pair[1] / 50).count();
        assert_eq!(changes as u64, sequences.div_ceil(50) - 1);
    }
    let message = other.resume(&test.mixer.state(5)).unwrap_err().to_string();
    assert!(message.contains("shuffle_block"), "{message}");
    assert!(
        Mixture::open(
            &mixdown_mixer::MixtureConfig { shuffle_block: Some(0), ..test.config.clone() },
            test.folder.path()
        )
        .unwrap_err()
        .to_string()
        .contains("shuffle_block: expected at least 1")
    );
}

#[test]
fn every_integer_holds_the_same_batch() {
    let test = mixer(&[("math", "1", 1_000), ("general", "1", 900)]);
    let expected = batch(&test.mixer, 3);
    let (mut wide, mut signed) = (Batch::<i64>::default(), Batch::<i32>::default());
    test.mixer.batch(3, Rank::single(), &mut wide).unwrap();
    test.mixer.batch(3, Rank::single(), &mut signed).unwrap();
    assert!(
        wide.tokens
            .iter()
            .map(|&id| u32::try_from(id).unwrap())
            .eq(expected.tokens.iter().copied())
    );
    assert!(
        signed
            .tokens
            .iter()
            .map(|&id| u32::try_from(id).unwrap())
            .eq(expected.tokens.iter().copied())
    );
    let error = test.mixer.batch(3, Rank::single(), &mut Batch::<u16>::default()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("integers up to 65535"), "{cause}");
}
