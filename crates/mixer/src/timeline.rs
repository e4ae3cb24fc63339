//! The schedules of a run, one after another: which source fills which slot when weights change.

use crate::schedule::{Placement, Schedule};
use crate::shares::ratio;

/// The weights of a mixture from some slot on.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// Its first slot.
    pub(crate) start: u64,
    /// Its sources, by their place in the mixture, ascending; the schedule counts by this list.
    members: Vec<u32>,
    schedule: Schedule,
    /// Per source of the mixture, its sequences before this stage.
    given: Vec<u64>,
}

/// The stages of a run. The first begins at slot 0, and there is always one.
///
/// Within a stage the schedule begins anew, so a source's count since its start is within the
/// schedule's bound of its share since then; its sequences go on where they stood.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    stages: Vec<Stage>,
}

impl Timeline {
    /// A timeline of one stage, for a mixture of `sources`; `members` are the stage's, ascending.
    pub(crate) fn new(sources: usize, members: Vec<u32>, schedule: Schedule) -> Self {
        Self { stages: vec![Stage { start: 0, members, schedule, given: vec![0; sources] }] }
    }

    /// Adds a stage from slot `start` on, which lies after the last one's.
    pub(crate) fn push(&mut self, start: u64, members: Vec<u32>, schedule: Schedule) {
        let sources = self.stages.first().map_or(0, |stage| stage.given.len());
        let given = (0_u32..).take(sources).map(|source| self.count(source, start)).collect();
        self.stages.push(Stage { start, members, schedule, given });
    }

    pub(crate) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The stages' index that slot `slot` falls into.
    pub(crate) fn stage_of(&self, slot: u64) -> usize {
        self.stages.partition_point(|stage| stage.start <= slot).saturating_sub(1)
    }

    /// A walk over the slots from `slot` on.
    pub(crate) fn cursor(&self, slot: u64) -> Cursor<'_> {
        let (before, after) = self.stages.split_at(self.stage_of(slot) + 1);
        // The first stage begins at slot 0, so there is one.
        let stage = before.last().unwrap_or(&self.stages[0]);
        Cursor { slot, stage, after, cursor: stage.schedule.cursor(slot - stage.start) }
    }

    /// How many of the first `slots` fall to `source`; 0 for a source that does not exist.
    pub(crate) fn count(&self, source: u32, slots: u64) -> u64 {
        let stage = &self.stages[self.stage_of(slots)];
        let within = stage.member(source);
        let within = within.map_or(0, |member| stage.schedule.count(member, slots - stage.start));
        stage.given_before(source) + within
    }

    /// The slot of a source's sequence; `None` where no stage gives it or its slot passes 64 bits.
    pub(crate) fn slot_of(&self, source: u32, sequence: u64) -> Option<u64> {
        let after = self.stages.partition_point(|stage| stage.given_before(source) <= sequence);
        // A later stage without the source has given as many before as the one that gave the last.
        let stage = self.stages.get(after.checked_sub(1)?)?;
        let member = stage.member(source)?;
        let within = stage.schedule.slot_of(member, sequence - stage.given_before(source))?;
        stage.start.checked_add(within)
    }
}

impl Stage {
    pub(crate) fn members(&self) -> &[u32] {
        &self.members
    }

    /// Which source of its own fills which slot of its own.
    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// A source's place among the stage's own.
    pub(crate) fn member(&self, source: u32) -> Option<u32> {
        let place = self.members.binary_search(&source).ok()?;
        u32::try_from(place).ok()
    }

    /// A source's share of the stage; 0 where it has none.
    pub(crate) fn share(&self, source: u32) -> f64 {
        let parts = self.schedule.parts();
        self.member(source).map_or(0.0, |member| ratio(parts.part(member), parts.period()))
    }

    fn given_before(&self, source: u32) -> u64 {
        let place = usize::try_from(source).unwrap_or(usize::MAX);
        self.given.get(place).copied().unwrap_or(0)
    }
}

/// A walk over a timeline, slot by slot.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    slot: u64,
    stage: &'a Stage,
    /// The stages to come.
    after: &'a [Stage],
    cursor: crate::schedule::Cursor<'a>,
}

impl Cursor<'_> {
    /// The slot that comes next.
    pub(crate) fn slot(&self) -> u64 {
        self.slot
    }

    /// The source and sequence of the next slot, which is then passed.
    #[inline]
    pub(crate) fn take(&mut self) -> Placement {
        if let [next, later @ ..] = self.after
            && next.start == self.slot
        {
            (self.stage, self.after, self.cursor) = (next, later, next.schedule.cursor(0));
        }
        let Placement { source: member, sequence } = self.cursor.at();
        self.cursor.advance();
        self.slot = self.slot.wrapping_add(1);
        let place = usize::try_from(member).unwrap_or(usize::MAX);
        let source = self.stage.members.get(place).copied().unwrap_or(u32::MAX);
        Placement { source, sequence: self.stage.given_before(source) + sequence }
    }
}
