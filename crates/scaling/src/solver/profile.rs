//! Intervals by profile likelihood: how far a value can be moved, with all coefficients refitted, before the fit
//! becomes implausible.

use crate::laws::forms::{Form, NormalizedRow, Point};
use crate::solver::Solution;
use crate::solver::objective::Objective;
use crate::solver::polish::polish;
use mixdown_base::student::two_sided_95;

/// Rounds of bisection: 2⁻³⁰ of the bracket.
const ROUNDS: u32 = 30;

/// The largest objective that belongs to the 95 % interval of one value.
///
/// For Huber's loss ρ of scaled residuals, 2·Δ·E ψ′/E ψ² is asymptotically χ² with one degree of
/// freedom (Heritier and Ronchetti 1994); E ψ² is summed by configuration, so that runs of one
/// configuration do not count as independent, and t² with G − k degrees of freedom replaces χ².
/// For squares and one run a configuration this is the exact F threshold of a linear model.
pub(crate) fn threshold(rows: &[NormalizedRow], solution: &Solution, coefficients: usize) -> f64 {
    let count = rows.iter().map(|row| row.configuration + 1).max().unwrap_or(0);
    let degrees_of_freedom = count.saturating_sub(coefficients);
    if degrees_of_freedom == 0 {
        return f64::INFINITY;
    }
    let mut sums = vec![0.0; count];
    let mut inside = 0.0_f64;
    for (row, residual) in rows.iter().zip(&solution.residuals) {
        let scaled = residual / solution.delta;
        sums[row.configuration] += scaled.clamp(-1.0, 1.0);
        if scaled.abs() <= 1.0 {
            inside += 1.0;
        }
    }
    let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
    let variance = squares * count as f64 / degrees_of_freedom as f64 / inside.max(1.0);
    let quantile = two_sided_95(u64::try_from(degrees_of_freedom).unwrap_or(u64::MAX));
    // The rounding error of losses without noise.
    let rounding = 1e-20 * rows.len() as f64;
    solution.value + 0.5 * variance * quantile * quantile + rounding
}

/// A law through a given value at one place, refitted as that value moves.
pub(crate) struct Profile<'a, F> {
    pub rows: &'a [NormalizedRow],
    pub weights: &'a [f64],
    pub delta: f64,
    pub threshold: f64,
    /// The law through the value `x`.
    pub through: F,
}

impl<L: Form, F: Fn(f64) -> L> Profile<'_, F> {
    /// Returns how far from `best` towards `limit` the value stays plausible; `None` if it is plausible up to the
    /// limit.
    ///
    /// `start` is the optimum without the constraint; `first_step` the first distance tried, which
    /// then doubles.
    pub fn end(&self, best: f64, limit: f64, start: Point, first_step: f64) -> Option<f64> {
        let direction = (limit - best).signum();
        let (mut inside, mut at_inside, mut step) = (best, start, first_step);
        let outside = loop {
            let next = inside + direction * step;
            let reached = (next - limit) * direction >= 0.0;
            let next = if reached { limit } else { next };
            match self.fitted(next, at_inside) {
                Some(at) if reached => {
                    let _ = at;
                    return None;
                }
                Some(at) => (inside, at_inside) = (next, at),
                None => break next,
            }
            step *= 1.6;
        };
        Some(self.bisect(inside, at_inside, outside))
    }

    fn bisect(&self, mut inside: f64, mut at_inside: Point, mut outside: f64) -> f64 {
        for _ in 0..ROUNDS {
            let middle = f64::midpoint(inside, outside);
            match self.fitted(middle, at_inside) {
                Some(at) => (inside, at_inside) = (middle, at),
                None => outside = middle,
            }
        }
        f64::midpoint(inside, outside)
    }

    /// Returns the optimum of the other coefficients; `None` if the value is not plausible.
    pub fn fitted(&self, value: f64, start: Point) -> Option<Point> {
        let form = (self.through)(value);
        let objective = Objective::new(&form, self.rows, self.weights, self.delta);
        let optimum = polish(&objective, start)?;
        (optimum.value <= self.threshold).then_some(optimum.at)
    }
}
