//! Other laws on the same rows, fitted in the same way and tested on the same hold-outs.

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::fit::fitted_forgetting::{coefficient, forgetting_form};
use crate::fit::fitted_target::target_form;
use crate::fit::hold_out::{divide, errors, splits, test_determined};
use crate::fit::records::{Comparison, HoldOutSplit, Quantity};
use crate::intervals::{Coefficient, Interval};
use crate::laws::forms::{
    ChinchillaForm, DomainSharesForm, ForgettingForm, Form, Injection, NormalizedRow, Point,
    TargetForm, searched,
};
use crate::observation::{Observation, configurations, distinct};
use crate::plan::requirements::{configurations_len, require_forgetting, require_target, too_few};
use crate::solver::scale::Scale;
use crate::solver::{Solution, solve};

/// The mean relative error of a law and the number of rows behind it, split by split; `None` if the law could not be
/// fitted to the other rows.
type SplitErrors = Vec<Option<(f64, f64)>>;

/// Fits all laws that the observations allow and sorts them by hold-out error, then by Akaike's criterion.
///
/// All laws of a quantity have their hold-out errors on the same rows: those of the splits (largest N, largest D, both)
/// whose other rows are enough for the reported law. A law that these other rows do not determine has no error, because
/// its predictions there are an accident of rounding.
pub(crate) fn compare(observations: &[Observation], delta: Option<f64>) -> Vec<Comparison> {
    let laws = compared_laws(observations);
    let compared: Vec<(Comparison, SplitErrors)> =
        laws.par_iter().map(|one| compare_one(observations, one, delta)).collect();
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

/// The mean over the rows of the common splits; `None` for a law that lacks one of them.
fn mean_error(errors: &SplitErrors, common: &[bool]) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for (error, _) in errors.iter().zip(common).filter(|(_, common)| **common) {
        let (mean, rows) = (*error)?;
        sum += mean * rows;
        count += rows;
    }
    (count > 0.0).then(|| sum / count)
}

fn compare_one(
    observations: &[Observation],
    law: &ComparedLaw,
    delta: Option<f64>,
) -> (Comparison, SplitErrors) {
    let blank = Comparison {
        quantity: law.quantity,
        model: law.model.to_owned(),
        formula: law.formula.to_owned(),
        coefficients: Vec::new(),
        aicc: None,
        hold_out_error: None,
        root_mean_square: None,
        refusal: law.refusal.clone(),
    };
    if law.refusal.is_some() {
        return (blank, Vec::new());
    }
    match solve(law.form.as_ref(), &law.rows, delta) {
        Err(error) => (Comparison { refusal: Some(error.to_string()), ..blank }, Vec::new()),
        Ok(solution) => {
            let comparison = Comparison {
                coefficients: law.coefficients(&solution.at),
                aicc: aicc(&solution, searched(law.form.as_ref())),
                root_mean_square: Some(solution.convergence().root_mean_square),
                ..blank
            };
            (comparison, split_errors(observations, law))
        }
    }
}

fn split_errors(observations: &[Observation], law: &ComparedLaw) -> SplitErrors {
    let of_split = |split: &HoldOutSplit| {
        let (fitted, tested) = divide(observations, *split);
        let rest: Vec<Observation> =
            fitted.iter().map(|index| observations[*index].clone()).collect();
        let enough = match law.quantity {
            Quantity::PretrainingLoss => require_forgetting(&rest),
            Quantity::TargetLoss => require_target(&rest),
        };
        let spare = configurations(&rest).iter().max().map_or(0, |last| last + 1);
        if enough.is_err() || spare <= searched(law.form.as_ref()) {
            return None;
        }
        let rows: Vec<_> = fitted.iter().map(|index| law.rows[*index]).collect();
        let tests = test_determined(law.form.as_ref(), &rows, &law.rows, &tested)?;
        let errors = errors(&tests, |_| f64::NAN)?;
        Some((errors.mean_relative_error, tests.len() as f64))
    };
    let all = splits(observations);
    all.iter()
        .filter(|split| !matches!(split, HoldOutSplit::OneModelSize(_)))
        .map(of_split)
        .collect()
}

/// Akaike's criterion with the correction for small samples (Hurvich and Tsai 1989), on Gaussian log
/// residuals; the noise counts as a coefficient. `None` if there are too few rows for it.
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

/// Name of the reported law in comparisons.
pub(crate) const REPORTED: &str = "reported";

/// A law to compare.
pub(crate) struct ComparedLaw {
    pub quantity: Quantity,
    pub model: &'static str,
    pub formula: &'static str,
    pub form: Box<dyn Form + Send>,
    pub rows: Vec<NormalizedRow>,
    /// Why it cannot be fitted to these observations.
    pub refusal: Option<String>,
    scale: Scale,
    plain: Plain,
}

/// A function that turns a point of the search into coefficients in plain units.
type Plain = fn(&Scale, &Point) -> Vec<(&'static str, f64)>;

impl ComparedLaw {
    /// Returns the coefficients in plain units of N, D and p.
    pub fn coefficients(&self, at: &Point) -> Vec<Coefficient> {
        let plain = (self.plain)(&self.scale, at);
        plain.iter().map(|(name, value)| coefficient(name, *value, Interval::OPEN, false)).collect()
    }
}

/// The reported laws, their variants and the neighboring laws.
pub(crate) fn compared_laws(observations: &[Observation]) -> Vec<ComparedLaw> {
    let mut all = compared_forgetting_laws(observations);
    all.extend(compared_target_laws(observations));
    for law in &mut all {
        let needed = searched(law.form.as_ref()) + 2;
        if law.refusal.is_none() && configurations_len(observations) < needed {
            let expected = format!("at least {needed} configurations (N, D, p)");
            law.refusal = Some(too_few(law.model, expected, observations).to_string());
        }
    }
    all
}

fn compared_forgetting_laws(observations: &[Observation]) -> Vec<ComparedLaw> {
    let scale = Scale::of(observations);
    let form = forgetting_form(observations);
    let candidate = |model, formula, form: ForgettingForm, plain| ComparedLaw {
        quantity: Quantity::PretrainingLoss,
        model,
        formula,
        form: Box::new(form),
        rows: scale.forgetting_rows(observations),
        refusal: None,
        scale,
        plain,
    };
    let own = ForgettingForm { injection: Injection::OwnExponent, ..form.clone() };
    let additive = ForgettingForm { injection: Injection::Additive, ..form.clone() };
    let offset = ForgettingForm { offset: true, ..form.clone() };
    let several = |of: fn(&Observation) -> f64| distinct(observations, of).len();
    let spans = several(|one| one.model_size) > 1
        && several(|one| one.target_tokens) > 1
        && several(|one| one.p) > 2;
    let refusal = (!spans).then(|| {
        let expected = "at least two N, two D and three shares p".to_owned();
        too_few("D-CPT", expected, observations).to_string()
    });
    let one_size = several(|one| one.model_size) < 2 || several(|one| one.p) < 3;
    let shares_own = one_size.then(|| {
        let expected = "at least two N and three shares p".to_owned();
        too_few("own exponent", expected, observations).to_string()
    });
    vec![
        candidate(REPORTED, "L0 + A*D^beta/((1 + B*p)*N)^alpha", form, plain_forgetting),
        candidate("offset", "L0 + A*D^beta/((1 + B*p)*N)^alpha + E", offset, |scale, at| {
            let mut all = plain_forgetting(scale, at);
            all.push(("E", at[4]));
            all
        }),
        ComparedLaw {
            refusal: shares_own,
            ..candidate(
                "own exponent of the share",
                "L0 + A*D^beta/((1 + B*p)^gamma*N^alpha)",
                own,
                plain_own_exponent,
            )
        },
        candidate("additive share", "L0 + A*D^beta/(N + B*p)^alpha", additive, plain_additive),
        ComparedLaw {
            form: Box::new(DomainSharesForm { of_pretraining: true }),
            rows: scale.pretraining_rows(observations),
            plain: plain_domain_shares,
            refusal,
            ..candidate("D-CPT", D_CPT, forgetting_form(observations), plain_forgetting)
        },
    ]
}

const D_CPT: &str = "E + A/N^alpha + B*r^eta/D^beta + C/(r + epsilon)^gamma, r = p";

fn compared_target_laws(observations: &[Observation]) -> Vec<ComparedLaw> {
    let scale = Scale::of(observations);
    let candidate = |model, formula, form: Box<dyn Form + Send>, plain| ComparedLaw {
        quantity: Quantity::TargetLoss,
        model,
        formula,
        form,
        rows: scale.target_rows(observations),
        refusal: None,
        scale,
        plain,
    };
    let form = target_form(observations);
    let with_share = TargetForm { with_share: true, ..form.clone() };
    let values = |of: fn(&Observation) -> f64| distinct(observations, of).len();
    let (sizes, tokens) = (values(|one| one.model_size), values(|one| one.target_tokens));
    let refuse = |model, enough: bool, expected: &str| {
        (!enough).then(|| too_few(model, expected.to_owned(), observations).to_string())
    };
    let basic = refuse(
        "target law",
        (sizes > 1 && tokens > 1) || sizes > 2 || tokens > 2,
        "two N and two D, or three of one of them",
    );
    let spans = refuse("Chinchilla", sizes > 2 && tokens > 2, "at least three N and three D");
    let epochs = observations.iter().all(|one| one.target_tokens_seen.is_some());
    let repeated = refuse("data-constrained", epochs, "the target tokens seen of every run");
    vec![
        ComparedLaw {
            refusal: basic.clone(),
            ..candidate(REPORTED, "E + A/(N^alpha*D^beta)", Box::new(form), plain_target)
        },
        ComparedLaw {
            refusal: basic,
            ..candidate(
                "p-term",
                "E + A/(N^alpha*D^beta) + C*p",
                Box::new(with_share),
                |scale, at| {
                    let mut all = plain_target(scale, at);
                    all.push(("C", at[4]));
                    all
                },
            )
        },
        ComparedLaw {
            refusal: spans.clone(),
            ..candidate(
                "Chinchilla",
                "E + A/N^alpha + B/D^beta",
                Box::new(ChinchillaForm { data_constrained: false }),
                |scale, at| plain_chinchilla(scale, at, 2),
            )
        },
        ComparedLaw {
            refusal: spans.or(repeated),
            ..candidate(
                "data-constrained",
                "E + A/N^alpha + B/(D + D*R*(1 - exp(-(epochs - 1)/R)))^beta",
                Box::new(ChinchillaForm { data_constrained: true }),
                |scale, at| {
                    let mut all = plain_chinchilla(scale, at, 3);
                    all.push(("R", at[2].exp()));
                    all
                },
            )
        },
    ]
}

fn plain_forgetting(scale: &Scale, at: &Point) -> Vec<(&'static str, f64)> {
    let law = scale.forgetting_law(at);
    vec![("A", law.ln_a.exp()), ("B", law.b), ("alpha", law.alpha), ("beta", law.beta)]
}

fn plain_own_exponent(scale: &Scale, at: &Point) -> Vec<(&'static str, f64)> {
    let [alpha, beta, ln_b, gamma, ln_a, ..] = *at;
    let ln_a = ln_a + alpha * scale.ln_size() - beta * scale.ln_tokens();
    let all = [("A", ln_a.exp()), ("B", ln_b.exp()), ("alpha", alpha), ("beta", beta)];
    all.into_iter().chain([("gamma", gamma)]).collect()
}

/// B in parameters.
fn plain_additive(scale: &Scale, at: &Point) -> Vec<(&'static str, f64)> {
    let mut all = plain_forgetting(scale, at);
    all[1].1 = (at[2] + scale.ln_size()).exp();
    all
}

fn plain_target(scale: &Scale, at: &Point) -> Vec<(&'static str, f64)> {
    let law = scale.target_law(at);
    vec![("A", law.ln_a.exp()), ("E", law.e), ("alpha", law.alpha), ("beta", law.beta)]
}

/// A, B and E are the coordinates from `first` on.
fn plain_chinchilla(scale: &Scale, at: &Point, first: usize) -> Vec<(&'static str, f64)> {
    let [alpha, beta, ..] = *at;
    let ln_a = at[first] + alpha * scale.ln_size();
    let ln_b = at[first + 1] + beta * scale.ln_tokens();
    let e = at[first + 2].exp();
    vec![("A", ln_a.exp()), ("B", ln_b.exp()), ("E", e), ("alpha", alpha), ("beta", beta)]
}

fn plain_domain_shares(scale: &Scale, at: &Point) -> Vec<(&'static str, f64)> {
    let [alpha, beta, eta, gamma, ln_epsilon, ln_e, ln_a, ln_b, ln_c, _] = *at;
    vec![
        ("E", ln_e.exp()),
        ("A", (ln_a + alpha * scale.ln_size()).exp()),
        ("B", (ln_b + beta * scale.ln_tokens()).exp()),
        ("C", ln_c.exp()),
        ("alpha", alpha),
        ("beta", beta),
        ("eta", eta),
        ("gamma", gamma),
        ("epsilon", ln_epsilon.exp()),
    ]
}
