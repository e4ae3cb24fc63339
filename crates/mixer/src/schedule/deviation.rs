//! The deviation of a schedule's counts from the shares.

use std::ops::Range;

use crate::schedule::timeline::Timeline;
use crate::schedule::{Placement, Schedule};

/// The largest |count − n·w| of each source, and the number of slots that it covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Deviations {
    /// The deviation of each source, in sequences.
    pub largest: Vec<f64>,
    /// The slots covered.
    pub slots: u64,
}

/// The largest number of slots that are examined one by one, in tens of milliseconds.
pub(crate) const MOST_SLOTS: u64 = 1 << 20;

/// Returns the largest deviation of every source over all prefixes of `slots` slots, computed in integers.
///
/// A period that is covered represents all slots after it. With two sources, n·a takes all remainders of the period
/// (the parts have no common divisor), so a whole period has the largest distance ⌊P/2⌋/P whatever its length.
/// Otherwise only the first 2²⁰ slots are covered, which [`Deviations::slots`] reports.
///
/// ```
/// use mixdown_mixer::{Schedule, WeightParts, largest_deviations};
///
/// let schedule = Schedule::new(WeightParts::new(&[3, 1])?);
/// assert_eq!(largest_deviations(&schedule, 1_000).largest, [0.5, 0.5]);
/// # Ok::<(), mixdown_mixer::Error>(())
/// ```
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

/// Returns for each source the largest |count·P − n·a| over the prefixes n ≤ `slots`, with slots at most P.
///
/// Between two sequences of a source its deviation only falls, so it is enough to examine it right before and right
/// after each of them, and at the end: O(slots + K).
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

impl Timeline {
    /// Returns for each source of the mixture the largest |count − W| over the examined prefixes that end in `slots`.
    pub(crate) fn deviations(&self, slots: &Range<u64>) -> Deviations {
        let sources = self.sources();
        let ends = self.stages().iter().skip(1).map(|stage| stage.start).chain([u64::MAX]);
        let parts: Vec<Range<u64>> = self
            .stages()
            .iter()
            .zip(ends)
            .map(|(stage, end)| stage.start.max(slots.start)..end.min(slots.end))
            .filter(|part| part.start < part.end)
            .collect();
        let most = MOST_SLOTS / u64::try_from(parts.len()).unwrap_or(1).max(1);
        let mut all = Deviations { largest: vec![0.0; sources], slots: 0 };
        for part in parts {
            let found = match self.first_schedule().filter(|_| part.start == 0) {
                Some(schedule) => self.of_first(schedule, part.end),
                None => self.around(part.start..part.end.min(part.start.saturating_add(most))),
            };
            all.slots += found.slots;
            let larger = all.largest.iter_mut().zip(found.largest);
            larger.for_each(|(all, one)| *all = all.max(one));
        }
        all
    }

    /// Returns the deviations in the first stage, whose period represents all of it.
    fn of_first(&self, schedule: &Schedule, slots: u64) -> Deviations {
        let found = largest_deviations(schedule, slots);
        let mut largest = vec![0.0; self.sources()];
        let members = self.stages().first().map_or(&[][..], |stage| stage.weights.members());
        for (&member, deviation) in members.iter().zip(found.largest) {
            if let Some(largest) = usize::try_from(member).ok().and_then(|at| largest.get_mut(at)) {
                *largest = deviation;
            }
        }
        Deviations { largest, slots: found.slots }
    }

    /// Examines the prefixes right before and after each sequence, and at both ends: between two, a deviation only
    /// falls.
    fn around(&self, slots: Range<u64>) -> Deviations {
        let at = |source, prefix| self.owed(source, prefix).sequences().abs();
        let all = (0_u32..).take(self.sources());
        let ends = all.map(|source| at(source, slots.start).max(at(source, slots.end)));
        let mut largest: Vec<f64> = ends.collect();
        let mut cursor = self.cursor(slots.start);
        for slot in slots.clone() {
            let Placement { source, .. } = cursor.take();
            let place = usize::try_from(source).unwrap_or(usize::MAX);
            if let Some(largest) = largest.get_mut(place) {
                *largest = at(source, slot).max(at(source, slot + 1)).max(*largest);
            }
        }
        Deviations { largest, slots: slots.end - slots.start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::parts::WeightParts;

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
