//! The mixer: any slot, step and rank of a run at once, without state.

use std::ops::Range;

use mixdown_shards::{Split, TokenInt, Window};

use crate::batch::Batch;
use crate::error::Error;
use crate::identity::Identity;
use crate::mixture::{Mixture, corpus_error};
use crate::planner::{Planner, Slot};
use crate::rank::Rank;
use crate::schedule::Schedule;
use crate::shares::{SourceShare, shares};
use crate::source_order::SourceOrder;
use crate::state::MixerState;
use crate::window::{Runs, WRAPPED_START};

/// Random access to the sequences of an endless run.
///
/// Slot n of the run is one sequence, batch b the slots b·B to b·B + B − 1. What stands in a slot
/// depends on the seed, the sources' names, weights and sizes, T, the window offset and the
/// schedule version alone: any batch size, world size, thread or restart sees the same slots.
/// Seeking costs nothing, O(K) memory, and a state is a number.
///
/// Planning a slot takes some tens of nanoseconds; gathering it copies T + 1 tokens from the map.
#[derive(Debug, Clone)]
pub struct Mixer {
    mixture: Mixture,
    schedule: Schedule,
    orders: Vec<SourceOrder>,
    rotation_key: [u8; 32],
    identity: Identity,
}

/// Rows that are fetched from memory together, before those before them are copied.
const ROWS_AHEAD: usize = 8;
/// Such rows, each with where its tokens stand, if they stand together.
type Group<'m> = [Option<(Slot, Option<Window<'m>>)>; ROWS_AHEAD];
/// Tokens of a row up to which that is faster.
const LONGEST_FETCHED: u64 = 2 << 10;

impl Mixer {
    /// A mixer for a checked mixture. O(K log K), and O(P log K) for a period P ≤ 16,384.
    ///
    /// # Errors
    /// A source with more sequences than a permutation orders (2⁶³).
    pub fn new(mixture: Mixture) -> Result<Self, Error> {
        let shape = *mixture.shape();
        let schedule = Schedule::new(mixture.parts().clone());
        let orders: Vec<SourceOrder> = mixture
            .sources()
            .iter()
            .zip(mixture.windows())
            .map(|(source, &windows)| {
                SourceOrder::new(shape.seed, &source.name, windows, shape.window_offset)
            })
            .collect();
        for order in &orders {
            order.epoch(0)?;
        }
        let rotation_key =
            blake3::derive_key("mixdown-mixer rank rotation 1", &shape.seed.to_le_bytes());
        let identity = Identity::of(&mixture);
        Ok(Self { mixture, schedule, orders, rotation_key, identity })
    }

    /// The mixture.
    pub fn mixture(&self) -> &Mixture {
        &self.mixture
    }

    /// Which source fills which slot.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// T: inputs (and targets) a sequence, in tokens.
    pub fn sequence_length(&self) -> u64 {
        self.mixture.shape().sequence_length
    }

    /// B: sequences a batch, over all ranks.
    pub fn batch_size(&self) -> u64 {
        self.mixture.shape().batch_size
    }

    /// The sequence of one slot. For many neighbours, a [`planner`](Self::planner) is faster.
    ///
    /// # Errors
    /// None that a checked mixture can cause.
    pub fn slot(&self, slot: u64) -> Result<Slot, Error> {
        self.planner().slot(slot)
    }

    /// The slot of a source's `sequence`-th sequence (from 0): the inverse of
    /// [`slot`](Self::slot).
    ///
    /// # Errors
    /// A source that does not exist, or a slot beyond 64 bits.
    pub fn slot_of(&self, source: u32, sequence: u64) -> Result<u64, Error> {
        if source >= self.schedule.parts().sources() {
            return Err(no_such_source(self, source));
        }
        self.schedule.slot_of(source, sequence).ok_or(Error::OutOfRange {
            what: "the slot of a source's sequence (its slot passes 64 bits)",
            expected: u64::MAX,
            got: sequence,
        })
    }

    /// A planner for one thread.
    pub fn planner(&self) -> Planner<'_> {
        Planner::new(self)
    }

    /// The slots of a rank's part of a batch.
    ///
    /// # Errors
    /// A world size that does not divide the batch size; a step whose slots pass 64 bits.
    pub fn slots(&self, step: u64, rank: Rank) -> Result<Range<u64>, Error> {
        let batch_size = self.batch_size();
        let world_size = u64::from(rank.world_size());
        if !batch_size.is_multiple_of(world_size) {
            return Err(Error::WorldSize { batch_size, world_size: rank.world_size() });
        }
        let last_step = u64::MAX / batch_size - 1;
        if step > last_step {
            return Err(Error::OutOfRange { what: "the step", expected: last_step, got: step });
        }
        let rows = batch_size / world_size;
        let start = step * batch_size + rank.part(self.rotation(step)) * rows;
        Ok(start..start + rows)
    }

    /// Fills `out` with a rank's part of a batch: `batch_size / world_size` rows in the order of
    /// their slots.
    ///
    /// # Errors
    /// As [`slots`](Self::slots); a corpus that cannot be read or holds an id outside the
    /// vocabulary; a batch too large for this machine.
    pub fn batch(&self, step: u64, rank: Rank, out: &mut Batch) -> Result<(), Error> {
        let slots = self.slots(step, rank)?;
        let rows = slots.end - slots.start;
        // Before planning, which for billions of rows would take minutes and the machine's memory.
        self.reserve_tokens(rows, out)?;
        let mut plan = Vec::new();
        let too_large = || self.too_large(rows);
        let rows_len = usize::try_from(rows).map_err(|_| too_large())?;
        plan.try_reserve_exact(rows_len).map_err(|_| too_large())?;
        self.planner().plan(slots, &mut plan)?;
        self.gather(&plan, out)
    }

    /// Fills `out` with planned sequences, a row each.
    ///
    /// # Errors
    /// As [`batch`](Self::batch); a slot that is not of this mixer.
    pub fn gather(&self, plan: &[Slot], out: &mut Batch) -> Result<(), Error> {
        let rows = u64::try_from(plan.len()).unwrap_or(u64::MAX);
        let len = self.reserve_tokens(rows, out)?;
        out.tokens.resize(len, 0);
        out.rows = rows;
        out.sequence_length = self.sequence_length();
        out.sources.clear();
        out.slots.clear();
        out.sources.extend(plan.iter().map(|slot| slot.source));
        out.slots.extend(plan.iter().map(|slot| slot.slot));
        self.fill(plan, &mut out.tokens)
    }

    /// Writes planned sequences into the caller's memory as integers of its choice: a row of T + 1
    /// ids each, one after another. [`Planner::fill`] plans as well.
    ///
    /// # Errors
    /// As [`gather`](Self::gather); `out` is not `plan.len()` rows long; a vocabulary that does not
    /// fit the integer.
    pub fn fill<T: TokenInt>(&self, plan: &[Slot], out: &mut [T]) -> Result<(), Error> {
        let mut plan_rest = plan.iter();
        self.fill_rows(plan.len(), || Ok(plan_rest.next().copied()), out)
    }

    /// Fills rows with the sequences that `next` gives, which is asked for some of them before the
    /// first row is copied.
    pub(crate) fn fill_rows<T: TokenInt>(
        &self,
        rows_len: usize,
        mut next: impl FnMut() -> Result<Option<Slot>, Error>,
        out: &mut [T],
    ) -> Result<(), Error> {
        let rows = u64::try_from(rows_len).unwrap_or(u64::MAX);
        let row_len =
            usize::try_from(self.sequence_length() + 1).map_err(|_| self.too_large(rows))?;
        if rows_len.checked_mul(row_len) != Some(out.len()) {
            return Err(Error::OutOfRange {
                what: "the length of the memory to fill (rows times T + 1)",
                expected: rows.saturating_mul(self.sequence_length() + 1),
                got: u64::try_from(out.len()).unwrap_or(u64::MAX),
            });
        }
        // Of longer rows the processor sees by itself how they go on.
        let row_tokens = self.sequence_length() + 1;
        let fetched = if row_tokens <= LONGEST_FETCHED { row_tokens } else { 0 };
        let mut rows = out.chunks_exact_mut(row_len);
        let (mut group, mut later) = (&mut [None; ROWS_AHEAD], &mut [None; ROWS_AHEAD]);
        self.fetch_group(&mut next, fetched, group)?;
        while group.first().is_some_and(Option::is_some) {
            self.fetch_group(&mut next, fetched, later)?;
            for ((slot, window), row) in group.iter().flatten().zip(&mut rows) {
                match window {
                    Some(window) => window.read(row).map_err(|error| self.named(slot, error))?,
                    None => self.read_row(slot, row)?,
                }
            }
            std::mem::swap(&mut group, &mut later);
        }
        Ok(())
    }

    /// The next rows, fetched all at once: finding their pages is what takes longest, and the processor
    /// does that for several side by side.
    fn fetch_group<'m>(
        &'m self,
        next: &mut impl FnMut() -> Result<Option<Slot>, Error>,
        fetched: u64,
        group: &mut Group<'m>,
    ) -> Result<(), Error> {
        for place in &mut *group {
            let slot = next()?;
            *place = slot.map(|slot| Ok((slot, self.window(&slot)?))).transpose()?;
        }
        for (_, window) in group.iter().flatten() {
            if let Some(window) = window {
                window.prefetch(fetched);
            }
        }
        Ok(())
    }

    /// Where the tokens of a slot stand, if they stand together.
    fn window(&self, slot: &Slot) -> Result<Option<Window<'_>>, Error> {
        let place = usize::try_from(slot.source).unwrap_or(usize::MAX);
        let (Some(source), Some(order)) =
            (self.mixture.sources().get(place), self.orders.get(place))
        else {
            return Err(no_such_source(self, slot.source));
        };
        let tokens = self.sequence_length() + 1;
        let windows = order.windows();
        // A slot of another mixer is refused when it is read.
        if slot.start_token >= windows.targets()
            || windows.runs(slot.start_token).len_tokens < tokens
        {
            return Ok(None);
        }
        let window = source.corpus.window(Split::Train, slot.start_token, tokens);
        window.map_err(|error| self.named(slot, error))
    }

    fn named(&self, slot: &Slot, error: mixdown_shards::Error) -> Error {
        let place = usize::try_from(slot.source).unwrap_or(usize::MAX);
        match self.mixture.sources().get(place) {
            Some(source) => corpus_error(&source.name, source.corpus.folder(), error),
            None => no_such_source(self, slot.source),
        }
    }

    /// Makes room in `out` for the tokens of `rows` rows, and for nothing else; gives how many.
    fn reserve_tokens(&self, rows: u64, out: &mut Batch) -> Result<usize, Error> {
        let too_large = || self.too_large(rows);
        let row_len = usize::try_from(self.sequence_length() + 1).map_err(|_| too_large())?;
        let rows_len = usize::try_from(rows).map_err(|_| too_large())?;
        let len = rows_len.checked_mul(row_len).ok_or_else(too_large)?;
        let more_len = len.saturating_sub(out.tokens.len());
        out.tokens.try_reserve(more_len).map_err(|_| too_large())?;
        Ok(len)
    }

    fn too_large(&self, rows: u64) -> Error {
        Error::BatchTooLarge { rows, row_tokens: self.sequence_length() + 1 }
    }

    fn read_row<T: TokenInt>(&self, slot: &Slot, row: &mut [T]) -> Result<(), Error> {
        let place = usize::try_from(slot.source).unwrap_or(usize::MAX);
        let (Some(source), Some(order)) =
            (self.mixture.sources().get(place), self.orders.get(place))
        else {
            return Err(no_such_source(self, slot.source));
        };
        let targets = order.windows().targets();
        if slot.start_token >= targets {
            return Err(Error::OutOfRange {
                what: "the start token of a planned sequence",
                expected: targets - 1,
                got: slot.start_token,
            });
        }
        let Runs { start_token, len_tokens, .. } = order.windows().runs(slot.start_token);
        let len = usize::try_from(len_tokens).unwrap_or(usize::MAX).min(row.len());
        let (head, tail) = row.split_at_mut(len);
        let named = |error| corpus_error(&source.name, source.corpus.folder(), error);
        source.corpus.read_tokens(Split::Train, start_token, head).map_err(named)?;
        if tail.is_empty() {
            return Ok(());
        }
        source.corpus.read_tokens(Split::Train, WRAPPED_START, tail).map_err(named)
    }

    /// What each source has given after `slots` slots, in the order of the sources.
    ///
    /// Looks at up to 2²⁰ slots one by one for the largest deviation (some tens of milliseconds);
    /// see [`SourceShare::deviation_slots`].
    pub fn shares(&self, slots: u64) -> Vec<SourceShare> {
        shares(self, slots)
    }

    /// Checks that a run of `slots` slots keeps every source within its `max_epochs`.
    ///
    /// # Errors
    /// The source that would pass it first, with the step and slot.
    pub fn check_run(&self, slots: u64) -> Result<(), Error> {
        let first = self
            .mixture
            .sources()
            .iter()
            .zip(0_u32..)
            .filter_map(|(source, place)| {
                let sequences = source.max_epochs?.checked_mul(self.mixture.sequences(place)?)?;
                let slot = self.schedule.slot_of(place, sequences)?;
                (slot < slots).then_some((slot, source))
            })
            .min_by_key(|(slot, _)| *slot);
        match first {
            None => Ok(()),
            Some((slot, source)) => Err(Error::MaxEpochs {
                name: source.name.clone(),
                expected: source.max_epochs.unwrap_or_default(),
                step: slot / self.batch_size(),
                slot,
            }),
        }
    }

    /// The state of a run whose next slot is `slot`.
    pub fn state(&self, slot: u64) -> MixerState {
        MixerState::new(slot, &self.identity)
    }

    /// The next slot of a run that stopped at `state`.
    ///
    /// # Errors
    /// A state of another order: what differs is named.
    pub fn resume(&self, state: &MixerState) -> Result<u64, Error> {
        state.check(&self.identity, &self.mixture)?;
        Ok(state.slot())
    }

    /// h(seed, b): by how many parts the ranks of a batch are turned.
    fn rotation(&self, step: u64) -> u64 {
        let hash = blake3::keyed_hash(&self.rotation_key, &step.to_le_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn orders(&self) -> &[SourceOrder] {
        &self.orders
    }
}

pub(crate) fn no_such_source(mixer: &Mixer, source: u32) -> Error {
    Error::OutOfRange {
        what: "the source's place in the mixture",
        expected: u64::from(mixer.schedule.parts().sources()) - 1,
        got: u64::from(source),
    }
}
