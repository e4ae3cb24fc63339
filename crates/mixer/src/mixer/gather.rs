//! Gathering: copying planned sequences from the corpora to the caller's memory.

use std::slice::ChunksExactMut;

use mixdown_shards::{Split, TokenInt, Window};

use crate::error::Error;
use crate::mixer::Mixer;
use crate::mixer::batch::Rank;
use crate::mixer::planner::Slot;
use crate::order::window::{Runs, WRAPPED_START};

/// Rows that are fetched from memory together, before earlier rows are copied.
pub(crate) const ROWS_AHEAD: usize = 8;

/// Tokens that are fetched and copied in alternation: as many cache lines as the processor can wait for at once.
const PIECE_LEN: usize = 512;

/// Rows that are planned together when only their masks are counted.
const MASKS_AHEAD: u64 = 64;

/// A planned row and the window of its tokens, if they are contiguous.
#[derive(Clone, Copy)]
struct Fetched<'m> {
    source: u32,
    start_token: u64,
    window: Option<Window<'m>>,
}

/// A writer of planned rows, one after another, each a group of rows after it was planned.
///
/// Finding a row's pages takes the most time, and the processor does that for several rows in parallel, while others
/// are copied.
pub(crate) struct Gather<'m, 'o, T> {
    mixer: &'m Mixer,
    rows: ChunksExactMut<'o, T>,
    /// The rows that were fetched but not yet copied.
    fetched: [Option<Fetched<'m>>; ROWS_AHEAD],
    piece_len: usize,
}

impl<'m, 'o, T: TokenInt> Gather<'m, 'o, T> {
    /// Starts gathering `rows` rows of T + 1 ids, which must fill `out` exactly.
    pub(crate) fn new(mixer: &'m Mixer, rows: u64, out: &'o mut [T]) -> Result<Self, Error> {
        let row_tokens = mixer.sequence_length() + 1;
        let expected = rows.checked_mul(row_tokens);
        if expected.and_then(|len| usize::try_from(len).ok()) != Some(out.len()) {
            return Err(Error::OutOfRange {
                what: "the length of the memory to fill (rows times T + 1)",
                expected: expected.unwrap_or(u64::MAX),
                got: u64::try_from(out.len()).unwrap_or(u64::MAX),
            });
        }
        let row_len = usize::try_from(row_tokens).unwrap_or(usize::MAX);
        let pieces = (row_len / PIECE_LEN).max(1);
        let rows = out.chunks_exact_mut(row_len);
        Ok(Self { mixer, rows, fetched: [None; ROWS_AHEAD], piece_len: row_len.div_ceil(pieces) })
    }

    /// Fetches up to [`ROWS_AHEAD`] rows, and copies the previously fetched ones.
    pub(crate) fn push(&mut self, slots: &[Slot]) -> Result<(), Error> {
        let mut later = [None; ROWS_AHEAD];
        for (place, &Slot { source, start_token, .. }) in later.iter_mut().zip(slots) {
            let window = self.mixer.window(source, start_token)?;
            *place = Some(Fetched { source, start_token, window });
        }
        // Their first pages are looked up in parallel, because a late page delays everything after it.
        for window in later.iter().flatten().filter_map(|later| later.window) {
            window.prefetch(0, 1);
        }
        for (fetched, later) in self.fetched.iter().zip(&later) {
            let later = later.and_then(|later| later.window);
            copy(self.mixer, *fetched, &mut self.rows, self.piece_len, later)?;
        }
        self.fetched = later;
        Ok(())
    }

    /// Copies the rows that were fetched last.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        let Self { mixer, piece_len, .. } = self;
        let mut fetched = self.fetched.into_iter();
        fetched.try_for_each(|fetched| copy(mixer, fetched, &mut self.rows, piece_len, None))
    }
}

/// Copies a row, if there is one, while a later one is fetched, piece by piece.
fn copy<T: TokenInt>(
    mixer: &Mixer,
    fetched: Option<Fetched<'_>>,
    rows: &mut ChunksExactMut<'_, T>,
    piece_len: usize,
    later: Option<Window<'_>>,
) -> Result<(), Error> {
    let prefetch = |start, tokens| {
        if let Some(later) = later {
            later.prefetch(start, tokens);
        }
    };
    let row = fetched.and_then(|_| rows.next());
    let (Some(Fetched { source, start_token, window }), Some(row)) = (fetched, row) else {
        prefetch(0, mixer.sequence_length() + 1);
        return Ok(());
    };
    let Some(window) = window else {
        prefetch(0, mixer.sequence_length() + 1);
        return mixer.read_row(source, start_token, row);
    };
    let mut start = 0;
    for piece in row.chunks_mut(piece_len) {
        let tokens = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        prefetch(start, tokens);
        window.read(start, piece).map_err(|error| mixer.corpus_error(source, error))?;
        start += tokens;
    }
    Ok(())
}

impl Mixer {
    /// Writes planned sequences to the caller's memory as integers of its choice, one row of T + 1 ids after another.
    /// [`Planner::fill`](crate::Planner::fill) also plans them.
    ///
    /// # Errors
    /// A corpus cannot be read or holds an id outside the vocabulary; a slot does not belong to this mixer; `out` is
    /// not `plan.len()` rows long; the vocabulary does not fit the integer.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut tokens = vec![0_u32; 2 * 11];
    /// mixer.fill(&[mixer.slot(0)?, mixer.slot(1)?], &mut tokens)?;
    /// // The tokens of the example's corpora count up.
    /// assert_eq!(tokens[1], tokens[0] + 1);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn fill<T: TokenInt>(&self, plan: &[Slot], out: &mut [T]) -> Result<(), Error> {
        let rows = u64::try_from(plan.len()).unwrap_or(u64::MAX);
        let mut gather = Gather::new(self, rows, out)?;
        plan.chunks(ROWS_AHEAD).try_for_each(|slots| gather.push(slots))?;
        gather.finish()
    }

    /// Writes which targets of planned sequences count for the loss: T bytes per sequence, 1 for a target that does.
    /// Without labels all do.
    ///
    /// # Errors
    /// A mask cannot be read or is damaged; a slot does not belong to this mixer; `out` is not `plan.len()` times T
    /// long.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut mask = vec![0; 10];
    /// mixer.fill_loss_mask(&[mixer.slot(0)?], &mut mask)?;
    /// assert_eq!(mask, [1; 10]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn fill_loss_mask(&self, plan: &[Slot], out: &mut [u8]) -> Result<(), Error> {
        let rows = u64::try_from(plan.len()).unwrap_or(u64::MAX);
        let expected = rows.saturating_mul(self.sequence_length());
        let got = u64::try_from(out.len()).unwrap_or(u64::MAX);
        if expected != got {
            let what = "the length of the mask to fill (rows times T)";
            return Err(Error::OutOfRange { what, expected, got });
        }
        let row_len = usize::try_from(self.sequence_length()).unwrap_or(usize::MAX);
        for (slot, row) in plan.iter().zip(out.chunks_exact_mut(row_len)) {
            let (corpus, runs) = self.runs(slot.source, slot.start_token)?;
            // The first run's first token is only an input.
            let head_tokens = runs.len_tokens.saturating_sub(1);
            let head_len = usize::try_from(head_tokens).unwrap_or(usize::MAX).min(row.len());
            let (head, tail) = row.split_at_mut(head_len);
            let named = |error| self.corpus_error(slot.source, error);
            corpus.read_mask(Split::Train, runs.start_token + 1, head).map_err(named)?;
            corpus.read_mask(Split::Train, WRAPPED_START, tail).map_err(named)?;
        }
        Ok(())
    }

    /// Returns the number of targets in a whole step, over all ranks, that count for the loss: the divisor of the mean
    /// loss of the step, whatever the world size.
    ///
    /// Without labels this is B·T. Otherwise the step's B rows are planned and the masks of labeled sources are read,
    /// at most B·T bytes, but no tokens. Memory: T bytes and the plan of a few rows.
    ///
    /// # Errors
    /// The slots of the step exceed 64 bits; a mask cannot be read or is damaged.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.step_targets(0)?, 4 * 10);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn step_targets(&self, step: u64) -> Result<u64, Error> {
        let slots = self.slots(step, Rank::single())?;
        let length = self.sequence_length();
        if !self.mixture().is_labelled() {
            // A checked shape keeps both within 2³¹.
            return Ok(self.batch_size().saturating_mul(length));
        }
        let mut mask = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let (mut planner, mut plan) = (self.planner(), Vec::new());
        let (mut targets, mut next) = (0_u64, slots.start);
        while next < slots.end {
            let end = slots.end.min(next + MASKS_AHEAD);
            planner.plan(next..end, &mut plan)?;
            for slot in &plan {
                let (corpus, _) = self.runs(slot.source, slot.start_token)?;
                targets += if corpus.is_labelled(Split::Train) {
                    self.fill_loss_mask(std::slice::from_ref(slot), &mut mask)?;
                    mask.iter().map(|&counts| u64::from(counts)).sum()
                } else {
                    length
                };
            }
            next = end;
        }
        Ok(targets)
    }

    /// Asks the system to read the windows of planned sequences from disk, if they are mapped but not in memory.
    pub(crate) fn will_need(&self, plan: &[Slot]) -> Result<(), Error> {
        for &Slot { source, start_token, .. } in plan {
            if let Some(window) = self.window(source, start_token)? {
                window.will_need(self.sequence_length() + 1);
            }
        }
        Ok(())
    }

    /// Returns the window of a slot's tokens, if they are contiguous.
    fn window(&self, source: u32, start_token: u64) -> Result<Option<Window<'_>>, Error> {
        let (corpus, runs) = self.runs(source, start_token)?;
        if runs.wrapped_len_tokens > 0 {
            return Ok(None);
        }
        let window = corpus.window(Split::Train, runs.start_token, runs.len_tokens);
        window.map_err(|error| self.corpus_error(source, error))
    }

    fn read_row<T: TokenInt>(
        &self,
        source: u32,
        start_token: u64,
        row: &mut [T],
    ) -> Result<(), Error> {
        let (corpus, Runs { start_token, len_tokens, .. }) = self.runs(source, start_token)?;
        let len = usize::try_from(len_tokens).unwrap_or(usize::MAX).min(row.len());
        let (head, tail) = row.split_at_mut(len);
        let named = |error| self.corpus_error(source, error);
        corpus.read_tokens(Split::Train, start_token, head).map_err(named)?;
        corpus.read_tokens(Split::Train, WRAPPED_START, tail).map_err(named)
    }
}
