//! Figures of predicted and measured losses.

use mixdown_scaling::{HoldOutSplit, Quantity, Residual, ScalingFit};

use crate::parts::chart::{Axis, DashType, HoverMode, Layout, Line, Plot, Symbol};
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::{axis, bare_line, layout, points};
use crate::parts::text::{fixed, signed};
use crate::runs::grouping::{Groups, same};

/// Returns the figures of predicted against measured values and of residuals for both losses.
pub(crate) fn figures(fit: &ScalingFit, groups: &Groups) -> Vec<Figure> {
    let mut figures = Vec::new();
    let target = fit.target.as_ref().map(|target| target.residuals.as_slice());
    let both = [
        (Quantity::PretrainingLoss, Some(fit.forgetting.residuals.as_slice())),
        (Quantity::TargetLoss, target),
    ];
    for (quantity, residuals) in both {
        let Some(residuals) = residuals else { continue };
        figures.push(predicted(fit, groups, quantity, residuals));
        figures.push(scatter(fit, groups, quantity, residuals));
    }
    figures
}

pub(crate) fn loss_name(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::PretrainingLoss => "pretraining loss",
        Quantity::TargetLoss => "target loss",
    }
}

fn name(fit: &ScalingFit, observation: u64) -> &str {
    let index = usize::try_from(observation).ok();
    index.and_then(|index| fit.observations.get(index)).map_or("", |one| one.name.as_str())
}

fn size_of(fit: &ScalingFit, residual: &Residual) -> Option<f64> {
    let index = usize::try_from(residual.observation).ok()?;
    fit.observations.get(index).map(|one| one.model_size)
}

/// Runs that are drawn with one color and symbol.
struct Marks<'a> {
    label: String,
    color: String,
    symbol: Symbol,
    /// The runs as (name, measured, predicted).
    runs: Vec<(&'a str, f64, f64)>,
}

/// Returns the fitted runs by N, then the held-out runs by split.
fn marks<'a>(
    fit: &'a ScalingFit,
    groups: &Groups,
    quantity: Quantity,
    residuals: &[Residual],
) -> Vec<Marks<'a>> {
    let fitted = groups.sizes.iter().map(|size| Marks {
        label: groups.size_label(*size),
        color: groups.color(*size),
        symbol: groups.symbol(*size),
        runs: residuals
            .iter()
            .filter(|one| size_of(fit, one).is_some_and(|n| same(n, *size)))
            .map(|one| (name(fit, one.observation), one.measured, one.predicted))
            .collect(),
    });
    let held_out =
        fit.hold_outs.iter().filter(|one| one.quantity == quantity && !one.rows.is_empty());
    let held_out = held_out.filter_map(|one| {
        let (label, symbol) = mark(one.split)?;
        let runs = one.rows.iter();
        let runs =
            runs.map(|row| (name(fit, row.observation), row.measured, row.predicted)).collect();
        Some(Marks { label: label.to_owned(), color: "var(--series-0)".to_owned(), symbol, runs })
    });
    fitted.chain(held_out).collect()
}

fn predicted(
    fit: &ScalingFit,
    groups: &Groups,
    quantity: Quantity,
    residuals: &[Residual],
) -> Figure {
    let loss = loss_name(quantity);
    let marks = marks(fit, groups, quantity, residuals);
    let mut data = Vec::new();
    let mut table = Table::new(["Run", "marks", "measured (nats)", "predicted (nats)", "error"]);
    let all = marks.iter().flat_map(|one| &one.runs).flat_map(|run| [run.1, run.2]);
    let (low, high) =
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let line = Line::of("var(--ink-soft)", 1.0).dashed(DashType::Dash);
    data.push(bare_line(vec![(low, low), (high, high)], None, line));
    for one in marks {
        let mut seen = Vec::new();
        for (run, measured, predicted) in one.runs {
            let error = predicted / measured - 1.0;
            let percent = format!("{}\u{a0}%", signed(error * 100.0, 2));
            let (left, right) = (fixed(measured, 4), fixed(predicted, 4));
            let hover =
                format!("{run} ({}): measured {left}, predicted {right} ({percent})", one.label);
            seen.push(((measured, predicted), hover));
            table.push(vec![
                run.to_owned().into(),
                one.label.clone().into(),
                Cell::fixed(measured, 4),
                Cell::fixed(predicted, 4),
                Cell::number(percent, error),
            ]);
        }
        data.push(points(seen, &one.label, &one.color, one.symbol));
    }
    let x_axis = axis(&format!("measured {loss} (nats per token)"));
    let layout = layout(x_axis, axis("predicted (nats per token)"));
    Figure {
        title: format!("Predicted against measured {loss}"),
        caption: "On the dashed line both agree. Filled: the law fitted to all runs; open: runs held out, \
                  predicted by the law fitted to the rest."
            .to_owned(),
        plot: Plot { data, layout: Layout { hovermode: HoverMode::Closest, ..layout } },
        table,
        width: Width::Half,
    }
}

/// Returns label and symbol of a split. The splits of one size are not drawn, because with three sizes they would cover
/// the figure.
fn mark(split: HoldOutSplit) -> Option<(&'static str, Symbol)> {
    match split {
        HoldOutSplit::LargestModel => Some(("held out: largest N", Symbol::CircleOpen)),
        HoldOutSplit::LargestTarget => Some(("held out: largest D", Symbol::SquareOpen)),
        HoldOutSplit::LargestBoth => Some(("held out: largest N and D", Symbol::DiamondOpen)),
        HoldOutSplit::OneModelSize(_) => None,
    }
}

fn scatter(
    fit: &ScalingFit,
    groups: &Groups,
    quantity: Quantity,
    residuals: &[Residual],
) -> Figure {
    let loss = loss_name(quantity);
    let mut data = Vec::new();
    let mut table = Table::new(["Run", "predicted (nats)", "log residual"]);
    for size in &groups.sizes {
        let label = groups.size_label(*size);
        let own = residuals.iter().filter(|one| size_of(fit, one).is_some_and(|n| same(n, *size)));
        let seen = own.map(|one| {
            let run = name(fit, one.observation);
            table.push(vec![
                run.to_owned().into(),
                Cell::fixed(one.predicted, 4),
                Cell::number(signed(one.log_residual, 5), one.log_residual),
            ]);
            let percent = one.log_residual * 100.0;
            ((one.predicted, percent), format!("{run} ({label}): {}\u{a0}%", signed(percent, 2)))
        });
        let seen = seen.collect();
        data.push(points(seen, &label, &groups.color(*size), groups.symbol(*size)));
    }
    let x_axis = axis(&format!("predicted {loss} (nats per token)"));
    let y_axis = Axis {
        zeroline: Some(true),
        zerolinecolor: Some("var(--ink-soft)"),
        ..axis("log residual (%)")
    };
    let layout = layout(x_axis, y_axis);
    Figure {
        title: format!("Residuals of the {loss}"),
        caption:
            "Logarithm of measured by predicted loss. A law that fits leaves no trend and no side \
                  for any size."
                .to_owned(),
        plot: Plot { data, layout: Layout { hovermode: HoverMode::Closest, ..layout } },
        table,
        width: Width::Half,
    }
}
