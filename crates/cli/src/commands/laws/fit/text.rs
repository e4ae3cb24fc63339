//! The text of a fit.

use mixdown_base::display::{percent_requested, plural, short};
use mixdown_experiments::Delivery;
use mixdown_scaling::{
    AdviceStatus, Coefficient, Convergence, DomainFit, Estimate, FitRecord, HoldOut, HoldOutSplit,
    Interval, Quantity, ScalingFit, ShareAdvice, Warning,
};

use crate::terminal::output::table;

/// All domains, one after the other.
pub fn of(record: &FitRecord, deliveries: &[Option<Delivery>]) -> String {
    let fits = record.domains.iter().zip(deliveries);
    let mut texts: Vec<String> =
        fits.map(|(fit, delivery)| domain(fit, delivery.as_ref())).collect();
    let refused = record.refused.iter();
    texts.extend(refused.map(|one| format!("domain {}: no law: {}", one.domain, one.reason)));
    texts.join("\n\n")
}

fn domain(one: &DomainFit, delivery: Option<&Delivery>) -> String {
    let fit = &one.fit;
    let mut parts = vec![head(one)];
    parts.push(law(
        "forgetting = A·D^β / ((1 + B·p)·N)^α, nats per token over the loss before finetuning",
        &fit.forgetting.coefficients,
        &fit.forgetting.convergence,
    ));
    if let Some(correlation) = fit.forgetting.correlation_alpha_ln_b {
        parts.push(format!(
            "α and ln B are determined jointly: their correlation is {correlation:.2}"
        ));
    }
    match (&fit.target, &fit.target_refusal) {
        (Some(target), _) => parts.push(law(
            "target loss = A / (N^α·D^β) + E, nats per token",
            &target.coefficients,
            &target.convergence,
        )),
        (None, Some(reason)) => parts.push(format!("no target law: {reason}")),
        (None, None) => {}
    }
    if !fit.hold_outs.is_empty() {
        parts.push(hold_outs(fit));
    }
    parts.push(comparisons(fit));
    if let Some(found) = &one.advice {
        parts.push(advice(found, delivery));
    }
    let advice_warnings = one.advice.iter().flat_map(|advice| &advice.warnings);
    let warnings: Vec<&Warning> = fit.warnings.iter().chain(advice_warnings).collect();
    if !warnings.is_empty() {
        let lines: Vec<String> =
            warnings.iter().map(|warning| format!("warning: {warning}")).collect();
        parts.push(lines.join("\n"));
    }
    if let Some(delivery) = delivery {
        let toml = delivery.toml();
        parts.push(format!(
            "the mixture, ready for `mixdown mix` and `[mixture]` of a run:\n\n{}",
            toml.trim_end()
        ));
    }
    parts.join("\n\n")
}

fn head(one: &DomainFit) -> String {
    let grid = &one.fit.grid;
    let list = |values: &[f64], show: fn(f64) -> String| {
        values.iter().map(|value| show(*value)).collect::<Vec<_>>().join(", ")
    };
    format!(
        "domain {}: {}, {}\n  N  {}\n  D  {}\n  p  {}",
        one.domain,
        plural(grid.rows, "run"),
        plural(grid.configurations, "configuration"),
        list(&grid.model_sizes, short),
        list(&grid.target_tokens, short),
        list(&grid.shares, percent_requested),
    )
}

fn law(title: &str, coefficients: &[Coefficient], convergence: &Convergence) -> String {
    let symbol = |name: &str| match name {
        "alpha" => "α".to_owned(),
        "beta" => "β".to_owned(),
        other => other.to_owned(),
    };
    let row =
        |one: &Coefficient| vec![symbol(&one.name), digits(one.value), interval(one.interval)];
    let rows: Vec<Vec<String>> = coefficients.iter().map(row).collect();
    format!(
        "{title}\n{}\nresiduals {:.2} % (root mean square of log loss); gradient {:.0e}; {} of {} starts agree",
        table(&["", "value", "95 % interval"], &rows),
        convergence.root_mean_square * 100.0,
        convergence.gradient_norm,
        convergence.agreeing_starts,
        convergence.starts,
    )
}

fn hold_outs(fit: &ScalingFit) -> String {
    let row = |one: &HoldOut| {
        let mut cells = vec![left_out(&one.split), quantity(one.quantity).to_owned()];
        match &one.errors {
            Some(errors) => cells.extend([
                one.rows.len().to_string(),
                format!("{:.2} %", errors.mean_relative_error * 100.0),
                format!("{:.2} %", errors.worst_relative_error * 100.0),
                format!("{:.0} %", errors.coverage * 100.0),
                format!("{:.2} %", errors.naive_relative_error * 100.0),
            ]),
            None => cells.extend(["too few left", "", "", "", ""].map(str::to_owned)),
        }
        cells
    };
    let rows: Vec<Vec<String>> = fit.hold_outs.iter().map(row).collect();
    let header = ["left out", "loss", "runs", "mean error", "worst", "within 95 %", "naive error"];
    format!(
        "hold-outs (naive: the pretraining loss stays, the target loss is the mean)\n{}",
        table(&header, &rows)
    )
}

fn left_out(split: &HoldOutSplit) -> String {
    match split {
        HoldOutSplit::LargestModel => "largest N".to_owned(),
        HoldOutSplit::LargestTarget => "largest D".to_owned(),
        HoldOutSplit::LargestBoth => "largest N and D".to_owned(),
        HoldOutSplit::OneModelSize(size) => format!("N = {}", short(*size)),
    }
}

fn quantity(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::PretrainingLoss => "pretraining",
        Quantity::TargetLoss => "target",
    }
}

fn comparisons(fit: &ScalingFit) -> String {
    let fitted = fit.comparisons.iter().filter(|one| one.refusal.is_none());
    let share =
        |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.2} %", v * 100.0));
    let rows: Vec<Vec<String>> = fitted
        .map(|one| {
            vec![
                one.model.clone(),
                quantity(one.quantity).to_owned(),
                share(one.hold_out_error),
                one.aicc.map_or("-".to_owned(), |aicc| format!("{aicc:.1}")),
                one.formula.clone(),
            ]
        })
        .collect();
    let mut text = format!(
        "laws compared, the best first\n{}",
        table(&["law", "loss", "hold-out error", "AICc", "formula"], &rows)
    );
    for one in fit.comparisons.iter() {
        if let Some(reason) = &one.refusal {
            text.push_str(&format!(
                "\nnot fitted: {} ({}): {reason}",
                one.model,
                quantity(one.quantity)
            ));
        }
    }
    text
}

fn advice(found: &ShareAdvice, delivery: Option<&Delivery>) -> String {
    let plan = format!(
        "to forget at most {} nats per token with N = {}, D = {}",
        found.budget,
        short(found.model_size),
        short(found.target_tokens)
    );
    let answer = answer(found);
    let price = found.price.zip(delivery).map_or_else(String::new, |(price, delivery)| {
        format!(
            "\nprice: {price:.4} times the tokens; a pass over the target is {} tokens, {:.0} steps \
             instead of {:.0}",
            short(delivery.total_tokens),
            delivery.steps,
            delivery.steps_without
        )
    });
    let rows: Vec<Vec<String>> = found
        .predictions
        .iter()
        .map(|one| {
            let or_none = |estimate: &Option<Estimate>| {
                estimate.as_ref().map_or_else(|| "-".to_owned(), with_interval)
            };
            vec![
                share(one.p),
                with_interval(&one.forgetting),
                or_none(&one.pretraining_loss),
                or_none(&one.target_loss),
            ]
        })
        .collect();
    format!(
        "{plan}: {answer}{price}\n{}",
        table(&["p", "forgetting", "pretraining loss", "target loss"], &rows)
    )
}

/// p*, or the reason why the runs give none.
fn answer(found: &ShareAdvice) -> String {
    let range = share_interval(found.interval);
    let law = match found.p {
        Some(p) => format!("p* = {} (95 % interval {range})", share(p)),
        None => format!("no share below 100 % keeps the budget (95 % interval of p* {range})"),
    };
    match found.status() {
        AdviceStatus::Identified | AdviceStatus::NoShare => law,
        AdviceStatus::Extrapolated => format!(
            "no finding, only an extrapolation: the law gives {law}; run models and amounts of data within ten \
             times of the plan"
        ),
        AdviceStatus::NotIdentified => format!(
            "p* is not identified: the runs do not bound it (95 % interval {range}); `mixdown design --from \
             FIT.json` names runs that do"
        ),
    }
}

fn with_interval(estimate: &Estimate) -> String {
    format!("{:.4} {}", estimate.value, interval(estimate.interval))
}

/// `[low, high]`, an open end as `…`.
pub fn interval(interval: Interval) -> String {
    let end = |end: Option<f64>| end.map_or_else(|| "…".to_owned(), digits);
    format!("[{}, {}]", end(interval.low), end(interval.high))
}

/// The same for shares, in percent.
pub fn share_interval(interval: Interval) -> String {
    let end = |end: Option<f64>| end.map_or_else(|| "…".to_owned(), share);
    format!("{} to {}", end(interval.low), end(interval.high))
}

/// A share in percent with three digits.
pub fn share(p: f64) -> String {
    format!("{} %", digits(p * 100.0))
}

/// Four digits, with an exponent if there would be many zeros.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e5).contains(&size) {
        let places = if size >= 1000.0 {
            0
        } else if size >= 100.0 {
            1
        } else if size >= 10.0 {
            2
        } else if size >= 1.0 {
            3
        } else {
            4
        };
        let text = format!("{value:.places$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    } else {
        format!("{value:.2e}")
    }
}
