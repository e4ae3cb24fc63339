//! What a run has drawn from each source.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::mixer::Mixer;
use crate::order::SourceOrder;

/// What one source has given in some slots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceShare {
    /// The source's name.
    pub name: String,
    /// Its share as asked for, of all sequences; where weights change, the mean over these slots.
    pub requested: f64,
    /// Its share as delivered; 0 before the first slot.
    pub realised: f64,
    /// Its sequences.
    pub sequences: u64,
    /// Its targets: sequences times T.
    pub tokens: u64,
    /// Its targets since the run began, each counted once. Where an epoch leaves out others than those before it,
    /// what they left out counts once that epoch is over.
    pub unique_tokens: u64,
    /// Its targets that no epoch so far has had, as they fill no whole sequence: in every epoch the same, or, with
    /// a `window_offset` of `"anywhere"`, those that all whole epochs since the run began left out (within the
    /// first one, what that will leave out).
    pub left_out_tokens: u64,
    /// How often its data were gone through since the run began.
    pub epochs: f64,
    /// The slot from which on its data repeat, where these slots or those before reach it.
    pub repeats_from_slot: Option<u64>,
    /// The largest |count − W| in sequences over prefixes of the run, W being the sum of the source's weights
    /// in all slots of the prefix: of the prefixes that end in the first `deviation_slots` of these slots. An
    /// exact number, then rounded to a float.
    pub largest_deviation: f64,
    /// The slots that `largest_deviation` covers: all of them where the run or the schedule's
    /// period is at most 2²⁰ slots or, with two sources, a whole period is covered, else the first
    /// 2²⁰, shared out among the stages.
    pub deviation_slots: u64,
    /// What |count − W| is proven not to pass at any prefix that ends in these slots.
    pub deviation_bound: f64,
}

/// What the sources give in one stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageShares {
    /// Its first slot.
    pub start_slot: u64,
    /// The slot after its last.
    pub end_slot: u64,
    /// Per source, in the order of the mixture.
    pub sources: Vec<SourceShare>,
}

impl Mixer {
    /// What each source has given after `slots` slots, in the order of the sources.
    ///
    /// Looks at up to 2²⁰ slots one by one for the largest deviation (some tens of
    /// milliseconds); see [`SourceShare::deviation_slots`].
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let shares = mixer.shares(1_000);
    /// assert_eq!((shares[1].sequences, shares[1].realised), (250, 0.25));
    /// assert!(shares[1].largest_deviation <= 0.5);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn shares(&self, slots: u64) -> Vec<SourceShare> {
        self.shares_between(0..slots)
    }

    /// What each source gives in each stage of the first `slots` slots.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let stages = mixer.stage_shares(1_000);
    /// assert_eq!((stages.len(), stages[0].end_slot), (1, 1_000));
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn stage_shares(&self, slots: u64) -> Vec<StageShares> {
        let stages = self.mixture().timeline().stages();
        let ends = stages.iter().skip(1).map(|stage| stage.start).chain([u64::MAX]);
        let reached = stages.iter().zip(ends).take_while(|(stage, _)| stage.start < slots);
        reached
            .map(|(stage, end)| {
                let (start_slot, end_slot) = (stage.start, end.min(slots));
                let sources = self.shares_between(start_slot..end_slot);
                StageShares { start_slot, end_slot, sources }
            })
            .collect()
    }

    /// Of slots that begin with a stage.
    fn shares_between(&self, slots: Range<u64>) -> Vec<SourceShare> {
        let timeline = self.mixture().timeline();
        let deviations = timeline.deviations(&slots);
        let len_slots = slots.end - slots.start;
        let names = self.mixture().sources().iter().map(|source| &source.name);
        (0_u32..)
            .zip(names)
            .zip(self.orders())
            .zip(&deviations.largest)
            .map(|(((source, name), order), &largest_deviation)| {
                let windows = order.windows();
                let given = timeline.count(source, slots.end);
                let sequences = given - timeline.count(source, slots.start);
                let repeats = timeline.slot_of(source, windows.sequences());
                SourceShare {
                    name: name.clone(),
                    requested: timeline.requested(source, &slots),
                    realised: ratio(sequences, len_slots),
                    sequences,
                    tokens: sequences.saturating_mul(windows.sequence_length()),
                    unique_tokens: unique_tokens(order, given),
                    left_out_tokens: order.left_out(given),
                    epochs: ratio(given, windows.sequences()),
                    repeats_from_slot: repeats.filter(|&slot| slot < slots.end),
                    largest_deviation,
                    deviation_slots: deviations.slots,
                    deviation_bound: timeline.bound(source, slots.start, slots.end),
                }
            })
            .collect()
    }
}

/// The targets that a source's first `given` sequences have, each counted once.
fn unique_tokens(order: &SourceOrder, given: u64) -> u64 {
    let windows = order.windows();
    let epochs = given / windows.sequences();
    if epochs == 0 || windows.are_rows() {
        return given.min(windows.sequences()) * windows.sequence_length();
    }
    windows.targets() + windows.left_out() - order.left_out(given)
}

/// A fraction for a report, 0 for 0/0; no decision is made with it.
pub(crate) fn ratio(numerator: u64, denominator: u64) -> f64 {
    if denominator == 0 { 0.0 } else { numerator as f64 / denominator as f64 }
}
