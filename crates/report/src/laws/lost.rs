//! The figure of pretraining progress lost against p, from the pretraining curves of the base models.

use mixdown_runs::{ProgressLost, progress_lost};
use mixdown_scaling::Observation;

use crate::laws::forgetting::{at, scale};
use crate::laws::{BaseCurve, DomainPage};
use crate::parts::chart::{Axis, Layout, Line, Plot, Symbol, Trace};
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::{bare_line, points};
use crate::parts::text::{percent_fixed, percent_rounded};
use crate::runs::grouping::Groups;
use crate::runs::shares::{ShareScale, y_axis};

/// The entry of the table for a number that is exact.
const EQUAL: &str = "equal";
/// The entry of the table for a lower bound.
const AT_LEAST: &str = "at least";

/// Returns the figure for one D; `None` if no pretraining curve of a base model is known.
pub(crate) fn figure(
    domain: &DomainPage,
    groups: &Groups,
    tokens: f64,
    bases: &[BaseCurve],
) -> Option<Figure> {
    let scale = scale(domain);
    let mut data = Vec::new();
    let mut table =
        Table::new(["Run", "N", "p realized", "pretraining loss", "progress lost", "bound"]);
    for size in &groups.sizes {
        let (color, label) = (groups.color(*size), groups.size_label(*size));
        let mut runs: Vec<(&Observation, ProgressLost)> =
            at(domain, *size, tokens).filter_map(|one| Some((one, lost(one, bases)?))).collect();
        runs.sort_by(|left, right| left.0.share().total_cmp(&right.0.share()));
        if runs.is_empty() {
            continue;
        }
        let seen = |wanted: &str| -> Vec<((f64, f64), String)> {
            let runs = runs.iter().filter(|(_, lost)| bound(*lost) == wanted);
            runs.map(|(one, lost)| (position(&scale, one, *lost), hover(one, *lost, &label)))
                .collect()
        };
        let line = Line::of(color.clone(), 1.5);
        let all = runs.iter().map(|(one, lost)| position(&scale, one, *lost)).collect();
        data.push(bare_line(all, None, line).in_group(&label));
        let (equal, least) = (seen(EQUAL), seen(AT_LEAST));
        let only_open = equal.is_empty();
        if !only_open {
            data.push(points(equal, &label, &color, groups.symbol(*size)));
        }
        if !least.is_empty() {
            let open = points(least, &label, &color, Symbol::CircleOpen);
            data.push(Trace { showlegend: Some(only_open), ..open });
        }
        for (one, lost) in runs {
            table.push(vec![
                one.name.clone().into(),
                Cell::short(*size),
                Cell::percent(one.share()),
                Cell::fixed(one.pretraining_loss, 4),
                Cell::number(text(lost), lost.share()),
                bound(lost).to_owned().into(),
            ]);
        }
    }
    if table.is_empty() {
        return None;
    }
    let title = "pretraining progress lost (%)";
    let yaxis = Axis { range: Some([0.0, 105.0]), ..y_axis(title) };
    Some(Figure {
        title: format!("Pretraining progress lost, {}", groups.tokens_label(tokens)),
        caption: "1 − D_eq/D_total, where D_eq is the number of tokens at which the base model, in its own \
                  pretraining, had the loss that is left after finetuning. Open marks: at least that \
                  much, as the loss is worse than the first evaluation of the pretraining."
            .to_owned(),
        plot: Plot { data, layout: Layout { yaxis, ..scale.layout(title) } },
        table,
        width: Width::Half,
    })
}

fn lost(one: &Observation, bases: &[BaseCurve]) -> Option<ProgressLost> {
    let base = bases.iter().find(|base| base.runs.contains(&one.name))?;
    progress_lost(&base.points, one.pretraining_loss)
}

fn text(lost: ProgressLost) -> String {
    match lost {
        ProgressLost::Share(share) => percent_fixed(share, 0),
        ProgressLost::AtLeast(share) => format!("at least {}", percent_fixed(share, 0)),
    }
}

fn position(scale: &ShareScale, one: &Observation, lost: ProgressLost) -> (f64, f64) {
    (scale.position(one.share()), lost.share() * 100.0)
}

fn hover(one: &Observation, lost: ProgressLost, label: &str) -> String {
    let p = percent_rounded(one.share(), 3);
    format!("{}: {} of the pretraining lost at p = {p} ({label})", one.name, text(lost))
}

fn bound(lost: ProgressLost) -> &'static str {
    match lost {
        ProgressLost::Share(_) => EQUAL,
        ProgressLost::AtLeast(_) => AT_LEAST,
    }
}
