//! The division of slots between two neighbors: the closed form under every schedule except the table, and the schedule
//! of two sources.

use crate::schedule::Placement;

/// A total of integer parts split in two: the first side has `first` of `total` parts.
///
/// Of any `slots` the first side gets `slots · first / total` rounded half up, the second side the rest, so both are
/// within 1/2 of their share at every prefix, and each further slot goes to exactly one of them. A tie goes to the
/// first side.
///
/// Callers reduce slots by whole periods first, so every argument here is at most `total`, which is at most 2⁶³ − 1:
/// twice a product of two such numbers still fits in 128 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fork {
    first: u64,
    total: u64,
}

/// The counts before one slot, and the side that takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForkStep {
    /// The number of earlier slots of the first side.
    pub(crate) first_count: u64,
    /// The side of this slot.
    pub(crate) side: ForkSide,
}

/// One of the two sides of a [`Fork`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForkSide {
    /// The side that gets the ties.
    First,
    /// The side that gets the rest.
    Second,
}

/// Below this total, twice the product of two parts fits in 63 bits, and a 64-bit division (a few nanoseconds instead
/// of about thirty for 128 bits) is enough.
const NARROW_TOTAL: u64 = 1 << 31;

impl Fork {
    /// Makes a fork of `first + second` parts, each at least 1, together at most 2⁶³ − 1.
    pub(crate) fn new(first: u64, second: u64) -> Self {
        Self { first, total: first + second }
    }

    /// Returns the parts of one side.
    pub(crate) fn parts(&self, side: ForkSide) -> u64 {
        match side {
            ForkSide::First => self.first,
            ForkSide::Second => self.total - self.first,
        }
    }

    /// Returns how many of the first `slots` (at most the total) belong to `side`.
    pub(crate) fn count(&self, side: ForkSide, slots: u64) -> u64 {
        let first_count = self.divide(slots).0;
        match side {
            ForkSide::First => first_count,
            ForkSide::Second => slots - first_count,
        }
    }

    /// Returns the side that takes `slot` (less than the total), and the counts before it.
    pub(crate) fn step(&self, slot: u64) -> ForkStep {
        let (first_count, reaches_next) = self.divide(slot);
        ForkStep {
            first_count,
            side: if reaches_next { ForkSide::First } else { ForkSide::Second },
        }
    }

    /// Returns the slot that is number `index` (from 0, less than the side's parts) of `side`.
    ///
    /// The first side reaches `index + 1` at the least prefix n with `n·first/total ≥ index + 1/2`,
    /// the second side at the least n with `n·second/total > index + 1/2`, as it loses the ties.
    pub(crate) fn slot_of(&self, side: ForkSide, index: u64) -> u64 {
        let parts = u128::from(self.parts(side));
        let middle = u128::from(self.total) * (2 * u128::from(index) + 1);
        let slot = match side {
            ForkSide::First => middle.div_ceil(2 * parts) - 1,
            ForkSide::Second => middle / (2 * parts),
        };
        u64::try_from(slot).unwrap_or(u64::MAX)
    }

    /// Returns `slots · first / total` rounded half up, and whether one more slot increases it.
    fn divide(&self, slots: u64) -> (u64, bool) {
        if self.total < NARROW_TOTAL {
            let twice = 2 * self.total;
            let numerator = 2 * slots * self.first + self.total;
            let rest = numerator % twice;
            return (numerator / twice, rest + 2 * self.first >= twice);
        }
        let twice = 2 * u128::from(self.total);
        let numerator = 2 * u128::from(slots) * u128::from(self.first) + u128::from(self.total);
        let quotient = numerator / twice;
        let rest = numerator - quotient * twice;
        (u64::try_from(quotient).unwrap_or(u64::MAX), rest + 2 * u128::from(self.first) >= twice)
    }
}

/// Two sources in the proportion of their integer parts.
#[derive(Debug, Clone)]
pub(crate) struct TwoSources {
    fork: Fork,
}

impl TwoSources {
    /// Makes a schedule for two parts, each at least 1, together at most 2⁶³ − 1.
    pub(crate) fn new(first: u64, second: u64) -> Self {
        Self { fork: Fork::new(first, second) }
    }

    /// Returns the source of a slot of the first period and its sequence there.
    pub(crate) fn at(&self, slot: u64) -> Placement {
        let step = self.fork.step(slot);
        match step.side {
            ForkSide::First => Placement { source: 0, sequence: step.first_count },
            ForkSide::Second => Placement { source: 1, sequence: slot - step.first_count },
        }
    }

    /// Returns how many of the first `slots` of a period belong to `source`.
    pub(crate) fn count(&self, source: u32, slots: u64) -> u64 {
        self.fork.count(side_of(source), slots)
    }

    /// Returns the slot within the period of a source's sequence within the period.
    pub(crate) fn slot_of(&self, source: u32, sequence: u64) -> u64 {
        self.fork.slot_of(side_of(source), sequence)
    }
}

fn side_of(source: u32) -> ForkSide {
    if source == 0 { ForkSide::First } else { ForkSide::Second }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fork_of_small_totals_agrees_with_rounding_by_hand() {
        for total in 2..60_u64 {
            for first in 1..total {
                check(Fork::new(first, total - first));
            }
        }
    }

    fn check(fork: Fork) {
        let (mut first_count, mut second_count) = (0, 0);
        for slot in 0..fork.total {
            assert_eq!(fork.count(ForkSide::First, slot), first_count);
            assert_eq!(fork.count(ForkSide::Second, slot), second_count);
            let deviation = 2 * (first_count * fork.total).abs_diff(slot * fork.first);
            assert!(deviation <= fork.total, "{fork:?} at {slot}");
            let step = fork.step(slot);
            assert_eq!(step.first_count, first_count);
            let index = match step.side {
                ForkSide::First => &mut first_count,
                ForkSide::Second => &mut second_count,
            };
            assert_eq!(fork.slot_of(step.side, *index), slot);
            *index += 1;
        }
        assert_eq!((first_count, second_count), (fork.first, fork.total - fork.first));
    }

    #[test]
    fn wide_and_narrow_arithmetic_agree_at_the_ends() {
        let largest = u64::MAX >> 1;
        for first in [1, 2, largest / 3, largest / 2, largest - 1] {
            let fork = Fork::new(first, largest - first);
            for side in [ForkSide::First, ForkSide::Second] {
                let parts = fork.parts(side);
                for index in [0, 1.min(parts - 1), parts / 2, parts - 1] {
                    let slot = fork.slot_of(side, index);
                    assert!(slot < largest);
                    assert_eq!(fork.count(side, slot), index);
                    assert_eq!(fork.step(slot).side, side);
                }
            }
        }
    }

    #[test]
    fn a_tie_goes_to_the_first_side() {
        assert_eq!(Fork::new(1, 1).step(0).side, ForkSide::First);
        assert_eq!(Fork::new(1, 99).slot_of(ForkSide::First, 0), 49);
    }

    #[test]
    fn one_percent_stands_in_the_middle_of_every_hundred() {
        let schedule = TwoSources::new(99, 1);
        let slots: Vec<u64> = (0..100).filter(|&slot| schedule.at(slot).source == 1).collect();
        assert_eq!(slots, [50]);
        assert_eq!(schedule.slot_of(1, 0), 50);
        assert_eq!(schedule.count(1, 50), 0);
        assert_eq!(schedule.count(1, 51), 1);
    }
}
