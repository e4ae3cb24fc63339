//! Other laws on the same rows: fitted alike, tested on the same hold-outs.

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::fit::hold_out::{divide, errors, splits, test_determined};
use crate::fit::scaling_fit::{Comparison, Quantity, Split};
use crate::laws::form::searched;
use crate::observation::{Observation, configurations};
use crate::plan::requirements::{require_forgetting, require_target};
use crate::solver::candidates::{Candidate, REPORTED, candidates};
use crate::solver::solution::{Solution, solve};

/// Mean relative error of a law and how many rows it is over, split by split; none where the law
/// could not be fitted on the rest.
type SplitErrors = Vec<Option<(f64, f64)>>;

/// All laws that the observations allow: by hold-out error, then by Akaike's criterion.
///
/// Hold-out errors are over the same rows for all laws of a quantity: those of the splits (largest N,
/// largest D, both) on whose rest the reported law could be fitted. A law that the rest of one of them does not
/// determine has no error: what it predicts there is an accident of rounding.
pub(crate) fn compare(observations: &[Observation], delta: Option<f64>) -> Vec<Comparison> {
    let candidates = candidates(observations);
    let compared: Vec<(Comparison, SplitErrors)> =
        candidates.par_iter().map(|one| compared(observations, one, delta)).collect();
    let mut result = Vec::with_capacity(compared.len());
    for quantity in [Quantity::PretrainingLoss, Quantity::TargetLoss] {
        let of_quantity = compared.iter().filter(|(one, _)| one.quantity == quantity);
        let of_quantity: Vec<&(Comparison, SplitErrors)> = of_quantity.collect();
        let reported = of_quantity.iter().find(|(one, _)| one.model == REPORTED);
        let common: Vec<bool> = reported
            .map_or_else(Vec::new, |(_, errors)| errors.iter().map(Option::is_some).collect());
        let mut sorted: Vec<Comparison> = of_quantity
            .iter()
            .map(|(one, errors)| Comparison {
                hold_out_error: mean_error(errors, &common),
                ..one.clone()
            })
            .collect();
        sorted.sort_by(|left, right| key(left).total_cmp(&key(right)));
        sorted.sort_by(|left, right| {
            let error = |one: &Comparison| one.hold_out_error.unwrap_or(f64::INFINITY);
            error(left).total_cmp(&error(right))
        });
        result.extend(sorted);
    }
    result
}

fn key(one: &Comparison) -> f64 {
    one.aicc.unwrap_or(f64::INFINITY)
}

/// The mean over the rows of the common splits; none of a law that lacks one of them.
fn mean_error(errors: &SplitErrors, common: &[bool]) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for (error, _) in errors.iter().zip(common).filter(|(_, common)| **common) {
        let (mean, rows) = (*error)?;
        sum += mean * rows;
        count += rows;
    }
    (count > 0.0).then(|| sum / count)
}

fn compared(
    observations: &[Observation],
    candidate: &Candidate,
    delta: Option<f64>,
) -> (Comparison, SplitErrors) {
    let blank = Comparison {
        quantity: candidate.quantity,
        model: candidate.model.to_owned(),
        formula: candidate.formula.to_owned(),
        coefficients: Vec::new(),
        aicc: None,
        hold_out_error: None,
        root_mean_square: None,
        refusal: candidate.refusal.clone(),
    };
    if candidate.refusal.is_some() {
        return (blank, Vec::new());
    }
    match solve(candidate.form.as_ref(), &candidate.rows, delta) {
        Err(error) => (Comparison { refusal: Some(error.to_string()), ..blank }, Vec::new()),
        Ok(solution) => {
            let comparison = Comparison {
                coefficients: candidate.coefficients(&solution.at),
                aicc: aicc(&solution, searched(candidate.form.as_ref())),
                root_mean_square: Some(solution.convergence().root_mean_square),
                ..blank
            };
            (comparison, split_errors(observations, candidate))
        }
    }
}

fn split_errors(observations: &[Observation], candidate: &Candidate) -> SplitErrors {
    let of_split = |split: &Split| {
        let (fitted, tested) = divide(observations, *split);
        let rest: Vec<Observation> =
            fitted.iter().map(|index| observations[*index].clone()).collect();
        let enough = match candidate.quantity {
            Quantity::PretrainingLoss => require_forgetting(&rest),
            Quantity::TargetLoss => require_target(&rest),
        };
        let spare = configurations(&rest).iter().max().map_or(0, |last| last + 1);
        if enough.is_err() || spare <= searched(candidate.form.as_ref()) {
            return None;
        }
        let rows: Vec<_> = fitted.iter().map(|index| candidate.rows[*index]).collect();
        let tests = test_determined(candidate.form.as_ref(), &rows, &candidate.rows, &tested)?;
        let errors = errors(&tests, |_| f64::NAN)?;
        Some((errors.mean_relative_error, tests.len() as f64))
    };
    let all = splits(observations);
    all.iter().filter(|split| !matches!(split, Split::OneModelSize(_))).map(of_split).collect()
}

/// Akaike's criterion with the correction for small samples (Hurvich and Tsai 1989), on Gaussian log
/// residuals; the noise counts as a coefficient. None where there are too few rows for it.
fn aicc(solution: &Solution, coefficients: usize) -> Option<f64> {
    let count = solution.residuals.len() as f64;
    let coefficients = coefficients as f64 + 1.0;
    let spare = count - coefficients - 1.0;
    let squares: f64 = solution.residuals.iter().map(|residual| residual * residual).sum();
    let value = count * (squares / count).ln()
        + 2.0 * coefficients
        + 2.0 * coefficients * (coefficients + 1.0) / spare;
    (spare > 0.0 && value.is_finite()).then_some(value)
}
