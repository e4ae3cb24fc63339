//! The fit of one law to rows: a coarse grid, several starting points, and the optimum that they agree on.

use crate::error::Error;
use crate::fit::records::{Convergence, Residual};
use crate::laws::forms::{Form, NormalizedRow, Point, searched};
use crate::solver::objective::Objective;
use crate::solver::polish::{GRADIENT_TOLERANCE, Optimum, polish};
use crate::solver::starts::StartGrid;

pub(crate) mod linear;
pub(crate) mod objective;
pub(crate) mod polish;
pub(crate) mod profile;
pub(crate) mod scale;
pub(crate) mod search;
pub(crate) mod starts;

/// Starting points that are polished.
const STARTS: usize = 6;
/// Starting points of the grid that are polished again, besides the known optima, when δ changes.
const WARM_STARTS: usize = 2;
/// Huber's constant by the scale of the residuals: 95 % efficient where they are Gaussian
/// (Huber 1981, section 4.2).
const EFFICIENT: f64 = 1.345;
/// The least δ, in log loss: the value that scaling laws are commonly fitted with.
pub(crate) const LEAST_DELTA: f64 = 1e-3;

/// A δ above every log residual, at which the Huber loss is the square.
const SQUARES: f64 = 1.0;

/// The best optimum found, and how many starting points agree on it.
#[derive(Debug, Clone)]
pub(crate) struct Solution {
    pub at: Point,
    pub delta: f64,
    /// Sum of the scaled Huber losses.
    pub value: f64,
    pub gradient_norm: f64,
    pub starts: u64,
    pub agreeing_starts: u64,
    /// Distinct optima, the best first.
    pub optima: Vec<(f64, Point)>,
    /// Log residuals, row by row.
    pub residuals: Vec<f64>,
}

/// Fits a law with weight 1 for every row. Without a `delta` it is chosen from the residuals: 1.345 times their scale,
/// and at least 1e-3.
pub(crate) fn solve(
    form: &dyn Form,
    rows: &[NormalizedRow],
    delta: Option<f64>,
) -> Result<Solution, Error> {
    let weights = vec![1.0; rows.len()];
    let starts = StartGrid::new(form, rows).starts(rows, &weights, STARTS);
    if let Some(delta) = delta {
        return from_starts(form, rows, &weights, delta, &starts);
    }
    // Least squares first, then two rounds: the scale of the residuals hardly moves after that.
    let mut solution = from_starts(form, rows, &weights, SQUARES, &starts)?;
    for _ in 0..2 {
        let delta = efficient_delta(&solution.residuals, searched(form));
        let mut warm = vec![solution.at];
        warm.extend(solution.optima.iter().skip(1).map(|optimum| optimum.1));
        warm.extend(starts.iter().take(WARM_STARTS).copied());
        solution = from_starts(form, rows, &weights, delta, &warm)?;
    }
    Ok(solution)
}

/// Polishes several starting points and returns the best optimum.
pub(crate) fn from_starts(
    form: &dyn Form,
    rows: &[NormalizedRow],
    weights: &[f64],
    delta: f64,
    starts: &[Point],
) -> Result<Solution, Error> {
    let objective = Objective::new(form, rows, weights, delta);
    let mut found: Vec<Optimum> =
        starts.iter().filter_map(|start| polish(&objective, *start)).collect();
    found.sort_by(|left, right| left.value.total_cmp(&right.value));
    let best = found.first().copied();
    let unconverged = |gradient_norm| Error::Unconverged {
        starts: u64::try_from(starts.len()).unwrap_or(u64::MAX),
        tolerance: GRADIENT_TOLERANCE,
        gradient_norm,
    };
    let Some(best) = best else { return Err(unconverged(f64::NAN)) };
    // The least value that is an optimum; a value that differs from it only by rounding is as good.
    let converged = found.iter().find(|one| one.converged());
    let best = match converged {
        Some(one) if one.value <= best.value * (1.0 + 1e-6) + 1e-12 => *one,
        _ => return Err(unconverged(best.gradient_norm)),
    };
    let residuals = objective.residuals(&best.at).ok_or_else(|| unconverged(f64::NAN))?;
    let optima = distinct_optima(&found, best);
    let agreeing = found.iter().filter(|one| is_as_good(one, &best)).count();
    Ok(Solution {
        at: best.at,
        delta,
        value: best.value,
        gradient_norm: best.gradient_norm,
        starts: u64::try_from(starts.len()).unwrap_or(u64::MAX),
        agreeing_starts: u64::try_from(agreeing).unwrap_or(u64::MAX),
        optima,
        residuals,
    })
}

fn distinct_optima(found: &[Optimum], best: Optimum) -> Vec<(f64, Point)> {
    let mut optima = vec![(best.value, best.at)];
    for one in found.iter().filter(|one| one.converged()) {
        let known = optima.iter().any(|(value, at)| {
            let same = one.at.iter().zip(at).all(|(left, right)| (left - right).abs() < 1e-3);
            same && (one.value - value).abs() <= 1e-3 * value.abs() + 1e-9
        });
        if !known {
            optima.push((one.value, one.at));
        }
    }
    optima
}

fn is_as_good(one: &Optimum, best: &Optimum) -> bool {
    one.value <= best.value * (1.0 + 1e-6) + 1e-12
}

/// 1.345 times the scale of the residuals, which is 1.4826 times their median size, corrected for the coefficients.
fn efficient_delta(residuals: &[f64], coefficients: usize) -> f64 {
    let mut sizes: Vec<f64> = residuals.iter().map(|residual| residual.abs()).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    // The fit passes through as many points as it has coefficients, so the median is over the others.
    let skipped = coefficients.min(sizes.len().saturating_sub(1));
    let rest = &sizes[skipped..];
    let median = rest.get(rest.len() / 2).copied().unwrap_or(0.0);
    (EFFICIENT * 1.4826 * median).max(LEAST_DELTA)
}

impl Solution {
    /// Whether a coordinate that is searched ended at the edge of its range.
    pub fn is_at_bound(&self, form: &dyn Form, coordinate: usize) -> bool {
        let objective = Objective::new(form, &[], &[], self.delta);
        let (low, high) = objective.bounds[coordinate];
        let at = self.at[coordinate];
        low < high && (at <= low + 1e-9 || at >= high - 1e-9)
    }

    /// Returns how well the search converged, for a reader.
    pub fn convergence(&self) -> Convergence {
        let objective = |value: f64| value * self.delta * self.delta;
        let squares: f64 = self.residuals.iter().map(|residual| residual * residual).sum();
        Convergence {
            objective: objective(self.value),
            huber_delta: self.delta,
            gradient_norm: self.gradient_norm,
            starts: self.starts,
            agreeing_starts: self.agreeing_starts,
            optima: self.optima.iter().map(|(value, _)| objective(*value)).collect(),
            root_mean_square: (squares / self.residuals.len().max(1) as f64).sqrt(),
        }
    }

    /// Returns the measured and predicted losses.
    pub fn pairs(&self, rows: &[NormalizedRow]) -> Vec<Residual> {
        let pair = |(observation, (row, residual)): (u64, (&NormalizedRow, &f64))| Residual {
            observation,
            configuration: u64::try_from(row.configuration).unwrap_or(u64::MAX),
            measured: row.measured,
            predicted: (row.ln_measured - residual).exp(),
            log_residual: *residual,
        };
        (0_u64..).zip(rows.iter().zip(&self.residuals)).map(pair).collect()
    }
}
