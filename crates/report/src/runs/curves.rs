//! The figures of evaluation losses against steps, one for each corpus.

use std::collections::{BTreeMap, BTreeSet};

use mixdown_runs::EvalRecord;

use crate::parts::chart::{Axis, DashType, Line, Plot, Symbol, Trace};
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::{axis, bare_line, coordinate, layout, marked_line, ring};
use crate::parts::text::fixed;
use crate::runs::series::{Finetuned, Series};
use crate::runs::training;

/// Colors of page.css for the corpora, far apart first.
const CORPUS_COLORS: [u8; 6] = [4, 0, 1, 3, 5, 2];

/// Returns the figures of a group of runs: the target first, then the pretraining corpus, then the others.
pub(crate) fn figures(runs: &[Finetuned<'_>]) -> Vec<Figure> {
    let target = runs.iter().find_map(|run| run.target).map(|record| record.corpus.as_str());
    let pretraining =
        runs.iter().find_map(|run| run.pretraining).map(|record| record.corpus.as_str());
    let mut figures = Vec::new();
    if let Some(corpus) = target {
        figures.push(corpus_figure(
            runs,
            corpus,
            &named("Target loss", corpus, "target"),
            Before::Hide,
        ));
    }
    if let Some(corpus) = pretraining.filter(|corpus| Some(*corpus) != target) {
        let title = named("Pretraining loss", corpus, "pretraining");
        figures.push(corpus_figure(runs, corpus, &title, Before::Show));
    }
    for corpus in corpora(runs.iter().map(|run| &run.series)) {
        if Some(corpus) != target && Some(corpus) != pretraining {
            figures.push(corpus_figure(runs, corpus, &format!("Loss on {corpus}"), Before::Show));
        }
    }
    figures
}

/// Returns the title followed by the name of the corpus, unless that is the customary one.
fn named(title: &str, corpus: &str, custom: &str) -> String {
    if corpus == custom { title.to_owned() } else { format!("{title} ({corpus})") }
}

/// Returns every corpus that was evaluated, in the order of first appearance.
pub(crate) fn corpora<'a>(runs: impl Iterator<Item = &'a Series<'a>>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        let summary = &run.page.summary;
        let recorded = run.page.metrics.iter().flat_map(|record| &record.evals);
        for eval in summary.before.iter().chain(recorded).chain(&summary.best) {
            if !names.contains(&eval.corpus.as_str()) {
                names.push(&eval.corpus);
            }
        }
    }
    names
}

/// Whether the loss before finetuning is drawn as a separate line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Show,
    Hide,
}

fn corpus_figure(runs: &[Finetuned<'_>], corpus: &str, title: &str, before: Before) -> Figure {
    let mut data = Vec::new();
    for run in runs {
        let series = &run.series;
        let points = losses(&series.evaluations(corpus));
        let best = coordinate(run.row.best_step);
        if let Some(point) = points.iter().find(|point| point.0.to_bits() == best.to_bits()) {
            data.push(ring(*point, &series.color));
        }
        let (symbol, dash) = (series.symbol, series.dash);
        data.push(marked_line(points, &series.label, &series.color, symbol, dash));
    }
    let chosen = how_chosen(runs.iter().filter_map(|run| run.target));
    let mut caption = format!(
        "Held-out loss after each number of steps; the ring marks the chosen checkpoint: {chosen}."
    );
    if before == Before::Show
        && let Some((loss, last_step)) = common_before(runs, corpus)
    {
        let line = Line::of("var(--ink-soft)", 1.5).dashed(DashType::Dash);
        let name = "before finetuning";
        let trace = bare_line(vec![(0.0, loss), (last_step, loss)], Some(name), line);
        // Its long name in the legend would make one column of it on narrow screens.
        data.push(Trace { showlegend: Some(false), ..trace });
        caption.push_str(" The dashed line is the loss before finetuning.");
    }
    let mut y_axis = Axis { hoverformat: Some(".4f"), ..axis("loss (nats per token)") };
    if let Some(((low, high), first)) = frame_without_start(runs, corpus) {
        y_axis.range = Some([low, high]);
        caption.push_str(&format!(
            " The first steps, from {} down, lie above the frame; double-click shows them.",
            fixed(first, 2)
        ));
    }
    let x_axis = Axis { hoverformat: Some(",d"), ..axis("finetuning steps") };
    let plot = Plot { data, layout: layout(x_axis, y_axis) };
    let curves: Vec<_> = runs
        .iter()
        .map(|run| (run.series.label.as_str(), run.series.evaluations(corpus)))
        .collect();
    let table = by_step(&curves);
    Figure { title: title.to_owned(), caption, plot, table, width: Width::Half }
}

/// Describes the loss by which a checkpoint was chosen: if one half of the held-out sequences chooses and the other is
/// shown, the ring need not lie at the least loss that is drawn.
pub(crate) fn how_chosen<'a>(mut records: impl Iterator<Item = &'a EvalRecord>) -> &'static str {
    if records.any(is_chosen_by_others) {
        "the one with the least target loss on the other half of the held-out sequences, which chooses alone, so \
         that the loss drawn here is not too low; the ring need not lie at the least loss that is drawn"
    } else {
        "the one with the least target loss"
    }
}

/// Returns whether the checkpoint was chosen by other sequences than those of the loss.
pub(crate) fn is_chosen_by_others(record: &EvalRecord) -> bool {
    record.selection_loss.is_some() && !record.chose_itself()
}

pub(crate) fn losses(evaluations: &[(u64, &EvalRecord)]) -> Vec<(f64, f64)> {
    evaluations.iter().map(|(step, eval)| (coordinate(*step), eval.loss)).collect()
}

/// Returns the loss that all runs started from, and the last step; `None` if the losses differ.
fn common_before(runs: &[Finetuned<'_>], corpus: &str) -> Option<(f64, f64)> {
    let mut losses = runs.iter().filter_map(|run| {
        EvalRecord::find(&run.series.page.summary.before, corpus).map(|record| record.loss)
    });
    let first = losses.next()?;
    let last_step = runs.iter().map(|run| run.series.page.summary.steps).max()?;
    losses.all(|loss| (loss - first).abs() < 1e-9).then(|| (first, coordinate(last_step)))
}

/// Returns a frame without the steep start (the first sixth of the steps) and the highest loss at step 0, if that start
/// is so high that it would flatten the rest of the curve.
fn frame_without_start(runs: &[Finetuned<'_>], corpus: &str) -> Option<((f64, f64), f64)> {
    let (mut low, mut high, mut start) = (f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
    for run in runs {
        for (step, eval) in run.series.evaluations(corpus) {
            low = low.min(eval.loss);
            if step == 0 {
                start = start.max(eval.loss);
            }
            if step.saturating_mul(6) >= run.series.page.summary.steps {
                high = high.max(eval.loss);
            }
        }
    }
    let room = high - low;
    let crowded = room > 0.0 && start.is_finite() && start - high > 1.5 * room;
    crowded.then_some(((low - 0.08 * room, high + 0.15 * room), start))
}

/// Returns a table with one line for each step and one column for each curve.
pub(crate) fn by_step(curves: &[(&str, Vec<(u64, &EvalRecord)>)]) -> Table {
    let columns: Vec<BTreeMap<u64, f64>> = curves
        .iter()
        .map(|(_, points)| points.iter().map(|(step, eval)| (*step, eval.loss)).collect())
        .collect();
    let steps: BTreeSet<u64> = columns.iter().flat_map(|column| column.keys().copied()).collect();
    let names = curves.iter().map(|(name, _)| (*name).to_owned());
    let mut table = Table::new(std::iter::once("step".to_owned()).chain(names));
    for step in steps {
        let cell = |column: &BTreeMap<u64, f64>| {
            Cell::or_dash(column.get(&step).map(|loss| Cell::fixed(*loss, 4)))
        };
        let row = std::iter::once(Cell::count(step)).chain(columns.iter().map(cell));
        table.push(row.collect::<Vec<_>>());
    }
    table
}

/// The figures of a run that is not compared by p: the held-out losses of every corpus in one figure, and the training
/// loss in another.
pub(crate) fn of_all_corpora(run: &Series<'_>) -> Vec<Figure> {
    let names = corpora(std::iter::once(run));
    let held_out = (!names.is_empty()).then(|| held_out(run, &names));
    held_out
        .into_iter()
        .chain(training::figure(&[run], "Loss on the batches trained on."))
        .collect()
}

/// Why the ring need not lie at the least loss that is drawn, if that is so.
fn chosen_by_others_text(run: &Series<'_>) -> &'static str {
    if run.page.summary.best.iter().any(is_chosen_by_others) {
        ", which the other half of the held-out sequences chose: it need not lie at the least loss that is drawn"
    } else {
        ""
    }
}

fn held_out(run: &Series<'_>, names: &[&str]) -> Figure {
    let mut data = Vec::new();
    let best = coordinate(run.page.summary.best_step);
    for (corpus, slot) in names.iter().zip(CORPUS_COLORS.iter().cycle()) {
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
            chosen_by_others_text(run)
        ),
        plot: Plot { data, layout: layout(x_axis, y_axis) },
        table: by_step(&curves),
        width: Width::Half,
    }
}

#[cfg(test)]
mod tests {
    use super::figures;
    use crate::runs::series::arrange;
    use crate::testing::finetuned;

    #[test]
    fn a_ring_that_need_not_lie_lowest_says_who_chose_it() {
        let mut pages = [finetuned(0.0, 0.8), finetuned(0.01, 0.4)];
        let caption = |pages: &[_]| figures(&arrange(pages).0).remove(0).caption;
        let plain = "the ring marks the chosen checkpoint: the one with the least target loss.";
        assert!(caption(&pages).contains(plain));
        let best = &mut pages[1].summary.best[0];
        best.selection_loss = Some(best.loss);
        assert!(caption(&pages).contains(plain), "the same sequences chose it");
        pages[1].summary.best[0].selection_loss = Some(2.9);
        let text = caption(&pages);
        assert!(text.contains("on the other half of the held-out sequences"), "{text}");
        assert!(text.contains("the ring need not lie at the least loss that is drawn"), "{text}");
    }
}
