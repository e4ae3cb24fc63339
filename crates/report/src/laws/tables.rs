//! The tables of the laws: coefficients, hold-outs, other laws, warnings.

use maud::{Markup, html};
use mixdown_scaling::{
    Coefficient, Convergence, HoldOutSplit, Interval, ScalingFit, ShareAdvice, Warning,
};

use crate::laws::check::loss_name;
use crate::parts::figure::{Cell, Table};
use crate::parts::text::{fixed, percent_fixed, percent_rounded, short, significant};

/// Renders both laws, the advice and the warnings.
pub(crate) fn laws(fit: &ScalingFit, advice: Option<&ShareAdvice>) -> Markup {
    let advised = advice.map_or(&[][..], |advice| advice.warnings.as_slice());
    html! {
        (block(
            "Law of forgetting",
            Some("forgetting = A·D^β / ((1 + B·p)·N)^α, nats per token over the loss before finetuning"),
            &coefficients(&fit.forgetting.coefficients).render("results"),
            &residuals(&fit.forgetting.convergence),
        ))
        @match &fit.target {
            Some(target) => {
                (block(
                    "Law of the target loss",
                    Some("target loss = A / (N^α·D^β) + E, nats per token"),
                    &coefficients(&target.coefficients).render("results"),
                    &residuals(&target.convergence),
                ))
            }
            None => {
                p {
                    "No law of the target loss: "
                    (fit.target_refusal.as_deref().unwrap_or("no reason was kept")) "."
                }
            }
        }
        @if let Some(advice) = advice { (predictions(advice)) }
        (warnings(fit.warnings.iter().chain(advised)))
    }
}

/// Renders a table under its title and formula, with a remark below it.
fn block(title: &str, formula: Option<&str>, table: &Markup, remark: &str) -> Markup {
    html! {
        div class="block" {
            h3 { (title) }
            @if let Some(formula) = formula { p class="law" { (formula) } }
            (table)
            p class="small" { (remark) }
        }
    }
}

fn coefficients(coefficients: &[Coefficient]) -> Table {
    let mut table = Table::new(["Coefficient", "value", "95 % low", "95 % high", "determined"]);
    for one in coefficients {
        let end = |end: Option<f64>| Cell::or_dash(end.map(number));
        let determined = match (one.at_bound, one.interval.is_bounded()) {
            (true, _) => "no: at the edge of its range",
            (false, false) => "no: its interval is open",
            (false, true) => "yes",
        };
        table.push(vec![
            greek(&one.name).to_owned().into(),
            number(one.value),
            end(one.interval.low),
            end(one.interval.high),
            determined.to_owned().into(),
        ]);
    }
    table
}

fn number(value: f64) -> Cell {
    Cell::number(significant(value, 4), value)
}

fn greek(name: &str) -> &str {
    match name {
        "alpha" => "α",
        "beta" => "β",
        other => other,
    }
}

fn residuals(convergence: &Convergence) -> String {
    format!(
        "Residuals {} (root mean square of log loss); {} of {} starts of the search agree.",
        percent_fixed(convergence.root_mean_square, 2),
        convergence.agreeing_starts,
        convergence.starts
    )
}

fn predictions(advice: &ShareAdvice) -> Markup {
    let mut table = Table::new([
        "p",
        "forgetting (nats)",
        "forgetting 95 % low",
        "forgetting 95 % high",
        "pretraining loss",
        "pretraining 95 % low",
        "pretraining 95 % high",
        "target loss",
        "target 95 % low",
        "target 95 % high",
    ]);
    for one in &advice.predictions {
        let end = |end: Option<f64>| Cell::or_dash(end.map(|nats| Cell::fixed(nats, 4)));
        let mut cells = vec![Cell::percent(one.p)];
        for estimate in [Some(one.forgetting), one.pretraining_loss, one.target_loss] {
            let interval = estimate.map(|one| one.interval);
            cells.push(end(estimate.map(|one| one.value)));
            cells.push(end(interval.and_then(|interval| interval.low)));
            cells.push(end(interval.and_then(|interval| interval.high)));
        }
        table.push(cells);
    }
    let title = format!(
        "{} at N = {}, D = {}",
        if advice.is_far() { "By extrapolation, not a finding:" } else { "Expected" },
        short(advice.model_size),
        short(advice.target_tokens)
    );
    let price = advice.price.map_or_else(String::new, |price| {
        format!("This share needs {} times the tokens of the target alone.", fixed(price, 4))
    });
    block(&title, None, &table.render("results"), &price)
}

fn warnings<'a>(warnings: impl Iterator<Item = &'a Warning>) -> Markup {
    let mut distinct: Vec<String> = Vec::new();
    for text in warnings.map(ToString::to_string) {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    html! {
        @if !distinct.is_empty() {
            ul class="warnings" { @for text in &distinct { li { (text) } } }
        }
    }
}

/// Renders the hold-outs beside the naive prediction.
pub(crate) fn hold_outs(fit: &ScalingFit) -> Markup {
    if fit.hold_outs.is_empty() {
        return html! {};
    }
    let mut table = Table::new([
        "Left out",
        "loss",
        "runs",
        "mean error",
        "worst",
        "within 95 %",
        "naive error",
        "note",
    ]);
    for one in &fit.hold_outs {
        let share = |of: Option<f64>, digits: usize| {
            Cell::or_dash(of.map(|share| Cell::number(percent_fixed(share, digits), share)))
        };
        let errors = one.errors;
        table.push(vec![
            split_name(one.split).into(),
            loss_name(one.quantity).to_owned().into(),
            Cell::count(u64::try_from(one.rows.len()).unwrap_or(u64::MAX)),
            share(errors.map(|errors| errors.mean_relative_error), 2),
            share(errors.map(|errors| errors.worst_relative_error), 2),
            share(errors.map(|errors| errors.coverage), 0),
            share(errors.map(|errors| errors.naive_relative_error), 2),
            one.refusal.as_ref().map_or_else(String::new, |_| "too few left".to_owned()).into(),
        ]);
    }
    block(
        "Hold-outs",
        None,
        &table.render("results second-text"),
        "Each law fitted without some runs and tested on them; naive: the pretraining loss stays, the \
         target loss is the mean.",
    )
}

fn split_name(split: HoldOutSplit) -> String {
    match split {
        HoldOutSplit::LargestModel => "largest N".to_owned(),
        HoldOutSplit::LargestTarget => "largest D".to_owned(),
        HoldOutSplit::LargestBoth => "largest N and D".to_owned(),
        HoldOutSplit::OneModelSize(size) => format!("N = {}", short(size)),
    }
}

/// Renders the other laws on the same runs.
pub(crate) fn comparisons(fit: &ScalingFit) -> Markup {
    if fit.comparisons.is_empty() {
        return html! {};
    }
    let mut table = Table::new([
        "Law",
        "loss",
        "hold-out error",
        "AICc",
        "residuals",
        "formula or why not fitted",
    ]);
    for one in &fit.comparisons {
        let share = |of: Option<f64>| {
            Cell::or_dash(of.map(|share| Cell::number(percent_fixed(share, 2), share)))
        };
        table.push(vec![
            one.model.clone().into(),
            loss_name(one.quantity).to_owned().into(),
            share(one.hold_out_error),
            Cell::or_dash(one.aicc.map(|value| Cell::fixed(value, 1))),
            share(one.root_mean_square),
            one.refusal.as_ref().unwrap_or(&one.formula).clone().into(),
        ]);
    }
    block(
        "Laws compared",
        None,
        &table.render("results second-text last-text"),
        "The best first; hold-out errors are over the same runs for all laws of a loss.",
    )
}

/// "(95 % interval 0.1 % to 2 %)", with open ends named.
pub(crate) fn share_interval(interval: Interval) -> String {
    let end = |end: Option<f64>| end.map_or_else(|| "open".to_owned(), |p| percent_rounded(p, 3));
    format!("95\u{a0}% interval {} to {}", end(interval.low), end(interval.high))
}
