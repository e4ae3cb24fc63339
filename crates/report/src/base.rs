//! Figures for a run without a pretraining yardstick: its losses only.

use plotly::Plot;
use plotly::common::{DashType, Line, MarkerSymbol};

use crate::curves::{by_step, corpora, losses};
use crate::figure::{Figure, Width};
use crate::plot::{axis, layout, marked_line, ring};
use crate::plot::{bare_line, coordinate};
use crate::series::Series;
use crate::training;

/// Held-out losses of every corpus in one figure, and the training loss in another.
pub(crate) fn figures(run: &Series<'_>) -> Vec<Figure> {
    let mut figures = vec![held_out(run)];
    figures.extend(training::figure(&[run]));
    figures
}

fn held_out(run: &Series<'_>) -> Figure {
    let names = corpora(std::iter::once(run));
    let mut plot = Plot::new();
    let best = coordinate(run.page.summary.best_step);
    for (place, corpus) in names.iter().enumerate() {
        let colour = format!("var(--series-{})", [4, 0, 1, 3, 5, 2].get(place % 6).unwrap_or(&4));
        let points = losses(&run.evaluations(corpus));
        if let Some(point) = points.iter().find(|point| point.0.to_bits() == best.to_bits()) {
            plot.add_trace(ring(*point, &colour));
        }
        let trace = marked_line(points, corpus, &colour, MarkerSymbol::Circle, DashType::Solid);
        plot.add_trace(trace.show_legend(true));
    }
    if names.is_empty() {
        plot.add_trace(bare_line(Vec::new(), None, Line::new()));
    }
    plot.set_layout(layout(
        axis("steps").hover_format(",d"),
        axis("loss (nats per token)").hover_format(".4f"),
    ));
    let tables = names.first().map(|corpus| by_step(&[run], corpus));
    Figure {
        title: "Held-out loss".to_owned(),
        caption: "Loss on the held-out part of each corpus; the ring marks the chosen checkpoint."
            .to_owned(),
        plot,
        table: tables.unwrap_or_default(),
        width: Width::Half,
    }
}
