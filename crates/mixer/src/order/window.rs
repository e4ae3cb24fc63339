//! The sequences of a source: windows on its tokens, circular so that an offset loses none, or the rows of a packed
//! corpus.

/// The S sequences of T + 1 tokens that a source has.
///
/// **Windows** over D tokens: S = ⌊(D − 1)/T⌋. Target t of 0..S·T is token t + 1. A window that starts at s has the
/// targets s, s + 1, …, s + T − 1 modulo S·T, and its first input token is s; every further input is the target before
/// it. So for any offset the S windows that start at `offset + j·T` contain each target exactly once. Only the window
/// that crosses the end has a seam: there token 1 follows token S·T, as one document follows another.
///
/// **Anywhere**: the same with all D − 1 targets on the circle, so that S windows from any offset on leave out the D −
/// 1 − S·T targets before it, which differ in each epoch.
///
/// **Rows** from `prepare --pack`: row j is the tokens from j·(T + 1) on, without an offset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    sequence_length: u64,
    sequences: u64,
    /// Tokens from one sequence to the next: T, or T + 1 for packed rows.
    stride: u64,
    /// The number of targets on the circle of the windows: S·T, or all D − 1.
    circle: u64,
    /// D − 1, or the number of targets in the rows.
    all_targets: u64,
}

/// The one or two runs of neighboring tokens that make up a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The start of the first run.
    pub(crate) start_token: u64,
    /// Its length in tokens.
    pub(crate) len_tokens: u64,
    /// The remaining tokens, which start at [`WRAPPED_START`]; usually 0.
    pub(crate) wrapped_len_tokens: u64,
}

/// The token after the last one on the circle of targets.
pub(crate) const WRAPPED_START: u64 = 1;

impl Windows {
    /// Makes windows of `sequence_length` (at least 1) on `tokens`; `None` if not even one fits.
    pub(crate) fn new(tokens: u64, sequence_length: u64) -> Option<Self> {
        let sequences = tokens.checked_sub(1)?.checked_div(sequence_length)?;
        (sequences > 0).then_some(Self {
            sequence_length,
            sequences,
            stride: sequence_length,
            circle: sequences * sequence_length,
            all_targets: tokens - 1,
        })
    }

    /// Returns the same windows on a circle of all targets.
    pub(crate) fn anywhere(self) -> Self {
        if self.are_rows() { self } else { Self { circle: self.all_targets, ..self } }
    }

    /// Makes packed rows of `sequence_length` + 1 in `tokens`; `None` if not even one fits.
    pub(crate) fn rows(tokens: u64, sequence_length: u64) -> Option<Self> {
        let stride = sequence_length.checked_add(1)?;
        let sequences = tokens / stride;
        let targets = sequences.checked_mul(sequence_length)?;
        let all_targets = targets;
        let row = Self { sequence_length, sequences, stride, circle: targets, all_targets };
        (sequences > 0).then_some(row)
    }

    /// Returns the number of sequences.
    pub(crate) fn sequences(&self) -> u64 {
        self.sequences
    }

    /// Returns T, in tokens.
    pub(crate) fn sequence_length(&self) -> u64 {
        self.sequence_length
    }

    /// Returns whether they are packed rows.
    pub(crate) fn are_rows(&self) -> bool {
        self.stride > self.sequence_length
    }

    /// Returns S·T, the number of targets in an epoch.
    pub(crate) fn targets(&self) -> u64 {
        self.sequences * self.sequence_length
    }

    /// Returns the number of targets on the circle of the windows: those of an epoch, or all of the source.
    pub(crate) fn circle(&self) -> u64 {
        self.circle
    }

    /// Returns the number of targets that an epoch leaves out, because they do not fill a whole sequence.
    pub(crate) fn left_out(&self) -> u64 {
        self.all_targets - self.targets()
    }

    /// Returns the range in the stream of the circle's targets; for rows, it includes every row's first token.
    pub(crate) fn target_tokens(&self) -> std::ops::Range<u64> {
        if self.are_rows() { 0..self.sequences * self.stride } else { 1..self.circle + 1 }
    }

    /// Returns the greatest token at which a sequence can start.
    pub(crate) fn last_start(&self) -> u64 {
        if self.are_rows() { (self.sequences - 1) * self.stride } else { self.circle - 1 }
    }

    /// Returns where sequence `window` (less than S) of an epoch with `offset` (less than T, or than the circle of all
    /// targets) starts. Rows have no offset.
    pub(crate) fn start_token(&self, window: u64, offset: u64) -> u64 {
        // Both terms are less than the circle. With an offset less than T, or for rows, so is the sum.
        let start = u128::from(window * self.stride) + u128::from(offset);
        let circle = u128::from(self.circle);
        let is_past = !self.are_rows() && start >= circle;
        u64::try_from(if is_past { start - circle } else { start }).unwrap_or(u64::MAX)
    }

    /// Returns the runs of the sequence that starts at `start_token`, which is at most
    /// [`last_start`](Self::last_start).
    pub(crate) fn runs(&self, start_token: u64) -> Runs {
        let row_tokens = self.sequence_length + 1;
        let until_end = match self.are_rows() {
            true => row_tokens,
            false => self.circle + 1 - start_token,
        };
        let len_tokens = row_tokens.min(until_end);
        Runs { start_token, len_tokens, wrapped_len_tokens: row_tokens - len_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row of a window by its definition, with token numbers in place of tokens.
    fn naive(windows: &Windows, start: u64) -> Vec<u64> {
        let targets = (0..windows.sequence_length).map(|i| (start + i) % windows.circle() + 1);
        std::iter::once(start).chain(targets).collect()
    }

    #[test]
    fn every_target_is_hit_exactly_once_for_every_offset() {
        for tokens in 2..60 {
            for sequence_length in 1..tokens {
                let windows = Windows::new(tokens, sequence_length).unwrap();
                assert_eq!(windows.sequences(), (tokens - 1) / sequence_length);
                for offset in 0..sequence_length {
                    check_epoch(&windows, offset, tokens);
                }
            }
        }
    }

    fn check_epoch(windows: &Windows, offset: u64, tokens: u64) {
        let mut hits = vec![0; usize::try_from(tokens).unwrap()];
        for window in 0..windows.sequences() {
            let start = windows.start_token(window, offset);
            let runs = windows.runs(start);
            let row: Vec<u64> = (runs.start_token..runs.start_token + runs.len_tokens)
                .chain(WRAPPED_START..WRAPPED_START + runs.wrapped_len_tokens)
                .collect();
            assert_eq!(row, naive(windows, start));
            for &target in &row[1..] {
                hits[usize::try_from(target).unwrap()] += 1;
            }
        }
        let circle = usize::try_from(windows.circle()).unwrap();
        assert_eq!(hits[0], 0);
        assert!(hits[circle + 1..].iter().all(|&count| count == 0));
        // The targets before the offset are left out.
        let left_out = windows.circle() - windows.targets();
        for target in 0..windows.circle() {
            let before = (offset + windows.circle() - 1 - target) % windows.circle();
            let expected = u64::from(before >= left_out);
            let place = usize::try_from(target + 1).unwrap();
            assert_eq!(hits[place], expected, "{windows:?} {offset} {target}");
        }
    }

    #[test]
    fn anywhere_leaves_out_what_stands_before_the_offset() {
        for tokens in 2..40 {
            for sequence_length in 1..tokens {
                let windows = Windows::new(tokens, sequence_length).unwrap().anywhere();
                assert_eq!(windows.circle(), tokens - 1);
                assert_eq!(windows.left_out(), (tokens - 1) % sequence_length);
                for offset in 0..windows.circle() {
                    check_epoch(&windows, offset, tokens);
                }
            }
        }
    }

    #[test]
    fn rows_stand_side_by_side() {
        let rows = Windows::rows(35, 16).unwrap();
        assert_eq!((rows.sequences(), rows.targets(), rows.last_start()), (2, 32, 17));
        assert_eq!(rows.target_tokens(), 0..34);
        let expected = Runs { start_token: 17, len_tokens: 17, wrapped_len_tokens: 0 };
        assert_eq!(rows.runs(rows.start_token(1, 0)), expected);
        assert!(Windows::rows(16, 16).is_none());
    }

    #[test]
    fn too_few_tokens_make_no_window() {
        assert!(Windows::new(0, 8).is_none());
        assert!(Windows::new(8, 8).is_none());
        assert!(Windows::new(9, 8).is_some());
        assert!(Windows::new(9, 0).is_none());
        assert_eq!(Windows::new(u64::MAX, 1).unwrap().targets(), u64::MAX - 1);
    }
}
