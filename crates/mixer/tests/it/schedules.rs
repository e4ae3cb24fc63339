//! Deviation bounds and the inverse on many random mixtures, against naive models.

use mixdown_mixer::{Schedule, WeightParts, largest_deviations};

use crate::random::Random;

/// Returns weights in one of the shapes that mixtures have.
fn random_parts(random: &mut Random) -> Vec<u64> {
    let sources = 1 + random.below(64);
    let unit = 1 + random.below_power(0, 30);
    let part = |i: u64, shape: u64, random: &mut Random| match shape {
        0 => 1,
        1 => unit * 1_000 / (i + 1),
        2 => 1 << (i % 40),
        3 if i == 0 => 1_000_000_000,
        3 => 1 + random.below(3),
        4 => 1 + random.below(unit),
        _ => 1 + random.below_power(0, 50),
    };
    let shape = random.below(6);
    (0..sources).map(|i| part(i, shape, random).max(1)).collect()
}

/// The numerator and denominator of the bound for K sources of a period.
fn bound(sources: usize, period: u64) -> (u128, u128) {
    match sources {
        1 => (0, 1),
        2 => (1, 2),
        k if period <= 16_384 => {
            let twice_others = 2 * (k as u128) - 2;
            (twice_others - 1, twice_others)
        }
        _ => (1_680, 1_000),
    }
}

/// Walks slots from `start` with separate counters and checks counts, bound and inverse.
fn check_slots(schedule: &Schedule, start: u64, slots: u64) {
    let parts = schedule.parts().parts();
    let period = u128::from(schedule.period());
    let (above, below) = bound(parts.len(), schedule.period());
    let sources = 0..schedule.parts().sources();
    let mut counts: Vec<u64> = sources.map(|s| schedule.count(s, start)).collect();
    assert_eq!(counts.iter().sum::<u64>(), start);
    for slot in start..start + slots {
        let placement = schedule.at(slot);
        let source = placement.source as usize;
        assert_eq!(placement.sequence, counts[source], "{parts:?} at {slot}");
        assert_eq!(schedule.slot_of(placement.source, placement.sequence), Some(slot));
        counts[source] += 1;
        for (&count, &part) in counts.iter().zip(parts) {
            let given = u128::from(count) * period;
            let deviation = given.abs_diff(u128::from(slot + 1) * u128::from(part));
            assert!(deviation * below <= above * period, "{parts:?} after {slot}");
        }
    }
    for (source, &count) in (0..).zip(&counts) {
        assert_eq!(schedule.count(source, start + slots), count);
    }
}

fn check_random_mixtures(mixtures: u64, slots: u64, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..mixtures {
        let schedule = Schedule::new(WeightParts::new(&random_parts(&mut random)).unwrap());
        check_slots(&schedule, 0, slots);
        for _ in 0..3 {
            let start = random.below_power(1, 62);
            check_slots(&schedule, start, slots / 20);
        }
    }
}

#[test]
fn random_mixtures_stay_within_their_bounds() {
    check_random_mixtures(150, 600, 1);
}

/// `cargo test --release -p mixdown-mixer ten_thousand -- --ignored`
#[test]
#[ignore = "a minute in release"]
fn ten_thousand_random_mixtures_stay_within_their_bounds() {
    check_random_mixtures(10_000, 4_000, 2);
}

/// The tree's counts by the words of the contract: sort, join the two lightest, round, recurse.
enum Naive {
    Source(usize),
    Join(u64, Box<(Self, Self)>, u64),
}

fn naive_tree(parts: &[u64]) -> Naive {
    let mut trees: Vec<(u64, usize, Naive)> =
        parts.iter().enumerate().map(|(i, &part)| (part, i, Naive::Source(i))).collect();
    while trees.len() > 1 {
        trees.sort_by_key(|tree| (tree.0, tree.1));
        let mut pair = [trees.remove(0), trees.remove(0)];
        pair.sort_by_key(|tree| tree.1);
        let [(a, first, left), (b, _, right)] = pair;
        trees.push((a + b, first, Naive::Join(a, Box::new((left, right)), b)));
    }
    trees.remove(0).2
}

fn naive_counts(tree: &Naive, slots: u64, counts: &mut [u64]) {
    match tree {
        Naive::Source(source) => counts[*source] = slots,
        Naive::Join(a, children, b) => {
            let whole = u128::from(a + b);
            let left = (2 * u128::from(slots) * u128::from(*a) + whole) / (2 * whole);
            let left = u64::try_from(left).unwrap();
            naive_counts(&children.0, left, counts);
            naive_counts(&children.1, slots - left, counts);
        }
    }
}

#[test]
fn the_tree_counts_like_the_rule_written_down() {
    let mut random = Random(3);
    let mut compared = 0;
    while compared < 60 {
        let parts = WeightParts::new(&random_parts(&mut random)).unwrap();
        if parts.parts().len() < 3 || parts.period() <= 16_384 {
            continue;
        }
        compared += 1;
        let tree = naive_tree(parts.parts());
        let schedule = Schedule::new(parts.clone());
        for _ in 0..20 {
            let slots = random.below_power(1, 61);
            let mut counts = vec![0; parts.parts().len()];
            naive_counts(&tree, slots, &mut counts);
            let ours: Vec<u64> =
                (0..parts.sources()).map(|source| schedule.count(source, slots)).collect();
            assert_eq!(ours, counts, "{:?} at {slots}", parts.parts());
        }
    }
}

#[test]
fn a_period_repeats_and_gives_each_source_exactly_its_parts() {
    for parts in [vec![3, 2], vec![7, 2, 1], vec![20_000, 3, 500, 77]] {
        let schedule = Schedule::new(WeightParts::new(&parts).unwrap());
        let period = schedule.period();
        for (source, &part) in (0..).zip(schedule.parts().parts()) {
            assert_eq!(schedule.count(source, period), part);
            assert_eq!(schedule.count(source, 1_000 * period), 1_000 * part);
        }
        for slot in 0..period {
            assert_eq!(schedule.at(slot + 7 * period).source, schedule.at(slot).source);
        }
    }
}

#[test]
fn what_does_not_exist_has_no_slot() {
    let schedule = Schedule::new(WeightParts::new(&[7, 2, 1]).unwrap());
    assert_eq!(schedule.slot_of(3, 0), None);
    assert_eq!(schedule.slot_of(2, u64::MAX), None);
    assert_eq!(schedule.count(3, 100), 0);
    assert_eq!(
        schedule.at(u64::MAX).sequence,
        schedule.count(schedule.at(u64::MAX).source, u64::MAX)
    );
}

/// Prints the table of deviations:
/// `cargo test --release -p mixdown-mixer --test it deviation_table -- --ignored --nocapture`
#[test]
#[ignore = "prints figures"]
#[expect(clippy::print_stdout, reason = "the figures are its purpose")]
fn deviation_table() {
    let zipf: Vec<u64> = (1..=64).map(|rank| 1_000_000_000 / rank).collect();
    for (name, parts) in [
        ("99/1", vec![99, 1]),
        ("99.9/0.1", vec![999, 1]),
        ("70/20/10", vec![70, 20, 10]),
        ("seven odd (short period)", vec![1_301, 707, 405, 203, 101, 33, 7]),
        ("seven odd (long period)", vec![130_001, 70_007, 40_005, 20_003, 10_001, 303, 7]),
        ("64 Zipf", zipf),
    ] {
        let schedule = Schedule::new(WeightParts::new(&parts).unwrap());
        let found = largest_deviations(&schedule, 1_000_000);
        let bounds = (0..schedule.parts().sources()).map(|s| schedule.deviation_bound(s));
        println!(
            "{name:26} period {:>14} slots {} largest {:.6} bound {:.6}",
            schedule.period(),
            found.slots,
            found.largest.iter().copied().fold(0.0, f64::max),
            bounds.fold(0.0, f64::max),
        );
    }
}
