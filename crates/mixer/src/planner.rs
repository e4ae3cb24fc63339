//! Planning: which windows fill which slots, before any token is read.

use std::ops::Range;

use mixdown_shards::TokenInt;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::mixer::Mixer;
use crate::permutation::Permutation;
use crate::schedule::Placement;
use crate::source_order::EpochOrder;
use crate::window::Windows;

/// One slot of the run: a sequence and where its tokens stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its number in the run, from 0.
    pub slot: u64,
    /// The source's place in the mixture, from 0.
    pub source: u32,
    /// Which sequence of that source's stream over all epochs this is, from 0.
    pub sequence: u64,
    /// The source's epoch, from 0.
    pub epoch: u64,
    /// The window within the epoch, from 0.
    pub window: u64,
    /// The window's first input token in the source's training part. Its targets are the T tokens
    /// after it, going on at token 1 where the S·T targets end.
    pub start_token: u64,
}

/// Plans slots one after another and keeps each source's order of the current epoch.
///
/// Slots may be asked for in any order and always come out the same; runs of neighbours are
/// fast, as the keys of an epoch (some 300 ns) are derived once. One planner serves one thread.
#[derive(Debug)]
pub struct Planner<'a> {
    mixer: &'a Mixer,
    epochs: Vec<Option<EpochOrder>>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(mixer: &'a Mixer) -> Self {
        let sources = mixer.mixture().sources().len();
        Self { mixer, epochs: std::iter::repeat_with(|| None).take(sources).collect() }
    }

    /// The sequence of one slot.
    ///
    /// # Errors
    /// None that a checked mixture can cause.
    pub fn slot(&mut self, slot: u64) -> Result<Slot, Error> {
        let placed = self.place(slot)?;
        let order = self.order(&placed)?;
        Ok(placed.in_window(order, order.permutation().apply(placed.place)))
    }

    /// Replaces `plan` by the sequences of some slots.
    ///
    /// # Errors
    /// As [`slot`](Self::slot).
    pub fn plan(&mut self, slots: Range<u64>, plan: &mut Vec<Slot>) -> Result<(), Error> {
        plan.clear();
        let mut slots = slots;
        while let Some(four) = take_four(&mut slots) {
            self.plan_four(four, plan)?;
        }
        for slot in slots {
            plan.push(self.slot(slot)?);
        }
        Ok(())
    }

    /// Replaces `plan` by the sequences of some slots and writes them into the caller's memory, as
    /// [`Mixer::fill`] does, each row planned some rows before it is copied.
    ///
    /// # Errors
    /// As [`plan`](Self::plan) and [`Mixer::fill`].
    pub fn fill<T: TokenInt>(
        &mut self,
        slots: Range<u64>,
        plan: &mut Vec<Slot>,
        out: &mut [T],
    ) -> Result<(), Error> {
        plan.clear();
        let rows = usize::try_from(slots.end.saturating_sub(slots.start)).unwrap_or(usize::MAX);
        let (mixer, mut place, mut slots) = (self.mixer, 0, slots);
        let next = || {
            if place == plan.len() {
                match take_four(&mut slots) {
                    Some(four) => self.plan_four(four, plan)?,
                    None => {
                        if let Some(slot) = slots.next() {
                            plan.push(self.slot(slot)?);
                        }
                    }
                }
            }
            place += 1;
            Ok(plan.get(place - 1).copied())
        };
        mixer.fill_rows(rows, next, out)
    }

    fn plan_four(&mut self, slots: [u64; 4], plan: &mut Vec<Slot>) -> Result<(), Error> {
        let [a, b, c, d] = slots;
        let placed = [self.place(a)?, self.place(b)?, self.place(c)?, self.place(d)?];
        for placed in &placed {
            self.order(placed)?;
        }
        let orders = placed.each_ref().map(|placed| {
            let order = self.epochs.get(placed.index)?.as_ref()?;
            (order.epoch() == placed.epoch).then_some(order)
        });
        let [Some(a), Some(b), Some(c), Some(d)] = orders else {
            // A source goes from one epoch to the next between them.
            for slot in slots {
                plan.push(self.slot(slot)?);
            }
            return Ok(());
        };
        let orders = [a, b, c, d];
        let permutations = orders.map(EpochOrder::permutation);
        let windows = Permutation::apply_four(permutations, placed.each_ref().map(|p| p.place));
        let lanes = placed.iter().zip(orders).zip(windows);
        plan.extend(lanes.map(|((placed, order), window)| placed.in_window(order, window)));
        Ok(())
    }

    /// The source and epoch of a slot, and its place there.
    fn place(&self, slot: u64) -> Result<Placed, Error> {
        let Placement { source, sequence } = self.mixer.schedule().at(slot);
        let index = usize::try_from(source).unwrap_or(usize::MAX);
        let order = self.mixer.orders().get(index);
        let order = order.ok_or_else(|| crate::mixer::no_such_source(self.mixer, source))?;
        let (epoch, place) = order.epoch_of(sequence);
        Ok(Placed { slot, source, index, sequence, epoch, place, windows: *order.windows() })
    }

    /// The order of a source's epoch, which is kept.
    fn order(&mut self, placed: &Placed) -> Result<&EpochOrder, Error> {
        let orders = (self.mixer.orders().get(placed.index), self.epochs.get_mut(placed.index));
        let (Some(order), Some(kept)) = orders else {
            return Err(crate::mixer::no_such_source(self.mixer, placed.source));
        };
        if kept.as_ref().is_none_or(|kept| kept.epoch() != placed.epoch) {
            *kept = None;
        }
        match kept {
            Some(kept) => Ok(kept),
            None => Ok(kept.insert(order.epoch(placed.epoch)?)),
        }
    }
}

/// The next four slots, if there are so many.
fn take_four(slots: &mut Range<u64>) -> Option<[u64; 4]> {
    let first = slots.start;
    (slots.end.saturating_sub(first) >= 4).then(|| {
        slots.start += 4;
        [first, first + 1, first + 2, first + 3]
    })
}

/// A slot before its window is known.
struct Placed {
    slot: u64,
    source: u32,
    /// The source's place in the mixture.
    index: usize,
    sequence: u64,
    epoch: u64,
    /// Which of the epoch's sequences it is.
    place: u64,
    windows: Windows,
}

impl Placed {
    fn in_window(&self, order: &EpochOrder, window: u64) -> Slot {
        let &Self { slot, source, sequence, epoch, windows, .. } = self;
        let start_token = windows.start_token(window, order.offset());
        Slot { slot, source, sequence, epoch, window, start_token }
    }
}
