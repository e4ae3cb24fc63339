//! The stages of a run in order, and the assignment of slots to sources when weights change.

use std::ops::Range;

use crate::error::Error;
use crate::schedule::carried::Carried;
use crate::schedule::residual::Residual;
use crate::schedule::stage_weights::{GrowthSegment, StageWeights};
use crate::schedule::{self, Placement, Schedule};
use crate::weights::parts::WeightParts;

/// The weights of a mixture from a slot on.
#[derive(Debug, Clone)]
pub(crate) struct MixtureStage {
    /// Its first slot.
    pub(crate) start: u64,
    pub(crate) weights: StageWeights,
    /// Whether its start or the length of its ramp is counted in steps, and so depends on the batch size.
    pub(crate) in_steps: bool,
}

/// A stage of the run, and the state before it.
#[derive(Debug, Clone)]
struct StageStart {
    /// The earlier sequences of each source of the mixture.
    given: Vec<u64>,
    /// The residual of each source of the mixture at the stage's start.
    owed: Vec<Residual>,
}

/// Slots in which one rule assigns slots to sources.
#[derive(Debug, Clone)]
struct Segment {
    start: u64,
    /// The sources that the rule counts, by their position in the mixture, ascending.
    sources: Vec<u32>,
    rule: SegmentRule,
    /// The sequences of each source of the mixture before this segment.
    given: Vec<u64>,
    /// The largest difference between the rule's growth and the stage's, in sequences.
    error: f64,
}

#[derive(Debug, Clone)]
enum SegmentRule {
    /// The beginning of the run: no source is owed anything.
    First(Schedule),
    Carried(Carried),
}

/// The stages of a run. The first one begins at slot 0, and there is always at least one.
///
/// What a stage owes to each source passes to the next stage, so counts stay within a bound of the sum of all weights
/// so far, however many stages there are. A stage changes nothing before its own start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    stages: Vec<MixtureStage>,
    /// The start of each stage.
    begun: Vec<StageStart>,
    segments: Vec<Segment>,
}

impl Timeline {
    /// Makes a timeline of one stage, for a mixture of `sources`.
    ///
    /// # Errors
    /// A ramp is too long.
    pub(crate) fn new(sources: usize, first: MixtureStage) -> Result<Self, Error> {
        let mut timeline = Self::default();
        let begun =
            StageStart { given: vec![0; sources], owed: vec![Residual::default(); sources] };
        if first.weights.to().is_some() {
            timeline.add(first, begun)?;
            return Ok(timeline);
        }
        let parts = WeightParts::new(first.weights.from())?;
        timeline.segments.push(Segment {
            start: 0,
            sources: first.weights.members().to_vec(),
            rule: SegmentRule::First(Schedule::new(parts)),
            given: vec![0; sources],
            error: 0.0,
        });
        timeline.stages.push(first);
        timeline.begun.push(begun);
        Ok(timeline)
    }

    /// Adds a stage that begins after the last one.
    ///
    /// # Errors
    /// A ramp is too long.
    pub(crate) fn push(&mut self, stage: MixtureStage) -> Result<(), Error> {
        // Segments of a ramp after this start no longer apply.
        self.segments.retain(|segment| segment.start < stage.start);
        let all = (0_u32..).take(self.sources());
        let given = all.clone().map(|source| self.count(source, stage.start)).collect();
        let owed = all.map(|source| self.owed(source, stage.start)).collect();
        self.add(stage, StageStart { given, owed })
    }

    fn add(&mut self, stage: MixtureStage, begun: StageStart) -> Result<(), Error> {
        let nothing = Residual::default();
        let counted = (0_u32..)
            .zip(&begun.owed)
            .filter(|&(source, owed)| *owed != nothing || stage.weights.member(source).is_some());
        let sources: Vec<u32> = counted.map(|(source, _)| source).collect();
        let growths = stage.weights.segments(&sources)?;
        let stage_start = stage.start;
        self.stages.push(stage);
        self.begun.push(begun.clone());
        let mut given = Some(begun.given);
        for GrowthSegment { after, growth, error } in growths {
            let Some(start) = stage_start.checked_add(after) else { break };
            let given = given.take().unwrap_or_else(|| {
                let all = (0_u32..).take(self.sources());
                all.map(|source| self.count(source, start)).collect()
            });
            // The state before this segment, from which the next segments continue.
            let owed = sources.iter().map(|&source| match after {
                0 => begun.owed.get(place(source)).copied().unwrap_or_default(),
                _ => self.owed(source, start),
            });
            let rule = SegmentRule::Carried(Carried::new(&growth, &owed.collect::<Vec<_>>()));
            let sources = sources.clone();
            self.segments.push(Segment { start, sources, rule, given, error });
        }
        Ok(())
    }

    pub(crate) fn stages(&self) -> &[MixtureStage] {
        &self.stages
    }

    /// Returns whether a stage that begins at slot `slot` or later is counted in steps.
    pub(crate) fn counts_steps_from(&self, slot: u64) -> bool {
        self.stages.iter().any(|stage| stage.in_steps && stage.start >= slot)
    }

    /// Returns the schedule of the first stage, unless that stage is a ramp.
    pub(crate) fn first_schedule(&self) -> Option<&Schedule> {
        match self.segments.first().map(|segment| &segment.rule) {
            Some(SegmentRule::First(schedule)) => Some(schedule),
            _ => None,
        }
    }

    /// Returns the number of the mixture's sources.
    pub(crate) fn sources(&self) -> usize {
        self.segments.first().map_or(0, |segment| segment.given.len())
    }

    /// Returns the requested share of a source: the mean over some slots.
    pub(crate) fn requested(&self, source: u32, slots: &Range<u64>) -> f64 {
        let of = |slot: u64| self.stages.iter().rfind(|stage| stage.start <= slot);
        // An empty run still has its initial weights.
        let (first, last) = (of(slots.start), of(slots.end.max(1) - 1));
        if let (Some(first), Some(last)) = (first, last)
            && first.start == last.start
            && first.weights.to().is_none()
        {
            return first.weights.share(source);
        }
        let given = self.count(source, slots.end) - self.count(source, slots.start);
        let owed = |slots| self.owed(source, slots).sequences();
        let due = given as f64 + (owed(slots.end) - owed(slots.start));
        due / (slots.end - slots.start).max(1) as f64
    }

    fn segment_of(&self, slot: u64) -> usize {
        self.segments.partition_point(|segment| segment.start <= slot).saturating_sub(1)
    }

    /// Returns a walk over the slots from `slot` on.
    pub(crate) fn cursor(&self, slot: u64) -> TimelineCursor<'_> {
        let (before, after) = self.segments.split_at(self.segment_of(slot) + 1);
        // The first segment begins at slot 0, so there is always one.
        let segment = before.last().unwrap_or(&self.segments[0]);
        TimelineCursor { slot, segment, after, rule: segment.rule.cursor(slot - segment.start) }
    }

    /// Returns how many of the first `slots` belong to `source`; 0 for a source that does not exist.
    pub(crate) fn count(&self, source: u32, slots: u64) -> u64 {
        let segment = &self.segments[self.segment_of(slots)];
        let within = segment.member(source);
        let within = within.map_or(0, |member| segment.count(member, slots - segment.start));
        segment.given_before(source) + within
    }

    /// Returns what a source is owed after `slots` slots: its expected minus its given sequences.
    pub(crate) fn owed(&self, source: u32, slots: u64) -> Residual {
        let at = self.stages.partition_point(|stage| stage.start < slots).saturating_sub(1);
        let (Some(stage), Some(begun)) = (self.stages.get(at), self.begun.get(at)) else {
            return Residual::default();
        };
        let before = begun.owed.get(place(source)).copied().unwrap_or_default();
        let given_before = begun.given.get(place(source)).copied().unwrap_or(0);
        let given = self.count(source, slots) - given_before;
        stage.weights.owed(before, source, slots - stage.start, given)
    }

    /// Returns the slot of a source's sequence; `None` if no stage gives it or its slot exceeds 64 bits.
    pub(crate) fn slot_of(&self, source: u32, sequence: u64) -> Option<u64> {
        let after = self.segments.partition_point(|one| one.given_before(source) <= sequence);
        // A later segment without the source has the same earlier count as the segment that gave the last one.
        let before = after.checked_sub(1)?;
        let segment = self.segments.get(before)?;
        let member = segment.member(source)?;
        let sequence = sequence - segment.given_before(source);
        let end = self.segments.get(after).map_or(u64::MAX, |next| next.start);
        let within = match &segment.rule {
            SegmentRule::First(schedule) => schedule.slot_of(u32::try_from(member).ok()?, sequence),
            SegmentRule::Carried(carried) => carried.slot_of(member, sequence, end - segment.start),
        }?;
        segment.start.checked_add(within)
    }

    /// Returns the proven bound of a source's |count − W| in slots `start` to `end`.
    pub(crate) fn bound(&self, source: u32, start: u64, end: u64) -> f64 {
        let (first, last) = (self.segment_of(start), self.segment_of(end.saturating_sub(1)));
        let segments = self.segments.iter().take(last + 1).skip(first);
        let bounds = segments.map(|segment| match (segment.member(source), &segment.rule) {
            // Nothing is owed to it, and nothing is due.
            (None, _) => 0.0,
            (Some(member), SegmentRule::Carried(carried)) => carried.bound(member) + segment.error,
            (Some(member), SegmentRule::First(schedule)) => {
                schedule.deviation_bound(u32::try_from(member).unwrap_or(u32::MAX))
            }
        });
        bounds.fold(0.0, f64::max)
    }
}

impl Segment {
    /// Returns a source's index among those that the rule counts.
    fn member(&self, source: u32) -> Option<usize> {
        self.sources.binary_search(&source).ok()
    }

    fn count(&self, member: usize, slots: u64) -> u64 {
        match &self.rule {
            SegmentRule::First(schedule) => {
                u32::try_from(member).map_or(0, |member| schedule.count(member, slots))
            }
            SegmentRule::Carried(carried) => carried.count(member, slots),
        }
    }

    fn given_before(&self, source: u32) -> u64 {
        self.given.get(place(source)).copied().unwrap_or(0)
    }
}

fn place(source: u32) -> usize {
    usize::try_from(source).unwrap_or(usize::MAX)
}

impl SegmentRule {
    fn cursor(&self, slot: u64) -> SegmentCursor<'_> {
        match self {
            Self::First(schedule) => SegmentCursor::First(schedule.cursor(slot)),
            Self::Carried(carried) => SegmentCursor::Carried(carried, slot),
        }
    }
}

/// A walk over a timeline, slot by slot.
#[derive(Debug, Clone)]
pub(crate) struct TimelineCursor<'a> {
    slot: u64,
    segment: &'a Segment,
    /// The later segments.
    after: &'a [Segment],
    rule: SegmentCursor<'a>,
}

#[derive(Debug, Clone)]
enum SegmentCursor<'a> {
    First(schedule::ScheduleCursor<'a>),
    /// The slot is relative to the segment.
    Carried(&'a Carried, u64),
}

impl TimelineCursor<'_> {
    /// Returns the next slot.
    pub(crate) fn slot(&self) -> u64 {
        self.slot
    }

    /// Returns the source and sequence of the next slot, and advances past it.
    #[inline]
    pub(crate) fn take(&mut self) -> Placement {
        if let [next, later @ ..] = self.after
            && next.start == self.slot
        {
            (self.segment, self.after, self.rule) = (next, later, next.rule.cursor(0));
        }
        let Placement { source: member, sequence } = match &mut self.rule {
            SegmentCursor::First(cursor) => {
                let placement = cursor.at();
                cursor.advance();
                placement
            }
            SegmentCursor::Carried(carried, slot) => {
                let placement = carried.at(*slot);
                *slot = slot.wrapping_add(1);
                placement
            }
        };
        self.slot = self.slot.wrapping_add(1);
        let place = usize::try_from(member).unwrap_or(usize::MAX);
        let source = self.segment.sources.get(place).copied().unwrap_or(u32::MAX);
        Placement { source, sequence: self.segment.given_before(source) + sequence }
    }
}
