//! The schedule of two sources: a closed form within 1/2 of the shares at every prefix.

use crate::schedule::Placement;
use crate::schedule::fork::{Fork, Side};

/// Two sources in the proportion of their integer parts.
#[derive(Debug, Clone)]
pub(crate) struct TwoSources {
    fork: Fork,
}

impl TwoSources {
    /// A schedule for two parts, each at least 1, together at most 2⁶³ − 1.
    pub(crate) fn new(first: u64, second: u64) -> Self {
        Self { fork: Fork::new(first, second) }
    }

    /// The source of a slot of the first period and its sequence there.
    pub(crate) fn at(&self, slot: u64) -> Placement {
        let step = self.fork.step(slot);
        match step.side {
            Side::First => Placement { source: 0, sequence: step.first_count },
            Side::Second => Placement { source: 1, sequence: slot - step.first_count },
        }
    }

    /// How many of the first `slots` of a period fall to `source`.
    pub(crate) fn count(&self, source: u32, slots: u64) -> u64 {
        self.fork.count(side_of(source), slots)
    }

    /// The slot within the period of a source's sequence within the period.
    pub(crate) fn slot_of(&self, source: u32, sequence: u64) -> u64 {
        self.fork.slot_of(side_of(source), sequence)
    }
}

fn side_of(source: u32) -> Side {
    if source == 0 { Side::First } else { Side::Second }
}

#[cfg(test)]
mod tests {
    use super::*;

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
