//! The parts that figures share: frame, axes, traces, and plotly.js itself.
//!
//! Colors are written as `var(--name)`. page.js inserts the values of page.css, so that light, dark and print need only
//! one file.

use std::sync::LazyLock;

use maud::{Markup, PreEscaped, html};
use mixdown_scaling::Estimate;

use crate::parts::chart::{
    Axis, DashType, Fill, Font, HoverInfo, HoverLabel, HoverMode, Layout, Legend, Line, Margin,
    Marker, Mode, Orientation, Ruling, Spikes, Symbol, Title, Trace, Values,
};

/// plotly.js with scatter, bar and pie traces; vendor/README.md has its version and origin.
static LIBRARY: LazyLock<String> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the bytes are part of the program, and a test reads them"
    )]
    zstd::decode_all(PACKED_LIBRARY)
        .and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
        .expect("plotly.js in the program is damaged")
});
/// A third of its size: the rest would be 3 % of the program.
const PACKED_LIBRARY: &[u8] = include_bytes!("vendor/plotly-basic.min.js.zst");

/// The color through which the page shows.
const CLEAR: &str = "rgba(0,0,0,0)";

/// Height of a figure in CSS pixels.
const HEIGHT: usize = 380;

/// plotly.js as one `<script>` element.
pub(crate) fn script() -> Markup {
    html! { script { (PreEscaped(LIBRARY.as_str())) } }
}

/// Escapes a text from outside in a figure, because plotly reads a little HTML there.
pub(crate) fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A count as a coordinate; above 2^53 rounded, which no figure would show.
pub(crate) fn coordinate(value: u64) -> f64 {
    value as f64
}

pub(crate) fn layout(x_axis: Axis, y_axis: Axis) -> Layout {
    let spikes =
        Spikes { spikecolor: "var(--ink-soft)", spikethickness: 1, spikedash: DashType::Dot };
    Layout {
        height: HEIGHT,
        font: font("var(--ink)"),
        paper_bgcolor: CLEAR,
        plot_bgcolor: CLEAR,
        margin: Margin { l: 64, r: 18, t: 44, b: 56 },
        legend: legend(),
        showlegend: None,
        hovermode: HoverMode::XUnified,
        hoverlabel: HoverLabel {
            bgcolor: "var(--surface)",
            bordercolor: "var(--rule)",
            font: font("var(--ink)"),
            namelength: 60,
        },
        barmode: None,
        xaxis: Axis { spikes: Some(spikes), ..x_axis },
        yaxis: Axis { showspikes: Some(false), ..y_axis },
    }
}

/// Above the frame, from its left edge.
fn legend() -> Legend {
    Legend {
        orientation: Orientation::Horizontal,
        x: 0.0,
        xanchor: "left",
        y: 1.02,
        yanchor: "bottom",
        bgcolor: CLEAR,
        traceorder: None,
    }
}

pub(crate) fn axis(title: &str) -> Axis {
    Axis {
        title: Some(Title { text: title.to_owned() }),
        automargin: true,
        zeroline: Some(false),
        ruling: Some(Ruling {
            gridcolor: "var(--grid)",
            linecolor: "var(--rule)",
            showline: true,
            tickcolor: "var(--rule)",
            tickfont: font("var(--ink-soft)"),
        }),
        ..Axis::default()
    }
}

fn font(color: &'static str) -> Font {
    Font { family: "var(--sans)", size: 13, color }
}

/// A scatter trace through these points.
fn scatter(points: impl IntoIterator<Item = (f64, f64)>, mode: Mode) -> Trace {
    let (x, y) = points.into_iter().unzip();
    Trace { mode: Some(mode), x, y: Values::Numbers(y), ..Trace::default() }
}

/// A line with its points marked.
pub(crate) fn marked_line(
    points: Vec<(f64, f64)>,
    name: &str,
    color: &str,
    symbol: Symbol,
    dash: DashType,
) -> Trace {
    Trace {
        name: Some(plain(name)),
        line: Some(Line::of(color, 2.0).dashed(dash)),
        marker: Some(marker(color, 6, symbol)),
        ..scatter(points, Mode::LinesMarkers)
    }
}

/// A line without points; without a `name` it is not in the legend and has no hover text.
pub(crate) fn bare_line(points: Vec<(f64, f64)>, name: Option<&str>, line: Line) -> Trace {
    Trace {
        name: name.map(plain),
        showlegend: name.is_none().then_some(false),
        hoverinfo: name.is_none().then_some(HoverInfo::Skip),
        line: Some(line),
        ..scatter(points, Mode::Lines)
    }
}

/// The curve of a law, which is not in the legend and has no hover text.
pub(crate) fn law_line(points: impl IntoIterator<Item = (f64, f64)>, line: Line) -> Trace {
    bare_line(points.into_iter().map(drawn).collect(), None, line)
}

/// Rounds a point to six significant digits, more than a figure can show. A page of a sweep has thousands of such
/// points, and all digits would double their bytes. Measured points keep theirs.
fn drawn((x, y): (f64, f64)) -> (f64, f64) {
    let round = |value: f64| format!("{value:.5e}").parse().unwrap_or(value);
    (round(x), round(y))
}

/// A ring around the chosen point.
pub(crate) fn ring(point: (f64, f64), color: &str) -> Trace {
    let ring = marker(color, 15, Symbol::CircleOpen);
    Trace {
        showlegend: Some(false),
        hoverinfo: Some(HoverInfo::Skip),
        marker: Some(Marker { line: Some(Line::of(color, 2.5)), ..ring }),
        ..scatter([point], Mode::Markers)
    }
}

/// Measured points, each as (position, hover text).
pub(crate) fn points(
    points: Vec<((f64, f64), String)>,
    name: &str,
    color: &str,
    symbol: Symbol,
) -> Trace {
    let (places, hovers): (Vec<(f64, f64)>, Vec<String>) = points.into_iter().unzip();
    let edge = Line::of("var(--surface)", 1.0);
    Trace {
        name: Some(plain(name)),
        legendgroup: Some(plain(name)),
        hoverinfo: Some(HoverInfo::Text),
        hovertext: Some(hovers.iter().map(|hover| plain(hover)).collect()),
        marker: Some(Marker { line: Some(edge), ..marker(color, 10, symbol) }),
        ..scatter(places, Mode::Markers)
    }
}

/// One large point with its hover text.
pub(crate) fn large_point(
    place: (f64, f64),
    hover: &str,
    name: &str,
    color: &str,
    symbol: Symbol,
) -> Trace {
    Trace {
        name: Some(plain(name)),
        hoverinfo: Some(HoverInfo::Text),
        hovertext: Some(vec![plain(hover)]),
        marker: Some(marker(color, 13, symbol)),
        ..scatter([place], Mode::Markers)
    }
}

fn marker(color: &str, size: u8, symbol: Symbol) -> Marker {
    Marker { color: color.to_owned(), size: Some(size), symbol: Some(symbol), line: None }
}

impl Trace {
    /// Puts the trace into a group, which is shown and hidden together.
    pub fn in_group(self, name: &str) -> Self {
        Self { legendgroup: Some(plain(name)), ..self }
    }
}

/// The area between the ends of the intervals of a curve of (position, estimate), where both ends are bounded; it is
/// hidden with its group.
pub(crate) fn band(curve: &[(f64, Estimate)], color: &str, group: &str) -> Trace {
    let ends = |one: &(f64, Estimate)| Some((one.0, one.1.interval.low?, one.1.interval.high?));
    let bounded: Vec<(f64, f64, f64)> = curve.iter().filter_map(ends).collect();
    let above = bounded.iter().map(|(at, _, high)| (*at, *high));
    let below = bounded.iter().rev().map(|(at, low, _)| (*at, *low));
    let edge = Line::default();
    Trace {
        fill: Some(Fill::ToSelf),
        fillcolor: Some(color.to_owned()),
        opacity: Some(0.16),
        ..law_line(above.chain(below), edge).in_group(group)
    }
}

#[cfg(test)]
mod tests {
    use super::LIBRARY;

    #[test]
    fn the_library_is_the_one_that_its_readme_names_and_fits_into_a_script_element() {
        let sum = blake3::hash(LIBRARY.as_bytes()).to_hex();
        assert!(include_str!("vendor/README.md").contains(sum.as_str()), "{sum}");
        for end in ["</script", "<!--"] {
            assert!(!LIBRARY.contains(end), "{end}");
        }
    }

    #[test]
    fn points_of_laws_are_short_and_measured_ones_exact() {
        let exact = (1.0 / 3.0, 1_234_567.0);
        let trace = |points| serde_json::to_string(&points).unwrap();
        let law = trace(super::law_line([exact], super::Line::default()));
        assert!(law.contains("\"x\":[0.333333],\"y\":[1234570.0]"), "{law}");
        let measured = trace(super::bare_line(vec![exact], None, super::Line::default()));
        assert!(measured.contains("\"x\":[0.3333333333333333],\"y\":[1234567.0]"), "{measured}");
    }
}
