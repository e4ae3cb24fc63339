//! What a grid of runs would say about p*, before it is paid for.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::fit::fitted_forgetting::{FittedForgetting, forgetting_form};
use crate::fit::predict::quantile;
use crate::fit::warning::Warning;
use crate::intervals::interval::Interval;
use crate::laws::form::Row;
use crate::observation::{Observation, distinct};
use crate::plan::advise::{Plan, beyond, is_far};
use crate::plan::requirements::require_forgetting;
use crate::plan::simulate::{Simulation, plausible_loss_before};
use crate::solver::objective::Objective;
use crate::solver::scale::Scale;

/// The most simulations.
const MOST_SIMULATIONS: u32 = 100_000;

/// A grid that is planned, and what it is simulated from.
#[derive(Debug, Clone, PartialEq)]
pub struct GridPlan {
    /// (N, D, p) of every run; a configuration named twice is two seeds.
    pub runs: Vec<(f64, f64, f64)>,
    /// Further (N, D, p) to choose the next run from.
    pub candidates: Vec<(f64, f64, f64)>,
    /// The laws and the noise.
    pub simulation: Simulation,
    /// The finetuning that p* is for.
    pub plan: Plan,
    /// How many grids are simulated, at most 100,000.
    pub simulations: u32,
    /// Seed of the noise.
    pub seed: u64,
}

/// What the grid would say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridReport {
    /// p* of the laws that the grid is simulated from; none when no share below 1 keeps the budget.
    pub true_p: Option<f64>,
    /// p* over the simulated grids.
    pub share: ShareSpread,
    /// Central 95 % of the fitted forgetting at p = 0 by the true one.
    pub forgetting_ratio: Interval,
    /// Simulated grids that could be fitted.
    pub fitted: u64,
    /// Simulated grids.
    pub simulations: u64,
    /// The candidates, the most useful first.
    pub candidates: Vec<Candidate>,
    /// In what the plan lies more than ten times outside the grid, for a reader; not part of the record.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
}

/// p* over simulated grids.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShareSpread {
    /// Median.
    pub median: Option<f64>,
    /// Central 95 %; open above where p* is often beyond 1.
    pub interval: Interval,
}

/// A run that may be added.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// N in parameters.
    pub model_size: f64,
    /// D in tokens.
    pub target_tokens: f64,
    /// Share.
    pub p: f64,
    /// By what it multiplies the width of the interval of ln forgetting at the plan's N, D and p*: less
    /// is better.
    pub width_factor: f64,
}

/// Simulates the grid, fits every simulation, and ranks the candidates.
///
/// The order in which runs and candidates are named changes nothing.
///
/// A candidate's gain is that of a c-optimal design (Elfving 1952): the variance of ln forgetting at the
/// plan's N, D and p* by the law's linear expansion, with one row more.
///
/// # Errors
/// [`Error::TooFewRows`] when the grid cannot determine the law, [`Error::BadOption`],
/// [`Error::BadBudget`].
pub fn plan_grid(grid: &GridPlan) -> Result<GridReport, Error> {
    let bad = |option, expected, got| Err(Error::BadOption { option, expected, got });
    // The noise of a simulated run comes from its place.
    let (runs, candidates) = (sorted(&grid.runs), sorted(&grid.candidates));
    let grid = &GridPlan { runs, candidates, ..grid.clone() };
    if grid.simulations == 0 || grid.simulations > MOST_SIMULATIONS {
        return bad("simulations", "1 to 100,000", f64::from(grid.simulations));
    }
    let noise = grid.simulation.noise;
    if !(noise.is_finite() && noise > 0.0) {
        return bad("noise", "a finite number above 0", noise);
    }
    let Plan { model_size, target_tokens, budget, .. } = grid.plan;
    let law = grid.simulation.forgetting;
    let true_p = law.p_star(model_size, target_tokens, budget)?;
    let exact = Simulation { noise: 0.0, ..grid.simulation }.runs(&grid.runs, 0);
    require_forgetting(&exact)?;
    let one = |number: u32| {
        let seed = grid.seed.wrapping_add(u64::from(number));
        let runs = grid.simulation.runs(&grid.runs, seed);
        let fitted = FittedForgetting::new(&runs, None).ok()?;
        let found = fitted.scale.forgetting_law(&fitted.solution.at);
        let p = found.p_star(model_size, target_tokens, budget).ok()?;
        let ratio = found.ln_forgetting(model_size, target_tokens, 0.0)
            - law.ln_forgetting(model_size, target_tokens, 0.0);
        // No share below 1 is beyond every share.
        Some((p.unwrap_or(f64::INFINITY), ratio))
    };
    let found: Vec<Option<(f64, f64)>> = (0..grid.simulations).into_par_iter().map(one).collect();
    let found: Vec<(f64, f64)> = found.into_iter().flatten().collect();
    let rising = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = found.iter().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let (shares, ratios) = (rising(|one| one.0), rising(|one| one.1));
    let median = nearest(&shares, 0.5);
    Ok(GridReport {
        true_p,
        share: ShareSpread {
            median: Some(median).filter(|median| median.is_finite()),
            interval: Interval::new(nearest(&shares, 0.025), nearest(&shares, 0.975)),
        },
        forgetting_ratio: Interval::new(quantile(&ratios, 0.025), quantile(&ratios, 0.975))
            .map(f64::exp),
        fitted: u64::try_from(found.len()).unwrap_or(u64::MAX),
        simulations: u64::from(grid.simulations),
        candidates: rank(grid, &exact, true_p.unwrap_or(1.0)),
        warnings: far(&grid.plan, true_p, &exact),
    })
}

/// In what the plan lies more than ten times outside the runs.
fn far(plan: &Plan, p: Option<f64>, runs: &[Observation]) -> Vec<Warning> {
    let sizes = distinct(runs, |one| one.model_size);
    let tokens = distinct(runs, |one| one.target_tokens);
    let mut warnings = beyond((plan, p), &sizes, &tokens, &distinct(runs, |one| one.p));
    warnings.retain(is_far);
    warnings
}

/// (N, D, p), rising.
fn sorted(configurations: &[(f64, f64, f64)]) -> Vec<(f64, f64, f64)> {
    let mut sorted = configurations.to_vec();
    sorted.sort_by(|left, right| {
        let sizes = left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1));
        sizes.then((left.2 + 0.0).total_cmp(&(right.2 + 0.0)))
    });
    sorted
}

/// A quantile that is one of the values: between a share and infinity there is nothing.
fn nearest(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = (0..sorted.len()).find(|place| *place as f64 >= share * last as f64 - 0.5);
    place.and_then(|place| sorted.get(place)).copied().unwrap_or(f64::NAN)
}

fn rank(grid: &GridPlan, exact: &[Observation], p: f64) -> Vec<Candidate> {
    let Plan { model_size, target_tokens, .. } = grid.plan;
    let form = forgetting_form(exact);
    let scale = Scale::of(exact);
    let rows = scale.forgetting_rows(exact);
    let at = scale.point(&grid.simulation.forgetting);
    // Without a base the loss is the forgetting itself: its slope is that of ln forgetting.
    let place = scale.place(model_size, target_tokens, p);
    let width = |rows: &[Row]| {
        let weights = vec![1.0; rows.len()];
        let objective = Objective::new(&form, rows, &weights, 1.0);
        objective
            .leverage_at(&at, &place)
            .map_or(f64::INFINITY, |leverage| leverage.max(0.0).sqrt())
    };
    let before = width(&rows);
    let mut ranked: Vec<Candidate> = grid
        .candidates
        .iter()
        .map(|&(model_size, target_tokens, p)| {
            let base = plausible_loss_before(model_size);
            let mut more = rows.clone();
            more.push(Row { base, ..scale.place(model_size, target_tokens, p) });
            Candidate { model_size, target_tokens, p, width_factor: width(&more) / before }
        })
        .collect();
    ranked.sort_by(|left, right| left.width_factor.total_cmp(&right.width_factor));
    ranked
}
