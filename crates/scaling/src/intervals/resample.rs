//! Intervals by resampling configurations.
//!
//! Every draw gives each configuration (N, D, p) the residuals of a configuration drawn at random, all
//! its runs together and with a random sign, adds them to the fitted law and fits again: a residual
//! bootstrap by cluster. Residuals are divided by √(1 − leverage) first (CR2; Bell and McCaffrey
//! 2002), because a fit swallows half of the residuals of 8 configurations with 4 coefficients; left
//! out, intervals cover too little. Drawing configurations themselves loses cells that the law needs,
//! and random weights or signs on a configuration's own residual know nothing of the noise where
//! leverage is nearly 1: docs/design/scaling.md has what each of them covers.

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::intervals::student::two_sided_95;
use crate::laws::form::{Form, Point, Row};
use crate::plan::simulate::Noise;
use crate::solver::objective::Objective;
use crate::solver::solution::{Solution, from_starts};
use crate::solver::starts::StartGrid;

/// Grid nodes that a draw looks at besides the fit's own optima.
const NODES: usize = 64;
/// The two-sided 95 % quantile of the normal distribution, to which percentiles correspond.
const NORMAL_95: f64 = 1.959_964;
/// 1 − leverage counts as this at least: beyond, a residual is all rounding.
const LEAST_REST: f64 = 0.01;

/// How many draws, and from which seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draws {
    pub count: u32,
    pub seed: u64,
}

/// The optima of all draws, in their order, without those that did not converge.
///
/// Draw k uses stream k of the seed, so the result does not depend on the number of threads.
pub(crate) fn resample(
    form: &dyn Form,
    rows: &[Row],
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

/// For every configuration the residuals of its runs, with what the fit swallowed of them given back.
/// A configuration's runs have nearly equal slopes, so its block of the hat matrix is h/m everywhere, and
/// (1 − H)^(−1/2)·r changes the mean alone, by 1/√(1 − h).
fn residuals_by_configuration(
    form: &dyn Form,
    rows: &[Row],
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

/// Number of configurations.
pub(crate) fn configurations(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.configuration + 1).max().unwrap_or(0)
}

/// By what the draws' distance from the best value is stretched: Student's t with G − k degrees of
/// freedom for G configurations and k coefficients, by the normal quantile (Hesterberg 2015, "expanded
/// percentile interval").
pub(crate) fn stretch(configurations: usize, coefficients: usize) -> f64 {
    let degrees_of_freedom = configurations.saturating_sub(coefficients);
    two_sided_95(u64::try_from(degrees_of_freedom).unwrap_or(u64::MAX)) / NORMAL_95
}
