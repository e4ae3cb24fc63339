//! The data of a plot in the form that plotly.js reads. Every field has its name in the reference of plotly.js
//! (<https://plotly.com/javascript/reference/>), and only the fields that the pages use exist. A field that is `None`
//! is not written, so that plotly.js uses its default.

use serde::Serialize;

/// The traces of a plot and the frame around them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Plot {
    pub data: Vec<Trace>,
    pub layout: Layout,
}

impl Plot {
    /// Returns the plot as JSON; the same plot gives the same bytes. A number that is not finite becomes null, which is
    /// a gap in a line.
    #[expect(
        clippy::expect_used,
        reason = "numbers and texts under fixed names: JSON can hold all of them, and a String all of the JSON"
    )]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plots are numbers and texts under fixed names")
    }
}

/// One curve, one set of points, or one set of bars.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Trace {
    #[serde(rename = "type")]
    pub kind: TraceKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legendgroup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub showlegend: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    pub x: Vec<f64>,
    pub y: Values,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<Marker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opacity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fillcolor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hoverinfo: Option<HoverInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hovertext: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orientation: Option<Orientation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outsidetextfont: Option<TextColor>,
}

/// How the values of a trace are drawn. The embedded bundle of plotly.js has the code of these and of pies.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TraceKind {
    #[default]
    Scatter,
    Bar,
}

/// Positions along an axis.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Values {
    Numbers(Vec<f64>),
    Names(Vec<String>),
}

impl Default for Values {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

/// Which parts of a scatter trace are drawn.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Mode {
    #[serde(rename = "lines")]
    Lines,
    #[serde(rename = "markers")]
    Markers,
    #[serde(rename = "lines+markers")]
    LinesMarkers,
}

/// The line of a trace or around a marker.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    pub width: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dash: Option<DashType>,
}

impl Line {
    /// A line in this color.
    pub fn of(color: impl Into<String>, width: f64) -> Self {
        Self { color: Some(color.into()), width, dash: None }
    }

    /// Returns the line with these gaps.
    pub fn dashed(self, dash: DashType) -> Self {
        Self { dash: Some(dash), ..self }
    }
}

/// The gaps of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DashType {
    Solid,
    Dash,
    Dot,
}

/// The marks of a trace or the paint of its bars.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Marker {
    pub color: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<Line>,
}

/// The shape of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Symbol {
    Circle,
    CircleOpen,
    Square,
    SquareOpen,
    Diamond,
    DiamondOpen,
    TriangleUp,
    X,
}

/// The area that a line encloses.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fill {
    ToSelf,
}

/// What a pointer over a trace shows.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HoverInfo {
    Skip,
    Text,
}

/// The direction of bars, or of a legend's entries.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Orientation {
    #[serde(rename = "h")]
    Horizontal,
}

/// The color of a text whose font is the figure's.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TextColor {
    pub color: &'static str,
}

/// The frame of a plot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Layout {
    /// CSS pixels.
    pub height: usize,
    pub font: Font,
    pub paper_bgcolor: &'static str,
    pub plot_bgcolor: &'static str,
    pub margin: Margin,
    pub legend: Legend,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub showlegend: Option<bool>,
    pub hovermode: HoverMode,
    pub hoverlabel: HoverLabel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barmode: Option<BarMode>,
    pub xaxis: Axis,
    pub yaxis: Axis,
}

/// A typeface; its size is in CSS pixels.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Font {
    pub family: &'static str,
    pub size: u8,
    pub color: &'static str,
}

/// CSS pixels left, right, on top and at the bottom of the frame.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Margin {
    pub l: u8,
    pub r: u8,
    pub t: u8,
    pub b: u8,
}

/// The names of the traces. `x` and `y` are parts of the frame.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Legend {
    pub orientation: Orientation,
    pub x: f64,
    pub xanchor: &'static str,
    pub y: f64,
    pub yanchor: &'static str,
    pub bgcolor: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceorder: Option<&'static str>,
}

/// Which traces a pointer finds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum HoverMode {
    /// The nearest one.
    #[serde(rename = "closest")]
    Closest,
    /// All traces at the pointer's position on the x axis, in one box.
    #[serde(rename = "x unified")]
    XUnified,
}

/// The box beside a pointer. `namelength` counts the characters of a trace's name that are shown.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HoverLabel {
    pub bgcolor: &'static str,
    pub bordercolor: &'static str,
    pub font: Font,
    pub namelength: u8,
}

/// How bars at the same position are arranged.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BarMode {
    Stack,
}

/// One axis.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Axis {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<AxisKind>,
    /// The ends, in the direction of the axis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rangemode: Option<RangeMode>,
    pub automargin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeroline: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zerolinecolor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hoverformat: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticksuffix: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub showspikes: Option<bool>,
    #[serde(flatten)]
    pub spikes: Option<Spikes>,
    #[serde(flatten)]
    pub ruling: Option<Ruling>,
    #[serde(flatten)]
    pub ticks: Option<Ticks>,
}

/// The title of an axis.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Title {
    pub text: String,
}

/// The type of an axis, where plotly.js must not guess it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AxisKind {
    Category,
}

/// How far an axis without a range extends.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RangeMode {
    ToZero,
}

/// The line from a pointer to the axis.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spikes {
    pub spikecolor: &'static str,
    pub spikethickness: u8,
    pub spikedash: DashType,
}

/// The lines and small texts of an axis.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ruling {
    pub gridcolor: &'static str,
    pub linecolor: &'static str,
    pub showline: bool,
    pub tickcolor: &'static str,
    pub tickfont: Font,
}

/// Chosen positions on an axis and their labels.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ticks {
    pub tickvals: Vec<f64>,
    pub ticktext: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::{HoverInfo, Line, Mode, Trace, Values};

    #[test]
    fn only_what_is_given_is_written() {
        let trace = Trace {
            mode: Some(Mode::LinesMarkers),
            x: vec![1.0, f64::NAN],
            y: Values::Numbers(vec![0.5, 2.0]),
            line: Some(Line::of("var(--ink)", 1.5)),
            hoverinfo: Some(HoverInfo::Skip),
            ..Trace::default()
        };
        assert_eq!(
            serde_json::to_string(&trace).unwrap(),
            "{\"type\":\"scatter\",\"mode\":\"lines+markers\",\"x\":[1.0,null],\"y\":[0.5,2.0],\
             \"line\":{\"color\":\"var(--ink)\",\"width\":1.5},\"hoverinfo\":\"skip\"}"
        );
    }
}
