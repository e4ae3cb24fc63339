//! The delivered mixture: shares, sequences, tokens and epochs of every source.

use crate::parts::chart::{
    Axis, AxisKind, BarMode, HoverInfo, HoverMode, Layout, Legend, Margin, Marker, Orientation,
    Plot, RangeMode, TextColor, Trace, TraceKind, Values,
};
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::{axis, layout, plain};
use crate::parts::text::{count, fixed, percent, percent_rounded};
use crate::runs::series::Series;

/// Colors of page.css for the sources, far apart first; not those of p.
const COLORS: [&str; 6] = ["source-0", "source-1", "source-2", "source-3", "source-4", "source-5"];

/// Returns the figure; `None` if no run recorded shares.
pub(crate) fn figure(runs: &[&Series<'_>]) -> Option<Figure> {
    let runs: Vec<&Series<'_>> =
        runs.iter().copied().filter(|run| !run.page.summary.shares.is_empty()).collect();
    if runs.is_empty() {
        return None;
    }
    let mut data = Vec::new();
    for (source, color) in sources(&runs).iter().zip(COLORS.iter().cycle()) {
        data.push(bar(&runs, source, color));
    }
    let height = 130 + if runs.len() > 8 { 26 } else { 46 } * runs.len();
    // From the top down: categories count from 0 at their middles.
    let lowest = f64::from(u32::try_from(runs.len()).unwrap_or(u32::MAX)) - 0.5;
    // Without a type plotly reads labels like "2024" as numbers.
    let y_axis = Axis {
        kind: Some(AxisKind::Category),
        automargin: true,
        range: Some([lowest, -0.5]),
        ticksuffix: Some("\u{a0}"),
        ..Axis::default()
    };
    let x_axis = Axis { rangemode: Some(RangeMode::ToZero), ..axis("sequences (%)") };
    let frame = layout(x_axis, y_axis);
    let layout = Layout {
        height,
        barmode: Some(BarMode::Stack),
        legend: Legend { traceorder: Some("normal"), ..frame.legend },
        margin: Margin { l: 80, ..frame.margin },
        hovermode: HoverMode::Closest,
        ..frame
    };
    Some(Figure {
        title: "What was in the mix".to_owned(),
        caption: "Share of the sequences that each source gave to each run in all of its steps, also those \
                  after the chosen checkpoint: up to that one it can differ in the last digits. An epoch is \
                  one pass over the source’s tokens; above 1 the run saw the same text again."
            .to_owned(),
        plot: Plot { data, layout },
        table: Table::default(),
        width: Width::Whole,
    })
}

/// Returns the table with one line for each run and source.
pub(crate) fn table(runs: &[&Series<'_>]) -> Table {
    let mut table = Table::new([
        "Run",
        "source",
        "share requested",
        "share in all steps",
        "sequences",
        "tokens",
        "unique tokens",
        "epochs",
    ]);
    for run in runs {
        for share in &run.page.summary.shares {
            table.push(vec![
                run.label.clone().into(),
                share.source.clone().into(),
                Cell::number(percent(share.requested), share.requested),
                Cell::number(percent_rounded(share.realised, 3), share.realised),
                Cell::count(share.sequences),
                Cell::count(share.tokens),
                Cell::count(share.unique_tokens),
                Cell::fixed(share.epochs, if share.epochs < 0.1 { 4 } else { 2 }),
            ]);
        }
    }
    table
}

fn sources<'a>(runs: &[&Series<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for share in runs.iter().flat_map(|run| &run.page.summary.shares) {
        if !names.contains(&share.source.as_str()) {
            names.push(&share.source);
        }
    }
    names
}

fn bar(runs: &[&Series<'_>], source: &str, color: &str) -> Trace {
    let (mut widths, mut labels, mut hovers) = (Vec::new(), Vec::new(), Vec::new());
    for run in runs {
        let Some(share) = run.page.summary.shares.iter().find(|share| share.source == source)
        else {
            continue;
        };
        widths.push(share.realised * 100.0);
        labels.push(plain(&run.label));
        hovers.push(plain(&format!(
            "{}, {source}: {} of the sequences, {} sequences, {} tokens, {} epochs",
            run.label,
            percent_rounded(share.realised, 3),
            count(share.sequences),
            count(share.tokens),
            fixed(share.epochs, 2)
        )));
    }
    Trace {
        kind: TraceKind::Bar,
        name: Some(plain(source)),
        x: widths,
        y: Values::Names(labels),
        orientation: Some(Orientation::Horizontal),
        hoverinfo: Some(HoverInfo::Text),
        hovertext: Some(hovers),
        outsidetextfont: Some(TextColor { color: "var(--ink)" }),
        marker: Some(Marker { color: format!("var(--{color})"), ..Marker::default() }),
        ..Trace::default()
    }
}
