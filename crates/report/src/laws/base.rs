//! Figures for a run without a pretraining yardstick: its losses only.

use crate::parts::chart::{Axis, DashType, Plot, Symbol, Trace};
use crate::parts::figure::{Figure, Width};
use crate::parts::plot::{axis, coordinate, layout, marked_line, ring};
use crate::runs::curves::{by_step, corpora, is_chosen_by_others, losses};
use crate::runs::series::Series;
use crate::runs::training;

/// Colors of page.css for the corpora, far apart first.
const COLORS: [u8; 6] = [4, 0, 1, 3, 5, 2];

/// Held-out losses of every corpus in one figure, and the training loss in another.
pub(crate) fn figures(run: &Series<'_>) -> Vec<Figure> {
    let names = corpora(std::iter::once(run));
    let held_out = (!names.is_empty()).then(|| held_out(run, &names));
    held_out
        .into_iter()
        .chain(training::figure(&[run], "Loss on the batches trained on."))
        .collect()
}

/// Why the ring need not lie at the least loss drawn, where that is so.
fn chosen(run: &Series<'_>) -> &'static str {
    if run.page.summary.best.iter().any(is_chosen_by_others) {
        ", which the other half of the held-out sequences chose: it need not lie at the least loss that is drawn"
    } else {
        ""
    }
}

fn held_out(run: &Series<'_>, names: &[&str]) -> Figure {
    let mut data = Vec::new();
    let best = coordinate(run.page.summary.best_step);
    for (corpus, slot) in names.iter().zip(COLORS.iter().cycle()) {
        let color = format!("var(--series-{slot})");
        let points = losses(&run.evaluations(corpus));
        if let Some(point) = points.iter().find(|point| point.0.to_bits() == best.to_bits()) {
            data.push(ring(*point, &color));
        }
        let line = marked_line(points, corpus, &color, Symbol::Circle, DashType::Solid);
        data.push(Trace { showlegend: Some(true), ..line });
    }
    let x_axis = Axis { hoverformat: Some(",d"), ..axis("steps") };
    let y_axis = Axis { hoverformat: Some(".4f"), ..axis("loss (nats per token)") };
    let curves: Vec<_> = names.iter().map(|corpus| (*corpus, run.evaluations(corpus))).collect();
    Figure {
        title: "Held-out loss".to_owned(),
        caption: format!(
            "Loss on the held-out part of each corpus; the ring marks the chosen checkpoint{}.",
            chosen(run)
        ),
        plot: Plot { data, layout: layout(x_axis, y_axis) },
        table: by_step(&curves),
        width: Width::Half,
    }
}
