//! The output of `fit --json`, whose names other programs rely on.

use mixdown_experiments::Delivery;
use mixdown_scaling::{
    AdviceStatus, Coefficient, Comparison, Convergence, DomainFit, FitRecord, HoldOut, Interval,
    Prediction, RefusedDomain, ShareAdvice, Warning,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// All domains in a list; if there is only one, its fields are also at the top level.
#[derive(Serialize)]
pub struct View<'a> {
    #[serde(flatten)]
    only: Option<Domain<'a>>,
    /// Sorted by name.
    domains: Vec<Domain<'a>>,
    /// Those without a law.
    refused: &'a [RefusedDomain],
}

/// The fit of a domain.
#[derive(Clone, Serialize)]
pub struct Domain<'a> {
    domain: &'a str,
    recipe: Map<String, Value>,
    runs: u64,
    configurations: u64,
    forgetting: Value,
    target: Option<Value>,
    target_refusal: &'a Option<String>,
    holdouts: &'a [HoldOut],
    comparisons: &'a [Comparison],
    predictions: &'a [Prediction],
    advice: Option<Advice<'a>>,
    warnings: Vec<String>,
}

#[derive(Clone, Serialize)]
struct Advice<'a> {
    /// None if the runs do not identify it; `status` gives the reason.
    p: Option<f64>,
    interval: Interval,
    identified: bool,
    status: AdviceStatus,
    /// Whether N, D or p* lies more than ten times beyond the runs, and by what factor.
    extrapolated: bool,
    extrapolation: f64,
    budget: f64,
    model_size: f64,
    target_tokens: f64,
    price: Option<f64>,
    delivery: Option<&'a Delivery>,
    mixture: Option<String>,
    warnings: Vec<String>,
}

/// What is printed of a record.
pub fn of<'a>(record: &'a FitRecord, deliveries: &'a [Option<Delivery>]) -> View<'a> {
    let fits = record.domains.iter().zip(deliveries);
    let domains: Vec<Domain<'a>> =
        fits.map(|(fit, delivery)| domain(fit, delivery.as_ref())).collect();
    let only = match (domains.as_slice(), record.refused.as_slice()) {
        ([only], []) => Some(only.clone()),
        _ => None,
    };
    View { only, domains, refused: &record.refused }
}

fn domain<'a>(one: &'a DomainFit, delivery: Option<&'a Delivery>) -> Domain<'a> {
    let fit = &one.fit;
    let recipe = one.recipe.iter().map(|(field, value)| (field.clone(), json!(value)));
    let mut forgetting = law(&fit.forgetting.coefficients, &fit.forgetting.convergence);
    forgetting.insert("ln_A".to_owned(), json!(fit.forgetting.law.ln_a));
    forgetting.insert("identified".to_owned(), json!(fit.forgetting.identified));
    let correlation = fit.forgetting.correlation_alpha_ln_b;
    forgetting.insert("correlation_alpha_ln_B".to_owned(), json!(correlation));
    let target = fit.target.as_ref().map(|target| law(&target.coefficients, &target.convergence));
    Domain {
        domain: &one.domain,
        recipe: recipe.collect(),
        runs: fit.grid.rows,
        configurations: fit.grid.configurations,
        forgetting: Value::Object(forgetting),
        target: target.map(Value::Object),
        target_refusal: &fit.target_refusal,
        holdouts: &fit.hold_outs,
        comparisons: &fit.comparisons,
        predictions: one.advice.as_ref().map_or(&[], |advice| advice.predictions.as_slice()),
        advice: one.advice.as_ref().map(|found| advice(found, delivery)),
        warnings: texts(&fit.warnings),
    }
}

fn law(coefficients: &[Coefficient], convergence: &Convergence) -> Map<String, Value> {
    let mut law = Map::new();
    let mut intervals = Map::new();
    for one in coefficients {
        law.insert(one.name.clone(), json!(one.value));
        intervals.insert(one.name.clone(), json!(one.interval));
    }
    law.insert("intervals".to_owned(), Value::Object(intervals));
    law.insert("convergence".to_owned(), json!(convergence));
    law
}

fn advice<'a>(advice: &ShareAdvice, delivery: Option<&'a Delivery>) -> Advice<'a> {
    Advice {
        p: advice.p.filter(|_| advice.status() != AdviceStatus::NotIdentified),
        interval: advice.interval,
        identified: advice.identified,
        status: advice.status(),
        extrapolated: advice.is_far(),
        extrapolation: advice.extrapolation(),
        budget: advice.budget,
        model_size: advice.model_size,
        target_tokens: advice.target_tokens,
        price: advice.price,
        delivery,
        mixture: delivery.map(Delivery::toml),
        warnings: texts(&advice.warnings),
    }
}

fn texts(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}
