//! The chart of one curve with its reference values.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, HorizontalAlignment, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use crate::view::curves::Point;
use crate::view::look::Look;
use crate::view::scale::Scale;
use crate::view::text::{fitting, to_f64, width};
use mixdown_base::display::thousands;

/// The chart widget has only colors. These mark what a point belongs to until it is drawn, and are then replaced by
/// styles, which may be dim or bold.
const RAW: Color = Color::Indexed(200);
const CURVE: Color = Color::Indexed(201);
const BEFORE: Color = Color::Indexed(202);
const BEST: Color = Color::Indexed(203);

/// One curve with its reference values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CurveChart {
    /// The title above the chart, in parts, the most important first.
    pub title: Vec<String>,
    /// The same in fewer words.
    pub short_title: Vec<String>,
    /// What is drawn as a line.
    pub curve: Vec<Point>,
    /// Single values behind the line.
    pub raw: Vec<Point>,
    /// A value that is drawn as a dashed line.
    pub before: Option<f64>,
    /// A step that is marked.
    pub best: Option<u64>,
    /// The last step.
    pub end: u64,
    /// The text instead of an empty curve.
    pub absent: &'static str,
    /// Whether the axis of values is logarithmic.
    pub is_logarithmic: bool,
}

/// The points of several curves, scaled to the axes.
struct Layers {
    raw: Vec<Point>,
    curve: Vec<Point>,
    before: Vec<Point>,
    best: Vec<Point>,
}

impl CurveChart {
    /// Draws the chart into an area of any size.
    pub fn draw(&self, area: Rect, look: &Look, buffer: &mut Buffer) {
        let [head, body] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        let columns = usize::from(head.width);
        let whole = self.title.join("   ");
        let title =
            if width(&whole) <= columns { whole } else { fitting(&self.short_title, columns) };
        Line::styled(title, look.title).render(head, buffer);
        let curve = self.fit(&self.curve);
        let Some([low, high]) = self.range(&curve) else {
            let said = if self.curve.is_empty() { self.absent } else { "no value above 0" };
            Line::styled(format!(" {said}"), look.dim).render(body, buffer);
            return;
        };
        let ticks = usize::from(body.height / 2).clamp(2, 6);
        let scale = if self.is_logarithmic {
            Scale::logarithmic(low, high, ticks)
        } else {
            Scale::linear(low, high, ticks)
        };
        let end = to_f64(self.end.max(1));
        // The columns beside the labels, two points each, as Braille has.
        let labels = scale.labels.iter().map(|label| width(label)).max().unwrap_or(0);
        let columns = usize::from(body.width).saturating_sub(labels + 1).saturating_mul(2);
        let layers = self.layers(curve, end, columns, body.height, scale.bounds);
        let steps = [0, self.end.max(1) / 2, self.end.max(1)].map(thousands);
        let x_axis = Axis::default().bounds([0.0, end]).style(look.dim);
        let x_axis = if body.height > 3 { x_axis.labels(steps) } else { x_axis };
        let y_axis = Axis::default().bounds(scale.bounds).labels(scale.labels).style(look.dim);
        let y_axis = y_axis.labels_alignment(HorizontalAlignment::Right);
        let chart = Chart::new(layers.datasets(look)).x_axis(x_axis).y_axis(y_axis);
        chart.legend_position(None).render(body, buffer);
        restyle(body, look, buffer);
    }

    /// Scales points to the axis of values.
    fn fit(&self, points: &[Point]) -> Vec<Point> {
        if !self.is_logarithmic {
            return points.to_vec();
        }
        let above = points.iter().filter(|point| point.1 > 0.0);
        above.map(|point| (point.0, point.1.log10())).collect()
    }

    /// Returns the least and the largest value that must be visible. Raw outliers do not count, because one of them
    /// would flatten the curve.
    fn range(&self, curve: &[Point]) -> Option<[f64; 2]> {
        let before = self.before.map(|value| (0.0, value));
        let before = self.fit(before.as_slice());
        let [low, high] = ends(curve.iter().chain(&before))?;
        let Some([raw_low, raw_high]) = ends(self.fit(&self.raw).iter()) else {
            return Some([low, high]);
        };
        let margin = (high - low) / 2.0;
        Some([raw_low.max(low - margin).min(low), raw_high.min(high + margin).max(high)])
    }

    fn layers(
        &self,
        curve: Vec<Point>,
        end: f64,
        columns: usize,
        rows: u16,
        bounds: [f64; 2],
    ) -> Layers {
        let width = to_f64(u64::try_from(columns.max(1)).unwrap_or(1));
        let place = |column: u64| end * to_f64(column) / width;
        let all = 0..u64::try_from(columns).unwrap_or(0);
        let before = self.before.map(|value| (0.0, value));
        let before = self.fit(before.as_slice()).first().map(|point| point.1);
        let dashes = all.filter(|column| column % 8 < 4);
        let dashes = before.map(|value| dashes.map(|column| (place(column), value)).collect());
        let best = self.best.map(|step| {
            let height = bounds[1] - bounds[0];
            let dot = |row: u16| bounds[0] + height * f64::from(row) / f64::from(rows.max(1));
            (0..=rows).map(|row| (to_f64(step), dot(row))).collect()
        });
        Layers {
            raw: condensed(&self.fit(&self.raw), end, columns, Condensing::Ends),
            curve: condensed(&curve, end, columns, Condensing::Last),
            before: dashes.unwrap_or_default(),
            best: best.unwrap_or_default(),
        }
    }
}

impl Layers {
    fn datasets(&self, look: &Look) -> Vec<Dataset<'_>> {
        let layer = |color, data| {
            let style = Style::new().fg(color);
            Dataset::default().marker(look.marker).style(style).data(data)
        };
        vec![
            layer(RAW, &self.raw),
            layer(BEFORE, &self.before),
            layer(BEST, &self.best),
            layer(CURVE, &self.curve).graph_type(GraphType::Line),
        ]
    }
}

/// Applies the styles to the points.
fn restyle(area: Rect, look: &Look, buffer: &mut Buffer) {
    for place in area.positions() {
        let Some(cell) = buffer.cell_mut(place) else { continue };
        let style = match cell.fg {
            RAW => look.raw,
            CURVE => look.curve,
            BEFORE => look.before,
            BEST => look.best,
            _ => continue,
        };
        cell.fg = Color::Reset;
        cell.set_style(style);
    }
}

fn ends<'a>(points: impl Iterator<Item = &'a Point>) -> Option<[f64; 2]> {
    let nothing = [f64::INFINITY, f64::NEG_INFINITY];
    let ends = points.fold(nothing, |[low, high], point| [low.min(point.1), high.max(point.1)]);
    ends.iter().all(|end| end.is_finite()).then_some(ends)
}

/// The points of a column that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condensing {
    /// The last.
    Last,
    /// The lowest and the highest.
    Ends,
}

/// Keeps at most two points per column, because a long run has thousands, and each would be drawn.
fn condensed(points: &[Point], end: f64, columns: usize, keep: Condensing) -> Vec<Point> {
    let width = to_f64(u64::try_from(columns).unwrap_or(u64::MAX));
    let column = |point: &Point| (point.0 / end * width).floor();
    let same = |left: &Point, right: &Point| (column(left) - column(right)).abs() < 0.5;
    let chunks = points.chunk_by(same);
    let kept = chunks.flat_map(|chunk| match keep {
        Condensing::Last => [chunk.last().copied(), None],
        Condensing::Ends => [
            chunk.iter().min_by(|left, right| left.1.total_cmp(&right.1)).copied(),
            chunk.iter().max_by(|left, right| left.1.total_cmp(&right.1)).copied(),
        ],
    });
    kept.flatten().collect()
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;

    use super::{Condensing, CurveChart, condensed};
    use crate::view::look::Look;

    #[test]
    fn a_long_curve_is_drawn_with_few_points() {
        let points: Vec<_> =
            (0..100_000).map(|step| (f64::from(step), f64::from(step % 7))).collect();
        let ends = condensed(&points, 100_000.0, 100, Condensing::Ends);
        assert_eq!((ends.len(), ends[0].1, ends[1].1), (200, 0.0, 6.0));
        let last = condensed(&points, 100_000.0, 100, Condensing::Last);
        assert_eq!((last.len(), last[99]), (100, points[99_999]));
    }

    #[test]
    fn any_area_and_any_numbers_will_do() {
        let wild = [(1.0, -1e30), (2.0, 0.0), (2.0, 1e-30), (9.0, 1e30)];
        for is_logarithmic in [false, true] {
            for points in [&wild[..], &wild[..1], &wild[1..2], &[]] {
                let chart = CurveChart {
                    title: vec!["a title".to_owned(), "of two parts".to_owned()],
                    short_title: vec!["a title".to_owned()],
                    curve: points.to_vec(),
                    raw: wild.to_vec(),
                    before: Some(3.0),
                    best: Some(u64::MAX),
                    end: 9,
                    absent: "nothing yet",
                    is_logarithmic,
                };
                for (width, height) in (0..40).flat_map(|w| (0..14).map(move |h| (w, h))) {
                    let area = Rect::new(0, 0, width, height);
                    let mut buffer = Buffer::empty(area);
                    chart.draw(area, &Look::colored(), &mut buffer);
                }
            }
        }
    }
}
