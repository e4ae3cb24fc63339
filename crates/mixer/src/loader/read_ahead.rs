//! The decision when to read the windows of later batches from disk, and how many of them.

use std::ops::Range;

/// Read-ahead that the time of each batch switches on: a slow batch means that data come from disk.
///
/// Asking the system to read data that it already has costs half a microsecond per window, as much as copying a short
/// one, so nothing is requested while batches come at the speed of memory. Reading ahead is on for the first
/// [`LASTING_STEPS`], because otherwise a first batch from disk would read whole stretches of files for each of its
/// windows; later, a slow batch switches it on for the same number of steps.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    /// A batch that takes longer has waited for the disk.
    slow_nanoseconds: u128,
    /// The number of steps that are read ahead.
    depth: u64,
    /// The step at which it switches off.
    on_until: u64,
    /// Steps before this one were already requested.
    asked: u64,
}

/// Nanoseconds per token above which a batch has waited for the disk: memory takes at most 2.
const SLOW_NANOSECONDS: u128 = 10;

/// Rows that are read ahead, so that the disk has many to choose from.
const ROWS: u64 = 2_048;

/// The maximum number of bytes that are read ahead, at two per token.
const MOST_BYTES: u64 = 128 << 20;

/// The number of steps for which a slow batch switches reading ahead on.
const LASTING_STEPS: u64 = 512;

impl ReadAhead {
    /// Makes the decision for batches of some rows, from `step` on.
    pub(crate) fn new(step: u64, rows: u64, sequence_length: u64) -> Self {
        let tokens = rows.saturating_mul(sequence_length).max(1);
        let depth = ROWS.div_ceil(rows.max(1)).min(MOST_BYTES / 2 / tokens).max(2);
        let slow_nanoseconds = SLOW_NANOSECONDS * u128::from(tokens);
        let on_until = step.saturating_add(LASTING_STEPS);
        Self { slow_nanoseconds, depth, on_until, asked: step }
    }

    /// Returns the steps whose windows must be requested before `step` begins: later ones, and `step` itself if it was
    /// not requested.
    pub(crate) fn steps_after(&mut self, step: u64, end: u64) -> Range<u64> {
        if step >= self.on_until {
            return 0..0;
        }
        let until = step.saturating_add(1 + self.depth).min(end);
        let from = self.asked.max(step).min(until);
        self.asked = until.max(self.asked);
        from..until
    }

    /// Records how long the batch of a step took.
    pub(crate) fn note(&mut self, step: u64, nanoseconds: u128) {
        if nanoseconds > self.slow_nanoseconds {
            self.on_until = self.on_until.max(step.saturating_add(LASTING_STEPS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_asked_for_once_while_batches_are_slow() {
        let mut ahead = ReadAhead::new(5, 64, 1_024);
        assert_eq!(ahead.steps_after(5, 10_000), 5..38);
        ahead.note(5, 600_000);
        assert_eq!(ahead.steps_after(6, 10_000), 38..39);
        assert_eq!(ahead.steps_after(7, 40), 39..40);
        assert_eq!(ahead.steps_after(8, 40), 40..40);
        // Batches were fast, so it switches off.
        let later = 5 + LASTING_STEPS;
        assert_eq!(ahead.steps_after(later, 10_000), 0..0);
        ahead.note(later, 700_000);
        assert_eq!(ahead.steps_after(later + 1, 10_000), later + 1..later + 34);
    }

    #[test]
    fn large_batches_are_read_ahead_by_two() {
        let mut ahead = ReadAhead::new(0, 1_024, 65_536);
        assert_eq!(ahead.steps_after(0, 100), 0..3);
    }
}
