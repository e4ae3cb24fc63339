//! The weights of a stage: constant, or changing linearly.

use mixdown_base::quantity::greatest_common_divisor;

use crate::error::Error;
use crate::mixture::shares::ratio;
use crate::schedule::carried::Growth;
use crate::schedule::residual::Residual;
use crate::weights::parts::{LARGEST_PERIOD, WeightParts};

/// The sources of a stage and their parts.
#[derive(Debug, Clone)]
pub(crate) struct StageWeights {
    /// The sources, by their position in the mixture, ascending.
    members: Vec<u32>,
    /// The parts of each member at the stage's start.
    from: Vec<u64>,
    /// The parts of each member at the end of the ramp and afterwards; equal to `from` without a ramp.
    to: Vec<u64>,
    /// The sum of the parts, which is the same for both.
    period: u64,
    /// The slots of the ramp; 0 without a ramp.
    over: u64,
}

/// Slots of a stage in which one formula gives the growth of the expected counts.
#[derive(Debug)]
pub(crate) struct GrowthSegment {
    /// The slots of the stage before it.
    pub(crate) after: u64,
    pub(crate) growth: Growth,
    /// The largest difference between the formula and the stage's weights within it, in sequences.
    pub(crate) error: f64,
}

/// The weights of some sources: their positions, ascending, and their parts.
pub(crate) type Parts = (Vec<u32>, WeightParts);

/// With more than two sources a ramp consists of segments of constant weights, short enough that within each one the
/// expected count differs from the ramp's by at most this fraction of a sequence.
const SEGMENT_ERROR_PARTS: u64 = 128;

/// The largest number of segments of a ramp, at some hundred bytes per source each.
const MOST_SEGMENTS: u64 = 1 << 16;

impl StageWeights {
    /// Makes constant weights.
    pub(crate) fn constant((members, parts): Parts) -> Self {
        let from = parts.parts().to_vec();
        Self { members, to: from.clone(), from, period: parts.period(), over: 0 }
    }

    /// Makes weights that change linearly over `over` slots, at least 1.
    ///
    /// # Errors
    /// The common period of the weights, times twice the slots, exceeds [`LARGEST_PERIOD`].
    pub(crate) fn ramp(from: &Parts, to: &Parts, over: u64) -> Result<Self, Error> {
        let mut members: Vec<u32> = from.0.iter().chain(&to.0).copied().collect();
        members.sort_unstable();
        members.dedup();
        let (one, other) = (u128::from(from.1.period()), u128::from(to.1.period()));
        let common = one / greatest_common_divisor(one, other) * other;
        let period = common
            .checked_mul(2 * u128::from(over))
            .filter(|&period| period <= u128::from(LARGEST_PERIOD))
            .and_then(|_| u64::try_from(common).ok())
            .ok_or_else(|| Error::WeightOverflow {
                expected: LARGEST_PERIOD,
                got: format!("2 times {over} slots of a ramp times a period of {common}"),
            })?;
        let spread = |(sources, parts): &Parts| -> Vec<u64> {
            let scale = period / parts.period();
            let place = |source| sources.binary_search(source).ok();
            let part = |place| parts.parts().get::<usize>(place).map_or(0, |part| part * scale);
            members.iter().map(|source| place(source).map_or(0, part)).collect()
        };
        let (from, to) = (spread(from), spread(to));
        Ok(Self { members, from, to, period, over })
    }

    pub(crate) fn members(&self) -> &[u32] {
        &self.members
    }

    /// Returns the parts at the stage's start.
    pub(crate) fn from(&self) -> &[u64] {
        &self.from
    }

    /// Returns the parts at the end of the ramp, and its slots.
    pub(crate) fn to(&self) -> Option<(&[u64], u64)> {
        (self.over > 0).then_some((self.to.as_slice(), self.over))
    }

    /// Returns the stage's weights after its ramp.
    pub(crate) fn end(&self) -> Result<Parts, Error> {
        let kept = self.members.iter().zip(&self.to).filter(|(_, part)| **part > 0);
        let (members, parts): (Vec<u32>, Vec<u64>) = kept.unzip();
        Ok((members, WeightParts::new(&parts)?))
    }

    /// Returns the index of a source among the members.
    pub(crate) fn member(&self, source: u32) -> Option<usize> {
        self.members.binary_search(&source).ok()
    }

    /// Returns what a source is owed after the stage's first `slots`, if it was owed `before` and got `given` in them.
    pub(crate) fn owed(&self, before: Residual, source: u32, slots: u64, given: u64) -> Residual {
        let part = |parts: &[u64]| {
            self.member(source).and_then(|member| parts.get(member)).copied().unwrap_or(0)
        };
        let (from, to) = (u128::from(part(&self.from)), u128::from(part(&self.to)));
        let (on_ramp, over) = (u128::from(slots.min(self.over)), u128::from(self.over));
        // The sum of a line: all terms are below 2·over·period·slots, and so below 2¹²⁷.
        let line = from * on_ramp * (2 * over - on_ramp) + to * on_ramp * on_ramp;
        let after = u128::from(slots.saturating_sub(self.over));
        let total = self.period.saturating_mul(2).saturating_mul(self.over).max(1);
        before.after(line, total, given).after(to * after, self.period, 0)
    }

    /// Returns a source's share at the stage's start; 0 if it has none.
    pub(crate) fn share(&self, source: u32) -> f64 {
        let part = self.member(source).and_then(|member| self.from.get(member));
        part.map_or(0.0, |&part| ratio(part, self.period))
    }

    /// Returns the growth of `sources` (the members, and possibly others) from slot to slot of the stage, as segments
    /// with their starts after the beginning of the stage.
    ///
    /// # Errors
    /// A ramp of more than two sources is too long for its segments.
    pub(crate) fn segments(&self, sources: &[u32]) -> Result<Vec<GrowthSegment>, Error> {
        let parts = |all: &[u64]| -> Vec<u64> {
            let part = |source| self.member(source).and_then(|member| all.get(member));
            sources.iter().map(|&source| part(source).copied().unwrap_or(0)).collect()
        };
        let (from, to) = (parts(&self.from), parts(&self.to));
        let end = Growth { linear: to.clone(), square: Vec::new(), total: self.period };
        let total = self.period.saturating_mul(2).saturating_mul(self.over);
        let mut segments = Vec::new();
        if self.over > 0 && sources.len() <= 2 {
            let square = from.iter().zip(&to).map(|(&from, &to)| signed(to) - signed(from));
            let linear = from.iter().map(|&from| 2 * self.over * from).collect();
            let growth = Growth { linear, square: square.collect(), total };
            segments.push(GrowthSegment { after: 0, growth, error: 0.0 });
        } else if self.over > 0 {
            let len = self.segment_len(&from, &to)?;
            let mut start = 0;
            while start < self.over {
                let next = self.over.min(start + len);
                // Twice the middle of the segment, where the ramp has its mean.
                let twice = start + next;
                let at = |(&from, &to): (&u64, &u64)| from * (2 * self.over - twice) + to * twice;
                let linear = from.iter().zip(&to).map(at).collect();
                let growth = Growth { linear, square: Vec::new(), total };
                let error = if len == 1 { 0.0 } else { ratio(1, SEGMENT_ERROR_PARTS) };
                segments.push(GrowthSegment { after: start, growth, error });
                start = next;
            }
        }
        segments.push(GrowthSegment { after: self.over, growth: end, error: 0.0 });
        Ok(segments)
    }

    /// Returns the slots of a segment. In a segment of ℓ slots, weights that move by Δ in N slots differ from the line
    /// by at most Δ·ℓ²/(8·N).
    fn segment_len(&self, from: &[u64], to: &[u64]) -> Result<u64, Error> {
        let moved: u128 =
            from.iter().zip(to).map(|(from, to)| u128::from(to.abs_diff(*from))).sum();
        // The share of any set of sources moves by at most half of this.
        let moved = (moved / 2).max(1);
        let scale = 8 * u128::from(self.over) * u128::from(self.period);
        let square = scale / (u128::from(SEGMENT_ERROR_PARTS) * moved);
        let len = u64::try_from(square.isqrt()).unwrap_or(u64::MAX).clamp(1, self.over);
        if self.over.div_ceil(len) > MOST_SEGMENTS {
            return Err(Error::RampTooLong { got: self.over });
        }
        Ok(len)
    }
}

fn signed(part: u64) -> i64 {
    // A ramp's parts are below 2⁶².
    i64::try_from(part).unwrap_or(i64::MAX)
}
