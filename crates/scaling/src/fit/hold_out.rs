//! Hold-outs: laws fitted without some runs and tested on those.

use crate::error::Error;
use crate::fit::fitted_forgetting::forgetting_form;
use crate::fit::fitted_target::target_form;
use crate::fit::records::{HoldOut, HoldOutErrors, HoldOutRow, HoldOutSplit, Quantity};
use crate::intervals::Interval;
use crate::intervals::configurations;
use crate::laws::forms::{Form, NormalizedRow, searched};
use crate::observation::{Observation, distinct};
use crate::plan::requirements::{require_forgetting, require_target};
use crate::solver::objective::Objective;
use crate::solver::scale::Scale;
use crate::solver::{Solution, solve};
use mixdown_base::student::two_sided_95;

/// Returns the splits that these observations allow: largest N, largest D, both, then every N.
pub(crate) fn splits(observations: &[Observation]) -> Vec<HoldOutSplit> {
    let sizes = distinct(observations, |one| one.model_size);
    let tokens = distinct(observations, |one| one.target_tokens);
    let mut splits = Vec::new();
    if sizes.len() > 1 {
        splits.push(HoldOutSplit::LargestModel);
    }
    if tokens.len() > 1 {
        splits.push(HoldOutSplit::LargestTarget);
    }
    if sizes.len() > 1 && tokens.len() > 1 {
        splits.push(HoldOutSplit::LargestBoth);
    }
    if sizes.len() > 2 {
        splits.extend(sizes.iter().map(|size| HoldOutSplit::OneModelSize(*size)));
    }
    splits
}

/// Returns the indices of the observations to fit and of those to test.
pub(crate) fn divide(
    observations: &[Observation],
    split: HoldOutSplit,
) -> (Vec<usize>, Vec<usize>) {
    let largest = |of: fn(&Observation) -> f64| observations.iter().map(of).fold(0.0, f64::max);
    let (size, tokens) = (largest(|one| one.model_size), largest(|one| one.target_tokens));
    let same = |left: f64, right: f64| left.to_bits() == right.to_bits();
    let (mut fitted, mut tested) = (Vec::new(), Vec::new());
    for (index, one) in observations.iter().enumerate() {
        let (large, long) = (same(one.model_size, size), same(one.target_tokens, tokens));
        let is_tested = match split {
            HoldOutSplit::LargestModel => large,
            HoldOutSplit::LargestTarget => long,
            HoldOutSplit::LargestBoth => large && long,
            HoldOutSplit::OneModelSize(left_out) => same(one.model_size, left_out),
        };
        let is_fitted = match split {
            HoldOutSplit::LargestBoth => !large && !long,
            _ => !is_tested,
        };
        if is_tested {
            tested.push(index);
        }
        if is_fitted {
            fitted.push(index);
        }
    }
    (fitted, tested)
}

/// Tests the reported law on one split.
pub(crate) fn hold_out(
    observations: &[Observation],
    split: HoldOutSplit,
    quantity: Quantity,
) -> HoldOut {
    let (fitted, tested) = divide(observations, split);
    let rest: Vec<Observation> = fitted.iter().map(|index| observations[*index].clone()).collect();
    let result = predictions(observations, &rest, &tested, split, quantity);
    let (rows, refusal) = match result {
        Ok(rows) => (rows, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let naive = |index: u64| naive_loss(observations, &rest, index, quantity);
    HoldOut {
        split,
        quantity,
        fitted_rows: u64::try_from(rest.len()).unwrap_or(u64::MAX),
        errors: errors(&rows, naive),
        rows,
        refusal,
    }
}

fn predictions(
    observations: &[Observation],
    rest: &[Observation],
    tested: &[usize],
    split: HoldOutSplit,
    quantity: Quantity,
) -> Result<Vec<HoldOutRow>, Error> {
    require_span(rest, split)?;
    let scale = Scale::of(rest);
    match quantity {
        Quantity::PretrainingLoss => {
            require_forgetting(rest)?;
            let form = forgetting_form(rest);
            let rows = scale.forgetting_rows(rest);
            test(&form, &rows, &scale.forgetting_rows(observations), tested)
        }
        Quantity::TargetLoss => {
            require_target(rest)?;
            let form = target_form(rest);
            let rows = scale.target_rows(rest);
            test(&form, &rows, &scale.target_rows(observations), tested)
        }
    }
}

/// Refuses a split that leaves only one value of N (or D) to fit, because the law cannot be tested at another one.
fn require_span(rest: &[Observation], split: HoldOutSplit) -> Result<(), Error> {
    let several = |of: fn(&Observation) -> f64| distinct(rest, of).len() > 1;
    let enough = match split {
        HoldOutSplit::LargestModel | HoldOutSplit::OneModelSize(_) => several(|one| one.model_size),
        HoldOutSplit::LargestTarget => several(|one| one.target_tokens),
        HoldOutSplit::LargestBoth => {
            several(|one| one.model_size) && several(|one| one.target_tokens)
        }
    };
    if enough {
        return Ok(());
    }
    let expected = "at least two values left of what is left out".to_owned();
    Err(crate::plan::requirements::too_few("hold-out", expected, rest))
}

/// Fits a form to rows and predicts others, with intervals of one new run: Student's t times s·√(1 + h), from the
/// linear expansion at the optimum.
pub(crate) fn test(
    form: &dyn Form,
    rows: &[NormalizedRow],
    all: &[NormalizedRow],
    tested: &[usize],
) -> Result<Vec<HoldOutRow>, Error> {
    test_solved(form, (rows, &solve(form, rows, None)?), all, tested)
}

/// Like [`test`], but returns `None` for a law that the rows do not determine: its predictions are an accident of
/// rounding.
pub(crate) fn test_determined(
    form: &dyn Form,
    rows: &[NormalizedRow],
    all: &[NormalizedRow],
    tested: &[usize],
) -> Option<Vec<HoldOutRow>> {
    let solution = solve(form, rows, None).ok()?;
    let weights = vec![1.0; rows.len()];
    let objective = Objective::new(form, rows, &weights, solution.delta);
    if !objective.is_determined(&solution.at) {
        return None;
    }
    test_solved(form, (rows, &solution), all, tested).ok()
}

fn test_solved(
    form: &dyn Form,
    (rows, solution): (&[NormalizedRow], &Solution),
    all: &[NormalizedRow],
    tested: &[usize],
) -> Result<Vec<HoldOutRow>, Error> {
    let unconverged = || Error::Unconverged { starts: 0, tolerance: 0.0, gradient_norm: f64::NAN };
    let weights = vec![1.0; rows.len()];
    let objective = Objective::new(form, rows, &weights, solution.delta);
    let deviation = deviation(rows, solution, searched(form));
    let mut tests = Vec::with_capacity(tested.len());
    for index in tested {
        let row = all[*index];
        let leverage = objective.leverage_at(&solution.at, &row).ok_or_else(unconverged)?;
        let ln_predicted = objective.ln_predicted(&solution.at, &row).ok_or_else(unconverged)?;
        let half = deviation * (1.0 + leverage).sqrt();
        tests.push(HoldOutRow {
            observation: u64::try_from(*index).unwrap_or(u64::MAX),
            measured: row.measured,
            predicted: ln_predicted.exp(),
            interval: Interval::new((ln_predicted - half).exp(), (ln_predicted + half).exp()),
        });
    }
    Ok(tests)
}

/// Student's t times the standard deviation of a log residual.
fn deviation(rows: &[NormalizedRow], solution: &Solution, coefficients: usize) -> f64 {
    let degrees_of_freedom = configurations(rows).saturating_sub(coefficients);
    let quantile = two_sided_95(u64::try_from(degrees_of_freedom).unwrap_or(u64::MAX));
    let squares: f64 = solution.residuals.iter().map(|residual| residual * residual).sum();
    quantile * (squares / rows.len().saturating_sub(coefficients).max(1) as f64).sqrt()
}

fn naive_loss(
    observations: &[Observation],
    rest: &[Observation],
    index: u64,
    quantity: Quantity,
) -> f64 {
    match quantity {
        Quantity::PretrainingLoss => usize::try_from(index)
            .ok()
            .and_then(|index| observations.get(index))
            .map_or(f64::NAN, |one| one.pretraining_loss_before),
        Quantity::TargetLoss => {
            rest.iter().map(|one| one.target_loss).sum::<f64>() / rest.len().max(1) as f64
        }
    }
}

/// Computes the errors over the rows; `None` without rows.
pub(crate) fn errors(rows: &[HoldOutRow], naive: impl Fn(u64) -> f64) -> Option<HoldOutErrors> {
    if rows.is_empty() {
        return None;
    }
    let count = rows.len() as f64;
    let relative = |predicted: f64, row: &HoldOutRow| (predicted / row.measured - 1.0).abs();
    let mean = |of: &dyn Fn(&HoldOutRow) -> f64| rows.iter().map(of).sum::<f64>() / count;
    let inside = rows.iter().filter(|row| row.interval.contains(row.measured)).count();
    Some(HoldOutErrors {
        mean_relative_error: mean(&|row| relative(row.predicted, row)),
        worst_relative_error: rows
            .iter()
            .map(|row| relative(row.predicted, row))
            .fold(0.0, f64::max),
        mean_absolute_error: mean(&|row| (row.predicted - row.measured).abs()),
        coverage: inside as f64 / count,
        naive_relative_error: mean(&|row| relative(naive(row.observation), row)),
    })
}
