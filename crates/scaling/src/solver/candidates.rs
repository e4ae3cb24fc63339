//! The laws that are compared, each with its rows and its coefficients in plain units.

use crate::fit::fitted_forgetting::{coefficient, forgetting_form};
use crate::fit::fitted_target::target_form;
use crate::fit::scaling_fit::Quantity;
use crate::intervals::interval::{Coefficient, Interval};
use crate::laws::form::{Form, Point, Row, searched};
use crate::laws::forms::{ChinchillaForm, DomainSharesForm, ForgettingForm, Injection, TargetForm};
use crate::observation::{Observation, distinct};
use crate::plan::requirements::{configurations_len, too_few};
use crate::solver::scale::Scale;

/// Name of the reported law in comparisons.
pub(crate) const REPORTED: &str = "reported";

/// A law to compare.
pub(crate) struct Candidate {
    pub quantity: Quantity,
    pub model: &'static str,
    pub formula: &'static str,
    pub form: Box<dyn Form + Send>,
    pub rows: Vec<Row>,
    /// Why it makes no sense on these observations.
    pub refusal: Option<String>,
    scale: Scale,
    plain: Plain,
}

/// How a point becomes coefficients in plain units.
type Plain = fn(&Scale, &Point) -> Vec<(&'static str, f64)>;

impl Candidate {
    /// Coefficients in plain units of N, D and p.
    pub fn coefficients(&self, at: &Point) -> Vec<Coefficient> {
        let plain = (self.plain)(&self.scale, at);
        plain.iter().map(|(name, value)| coefficient(name, *value, Interval::OPEN, false)).collect()
    }
}

/// The reported laws, their variants and the neighboring laws.
pub(crate) fn candidates(observations: &[Observation]) -> Vec<Candidate> {
    let mut all = forgetting_candidates(observations);
    all.extend(target_candidates(observations));
    for candidate in &mut all {
        let needed = searched(candidate.form.as_ref()) + 2;
        if candidate.refusal.is_none() && configurations_len(observations) < needed {
            let expected = format!("at least {needed} configurations (N, D, p)");
            candidate.refusal = Some(too_few(candidate.model, expected, observations).to_string());
        }
    }
    all
}

fn forgetting_candidates(observations: &[Observation]) -> Vec<Candidate> {
    let scale = Scale::of(observations);
    let form = forgetting_form(observations);
    let candidate = |model, formula, form: ForgettingForm, plain| Candidate {
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
        Candidate {
            refusal: shares_own,
            ..candidate(
                "own exponent of the share",
                "L0 + A*D^beta/((1 + B*p)^gamma*N^alpha)",
                own,
                plain_own_exponent,
            )
        },
        candidate("additive share", "L0 + A*D^beta/(N + B*p)^alpha", additive, plain_additive),
        Candidate {
            form: Box::new(DomainSharesForm { of_pretraining: true }),
            rows: scale.pretraining_rows(observations),
            plain: plain_domain_shares,
            refusal,
            ..candidate("D-CPT", D_CPT, forgetting_form(observations), plain_forgetting)
        },
    ]
}

const D_CPT: &str = "E + A/N^alpha + B*r^eta/D^beta + C/(r + epsilon)^gamma, r = p";

fn target_candidates(observations: &[Observation]) -> Vec<Candidate> {
    let scale = Scale::of(observations);
    let candidate = |model, formula, form: Box<dyn Form + Send>, plain| Candidate {
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
        Candidate {
            refusal: basic.clone(),
            ..candidate(REPORTED, "E + A/(N^alpha*D^beta)", Box::new(form), plain_target)
        },
        Candidate {
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
        Candidate {
            refusal: spans.clone(),
            ..candidate(
                "Chinchilla",
                "E + A/N^alpha + B/D^beta",
                Box::new(ChinchillaForm { data_constrained: false }),
                |scale, at| plain_chinchilla(scale, at, 2),
            )
        },
        Candidate {
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

/// A, B and E stand from place `first` on.
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
