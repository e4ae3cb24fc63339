//! The assignment of slots to sources: one interface over the closed forms and the table.

pub(crate) mod carried;
pub(crate) mod deviation;
pub(crate) mod fork;
pub(crate) mod residual;
pub(crate) mod stage_weights;
pub(crate) mod table;
pub(crate) mod timeline;
pub(crate) mod tree;

use crate::mixture::shares::ratio;
use crate::schedule::fork::TwoSources;
use crate::schedule::table::Table;
use crate::schedule::tree::Tree;
use crate::weights::parts::WeightParts;

/// The version of the rule that turns weights into an order. A state of another version is refused, because its slots
/// would mean other sequences.
pub const SCHEDULE_VERSION: u16 = 2;

/// The assignment of a slot: a source, and the number of its sequence (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The source's position in the mixture, counted from 0.
    pub source: u32,
    /// The number of this source's earlier sequences.
    pub sequence: u64,
}

/// The source of every slot, exact at every prefix.
///
/// With integer parts aᵢ of the period P = Σ aᵢ, after any n slots each source has given its count cᵢ with |cᵢ −
/// n·aᵢ/P| at most 0 (one source), 1/2 (two), 1 − 1/(2K − 2) (K sources and P ≤ 16,384) or less than 1.68 (K sources,
/// any period up to 2⁶³ − 1). Both directions are closed forms or lookups at any slot; over the tree of long periods
/// they cost one division per level, at most min(K − 1, 91). docs/design/mixing.md proves the bounds.
///
/// ```
/// use mixdown_mixer::{Schedule, Weight, WeightParts};
///
/// let weights = ["99%", "1%"].map(|text| text.parse::<Weight>().unwrap());
/// let schedule = Schedule::new(WeightParts::of_weights(&weights).unwrap());
/// let placement = schedule.at(1_000_050);
/// assert_eq!((placement.source, placement.sequence), (1, 10_000));
/// assert_eq!(schedule.slot_of(1, 10_000), Some(1_000_050));
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    parts: WeightParts,
    rule: ScheduleRule,
}

#[derive(Debug, Clone)]
enum ScheduleRule {
    One,
    Two(TwoSources),
    Table(Table),
    Tree(Tree),
}

/// A position in a schedule that advances slot by slot.
#[derive(Debug, Clone)]
pub(crate) struct ScheduleCursor<'a> {
    schedule: &'a Schedule,
    /// The number of whole periods before it.
    periods: u64,
    /// The slot within the period.
    within: u64,
}

impl ScheduleCursor<'_> {
    /// Returns the source and sequence of this slot.
    #[inline]
    pub(crate) fn at(&self) -> Placement {
        self.schedule.within(self.periods, self.within)
    }

    /// Advances to the next slot.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.within += 1;
        if self.within == self.schedule.period() {
            self.within = 0;
            self.periods += 1;
        }
    }
}

impl Schedule {
    /// Makes the schedule of some integer parts. O(K log K), and O(P log K) for a period P ≤ 16,384.
    ///
    /// ```
    /// use mixdown_mixer::{Schedule, WeightParts};
    ///
    /// let schedule = Schedule::new(WeightParts::new(&[3, 1])?);
    /// assert_eq!((0..4).map(|slot| schedule.at(slot).source).collect::<Vec<_>>(), [0, 0, 1, 0]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn new(parts: WeightParts) -> Self {
        let rule = match *parts.parts() {
            [_] => ScheduleRule::One,
            [first, second] => ScheduleRule::Two(TwoSources::new(first, second)),
            _ => match Table::new(parts.parts()) {
                Some(table) => ScheduleRule::Table(table),
                None => ScheduleRule::Tree(Tree::new(parts.parts())),
            },
        };
        Self { parts, rule }
    }

    /// Returns the integer parts.
    ///
    /// ```
    /// use mixdown_mixer::{Schedule, WeightParts};
    ///
    /// let schedule = Schedule::new(WeightParts::new(&[3, 1])?);
    /// assert_eq!(schedule.parts().parts(), [3, 1]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn parts(&self) -> &WeightParts {
        &self.parts
    }

    /// Returns the number of slots after which the pattern of sources repeats.
    ///
    /// ```
    /// use mixdown_mixer::{Schedule, WeightParts};
    ///
    /// let schedule = Schedule::new(WeightParts::new(&[3, 1])?);
    /// assert_eq!(schedule.period(), 4);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn period(&self) -> u64 {
        self.parts.period()
    }

    /// Returns the source and sequence of a slot.
    ///
    /// ```
    /// use mixdown_mixer::{Schedule, WeightParts};
    ///
    /// let schedule = Schedule::new(WeightParts::new(&[3, 1])?);
    /// let placement = schedule.at(4_002);
    /// assert_eq!((placement.source, placement.sequence), (1, 1_000));
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn at(&self, slot: u64) -> Placement {
        self.cursor(slot).at()
    }

    /// Returns the source and sequence of a slot, given as whole periods and the slot within the next one.
    #[inline]
    fn within(&self, periods: u64, slot: u64) -> Placement {
        let within = match &self.rule {
            ScheduleRule::One => Placement { source: 0, sequence: slot },
            ScheduleRule::Two(two) => two.at(slot),
            ScheduleRule::Table(table) => table.at(slot),
            ScheduleRule::Tree(tree) => tree.at(slot),
        };
        let sequence = periods * self.parts.part(within.source) + within.sequence;
        Placement { sequence, ..within }
    }

    /// Returns a walk over the slots from `slot` on, in order, which saves most divisions.
    pub(crate) fn cursor(&self, slot: u64) -> ScheduleCursor<'_> {
        let (periods, within) = (slot / self.period(), slot % self.period());
        ScheduleCursor { schedule: self, periods, within }
    }

    /// Returns how many of the first `slots` slots belong to `source`; 0 for a source that does not exist.
    ///
    /// ```
    /// use mixdown_mixer::{Schedule, WeightParts};
    ///
    /// let schedule = Schedule::new(WeightParts::new(&[3, 1])?);
    /// assert_eq!((schedule.count(0, 1_000), schedule.count(1, 1_000)), (750, 250));
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn count(&self, source: u32, slots: u64) -> u64 {
        if source >= self.parts.sources() {
            return 0;
        }
        let (periods, slots) = (slots / self.period(), slots % self.period());
        let within = match &self.rule {
            ScheduleRule::One => slots,
            ScheduleRule::Two(two) => two.count(source, slots),
            ScheduleRule::Table(table) => table.count(source, slots),
            ScheduleRule::Tree(tree) => tree.count(source, slots),
        };
        periods * self.parts.part(source) + within
    }

    /// Returns the slot of a source's sequence, the inverse of [`at`](Self::at); `None` for a source that does not
    /// exist and for a slot beyond 64 bits.
    ///
    /// ```
    /// use mixdown_mixer::{Schedule, WeightParts};
    ///
    /// let schedule = Schedule::new(WeightParts::new(&[3, 1])?);
    /// assert_eq!(schedule.slot_of(1, 1_000), Some(4_002));
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn slot_of(&self, source: u32, sequence: u64) -> Option<u64> {
        if source >= self.parts.sources() {
            return None;
        }
        let part = self.parts.part(source);
        let (periods, sequence) = (sequence / part, sequence % part);
        let within = match &self.rule {
            ScheduleRule::One => sequence,
            ScheduleRule::Two(two) => two.slot_of(source, sequence),
            ScheduleRule::Table(table) => table.slot_of(source, sequence),
            ScheduleRule::Tree(tree) => tree.slot_of(source, sequence),
        };
        periods.checked_mul(self.period())?.checked_add(within)
    }

    /// Returns the proven bound of |count − n·w| for `source`, in sequences.
    ///
    /// ```
    /// use mixdown_mixer::{Schedule, WeightParts};
    ///
    /// let schedule = Schedule::new(WeightParts::new(&[3, 1])?);
    /// assert_eq!(schedule.deviation_bound(1), 0.5);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn deviation_bound(&self, source: u32) -> f64 {
        match &self.rule {
            ScheduleRule::One => 0.0,
            ScheduleRule::Two(_) => 0.5,
            ScheduleRule::Table(_) => 1.0 - ratio(1, 2 * u64::from(self.parts.sources()) - 2),
            ScheduleRule::Tree(tree) => tree.deviation_bound(source),
        }
    }
}
