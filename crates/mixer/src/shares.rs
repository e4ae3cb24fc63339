//! What a run has drawn from each source.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::deviation::{Deviations, largest_deviations};
use crate::mixer::Mixer;
use crate::timeline::Stage;

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
    /// Its targets since the run began, each counted once.
    pub unique_tokens: u64,
    /// How often its data were gone through since the run began.
    pub epochs: f64,
    /// The slot from which on its data repeat, where these slots or those before reach it.
    pub repeats_from_slot: Option<u64>,
    /// The largest |count − n·w| in sequences over the prefixes n of the first
    /// `deviation_slots` slots, in every stage from its start: an exact rational, then rounded to a
    /// float.
    pub largest_deviation: f64,
    /// The slots that `largest_deviation` covers: all of them where the run or the schedule's
    /// period is at most 2²⁰ slots or, with two sources, a whole period is covered, else the first
    /// 2²⁰ of each stage.
    pub deviation_slots: u64,
    /// What |count − n·w| is proven not to pass at any prefix of a stage.
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
    /// Looks at up to 2²⁰ slots of each stage one by one for the largest deviation (some tens of
    /// milliseconds); see [`SourceShare::deviation_slots`].
    pub fn shares(&self, slots: u64) -> Vec<SourceShare> {
        self.shares_between(0..slots)
    }

    /// What each source gives in each stage of the first `slots` slots.
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
        let parts: Vec<StagePart> = StagePart::of(timeline.stages(), &slots).collect();
        let len_slots = slots.end - slots.start;
        let windows = self.orders().iter().map(|order| order.windows());
        let names = self.mixture().sources().iter().map(|source| &source.name);
        (0_u32..)
            .zip(names)
            .zip(windows)
            .map(|((source, name), windows)| {
                let given = timeline.count(source, slots.end);
                let sequences = given - timeline.count(source, slots.start);
                let own = parts.iter().filter_map(|part| part.of_source(source));
                let repeats = timeline.slot_of(source, windows.sequences());
                SourceShare {
                    name: name.clone(),
                    requested: self.requested(source, &parts),
                    realised: ratio(sequences, len_slots),
                    sequences,
                    tokens: sequences.saturating_mul(windows.sequence_length()),
                    unique_tokens: given.min(windows.sequences()) * windows.sequence_length(),
                    epochs: ratio(given, windows.sequences()),
                    repeats_from_slot: repeats.filter(|&slot| slot < slots.end),
                    largest_deviation: own.clone().map(|(largest, _)| largest).fold(0.0, f64::max),
                    deviation_slots: parts.iter().map(|part| part.deviations.slots).sum(),
                    deviation_bound: own.map(|(_, bound)| bound).fold(0.0, f64::max),
                }
            })
            .collect()
    }
}

impl Mixer {
    /// The share of a source that was asked for: the mean over the stages' slots.
    fn requested(&self, source: u32, parts: &[StagePart<'_>]) -> f64 {
        match parts {
            // Before the first slot the share is what the run begins with.
            [] => {
                self.mixture().timeline().stages().first().map_or(0.0, |stage| stage.share(source))
            }
            [part] => part.stage.share(source),
            _ => {
                let slots: u64 = parts.iter().map(|part| part.slots).sum();
                let asked = parts.iter().map(|part| part.stage.share(source) * part.slots as f64);
                asked.sum::<f64>() / slots as f64
            }
        }
    }
}

/// The slots of one stage.
struct StagePart<'m> {
    stage: &'m Stage,
    slots: u64,
    deviations: Deviations,
}

impl<'m> StagePart<'m> {
    fn of(stages: &'m [Stage], slots: &Range<u64>) -> impl Iterator<Item = Self> {
        let ends = stages.iter().skip(1).map(|stage| stage.start).chain([u64::MAX]);
        let slots = slots.clone();
        stages.iter().zip(ends).filter_map(move |(stage, end)| {
            // An empty run still has its weights, which its first stage asks for.
            let (start, end) = (stage.start.max(slots.start), end.min(slots.end));
            (start < end).then(|| {
                let deviations = largest_deviations(stage.schedule(), end - stage.start);
                Self { stage, slots: end - start, deviations }
            })
        })
    }

    /// The largest deviation and its bound.
    fn of_source(&self, source: u32) -> Option<(f64, f64)> {
        let member = self.stage.member(source)?;
        let largest = self.deviations.largest.get(usize::try_from(member).ok()?)?;
        Some((*largest, self.stage.schedule().deviation_bound(member)))
    }
}

/// A fraction for a report, 0 for 0/0; no decision is made with it.
pub(crate) fn ratio(numerator: u64, denominator: u64) -> f64 {
    if denominator == 0 { 0.0 } else { numerator as f64 / denominator as f64 }
}
