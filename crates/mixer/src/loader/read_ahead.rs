//! When to have the windows of later batches read from the disk, and how many of them.

use std::ops::Range;

/// Decides by the time that batches take whether data come from the disk.
///
/// Asking the system to read what it has already costs half a microsecond a window, as much as copying a
/// short one, so nothing is asked for while batches come at the speed of memory. It is on for the first
/// [`LASTING_STEPS`], as a first batch that met the disk unprepared would have whole stretches of files read
/// for each of its windows; later, a slow batch switches it on for as many.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    /// A batch that takes longer waited for the disk.
    slow_nanoseconds: u128,
    /// How many steps are read ahead.
    depth: u64,
    /// Until which step it is on.
    on_until: u64,
    /// The steps before this one were asked for.
    asked: u64,
}

/// Nanoseconds a token above which a batch waited for the disk: memory takes 2 at most.
const SLOW_NANOSECONDS: u128 = 10;

/// Rows that are read ahead, so that the disk has many to choose from.
const ROWS: u64 = 2_048;

/// Bytes that are read ahead at most, at two a token.
const MOST_BYTES: u64 = 128 << 20;

/// Steps for which a slow batch switches reading ahead on.
const LASTING_STEPS: u64 = 512;

impl ReadAhead {
    /// For batches of some rows, from `step` on.
    pub(crate) fn new(step: u64, rows: u64, sequence_length: u64) -> Self {
        let tokens = rows.saturating_mul(sequence_length).max(1);
        let depth = ROWS.div_ceil(rows.max(1)).min(MOST_BYTES / 2 / tokens).max(2);
        let slow_nanoseconds = SLOW_NANOSECONDS * u128::from(tokens);
        let on_until = step.saturating_add(LASTING_STEPS);
        Self { slow_nanoseconds, depth, on_until, asked: step }
    }

    /// The steps whose windows are to be asked for before `step` is begun: later ones, and itself if that
    /// was not done.
    pub(crate) fn steps_after(&mut self, step: u64, end: u64) -> Range<u64> {
        if step >= self.on_until {
            return 0..0;
        }
        let until = step.saturating_add(1 + self.depth).min(end);
        let from = self.asked.max(step).min(until);
        self.asked = until.max(self.asked);
        from..until
    }

    /// Notes how long the batch of a step took.
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
        // Batches were fast: it ends.
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
