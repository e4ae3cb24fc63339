//! What a grid of runs would say about p*, before it is paid for.

use crate::error::Error;
use crate::fit::fitted_forgetting::{FittedForgetting, forgetting_form};
use crate::fit::predict::quantile;
use crate::fit::warning::Warning;
use crate::intervals::Interval;
use crate::laws::forms::NormalizedRow;
use crate::observation::{Observation, distinct};
use crate::plan::advise::{FinetuningPlan, beyond, is_far};
use crate::plan::requirements::require_forgetting;
use crate::plan::simulate::{Simulation, plausible_loss_before};
use crate::solver::objective::Objective;
use crate::solver::scale::Scale;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

pub(crate) mod advise;
pub(crate) mod requirements;
pub(crate) mod simulate;

/// The largest number of simulations.
const MOST_SIMULATIONS: u32 = 100_000;

/// A planned grid of runs and the laws that it is simulated from.
#[derive(Debug, Clone, PartialEq)]
pub struct GridPlan {
    /// (N, D, p) of every run; a configuration that is listed twice is run with two seeds.
    pub runs: Vec<(f64, f64, f64)>,
    /// Further (N, D, p) to choose the next run from.
    pub candidates: Vec<(f64, f64, f64)>,
    /// The laws and the noise.
    pub simulation: Simulation,
    /// The finetuning for which p* is computed.
    pub plan: FinetuningPlan,
    /// How many grids are simulated, at most 100,000.
    pub simulations: u32,
    /// Seed of the noise.
    pub seed: u64,
}

/// What a planned grid would tell about p*.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridReport {
    /// p* of the laws that the grid is simulated from; `None` if no share below 1 keeps the budget.
    pub true_p: Option<f64>,
    /// p* over the simulated grids.
    pub share: ShareSpread,
    /// Central 95 % of the fitted forgetting at p = 0 divided by the true one.
    pub forgetting_ratio: Interval,
    /// Simulated grids that could be fitted.
    pub fitted: u64,
    /// Simulated grids.
    pub simulations: u64,
    /// The candidates, the most useful first.
    pub candidates: Vec<CandidateRun>,
    /// How the plan lies more than ten times outside the grid; not part of the JSON record.
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

/// A run that may be added to the grid.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CandidateRun {
    /// N in parameters.
    pub model_size: f64,
    /// D in tokens.
    pub target_tokens: f64,
    /// Share.
    pub p: f64,
    /// The factor by which it multiplies the width of the interval of ln forgetting at the plan's N, D and p*; a
    /// smaller one is better.
    pub width_factor: f64,
}

/// Simulates the grid, fits every simulation, and ranks the candidates.
///
/// The result does not depend on the order in which runs and candidates are listed.
///
/// The gain of a candidate is that of a c-optimal design (Elfving 1952): the variance of ln forgetting at the plan's N,
/// D and p* by the law's linear expansion, with one more row.
///
/// ```
/// use mixdown_scaling::{FinetuningPlan, ForgettingLaw, GridPlan, Simulation, TargetLaw, full_grid, plan_grid};
///
/// let grid = GridPlan {
///     runs: full_grid(&[41e6, 109e6, 334e6], &[3e5, 3e6], &[0.0, 0.01]),
///     candidates: vec![(334e6, 3e6, 0.05)],
///     simulation: Simulation {
///         forgetting: ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 },
///         target: TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 },
///         noise: 0.003,
///     },
///     plan: FinetuningPlan {
///         model_size: 334e6,
///         target_tokens: 3e6,
///         budget: 0.1,
///         pretraining_loss_before: None,
///     },
///     simulations: 20,
///     seed: 7,
/// };
/// let report = plan_grid(&grid)?;
/// assert!(report.candidates[0].width_factor < 1.0, "another run narrows the interval");
/// # Ok::<(), mixdown_scaling::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFewRows`] if the grid cannot determine the law, [`Error::BadOption`],
/// [`Error::BadBudget`].
pub fn plan_grid(grid: &GridPlan) -> Result<GridReport, Error> {
    let bad = |option, expected, got| Err(Error::BadOption { option, expected, got });
    // The noise of a simulated run depends on its position in the list.
    let (runs, candidates) = (sorted(&grid.runs), sorted(&grid.candidates));
    let grid = &GridPlan { runs, candidates, ..grid.clone() };
    if grid.simulations == 0 || grid.simulations > MOST_SIMULATIONS {
        return bad("simulations", "1 to 100,000", f64::from(grid.simulations));
    }
    let noise = grid.simulation.noise;
    if !(noise.is_finite() && noise > 0.0) {
        return bad("noise", "a finite number above 0", noise);
    }
    let FinetuningPlan { model_size, target_tokens, budget, .. } = grid.plan;
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
        // "No share below 1" sorts after every share.
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
        warnings: far_warnings(&grid.plan, true_p, &exact),
    })
}

/// The warnings for a plan that lies more than ten times outside the runs.
fn far_warnings(plan: &FinetuningPlan, p: Option<f64>, runs: &[Observation]) -> Vec<Warning> {
    let sizes = distinct(runs, |one| one.model_size);
    let tokens = distinct(runs, |one| one.target_tokens);
    let mut warnings = beyond((plan, p), &sizes, &tokens, &distinct(runs, |one| one.p));
    warnings.retain(is_far);
    warnings
}

/// Sorts (N, D, p) in rising order.
fn sorted(configurations: &[(f64, f64, f64)]) -> Vec<(f64, f64, f64)> {
    let mut sorted = configurations.to_vec();
    sorted.sort_by(|left, right| {
        let sizes = left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1));
        sizes.then((left.2 + 0.0).total_cmp(&(right.2 + 0.0)))
    });
    sorted
}

/// A quantile that is one of the values, because there is no value between a share and infinity.
fn nearest(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = (0..sorted.len()).find(|place| *place as f64 >= share * last as f64 - 0.5);
    place.and_then(|place| sorted.get(place)).copied().unwrap_or(f64::NAN)
}

fn rank(grid: &GridPlan, exact: &[Observation], p: f64) -> Vec<CandidateRun> {
    let FinetuningPlan { model_size, target_tokens, .. } = grid.plan;
    let form = forgetting_form(exact);
    let scale = Scale::of(exact);
    let rows = scale.forgetting_rows(exact);
    let at = scale.point(&grid.simulation.forgetting);
    // Without a base the loss is the forgetting itself: its slope is that of ln forgetting.
    let place = scale.row_at(model_size, target_tokens, p);
    let width = |rows: &[NormalizedRow]| {
        let weights = vec![1.0; rows.len()];
        let objective = Objective::new(&form, rows, &weights, 1.0);
        objective
            .leverage_at(&at, &place)
            .map_or(f64::INFINITY, |leverage| leverage.max(0.0).sqrt())
    };
    let before = width(&rows);
    let mut ranked: Vec<CandidateRun> = grid
        .candidates
        .iter()
        .map(|&(model_size, target_tokens, p)| {
            let base = plausible_loss_before(model_size);
            let mut more = rows.clone();
            more.push(NormalizedRow { base, ..scale.row_at(model_size, target_tokens, p) });
            CandidateRun { model_size, target_tokens, p, width_factor: width(&more) / before }
        })
        .collect();
    ranked.sort_by(|left, right| left.width_factor.total_cmp(&right.width_factor));
    ranked
}
