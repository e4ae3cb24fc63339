//! How far the counts of a schedule stray from the shares.

use crate::schedule::Schedule;

/// Per source the largest |count − n·w|, and how many slots that covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Deviations {
    /// Per source, in sequences.
    pub largest: Vec<f64>,
    /// The slots covered.
    pub slots: u64,
}

/// At most so many slots are looked at one by one, some tens of milliseconds.
const MOST_SLOTS: u64 = 1 << 20;

/// The largest deviation of every source over all prefixes of `slots` slots, computed in integers.
///
/// A period that is covered speaks for all slots after it. With two sources, n·a runs through all
/// remainders of the period (the parts have no common divisor), so a whole period has the largest
/// distance ⌊P/2⌋/P whatever its length. Else the first 2²⁰ slots are covered, which
/// [`Deviations::slots`] then says.
pub fn largest_deviations(schedule: &Schedule, slots: u64) -> Deviations {
    let period = schedule.period();
    let exact = |numerator: u128| numerator as f64 / period as f64;
    if schedule.parts().sources() == 2 && slots >= period {
        let largest = exact(u128::from(period / 2));
        return Deviations { largest: vec![largest; 2], slots };
    }
    let examined = slots.min(period).min(MOST_SLOTS);
    let numerators = sweep(schedule, examined);
    Deviations {
        largest: numerators.into_iter().map(exact).collect(),
        slots: if examined == period { slots } else { examined },
    }
}

/// Per source the largest |count·P − n·a| over the prefixes n ≤ `slots`, with slots at most P.
///
/// Between two sequences of a source its deviation only falls, so it is enough to look right before
/// and right after each of them, and at the end: O(slots + K).
fn sweep(schedule: &Schedule, slots: u64) -> Vec<u128> {
    let parts = schedule.parts().parts();
    let period = schedule.period();
    let distance = |count: u64, prefix: u64, part: u64| {
        let given = u128::from(count) * u128::from(period);
        given.abs_diff(u128::from(prefix) * u128::from(part))
    };
    let mut largest = vec![0_u128; parts.len()];
    for slot in 0..slots {
        let placement = schedule.at(slot);
        let part = schedule.parts().part(placement.source);
        let before = distance(placement.sequence, slot, part);
        let after = distance(placement.sequence + 1, slot + 1, part);
        let source = usize::try_from(placement.source).unwrap_or(usize::MAX);
        if let Some(largest) = largest.get_mut(source) {
            *largest = before.max(after).max(*largest);
        }
    }
    for ((source, largest), &part) in (0_u32..).zip(&mut largest).zip(parts) {
        *largest = distance(schedule.count(source, slots), slots, part).max(*largest);
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weight_parts::WeightParts;

    /// Every source at every prefix.
    fn naive(schedule: &Schedule, slots: u64) -> Vec<f64> {
        let period = u128::from(schedule.period());
        (0..schedule.parts().sources())
            .map(|source| {
                let part = u128::from(schedule.parts().part(source));
                let numerator = (0..=slots)
                    .map(|n| {
                        let given = u128::from(schedule.count(source, n)) * period;
                        given.abs_diff(u128::from(n) * part)
                    })
                    .max()
                    .unwrap();
                numerator as f64 / period as f64
            })
            .collect()
    }

    #[test]
    fn looking_around_each_sequence_finds_what_looking_everywhere_finds() {
        for parts in [vec![1], vec![99, 1], vec![2, 3], vec![7, 2, 1], vec![40_000, 30_000, 3, 7]] {
            let schedule = Schedule::new(WeightParts::new(&parts).unwrap());
            for slots in [0, 1, 5, 99, 100, 101, 1_234] {
                let found = largest_deviations(&schedule, slots);
                assert_eq!(found.largest, naive(&schedule, slots), "{parts:?} {slots}");
                assert_eq!(found.slots, slots);
            }
        }
    }

    #[test]
    fn a_long_period_says_how_far_it_was_looked_at() {
        let schedule = Schedule::new(WeightParts::new(&[1 << 40, 3, 1 << 39]).unwrap());
        assert_eq!(largest_deviations(&schedule, 1 << 50).slots, MOST_SLOTS);
        let two = Schedule::new(WeightParts::new(&[1 << 40, 3]).unwrap());
        assert_eq!(largest_deviations(&two, 1 << 50).slots, 1 << 50);
        assert!((largest_deviations(&two, 1 << 50).largest[0] - 0.5).abs() < 1e-9);
    }
}
