//! What a run has drawn from each source.

use serde::{Deserialize, Serialize};

use crate::deviation::{Deviations, largest_deviations};
use crate::mixer::Mixer;

/// What one source has given after some slots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceShare {
    /// The source's name.
    pub name: String,
    /// Its share as asked for, of all sequences.
    pub requested: f64,
    /// Its share as delivered; 0 before the first slot.
    pub realised: f64,
    /// Its sequences.
    pub sequences: u64,
    /// Its targets: sequences times T.
    pub tokens: u64,
    /// Its targets, each counted once.
    pub unique_tokens: u64,
    /// How often its data were gone through.
    pub epochs: f64,
    /// The largest |count − n·w| in sequences over the prefixes n of the first
    /// `deviation_slots` slots: an exact rational, then rounded to a float.
    pub largest_deviation: f64,
    /// The slots that `largest_deviation` covers: all of them where the run or the schedule's
    /// period is at most 2²⁰ slots or, with two sources, a whole period is covered, else the first
    /// 2²⁰.
    pub deviation_slots: u64,
    /// What |count − n·w| is proven not to pass at any prefix.
    pub deviation_bound: f64,
}

pub(crate) fn shares(mixer: &Mixer, slots: u64) -> Vec<SourceShare> {
    let schedule = mixer.schedule();
    let Deviations { largest, slots: deviation_slots } = largest_deviations(schedule, slots);
    let period = schedule.period();
    let windows = mixer.orders().iter().map(|order| order.windows());
    let names = mixer.mixture().sources().iter().map(|source| &source.name);
    (0_u32..)
        .zip(names)
        .zip(windows)
        .zip(largest)
        .map(|(((source, name), windows), largest)| {
            let sequences = schedule.count(source, slots);
            SourceShare {
                name: name.clone(),
                requested: ratio(schedule.parts().part(source), period),
                realised: ratio(sequences, slots),
                sequences,
                tokens: sequences.saturating_mul(windows.sequence_length()),
                unique_tokens: sequences.min(windows.sequences()) * windows.sequence_length(),
                epochs: ratio(sequences, windows.sequences()),
                largest_deviation: largest,
                deviation_slots,
                deviation_bound: schedule.deviation_bound(source),
            }
        })
        .collect()
}

/// A fraction for a report, 0 for 0/0; no decision is made with it.
pub(crate) fn ratio(numerator: u64, denominator: u64) -> f64 {
    if denominator == 0 { 0.0 } else { numerator as f64 / denominator as f64 }
}
