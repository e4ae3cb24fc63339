//! The fit of one domain: both laws, intervals, hold-outs, comparisons, warnings.

use crate::error::Error;
use crate::fit::comparison::REPORTED;
use crate::fit::comparison::compare;
use crate::fit::fitted_forgetting::FittedForgetting;
use crate::fit::fitted_target::FittedTarget;
use crate::fit::hold_out::{hold_out, splits};
use crate::fit::records::{
    Comparison, ForgettingFit, Grid, HoldOut, IntervalMethod, Quantity, ScalingFit, TargetFit,
};
use crate::fit::warning::Warning;
use crate::intervals::Draws;
use crate::observation::{Observation, canonical, check_all, distinct};
use crate::plan::requirements::configurations_len;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

pub(crate) mod comparison;
pub(crate) mod fitted_forgetting;
pub(crate) mod fitted_target;
pub(crate) mod hold_out;
pub(crate) mod injection_fit;
pub(crate) mod predict;
pub(crate) mod records;
pub(crate) mod warning;

/// Configurations that predict well: three N, three D, p = 0 and 1 %.
const ENOUGH_CONFIGURATIONS: u64 = 18;
/// Another law is reported as better if its error on held-out runs is below this fraction of the reported law's.
const CLEARLY_BETTER: f64 = 0.8;
/// A larger share of failed draws than this one gives a warning.
const FAILED_SHARE: f64 = 0.01;
/// The largest number of draws.
const MOST_DRAWS: u32 = 100_000;

/// The settings of a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitOptions {
    /// Bootstrap draws for the intervals of coefficients and the bands of curves, at most 100,000.
    pub draws: u32,
    /// Seed of the draws; the same seed gives the same intervals for any number of threads.
    pub seed: u64,
    /// Where the Huber loss turns from square to linear, in log loss. `None` means 1.345 times the scale of the
    /// residuals, and at least 1e-3, the value that published fits use.
    pub huber_delta: Option<f64>,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { draws: 1000, seed: 0, huber_delta: None }
    }
}

impl FitOptions {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.draws > MOST_DRAWS {
            let (option, expected) = ("draws", "at most 100,000");
            return Err(Error::BadOption { option, expected, got: f64::from(self.draws) });
        }
        match self.huber_delta.filter(|delta| !(delta.is_finite() && *delta > 0.0)) {
            None => Ok(()),
            Some(got) => {
                let (option, expected) = ("huber_delta", "a finite number above 0");
                Err(Error::BadOption { option, expected, got })
            }
        }
    }
}

/// Fits the laws to the runs of one domain and one recipe.
///
/// The result does not depend on the order of the observations or on their names: they are sorted by their contents
/// first, and [`ScalingFit::observations`] has that order.
///
/// The cost is that of `draws` + about 40 fits. On 125 runs the first fit takes about 10 ms and a draw 0.3 ms.
///
/// ```
/// use mixdown_scaling::{FitOptions, ForgettingLaw, Simulation, TargetLaw, fit_scaling, full_grid};
///
/// let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
/// let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
/// let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
/// let runs = Simulation { forgetting, target, noise: 0.0 }.runs(&grid, 7);
/// let fit = fit_scaling(&runs, &FitOptions { draws: 0, ..FitOptions::default() })?;
/// assert!((fit.forgetting.law.alpha - 0.45).abs() < 1e-6);
/// # Ok::<(), mixdown_scaling::Error>(())
/// ```
///
/// # Errors
/// [`Error::BadObservation`] for a number that no run can have, [`Error::TooFewRows`] with the runs that are there and
/// what the forgetting law needs, [`Error::NothingForgotten`], [`Error::Unconverged`], [`Error::BadOption`]. A target
/// law that cannot be fitted is not an error: [`ScalingFit::target_refusal`] has the reason.
pub fn fit_scaling(
    observations: &[Observation],
    options: &FitOptions,
) -> Result<ScalingFit, Error> {
    options.check()?;
    // Checked before they are sorted, because an error names the position in the caller's list.
    check_all(observations)?;
    let observations = canonical(observations);
    let observations = observations.as_slice();
    let draws = Draws { count: options.draws, seed: options.seed };
    let fitted = FittedForgetting::new(observations, options.huber_delta)?;
    let forgetting = fitted.with_intervals(draws);
    let (target, target_refusal) = match FittedTarget::new(observations, options.huber_delta) {
        Ok(target) => (Some(target.with_intervals(draws)), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let comparisons = compare(observations, options.huber_delta);
    let grid = grid(observations);
    let method = method(options, &forgetting, target.as_ref());
    let warnings = warnings(observations, &grid, &forgetting, target.as_ref(), &comparisons);
    let warnings = with_failed_draws(warnings, &method, target.is_some());
    Ok(ScalingFit {
        observations: observations.to_vec(),
        grid,
        hold_outs: hold_outs(observations, target.is_some()),
        forgetting,
        target,
        target_refusal,
        comparisons,
        warnings,
        method,
    })
}

fn grid(observations: &[Observation]) -> Grid {
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    Grid {
        model_sizes: distinct(observations, |one| one.model_size),
        target_tokens: distinct(observations, |one| one.target_tokens),
        shares: distinct(observations, |one| one.p),
        configurations: count(configurations_len(observations)),
        rows: count(observations.len()),
    }
}

fn method(
    options: &FitOptions,
    forgetting: &ForgettingFit,
    target: Option<&TargetFit>,
) -> IntervalMethod {
    let asked = u64::from(options.draws);
    let lost = |draws: usize| asked.saturating_sub(u64::try_from(draws).unwrap_or(u64::MAX));
    IntervalMethod {
        draws: asked,
        failed_draws: lost(forgetting.draws.len())
            + target.map_or(0, |target| lost(target.draws.len())),
        seed: options.seed,
        level: 0.95,
    }
}

fn hold_outs(observations: &[Observation], with_target: bool) -> Vec<HoldOut> {
    let quantities = if with_target {
        &[Quantity::PretrainingLoss, Quantity::TargetLoss][..]
    } else {
        &[Quantity::PretrainingLoss][..]
    };
    let splits = splits(observations);
    let all = splits.iter().flat_map(|split| quantities.iter().map(|quantity| (*split, *quantity)));
    let all: Vec<_> = all.collect();
    all.par_iter().map(|(split, quantity)| hold_out(observations, *split, *quantity)).collect()
}

fn warnings(
    observations: &[Observation],
    grid: &Grid,
    forgetting: &ForgettingFit,
    target: Option<&TargetFit>,
    comparisons: &[Comparison],
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let [size] = grid.model_sizes.as_slice() {
        warnings.push(Warning::OneModelSize(*size));
    }
    if let [tokens] = grid.target_tokens.as_slice() {
        warnings.push(Warning::OneTargetSize(*tokens));
    }
    if grid.configurations < ENOUGH_CONFIGURATIONS {
        warnings.push(Warning::FewConfigurations(grid.configurations));
    }
    let below = observations.iter().filter(|one| one.forgetting() < 0.0).count();
    if below > 0 {
        warnings.push(Warning::NegativeForgetting(u64::try_from(below).unwrap_or(u64::MAX)));
    }
    let of_law = |law: &str, one: &crate::intervals::Coefficient| format!("{law}: {}", one.name);
    for one in &forgetting.coefficients {
        let frozen = one.name == "beta" && grid.target_tokens.len() < 2;
        if one.at_bound {
            warnings.push(Warning::AtBound(of_law("forgetting", one)));
        } else if !one.interval.is_bounded() && !frozen && !forgetting.draws.is_empty() {
            warnings.push(Warning::NotIdentified(of_law("forgetting", one)));
        }
    }
    let of_target = target.map_or(&[][..], |target| target.coefficients.as_slice());
    for one in of_target.iter().filter(|one| one.at_bound) {
        warnings.push(Warning::AtBound(of_law("target", one)));
    }
    let optima = &forgetting.convergence.optima;
    let near = optima.iter().filter(|one| **one <= 1.01 * optima[0]).count();
    if near > 1 {
        warnings.push(Warning::SeveralOptima(u64::try_from(near).unwrap_or(u64::MAX)));
    }
    for quantity in [Quantity::PretrainingLoss, Quantity::TargetLoss] {
        warnings.extend(better_law(comparisons, quantity));
    }
    warnings
}

/// The first of the sorted laws, if it is clearly better than the reported one.
fn better_law(comparisons: &[Comparison], quantity: Quantity) -> Option<Warning> {
    let mut of_quantity = comparisons.iter().filter(|one| one.quantity == quantity);
    let best = of_quantity.clone().next()?;
    let reported_error = of_quantity.find(|one| one.model == REPORTED)?.hold_out_error?;
    let error = best.hold_out_error?;
    let model = best.model.clone();
    (error < CLEARLY_BETTER * reported_error).then_some(Warning::BetterLaw {
        model,
        error,
        reported_error,
    })
}

fn with_failed_draws(
    mut warnings: Vec<Warning>,
    method: &IntervalMethod,
    both: bool,
) -> Vec<Warning> {
    let asked = method.draws * if both { 2 } else { 1 };
    let share = method.failed_draws as f64 / asked.max(1) as f64;
    if share > FAILED_SHARE {
        warnings.push(Warning::FailedDraws(share));
    }
    warnings
}
