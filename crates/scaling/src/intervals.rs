//! Numbers with their 95 % intervals, and the bootstrap that makes the intervals.
//!
//! Every draw of the bootstrap gives each configuration (N, D, p) the residuals of a configuration that is drawn at
//! random, all its runs together and with a random sign, adds them to the fitted law and fits the law again: a residual
//! bootstrap by cluster. Residuals are divided by √(1 − leverage) first (CR2; Bell and McCaffrey 2002), because a fit
//! with 4 coefficients absorbs half of the residuals of 8 configurations; without the division, intervals cover too
//! little. Drawing the configurations themselves loses cells that the law needs, and random weights or signs on a
//! configuration's own residual cannot see the noise where the leverage is nearly 1: docs/design/scaling.md has the
//! coverage of each of them.

use crate::laws::forms::{Form, NormalizedRow, Point};
use crate::plan::simulate::Noise;
use crate::solver::objective::Objective;
use crate::solver::starts::StartGrid;
use crate::solver::{Solution, from_starts};
use mixdown_base::student::{NORMAL_95, two_sided_95};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

/// A 95 % interval. An end that the observations do not bound is open (`None`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Interval {
    /// The interval that is open on both sides: nothing is known.
    pub const OPEN: Self = Self { low: None, high: None };

    /// Returns the interval with these ends; an end that is not finite is open.
    ///
    /// ```
    /// use mixdown_scaling::Interval;
    ///
    /// let interval = Interval::new(0.5, f64::INFINITY);
    /// assert_eq!(interval.high, None);
    /// assert!(interval.contains(7.0) && !interval.is_bounded());
    /// assert_eq!(interval.map(|end| 2.0 * end).low, Some(1.0));
    /// ```
    pub fn new(low: f64, high: f64) -> Self {
        Self {
            low: Some(low).filter(|low| low.is_finite()),
            high: Some(high).filter(|high| high.is_finite()),
        }
    }

    /// Returns whether both ends are bounded.
    pub fn is_bounded(&self) -> bool {
        self.low.is_some() && self.high.is_some()
    }

    /// Returns whether a value lies within the interval; an open end contains everything on its side.
    pub fn contains(&self, value: f64) -> bool {
        self.low.is_none_or(|low| low <= value) && self.high.is_none_or(|high| value <= high)
    }

    /// Applies a rising function to both ends.
    pub fn map(self, rising: impl Fn(f64) -> f64) -> Self {
        Self { low: self.low.map(&rising), high: self.high.map(&rising) }
    }
}

/// A value and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Best value.
    pub value: f64,
    /// 95 % interval.
    pub interval: Interval,
}

/// A coefficient of a law in plain units of N (parameters), D (tokens) and p (a share).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// The name in the formula: `A`, `B`, `alpha`, `beta`, `E`, …
    pub name: String,
    /// Best value.
    pub value: f64,
    /// 95 % interval; open if none was computed or none exists.
    pub interval: Interval,
    /// Whether the search stopped at the edge of the coefficient's range, because the observations do not determine it.
    pub at_bound: bool,
}

/// Grid nodes that a draw looks at besides the fit's own optima.
const NODES: usize = 64;

/// The least value of 1 − leverage that is used: below it, a residual is rounding error only.
const LEAST_REST: f64 = 0.01;

/// The number of draws and their seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draws {
    pub count: u32,
    pub seed: u64,
}

/// Returns the optima of all draws in their order, without those that did not converge.
///
/// Draw k uses stream k of the seed, so the result does not depend on the number of threads.
pub(crate) fn resample(
    form: &dyn Form,
    rows: &[NormalizedRow],
    solution: &Solution,
    draws: Draws,
) -> Vec<Point> {
    let weights = vec![1.0; rows.len()];
    let grid = StartGrid::new(form, rows).best(rows, NODES);
    let known: Vec<Point> = solution.optima.iter().take(2).map(|optimum| optimum.1).collect();
    let Some(residuals) = residuals_by_configuration(form, rows, solution) else {
        return Vec::new();
    };
    let one = |draw: u32| {
        let mut noise = Noise::new(draws.seed, u64::from(draw));
        let sources: Vec<(usize, f64)> =
            (0..residuals.len()).map(|_| (noise.below(residuals.len()), noise.sign())).collect();
        let mut taken = vec![0; residuals.len()];
        let mut drawn = rows.to_vec();
        for (row, own) in drawn.iter_mut().zip(&solution.residuals) {
            let (source, sign) = sources[row.configuration];
            let from = &residuals[source];
            let run = taken[row.configuration] % from.len();
            taken[row.configuration] += 1;
            row.ln_measured += sign * from[run] - own;
            row.measured = row.ln_measured.exp();
        }
        let mut starts = known.clone();
        starts.extend(grid.starts(&drawn, &weights, 1));
        from_starts(form, &drawn, &weights, solution.delta, &starts).ok().map(|found| found.at)
    };
    let optima: Vec<Option<Point>> = (0..draws.count).into_par_iter().map(one).collect();
    optima.into_iter().flatten().collect()
}

/// Returns for every configuration the residuals of its runs, enlarged by what the fit absorbed of them.
/// The runs of a configuration have nearly equal slopes, so its block of the hat matrix is h/m everywhere, and
/// (1 − H)^(−1/2)·r changes only the mean, by 1/√(1 − h).
fn residuals_by_configuration(
    form: &dyn Form,
    rows: &[NormalizedRow],
    solution: &Solution,
) -> Option<Vec<Vec<f64>>> {
    let weights = vec![1.0; rows.len()];
    let objective = Objective::new(form, rows, &weights, solution.delta);
    let leverages = objective.leverages(&solution.at)?;
    let mut groups = vec![(Vec::new(), 0.0_f64); configurations(rows)];
    for ((row, residual), leverage) in rows.iter().zip(&solution.residuals).zip(&leverages) {
        groups[row.configuration].0.push(*residual);
        groups[row.configuration].1 += leverage;
    }
    let whole = |(residuals, leverage): &(Vec<f64>, f64)| {
        let mean = residuals.iter().sum::<f64>() / residuals.len() as f64;
        let lift = (1.0 - leverage).max(LEAST_REST).sqrt().recip() - 1.0;
        residuals.iter().map(|residual| residual + lift * mean).collect()
    };
    Some(groups.iter().map(whole).collect())
}

/// The number of configurations.
pub(crate) fn configurations(rows: &[NormalizedRow]) -> usize {
    rows.iter().map(|row| row.configuration + 1).max().unwrap_or(0)
}

/// The factor by which the distance of the draws from the best value is stretched: Student's t with G − k degrees of
/// freedom for G configurations and k coefficients, divided by the normal quantile (Hesterberg 2015, "expanded
/// percentile interval").
pub(crate) fn stretch(configurations: usize, coefficients: usize) -> f64 {
    let degrees_of_freedom = configurations.saturating_sub(coefficients);
    two_sided_95(u64::try_from(degrees_of_freedom).unwrap_or(u64::MAX)) / NORMAL_95
}
