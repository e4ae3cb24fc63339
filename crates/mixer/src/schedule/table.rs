//! The schedule of short periods: Tijdeman's chairman assignment, tabulated once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::schedule::Placement;

/// The longest period that is tabulated. Its three tables of 16-bit numbers take 96 KiB, which stays in the
/// second-level cache, and 16 bits hold every slot of it.
pub(crate) const LONGEST_PERIOD: u64 = 16_384;

/// One period of a schedule, slot by slot.
///
/// The k-th sequence of a source (from 1) may come once the prefix n has `n·w ≥ k − 1 + ε` and must come no later than
/// the first n with `n·w > k − ε`, with ε = 1/(2K − 2). Of the sequences that may come, the one with the earliest
/// deadline is taken (ties: the source listed first). These limits are exactly |count − n·w| ≤ 1 − ε, and they can
/// always be met: docs/design/mixing.md has the proof (R. Tijdeman, "The chairman assignment problem in the theory of
/// graphs", 1980).
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The source of each slot.
    sources: Vec<u16>,
    /// The number of earlier slots of the same source, for each slot.
    sequences: Vec<u16>,
    /// All slots, grouped by source, ascending within each.
    slots: Vec<u16>,
    /// The beginning of each source's group in `slots`; one more entry ends the last.
    starts: Vec<usize>,
}

impl Table {
    /// Tabulates `parts` (at least three, each at least 1), or returns `None` if the period is too long.
    ///
    /// O(P log K) for a period of P slots, with a queue of releases and a heap of deadlines; examining every source at
    /// every slot would cost O(P·K), seconds for thousands of sources.
    pub(crate) fn new(parts: &[u64]) -> Option<Self> {
        let period = parts.iter().try_fold(0_u64, |sum, &part| sum.checked_add(part))?;
        if period > LONGEST_PERIOD {
            return None;
        }
        let mut starts = vec![0_usize];
        for &part in parts {
            let end = starts.last()? + usize::try_from(part).ok()?;
            starts.push(end);
        }
        let period_len = usize::try_from(period).ok()?;
        let mut table = Self {
            sources: Vec::with_capacity(period_len),
            sequences: Vec::with_capacity(period_len),
            slots: vec![0; period_len],
            starts,
        };
        let limits = Limits { period, twice_others: 2 * (u64::try_from(parts.len()).ok()? - 1) };
        table.assign(parts, &limits)?;
        Some(table)
    }

    /// Schedules one period by earliest deadline first.
    fn assign(&mut self, parts: &[u64], limits: &Limits) -> Option<()> {
        let mut given = vec![0_u64; parts.len()];
        let mut releases: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        let mut deadlines: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        for (source, &part) in parts.iter().enumerate() {
            releases.push(Reverse((limits.release(part, 1), source)));
        }
        for slot in 0..limits.period {
            let prefix = slot + 1;
            while let Some(&Reverse((release, source))) = releases.peek() {
                if release > prefix {
                    break;
                }
                releases.pop();
                let number = given[source] + 1;
                deadlines.push(Reverse((limits.deadline(parts[source], number), source)));
            }
            let Reverse((_, source)) = deadlines.pop()?;
            self.place(slot, source, given[source])?;
            given[source] += 1;
            releases.push(Reverse((limits.release(parts[source], given[source] + 1), source)));
        }
        Some(())
    }

    fn place(&mut self, slot: u64, source: usize, sequence: u64) -> Option<()> {
        let place = self.starts[source] + usize::try_from(sequence).ok()?;
        *self.slots.get_mut(place)? = u16::try_from(slot).ok()?;
        self.sources.push(u16::try_from(source).ok()?);
        self.sequences.push(u16::try_from(sequence).ok()?);
        Some(())
    }

    /// Returns the source of a slot of the first period and its sequence there.
    pub(crate) fn at(&self, slot: u64) -> Placement {
        let place = usize::try_from(slot).unwrap_or(usize::MAX);
        Placement {
            source: u32::from(self.sources[place]),
            sequence: u64::from(self.sequences[place]),
        }
    }

    /// Returns how many of the first `slots` of a period belong to `source`.
    pub(crate) fn count(&self, source: u32, slots: u64) -> u64 {
        let earlier = self.group(source).partition_point(|&slot| u64::from(slot) < slots);
        u64::try_from(earlier).unwrap_or(u64::MAX)
    }

    /// Returns the slot within the period of a source's sequence within the period.
    pub(crate) fn slot_of(&self, source: u32, sequence: u64) -> u64 {
        u64::from(self.group(source)[usize::try_from(sequence).unwrap_or(usize::MAX)])
    }

    fn group(&self, source: u32) -> &[u16] {
        let source = usize::try_from(source).unwrap_or(usize::MAX);
        &self.slots[self.starts[source]..self.starts[source + 1]]
    }
}

/// The times between which a source's k-th sequence (from 1) must come, as prefixes (from 1).
///
/// With parts a of the period P: `n·a/P ≥ k − 1 + 1/(2K − 2)` and `n·a/P > k − 1/(2K − 2)`. The products stay below
/// 2⁴⁴, because the period is at most 2¹⁴.
struct Limits {
    period: u64,
    /// 2K − 2.
    twice_others: u64,
}

impl Limits {
    fn release(&self, part: u64, number: u64) -> u64 {
        let numerator = self.period * ((number - 1) * self.twice_others + 1);
        numerator.div_ceil(part * self.twice_others)
    }

    fn deadline(&self, part: u64, number: u64) -> u64 {
        let numerator = self.period * (number * self.twice_others - 1);
        numerator / (part * self.twice_others) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tijdeman's rule as published: examine every source at every slot.
    fn naive(parts: &[u64]) -> Vec<usize> {
        let period: u64 = parts.iter().sum();
        let twice_others = 2 * (parts.len() as u64 - 1);
        let mut given = vec![0_u64; parts.len()];
        let mut order = Vec::new();
        for prefix in 1..=period {
            let lagging = |source: &usize| {
                let behind =
                    i128::from(prefix * parts[*source]) - i128::from(given[*source] * period);
                behind * i128::from(twice_others) >= i128::from(period)
            };
            let must_come = |source: &usize| {
                (1..)
                    .find(|n| {
                        n * parts[*source] * twice_others
                            > period * ((given[*source] + 1) * twice_others - 1)
                    })
                    .unwrap()
            };
            let chosen = (0..parts.len()).filter(lagging).min_by_key(must_come).unwrap();
            given[chosen] += 1;
            order.push(chosen);
        }
        order
    }

    #[test]
    fn queue_and_heap_give_what_asking_every_source_gives() {
        for parts in [vec![7, 2, 1], vec![1, 1, 1], vec![97, 1, 1, 1], vec![13, 11, 7, 5, 3, 2, 1]]
        {
            let table = Table::new(&parts).unwrap();
            let order: Vec<usize> = table.sources.iter().map(|&s| usize::from(s)).collect();
            assert_eq!(order, naive(&parts), "{parts:?}");
        }
    }

    #[test]
    fn equal_parts_come_in_turn_as_they_are_listed() {
        let table = Table::new(&[1, 1, 1, 1]).unwrap();
        assert_eq!(table.sources, [0, 1, 2, 3]);
    }

    #[test]
    fn the_longest_period_is_tabulated_and_one_more_is_not() {
        assert!(Table::new(&[LONGEST_PERIOD - 2, 1, 1]).is_some());
        assert!(Table::new(&[LONGEST_PERIOD - 1, 1, 1]).is_none());
        let ones = vec![1; usize::try_from(LONGEST_PERIOD).unwrap()];
        let table = Table::new(&ones).unwrap();
        assert_eq!(table.at(LONGEST_PERIOD - 1).source, 16_383);
    }
}
