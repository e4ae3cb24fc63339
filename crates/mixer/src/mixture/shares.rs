//! A report of what a run has drawn from each source.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::mixer::Mixer;
use crate::order::SourceOrder;

/// What one source has contributed in some slots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceShare {
    /// The source's name.
    pub name: String,
    /// Its requested share of all sequences; if weights change, the mean over these slots.
    pub requested: f64,
    /// Its delivered share; 0 before the first slot.
    pub realised: f64,
    /// The number of its sequences.
    pub sequences: u64,
    /// The number of its targets: sequences times T.
    pub tokens: u64,
    /// Its targets since the run began, each counted once. If an epoch leaves out other targets than earlier ones,
    /// those that earlier epochs left out count once that epoch is over.
    pub unique_tokens: u64,
    /// Its targets that no epoch has contained so far, because they do not fill a whole sequence. They are the same in
    /// every epoch, or, with a `window_offset` of `"anywhere"`, those that all whole epochs since the run began left
    /// out (within the first one, those that it will leave out).
    pub left_out_tokens: u64,
    /// The number of passes over its data since the run began.
    pub epochs: f64,
    /// The slot from which its data repeat, if these slots or earlier ones reach it.
    pub repeats_from_slot: Option<u64>,
    /// The largest |count − W| in sequences over prefixes of the run, where W is the sum of the source's weights in all
    /// slots of the prefix, over the prefixes that end in the first `deviation_slots` of these slots. It is an exact
    /// number, rounded to a float at the end.
    pub largest_deviation: f64,
    /// The slots that `largest_deviation` covers: all of them if the run or the schedule's period is at most 2²⁰ slots
    /// or, with two sources, a whole period is covered; otherwise the first 2²⁰, divided among the stages.
    pub deviation_slots: u64,
    /// The proven bound of |count − W| at every prefix that ends in these slots.
    pub deviation_bound: f64,
}

/// What the sources contribute in one stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageShares {
    /// Its first slot.
    pub start_slot: u64,
    /// The slot after its last.
    pub end_slot: u64,
    /// The share of each source, in the order of the mixture.
    pub sources: Vec<SourceShare>,
}

impl Mixer {
    /// Returns what each source has contributed after `slots` slots, in the order of the sources.
    ///
    /// Examines up to 2²⁰ slots one by one for the largest deviation (tens of milliseconds); see
    /// [`SourceShare::deviation_slots`].
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

    /// Returns what each source contributes in each stage of the first `slots` slots.
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

    /// Returns the shares in slots that begin with a stage.
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

/// Returns the targets in a source's first `given` sequences, each counted once.
fn unique_tokens(order: &SourceOrder, given: u64) -> u64 {
    let windows = order.windows();
    let epochs = given / windows.sequences();
    if epochs == 0 || windows.are_rows() {
        return given.min(windows.sequences()) * windows.sequence_length();
    }
    windows.targets() + windows.left_out() - order.left_out(given)
}

/// Returns a fraction for a report, 0 for 0/0; it never decides anything.
pub(crate) fn ratio(numerator: u64, denominator: u64) -> f64 {
    if denominator == 0 { 0.0 } else { numerator as f64 / denominator as f64 }
}
