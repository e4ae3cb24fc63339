//! Planning: the assignment of windows to slots, before any token is read.

use std::ops::Range;

use mixdown_shards::TokenInt;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::mixer::batch::Batch;
use crate::mixer::gather::{Gather, ROWS_AHEAD};
use crate::mixer::{Mixer, no_such_source};
use crate::order::permutation::Permutation;
use crate::order::{EpochOrder, Order};
use crate::schedule::Placement;
use crate::schedule::timeline::TimelineCursor;

/// One slot of the run: a sequence and the position of its tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its number in the run, counted from 0.
    pub slot: u64,
    /// The source's position in the mixture, counted from 0.
    pub source: u32,
    /// The number of the sequence in that source's stream over all epochs, counted from 0.
    pub sequence: u64,
    /// The source's epoch, counted from 0.
    pub epoch: u64,
    /// The window within the epoch, counted from 0.
    pub window: u64,
    /// The window's first input token in the source's training split. Its targets are the T tokens after it; they wrap
    /// around to token 1 at the end of the S·T targets.
    pub start_token: u64,
}

/// A planner of slots in sequence, which keeps each source's order of the current epoch.
///
/// Slots may be planned in any order with the same result; runs of neighbors are fast, because the keys of an epoch
/// (about 300 ns) are derived once. One planner serves one thread.
#[derive(Debug)]
pub struct Planner<'a> {
    mixer: &'a Mixer,
    epochs: Vec<Option<EpochOrder>>,
    /// The cursor, at the slot after the last planned one.
    cursor: TimelineCursor<'a>,
}

/// Slots that are planned together before they are gathered: enough that most windows are drawn four at a time, few
/// enough that their plan stays in the first-level cache.
const SLOTS_AHEAD: u64 = 64;

/// Slots whose windows are not known yet: their positions in the plan, by their permutation's class.
type UndrawnSlots = [WindowGroup; 3];

#[derive(Default)]
struct WindowGroup {
    places: [usize; 4],
    len: usize,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(mixer: &'a Mixer) -> Self {
        let sources = mixer.mixture().sources().len();
        let epochs = std::iter::repeat_with(|| None).take(sources).collect();
        Self { mixer, epochs, cursor: mixer.mixture().timeline().cursor(0) }
    }

    /// Returns the sequence of one slot.
    ///
    /// # Errors
    /// None for a checked mixture.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut planner = mixer.planner();
    /// assert_eq!(planner.slot(2)?.source, 1);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn slot(&mut self, slot: u64) -> Result<Slot, Error> {
        let mut plan = Vec::with_capacity(1);
        self.append(slot, 1, &mut plan)?;
        Ok(plan.pop().unwrap_or_default())
    }

    /// Replaces `plan` with the sequences of some slots.
    ///
    /// # Errors
    /// Those of [`slot`](Self::slot).
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut plan = Vec::new();
    /// mixer.planner().plan(100..104, &mut plan)?;
    /// assert_eq!(plan[2], mixer.slot(102)?);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn plan(&mut self, slots: Range<u64>, plan: &mut Vec<Slot>) -> Result<(), Error> {
        plan.clear();
        self.append(slots.start, slots.end.saturating_sub(slots.start), plan)
    }

    /// Replaces `plan` with the sequences of some slots and writes them to the caller's memory, as [`Mixer::fill`]
    /// does, each row planned some rows before it is copied.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan) and [`Mixer::fill`].
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let (mut plan, mut tokens) = (Vec::new(), vec![0_u32; 4 * 11]);
    /// mixer.planner().fill(0..4, &mut plan, &mut tokens)?;
    /// assert_eq!(plan.len(), 4);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn fill<T: TokenInt>(
        &mut self,
        slots: Range<u64>,
        plan: &mut Vec<Slot>,
        out: &mut [T],
    ) -> Result<(), Error> {
        plan.clear();
        let rows = slots.end.saturating_sub(slots.start);
        let mut gather = Gather::new(self.mixer, rows, out)?;
        let mut next = slots.start;
        while next < slots.end {
            let some = (slots.end - next).min(SLOTS_AHEAD);
            let planned = plan.len();
            self.append(next, some, plan)?;
            let planned = plan.get(planned..).unwrap_or_default();
            planned.chunks(ROWS_AHEAD).try_for_each(|slots| gather.push(slots))?;
            next += some;
        }
        gather.finish()
    }

    /// Fills a batch with the sequences of some slots, one per row, each planned some rows before it is copied; they
    /// replace `plan`.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan) and [`Mixer::gather`].
    ///
    /// ```
    /// use mixdown_mixer::Batch;
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let (mut plan, mut batch) = (Vec::new(), Batch::<u32>::default());
    /// mixer.planner().fill_batch(0..3, &mut plan, &mut batch)?;
    /// assert_eq!(batch.rows, 3);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn fill_batch<T: TokenInt>(
        &mut self,
        slots: Range<u64>,
        plan: &mut Vec<Slot>,
        out: &mut Batch<T>,
    ) -> Result<(), Error> {
        self.mixer.make_room(slots.end.saturating_sub(slots.start), out)?;
        self.fill(slots, plan, &mut out.tokens)?;
        self.mixer.describe(plan, out);
        self.mixer.add_loss_mask(plan, out)
    }

    /// Appends `slots` slots from `first` on.
    fn append(&mut self, first: u64, slots: u64, plan: &mut Vec<Slot>) -> Result<(), Error> {
        if self.cursor.slot() != first {
            self.cursor = self.mixer.mixture().timeline().cursor(first);
        }
        let mut undrawn = UndrawnSlots::default();
        for slot in (0..slots).map(|more| first.wrapping_add(more)) {
            let Placement { source, sequence } = self.cursor.take();
            let index = usize::try_from(source).unwrap_or(usize::MAX);
            let kept = self.epochs.get(index).and_then(Option::as_ref);
            let place = match kept.and_then(|epoch| epoch.place_of(sequence)) {
                Some(place) => place,
                None => {
                    // Undrawn slots of the source belong to the previous epoch.
                    self.draw_rest(&mut undrawn, plan);
                    self.enter_epoch(index, sequence)?
                }
            };
            plan.push(Slot { slot, source, sequence, epoch: 0, window: place, start_token: 0 });
            self.draw_later(index, &mut undrawn, plan);
        }
        self.draw_rest(&mut undrawn, plan);
        Ok(())
    }

    /// Derives the order of the epoch that contains a source's sequence, and returns the sequence's place there.
    fn enter_epoch(&mut self, index: usize, sequence: u64) -> Result<u64, Error> {
        let orders = (self.mixer.orders().get(index), self.epochs.get_mut(index));
        let (Some(order), Some(kept)) = orders else {
            return Err(no_such_source(self.mixer, u32::try_from(index).unwrap_or(u32::MAX)));
        };
        let epoch = kept.insert(order.epoch_of(sequence)?);
        Ok(epoch.place_of(sequence).unwrap_or(0))
    }

    /// Queues the window of the plan's last slot, to be drawn together with three others as soon as four are waiting.
    fn draw_later(&self, index: usize, undrawn: &mut UndrawnSlots, plan: &mut [Slot]) {
        let Some(Some(epoch)) = self.epochs.get(index) else { return };
        let group = match epoch.order() {
            Order::Whole(permutation) => &mut undrawn[permutation.class()],
            Order::Blocks(blocks) => {
                if let Some(slot) = plan.last_mut() {
                    finish(slot, epoch, blocks.apply(slot.window));
                }
                return;
            }
        };
        group.places[group.len] = plan.len() - 1;
        group.len += 1;
        if group.len == group.places.len() {
            self.draw(group, plan);
        }
    }

    fn draw_rest(&self, undrawn: &mut UndrawnSlots, plan: &mut [Slot]) {
        undrawn.iter_mut().for_each(|group| self.draw(group, plan));
    }

    /// Draws the windows of up to four slots.
    fn draw(&self, group: &mut WindowGroup, plan: &mut [Slot]) {
        let len = std::mem::take(&mut group.len);
        let [first, ..] = group.places;
        // In an incomplete group, the spare places repeat the first draw.
        let places: [usize; 4] =
            std::array::from_fn(|number| if number < len { group.places[number] } else { first });
        let drawn = places.map(|place| self.epoch_at(place, plan));
        let ([Some(a), Some(b), Some(c), Some(d)], 1..) = (drawn, len) else { return };
        let drawn = [a, b, c, d];
        let windows = if len == 1 {
            [a.1.apply(a.2); 4]
        } else {
            let permutations = drawn.map(|(_, permutation, _)| permutation);
            Permutation::apply_four(permutations, drawn.map(|(_, _, item)| item))
        };
        for ((place, (epoch, ..)), window) in places.into_iter().zip(drawn).zip(windows).take(len) {
            finish(&mut plan[place], epoch, window);
        }
    }

    /// Returns the epoch of a waiting slot, its permutation and the item to be permuted.
    fn epoch_at(&self, place: usize, plan: &[Slot]) -> Option<(&EpochOrder, &Permutation, u64)> {
        let slot = plan.get(place)?;
        let epoch = self.epochs.get(usize::try_from(slot.source).ok()?)?.as_ref()?;
        match epoch.order() {
            Order::Whole(permutation) => Some((epoch, permutation, slot.window)),
            Order::Blocks(_) => None,
        }
    }
}

/// Fills in the fields that follow from a drawn window.
fn finish(slot: &mut Slot, epoch: &EpochOrder, window: u64) {
    slot.epoch = epoch.epoch();
    slot.window = window;
    slot.start_token = epoch.start_token(window);
}
