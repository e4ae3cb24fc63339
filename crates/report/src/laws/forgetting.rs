//! The figure of forgetting against p at one D: measured points, and the law with its band for every N.

use mixdown_scaling::{Estimate, Observation};

use crate::laws::{DomainPage, Laws};
use crate::parts::chart::{Axis, DashType, Layout, Line, Plot, Trace};
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::{band, law_line, points};
use crate::parts::text::{fixed, percent_rounded};
use crate::runs::grouping::{Groups, same};
use crate::runs::shares::{ShareScale, y_axis};

/// The figure for `tokens` target tokens.
pub(crate) fn figure(domain: &DomainPage, groups: &Groups, tokens: f64) -> Figure {
    let scale = scale(domain);
    let mut data = Vec::new();
    let mut highest = 0.0_f64;
    let mut lowest = 0.0_f64;
    for size in &groups.sizes {
        let measured: Vec<&Observation> = at(domain, *size, tokens).collect();
        if measured.is_empty() {
            continue;
        }
        let color = groups.color(*size);
        let label = groups.size_label(*size);
        if let Some(fit) = domain.fit() {
            let law = |p: f64| fit.forgetting.forgetting(*size, tokens, p);
            highest = highest.max(add_law(&mut data, &scale, law, (&color, &label)));
        }
        let seen = measured.iter().map(|one| {
            let hover = format!(
                "{}: {} nats at p = {} ({label})",
                one.name,
                fixed(one.forgetting(), 4),
                percent_rounded(one.share(), 3)
            );
            ((scale.position(one.share()), one.forgetting()), hover)
        });
        data.push(points(seen.collect(), &label, &color, groups.symbol(*size)));
        let losses = measured.iter().map(|one| one.forgetting());
        (lowest, highest) =
            losses.fold((lowest, highest), |(low, high), value| (low.min(value), high.max(value)));
    }
    let room = (highest - lowest).max(1e-6);
    let bottom = if lowest < 0.0 { lowest - 0.06 * room } else { 0.0 };
    let title = "forgetting (nats per token)";
    let yaxis = Axis { range: Some([bottom, highest + 0.12 * room]), ..y_axis(title) };
    Figure {
        title: format!("Forgetting against p, {}", groups.tokens_label(tokens)),
        caption: caption(domain),
        plot: Plot { data, layout: Layout { yaxis, ..scale.layout(title) } },
        table: table(domain, groups, tokens),
        width: Width::Half,
    }
}

/// Draws the law with its band, dotted from p = 0 to where the axis begins, and returns its highest value.
fn add_law(
    data: &mut Vec<Trace>,
    scale: &ShareScale,
    law: impl Fn(f64) -> Estimate,
    (color, label): (&str, &str),
) -> f64 {
    let curve: Vec<(f64, Estimate)> = scale.curve().map(|(place, p)| (place, law(p))).collect();
    let bridge = scale.bridge().map(|(place, p)| (place, law(p)));
    let values = |curve: &[(f64, Estimate)]| -> Vec<(f64, f64)> {
        curve.iter().map(|(place, one)| (*place, one.value)).collect()
    };
    let line = Line::of(color, 1.5);
    let dotted = line.clone().dashed(DashType::Dot);
    data.push(band(&curve, color, label));
    data.push(law_line(values(&bridge), dotted).in_group(label));
    data.push(law_line(values(&curve), line).in_group(label));
    bridge.iter().chain(&curve).map(|(_, one)| one.value).fold(0.0, f64::max)
}

/// Returns the axis of p, which is the same for all D of a domain.
pub(crate) fn scale(domain: &DomainPage) -> ShareScale {
    ShareScale::of(domain.observations.iter().map(|one| (one.p, one.share())))
}

/// Returns the runs of one N and D.
pub(crate) fn at(
    domain: &DomainPage,
    size: f64,
    tokens: f64,
) -> impl Iterator<Item = &Observation> {
    domain
        .observations
        .iter()
        .filter(move |one| same(one.model_size, size) && same(one.target_tokens, tokens))
}

fn caption(domain: &DomainPage) -> String {
    let mut text = "Rise of the held-out pretraining loss at the chosen checkpoint over its value \
                    before finetuning. The axis is logarithmic, with p = 0 apart on its left. "
        .to_owned();
    match &domain.laws {
        Laws::Refused(_) => text.push_str("No law is fitted (see below)."),
        Laws::Fitted { fit, .. } if fit.forgetting.identified => {
            text.push_str("Curves: the fitted law with its 95 % band.");
        }
        Laws::Fitted { .. } => text.push_str(
            "Curves: the fitted law with its 95 % band where that is bounded. Not every coefficient is \
             identified: read the curves near the points only.",
        ),
    }
    text
}

fn table(domain: &DomainPage, groups: &Groups, tokens: f64) -> Table {
    let head = [
        "Run",
        "N",
        "D",
        "p requested",
        "p realized",
        "forgetting (nats)",
        "law",
        "law low",
        "law high",
    ];
    let mut table = Table::new(head);
    for size in &groups.sizes {
        for one in at(domain, *size, tokens) {
            let law = domain.fit().map(|fit| fit.forgetting.forgetting(*size, tokens, one.share()));
            let nats = |value: Option<f64>| Cell::or_dash(value.map(|value| Cell::fixed(value, 4)));
            table.push(vec![
                one.name.clone().into(),
                Cell::short(*size),
                Cell::short(tokens),
                Cell::percent(one.p),
                Cell::percent(one.share()),
                Cell::fixed(one.forgetting(), 4),
                nats(law.map(|law| law.value)),
                nats(law.and_then(|law| law.interval.low)),
                nats(law.and_then(|law| law.interval.high)),
            ]);
        }
    }
    table
}
