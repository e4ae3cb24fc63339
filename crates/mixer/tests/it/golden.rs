//! The order of schedule version 2, recorded once and kept forever (version 1 was never released).
//!
//! A started run must continue in the same order under every later release. A change that moves one of these numbers
//! requires a new `SCHEDULE_VERSION`, and new cases beside these.

use std::fmt::Write;

use mixdown_mixer::{Permutation, Rank};

use crate::corpora::mixer;

type Sources = &'static [(&'static str, &'static str, u32)];

const ONE: Sources = &[("math", "1", 100)];
const TWO: Sources = &[("math", "70%", 100), ("code", "30%", 70)];
const TABLE: Sources = &[("math", "70%", 100), ("code", "20%", 40), ("general", "10%", 150)];
const TREE: Sources = &[("math", "20011", 100), ("code", "10007", 70), ("general", "307", 150)];

/// (source, window, start token) of the slots 0 to 19, under seed 7 with T = 16.
#[track_caller]
fn assert_order(sources: Sources, expected: [(u32, u64, u64); 20]) {
    let test = mixer(sources);
    let slots = (0..20).map(|slot| test.mixer.slot(slot).unwrap());
    let order: Vec<_> = slots.map(|slot| (slot.source, slot.window, slot.start_token)).collect();
    assert_eq!(order, expected);
}

#[test]
fn one_source() {
    assert_order(
        ONE,
        [
            (0, 4, 74),
            (0, 0, 10),
            (0, 3, 58),
            (0, 2, 42),
            (0, 5, 90),
            (0, 1, 26),
            (0, 4, 68),
            (0, 2, 36),
            (0, 0, 4),
            (0, 5, 84),
            (0, 1, 20),
            (0, 3, 52),
            (0, 5, 95),
            (0, 1, 31),
            (0, 0, 15),
            (0, 3, 63),
            (0, 4, 79),
            (0, 2, 47),
            (0, 2, 34),
            (0, 3, 50),
        ],
    );
}

#[test]
fn two_sources() {
    assert_order(
        TWO,
        [
            (0, 4, 74),
            (1, 3, 62),
            (0, 0, 10),
            (0, 3, 58),
            (0, 2, 42),
            (1, 2, 46),
            (0, 5, 90),
            (0, 1, 26),
            (1, 1, 30),
            (0, 4, 68),
            (0, 2, 36),
            (1, 0, 14),
            (0, 0, 4),
            (0, 5, 84),
            (0, 1, 20),
            (1, 2, 45),
            (0, 3, 52),
            (0, 5, 95),
            (1, 0, 13),
            (0, 1, 31),
        ],
    );
}

#[test]
fn three_sources_of_a_short_period() {
    assert_order(
        TABLE,
        [
            (0, 4, 74),
            (0, 0, 10),
            (1, 1, 30),
            (0, 3, 58),
            (0, 2, 42),
            (2, 6, 100),
            (0, 5, 90),
            (0, 1, 26),
            (1, 0, 14),
            (0, 4, 68),
            (0, 2, 36),
            (0, 0, 4),
            (1, 1, 29),
            (0, 5, 84),
            (0, 1, 20),
            (2, 5, 84),
            (0, 3, 52),
            (0, 5, 95),
            (1, 0, 13),
            (0, 1, 31),
        ],
    );
}

#[test]
fn three_sources_of_a_long_period() {
    assert_order(
        TREE,
        [
            (0, 4, 74),
            (1, 3, 62),
            (0, 0, 10),
            (0, 3, 58),
            (1, 2, 46),
            (0, 2, 42),
            (0, 5, 90),
            (1, 1, 30),
            (0, 1, 26),
            (0, 4, 68),
            (1, 0, 14),
            (0, 2, 36),
            (0, 0, 4),
            (1, 2, 45),
            (0, 5, 84),
            (0, 1, 20),
            (1, 0, 13),
            (0, 3, 52),
            (0, 5, 95),
            (1, 3, 61),
        ],
    );
}

#[test]
fn the_slots_of_a_rank() {
    let mixer = mixer(TABLE).mixer;
    for (step, rank, expected) in
        [(0, 0, 12..15), (1, 3, 45..48), (1_000_003, 7, 24_000_078..24_000_081)]
    {
        assert_eq!(mixer.slots(step, Rank::new(rank, 8).unwrap()).unwrap(), expected);
    }
}

#[test]
fn a_state() {
    let bytes = mixer(TABLE).mixer.state(123_456_789).to_bytes();
    let mut digits = String::new();
    for byte in bytes {
        write!(digits, "{byte:02x}").unwrap();
    }
    let expected = "0100020015cd5b0700000000aa91a6640ffdfef3a6cb095ff98db191595bd9692d5e9075313bc3\
                    eb99e40d096f322524495b492162462503350000000000";
    assert_eq!(digits, expected);
}

#[test]
fn permutations_of_many_and_of_few_rounds() {
    for (len, expected) in [
        (300, [232, 117, 89, 38, 6]),
        (
            1 << 40,
            [85_754_296_915, 774_505_880_463, 390_595_636_644, 245_279_280_486, 223_290_293_446],
        ),
    ] {
        let permutation = Permutation::new(len, &[7; 32]).unwrap();
        let places: Vec<u64> = (0..5).map(|item| permutation.apply(item)).collect();
        assert_eq!(places, expected);
    }
}
