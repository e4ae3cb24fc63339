//! The figure of the training loss against steps.

use crate::parts::chart::{Axis, Line, Plot, Trace};
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::{axis, bare_line, coordinate, layout};
use crate::parts::text::count;
use crate::runs::series::Series;

/// The largest number of points of a run that are drawn as single batches; more points are drawn as means of neighbors.
const MOST_POINTS: usize = 1500;
/// The number of points of the smooth line, which are also the rows of the table.
const MEANS: usize = 40;

/// Returns the figure, whose caption begins with `what`; `None` if no training loss was recorded.
pub(crate) fn figure(runs: &[&Series<'_>], what: &str) -> Option<Figure> {
    let losses: Vec<Vec<(f64, f64)>> = runs.iter().map(|run| training_losses(run)).collect();
    let longest = losses.iter().map(Vec::len).max().filter(|len| *len > 0)?;
    let window = longest.div_ceil(MEANS);
    let mut data = Vec::new();
    for (run, points) in runs.iter().zip(&losses) {
        let thin = Line::of(run.color.clone(), 1.0);
        let raw = means(points, longest.div_ceil(MOST_POINTS));
        data.push(Trace { opacity: Some(0.25), ..bare_line(raw, None, thin) });
    }
    for (run, points) in runs.iter().zip(&losses) {
        let thick = Line::of(run.color.clone(), 2.5).dashed(run.dash);
        data.push(bare_line(means(points, window), Some(&run.label), thick));
    }
    let x_axis = Axis { hoverformat: Some(",d"), ..axis("steps") };
    let y_axis = Axis { hoverformat: Some(".3f"), ..axis("loss (nats per token)") };
    let idle: u64 = runs.iter().map(|run| run.page.summary.steps_without_targets).sum();
    let idle = match idle {
        0 => String::new(),
        idle => {
            format!(" Steps whose batch had no target that counts have no loss: {}.", count(idle))
        }
    };
    Some(Figure {
        title: "Training loss".to_owned(),
        caption: format!(
            "{what} Thick: mean over {window} recorded steps; thin: single steps.{idle}"
        ),
        plot: Plot { data, layout: layout(x_axis, y_axis) },
        table: table(runs, &losses, window),
        width: Width::Half,
    })
}

fn training_losses(run: &Series<'_>) -> Vec<(f64, f64)> {
    let metrics = run.page.metrics.iter();
    metrics.filter_map(|record| Some((coordinate(record.step), record.train_loss?))).collect()
}

/// Returns means over `window` neighbors, each in the middle of its steps, because at their end the line would lie
/// above a falling loss.
fn means(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mean = |chunk: &[(f64, f64)]| {
        let (steps, losses) =
            chunk.iter().fold((0.0, 0.0), |sums, point| (sums.0 + point.0, sums.1 + point.1));
        (steps / chunk.len() as f64, losses / chunk.len() as f64)
    };
    points.chunks(window.max(1)).map(mean).collect()
}

fn table(runs: &[&Series<'_>], losses: &[Vec<(f64, f64)>], window: usize) -> Table {
    let head = std::iter::once(format!("around step (mean of {window})"))
        .chain(runs.iter().map(|run| run.label.clone()));
    let mut table = Table::new(head);
    let columns: Vec<Vec<(f64, f64)>> = losses.iter().map(|points| means(points, window)).collect();
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..rows {
        let step = columns.iter().find_map(|column| column.get(row)).map_or(0.0, |point| point.0);
        let cells = columns
            .iter()
            .map(|column| Cell::or_dash(column.get(row).map(|point| Cell::fixed(point.1, 4))));
        table.push(std::iter::once(Cell::fixed(step, 0)).chain(cells).collect::<Vec<_>>());
    }
    table
}
