//! Planning: which windows fill which slots, before any token is read.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::mixer::Mixer;
use crate::schedule::Placement;
use crate::source_order::EpochOrder;

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
        let Placement { source, sequence } = self.mixer.schedule().at(slot);
        let place = usize::try_from(source).unwrap_or(usize::MAX);
        let (Some(order), Some(cached)) =
            (self.mixer.orders().get(place), self.epochs.get_mut(place))
        else {
            return Err(crate::mixer::no_such_source(self.mixer, source));
        };
        let (epoch, place) = order.epoch_of(sequence);
        let current = match cached {
            Some(current) if current.epoch() == epoch => current,
            _ => cached.insert(order.epoch(epoch)?),
        };
        let window = current.window(place);
        let start_token = order.windows().start_token(window, current.offset());
        Ok(Slot { slot, source, sequence, epoch, window, start_token })
    }

    /// Replaces `plan` by the sequences of some slots.
    ///
    /// # Errors
    /// As [`slot`](Self::slot).
    pub fn plan(&mut self, slots: Range<u64>, plan: &mut Vec<Slot>) -> Result<(), Error> {
        plan.clear();
        for slot in slots {
            plan.push(self.slot(slot)?);
        }
        Ok(())
    }
}
