//! The laws in numbers: coefficients, hold-outs, other laws, warnings.

use mixdown_scaling::{
    Coefficient, Convergence, HoldOutSplit, Interval, ScalingFit, ShareAdvice, Warning,
};

use crate::laws::check::loss_name;
use crate::parts::html::{Cell, Table, escape, push};
use crate::parts::text::{fixed, percent_fixed, percent_rounded, short, significant};

/// Both laws, the advice and the warnings.
pub(crate) fn laws(fit: &ScalingFit, advice: Option<&ShareAdvice>) -> String {
    let mut html = block(
        "Law of forgetting",
        "forgetting = A·D^β / ((1 + B·p)·N)^α, nats per token over the loss before finetuning",
        &coefficients(&fit.forgetting.coefficients),
        &residuals(&fit.forgetting.convergence),
    );
    match &fit.target {
        Some(target) => html.push_str(&block(
            "Law of the target loss",
            "target loss = A / (N^α·D^β) + E, nats per token",
            &coefficients(&target.coefficients),
            &residuals(&target.convergence),
        )),
        None => {
            let reason = fit.target_refusal.as_deref().unwrap_or("no reason was kept");
            push(
                &mut html,
                format_args!("<p>No law of the target loss: {}.</p>\n", escape(reason)),
            );
        }
    }
    if let Some(advice) = advice {
        html.push_str(&predictions(advice));
    }
    let advised = advice.map_or(&[][..], |advice| advice.warnings.as_slice());
    html + &warnings(fit.warnings.iter().chain(advised))
}

fn block(title: &str, formula: &str, table: &Table, below: &str) -> String {
    format!(
        "<div class=\"block\">\n<h3>{}</h3>\n<p class=\"law\">{}</p>\n{}<p class=\"small\">{}</p>\n</div>\n",
        escape(title),
        escape(formula),
        table.render("results"),
        escape(below)
    )
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

fn predictions(advice: &ShareAdvice) -> String {
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
        if advice.is_far() { "By extrapolation, no finding:" } else { "Expected" },
        short(advice.model_size),
        short(advice.target_tokens)
    );
    let price = advice.price.map_or_else(String::new, |price| {
        format!(
            "The share asked for takes {} times the tokens of the target alone.",
            fixed(price, 4)
        )
    });
    format!(
        "<div class=\"block\">\n<h3>{}</h3>\n{}<p class=\"small\">{}</p>\n</div>\n",
        escape(&title),
        table.render("results"),
        escape(&price)
    )
}

fn warnings<'a>(warnings: impl Iterator<Item = &'a Warning>) -> String {
    let mut items = String::new();
    let mut seen: Vec<String> = Vec::new();
    for warning in warnings {
        let text = warning.to_string();
        if !seen.contains(&text) {
            push(&mut items, format_args!("<li>{}</li>\n", escape(&text)));
            seen.push(text);
        }
    }
    if items.is_empty() { items } else { format!("<ul class=\"warnings\">\n{items}</ul>\n") }
}

/// The hold-outs, the naive prediction beside them.
pub(crate) fn hold_outs(fit: &ScalingFit) -> String {
    if fit.hold_outs.is_empty() {
        return String::new();
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
    titled(
        "Hold-outs",
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

/// Other laws on the same runs.
pub(crate) fn comparisons(fit: &ScalingFit) -> String {
    if fit.comparisons.is_empty() {
        return String::new();
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
    titled(
        "Laws compared",
        &table.render("results second-text last-text"),
        "The best first; hold-out errors are over the same runs for all laws of a loss.",
    )
}

fn titled(title: &str, table: &str, below: &str) -> String {
    format!(
        "<div class=\"block\">\n<h3>{}</h3>\n{table}<p class=\"small\">{}</p>\n</div>\n",
        escape(title),
        escape(below)
    )
}

/// "(95 % interval 0.1 % to 2 %)", with open ends named.
pub(crate) fn share_interval(interval: Interval) -> String {
    let end = |end: Option<f64>| end.map_or_else(|| "open".to_owned(), |p| percent_rounded(p, 3));
    format!("95\u{a0}% interval {} to {}", end(interval.low), end(interval.high))
}
