//! Laws fitted without some runs and tested on them.

use crate::error::Error;
use crate::fit::fitted_forgetting::forgetting_form;
use crate::fit::fitted_target::target_form;
use crate::fit::scaling_fit::{HoldOut, HoldOutErrors, HoldOutRow, Quantity, Split};
use crate::intervals::interval::Interval;
use crate::intervals::resample::configurations;
use crate::intervals::student::two_sided_95;
use crate::laws::form::{Form, Row, searched};
use crate::observation::{Observation, distinct};
use crate::plan::requirements::{require_forgetting, require_target};
use crate::solver::objective::Objective;
use crate::solver::scale::Scale;
use crate::solver::solution::{Solution, solve};

/// The splits that these observations allow: largest N, largest D, both, then every N.
pub(crate) fn splits(observations: &[Observation]) -> Vec<Split> {
    let sizes = distinct(observations, |one| one.model_size);
    let tokens = distinct(observations, |one| one.target_tokens);
    let mut splits = Vec::new();
    if sizes.len() > 1 {
        splits.push(Split::LargestModel);
    }
    if tokens.len() > 1 {
        splits.push(Split::LargestTarget);
    }
    if sizes.len() > 1 && tokens.len() > 1 {
        splits.push(Split::LargestBoth);
    }
    if sizes.len() > 2 {
        splits.extend(sizes.iter().map(|size| Split::OneModelSize(*size)));
    }
    splits
}

/// Indices of the observations fitted on and of those tested.
pub(crate) fn divide(observations: &[Observation], split: Split) -> (Vec<usize>, Vec<usize>) {
    let largest = |of: fn(&Observation) -> f64| observations.iter().map(of).fold(0.0, f64::max);
    let (size, tokens) = (largest(|one| one.model_size), largest(|one| one.target_tokens));
    let same = |left: f64, right: f64| left.to_bits() == right.to_bits();
    let (mut fitted, mut tested) = (Vec::new(), Vec::new());
    for (index, one) in observations.iter().enumerate() {
        let (large, long) = (same(one.model_size, size), same(one.target_tokens, tokens));
        let is_tested = match split {
            Split::LargestModel => large,
            Split::LargestTarget => long,
            Split::LargestBoth => large && long,
            Split::OneModelSize(left_out) => same(one.model_size, left_out),
        };
        let is_fitted = match split {
            Split::LargestBoth => !large && !long,
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

/// The reported law on one split.
pub(crate) fn hold_out(observations: &[Observation], split: Split, quantity: Quantity) -> HoldOut {
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
    split: Split,
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

/// A law cannot be tested at another N (or D) than it was fitted at when it was fitted at one alone.
fn require_span(rest: &[Observation], split: Split) -> Result<(), Error> {
    let several = |of: fn(&Observation) -> f64| distinct(rest, of).len() > 1;
    let enough = match split {
        Split::LargestModel | Split::OneModelSize(_) => several(|one| one.model_size),
        Split::LargestTarget => several(|one| one.target_tokens),
        Split::LargestBoth => several(|one| one.model_size) && several(|one| one.target_tokens),
    };
    if enough {
        return Ok(());
    }
    let expected = "at least two values left of what is left out".to_owned();
    Err(crate::plan::requirements::too_few("hold-out", expected, rest))
}

/// Fits a form on rows and predicts others, with intervals of one new run: Student's t times
/// s·√(1 + h), the linear expansion at the optimum.
pub(crate) fn test(
    form: &dyn Form,
    rows: &[Row],
    all: &[Row],
    tested: &[usize],
) -> Result<Vec<HoldOutRow>, Error> {
    test_solved(form, (rows, &solve(form, rows, None)?), all, tested)
}

/// The same of a law that the rows determine; none of another one, whose predictions are an accident of rounding.
pub(crate) fn test_determined(
    form: &dyn Form,
    rows: &[Row],
    all: &[Row],
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
    (rows, solution): (&[Row], &Solution),
    all: &[Row],
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
fn deviation(rows: &[Row], solution: &Solution, coefficients: usize) -> f64 {
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

/// Errors over the rows; none without rows.
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
