//! What all figures share: frame, axes, and plotly.js itself.
//!
//! Colors stand as `var(--name)`: page.js puts the values of page.css in, so that light, dark and
//! print need one file only.

use mixdown_scaling::Estimate;
use plotly::Layout;
use plotly::Plot;
use plotly::Scatter;
use plotly::common::{
    Anchor, DashType, Fill, Font, HoverInfo, Label, Line, Marker, MarkerSymbol, Mode, Orientation,
};
use plotly::layout::{Axis, HoverMode, Legend, Margin};

/// Height of a figure in CSS pixels.
pub(crate) const HEIGHT: usize = 380;

/// plotly.js as one `<script>` element. The crate hands out MathJax behind it, 2 MB that no figure
/// here needs.
pub(crate) fn script() -> String {
    let sources = Plot::offline_js_sources();
    let end = "</script>";
    sources.find(end).and_then(|at| sources.get(..at + end.len())).unwrap_or(&sources).to_owned()
}

/// Text from outside in a figure: plotly reads a little HTML there.
pub(crate) fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A count as a coordinate; above 2^53 rounded, which no figure would show.
pub(crate) fn coordinate(value: u64) -> f64 {
    value as f64
}

pub(crate) fn layout(x_axis: Axis, y_axis: Axis) -> Layout {
    Layout::new()
        .height(HEIGHT)
        .font(font("var(--ink)"))
        .paper_background_color("rgba(0,0,0,0)")
        .plot_background_color("rgba(0,0,0,0)")
        .margin(Margin::new().left(64).right(18).top(44).bottom(56))
        .legend(legend())
        .hover_mode(HoverMode::XUnified)
        .hover_label(
            Label::new()
                .background_color("var(--surface)")
                .border_color("var(--rule)")
                .font(font("var(--ink)"))
                .name_length(60),
        )
        .x_axis(x_axis.spike_color("var(--ink-soft)").spike_thickness(1).spike_dash(DashType::Dot))
        .y_axis(y_axis.show_spikes(false))
}

/// Above the frame, from its left edge.
pub(crate) fn legend() -> Legend {
    Legend::new()
        .orientation(Orientation::Horizontal)
        .x(0.0)
        .x_anchor(Anchor::Left)
        .y(1.02)
        .y_anchor(Anchor::Bottom)
        .background_color("rgba(0,0,0,0)")
}

pub(crate) fn axis(title: &str) -> Axis {
    Axis::new()
        .title(title)
        .grid_color("var(--grid)")
        .line_color("var(--rule)")
        .show_line(true)
        .zero_line(false)
        .tick_color("var(--rule)")
        .tick_font(font("var(--ink-soft)"))
        .auto_margin(true)
}

fn font(color: &'static str) -> Font {
    Font::new().family("var(--sans)").size(13).color(color)
}

/// A line with its points marked.
pub(crate) fn marked_line(
    points: Vec<(f64, f64)>,
    name: &str,
    color: &str,
    symbol: MarkerSymbol,
    dash: DashType,
) -> Box<Scatter<f64, f64>> {
    let (x, y) = points.into_iter().unzip();
    Scatter::new(x, y)
        .name(plain(name))
        .mode(Mode::LinesMarkers)
        .line(Line::new().color(color.to_owned()).width(2.0).dash(dash))
        .marker(Marker::new().color(color.to_owned()).size(6).symbol(symbol))
}

/// A line without points, out of the legend and the hover when `name` is none.
pub(crate) fn bare_line(
    points: Vec<(f64, f64)>,
    name: Option<&str>,
    line: Line,
) -> Box<Scatter<f64, f64>> {
    let (x, y) = points.into_iter().unzip();
    let trace = Scatter::new(x, y).mode(Mode::Lines).line(line);
    match name {
        Some(name) => trace.name(plain(name)),
        None => trace.show_legend(false).hover_info(HoverInfo::Skip),
    }
}

/// A ring round the point that was chosen.
pub(crate) fn ring(point: (f64, f64), color: &str) -> Box<Scatter<f64, f64>> {
    Scatter::new(vec![point.0], vec![point.1])
        .mode(Mode::Markers)
        .show_legend(false)
        .hover_info(HoverInfo::Skip)
        .marker(
            Marker::new()
                .symbol(MarkerSymbol::CircleOpen)
                .size(15)
                .color(color.to_owned())
                .line(Line::new().width(2.5).color(color.to_owned())),
        )
}

/// Measured points, each as (place, hover text).
pub(crate) fn points(
    points: Vec<((f64, f64), String)>,
    name: &str,
    color: &str,
    symbol: MarkerSymbol,
) -> Box<Scatter<f64, f64>> {
    let (places, hovers): (Vec<(f64, f64)>, Vec<String>) = points.into_iter().unzip();
    let (x, y) = places.into_iter().unzip();
    Scatter::new(x, y)
        .name(plain(name))
        .legend_group(plain(name))
        .mode(Mode::Markers)
        .hover_text_array(hovers.iter().map(|hover| plain(hover)).collect::<Vec<_>>())
        .hover_info(HoverInfo::Text)
        .marker(
            Marker::new()
                .color(color.to_owned())
                .size(10)
                .symbol(symbol)
                .line(Line::new().color("var(--surface)").width(1.0)),
        )
}

/// The area between the ends of (place, estimate), where both are bounded; hidden with its group.
pub(crate) fn band(curve: &[(f64, Estimate)], color: &str, group: &str) -> Box<Scatter<f64, f64>> {
    let ends = |one: &(f64, Estimate)| Some((one.0, one.1.interval.low?, one.1.interval.high?));
    let bounded: Vec<(f64, f64, f64)> = curve.iter().filter_map(ends).collect();
    let above = bounded.iter().map(|(at, _, high)| (*at, *high));
    let below = bounded.iter().rev().map(|(at, low, _)| (*at, *low));
    bare_line(above.chain(below).collect(), None, Line::new().width(0.0))
        .fill(Fill::ToSelf)
        .fill_color(color.to_owned())
        .opacity(0.16)
        .legend_group(plain(group))
}
