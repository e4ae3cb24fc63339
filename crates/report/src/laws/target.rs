//! The figure of the target loss against D, with the law and its band for every N.

use mixdown_scaling::Estimate;

use crate::laws::{DomainPage, Laws};
use crate::parts::chart::{Axis, HoverMode, Layout, Line, Plot, Ticks};
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::{axis, band, law_line, layout, points};
use crate::parts::text::{fixed, percent_rounded, short};
use crate::runs::grouping::{Groups, same};

/// The number of points of a curve.
const CURVE_POINTS: u32 = 60;

/// Returns the figure. Its axis has log10 D, so that this code chooses where the bands end.
pub(crate) fn figure(domain: &DomainPage, groups: &Groups) -> Figure {
    let law = domain.fit().and_then(|fit| fit.target.as_ref());
    let ends = (groups.tokens.first(), groups.tokens.last());
    let (low, high) = (ends.0.map_or(0.0, |d| d.log10()), ends.1.map_or(0.0, |d| d.log10()));
    let room = ((high - low) * 0.12).max(0.15);
    let (left, right) = (low - room, high + room);
    let mut data = Vec::new();
    let mut losses: Vec<f64> = Vec::new();
    for size in &groups.sizes {
        let (color, label) = (groups.color(*size), groups.size_label(*size));
        if let Some(law) = law {
            let step = (right - left) / f64::from(CURVE_POINTS);
            let at = |k: u32| left + step * f64::from(k);
            let curve: Vec<(f64, Estimate)> = (0..=CURVE_POINTS)
                .map(|k| (at(k), law.loss(*size, 10.0_f64.powf(at(k)))))
                .collect();
            data.push(band(&curve, &color, &label));
            let line = Line::of(color.clone(), 1.5);
            let values: Vec<(f64, f64)> = curve.iter().map(|(at, one)| (*at, one.value)).collect();
            losses.extend(values.iter().map(|point| point.1));
            data.push(law_line(values, line).in_group(&label));
        }
        let runs = domain.observations.iter().filter(|one| same(one.model_size, *size));
        let seen = runs.map(|one| {
            losses.push(one.target_loss);
            let hover = format!(
                "{}: {} nats at D = {}, p = {} ({label})",
                one.name,
                fixed(one.target_loss, 4),
                short(one.target_tokens),
                percent_rounded(one.share(), 3)
            );
            ((one.target_tokens.log10(), one.target_loss), hover)
        });
        data.push(points(seen.collect(), &label, &color, groups.symbol(*size)));
    }
    let (least, most) = losses
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    let margin = ((most - least) * 0.08).max(1e-3);
    let ticks = Ticks {
        tickvals: groups.tokens.iter().map(|tokens| tokens.log10()).collect(),
        ticktext: groups.tokens.iter().map(|tokens| short(*tokens)).collect(),
    };
    let x_axis =
        Axis { ticks: Some(ticks), range: Some([left, right]), ..axis("unique target tokens D") };
    let y_axis = Axis {
        range: Some([least - margin, most + margin]),
        ..axis("target loss (nats per token)")
    };
    let layout = layout(x_axis, y_axis);
    Figure {
        title: "Target loss against target tokens".to_owned(),
        caption: caption(domain),
        plot: Plot { data, layout: Layout { hovermode: HoverMode::Closest, ..layout } },
        table: table(domain),
        width: Width::Whole,
    }
}

fn caption(domain: &DomainPage) -> String {
    let law = match &domain.laws {
        Laws::Refused(_) => "No law is fitted (see below).".to_owned(),
        Laws::Fitted { fit, .. } => match (&fit.target, &fit.target_refusal) {
            (Some(_), _) => "Curves: the fitted law with its 95 % band.".to_owned(),
            (None, Some(reason)) => format!("No law is fitted: {reason}."),
            (None, None) => "No law is fitted.".to_owned(),
        },
    };
    format!(
        "Held-out target loss at the chosen checkpoint, all shares p; the axis of D is logarithmic. {law}"
    )
}

fn table(domain: &DomainPage) -> Table {
    let mut table = Table::new([
        "Run",
        "N",
        "D",
        "p realized",
        "target loss (nats)",
        "law",
        "law low",
        "law high",
    ]);
    let law = domain.fit().and_then(|fit| fit.target.as_ref());
    for one in &domain.observations {
        let law = law.map(|law| law.loss(one.model_size, one.target_tokens));
        let nats = |value: Option<f64>| Cell::or_dash(value.map(|value| Cell::fixed(value, 4)));
        table.push(vec![
            one.name.clone().into(),
            Cell::short(one.model_size),
            Cell::short(one.target_tokens),
            Cell::percent(one.share()),
            Cell::fixed(one.target_loss, 4),
            nats(law.map(|law| law.value)),
            nats(law.and_then(|law| law.interval.low)),
            nats(law.and_then(|law| law.interval.high)),
        ]);
    }
    table
}
