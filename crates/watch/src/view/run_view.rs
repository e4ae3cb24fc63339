//! The screen of one run.

use mixdown_base::display::short;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::follow::label;
use crate::run_data::{Evaluation, Reading, RunData, RunState};
use crate::view::chart::CurveChart;
use crate::view::curves::smoothed;
use crate::view::look::Look;
use crate::view::text::{change, clean, fitting, loss, shortened, to_f64, width};
use mixdown_base::display::{duration, thousands};

/// The least screen on which all charts are shown together.
const OVERVIEW_AT_LEAST: (u16, u16) = (64, 20);
/// The least width of charts that are side by side.
const CHART_COLUMNS: u16 = 30;

/// The part of a run that is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunScreen {
    /// 0 for all charts, or the number of one in [`panels`], counted from 1.
    pub panel: usize,
    /// Whether losses have logarithmic axes.
    pub is_logarithmic: bool,
}

/// The contents of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    /// The training loss.
    Training,
    /// The held-out loss of the corpus with this index.
    Corpus(usize),
    /// The learning rate.
    LearningRate,
}

/// Returns the charts of a run.
pub fn panels(run: &RunData) -> Vec<Panel> {
    let corpora = (0..run.curves.evals.len()).map(Panel::Corpus);
    [Panel::Training].into_iter().chain(corpora).chain([Panel::LearningRate]).collect()
}

/// Draws a run: a header, charts, and the keys at the bottom.
pub fn draw(frame: &mut Frame, run: &RunData, screen: RunScreen, keys: &[String], look: &Look) {
    let area = frame.area();
    let header = header(run, area, look);
    let rows = u16::try_from(header.len()).unwrap_or(u16::MAX).min(area.height);
    let heights = [Constraint::Length(rows), Constraint::Min(0), Constraint::Length(1)];
    let [head, body, foot] = Layout::vertical(heights).areas(area);
    for (line, place) in header.into_iter().zip(head.rows()) {
        frame.render_widget(line, place);
    }
    charts(frame, body, run, screen, look);
    let keys = fitting(keys, usize::from(foot.width));
    frame.render_widget(Line::styled(keys, look.dim), foot);
}

/// Returns whether a screen has space for all charts.
pub fn fits_all_charts(screen: Rect) -> bool {
    screen.width >= OVERVIEW_AT_LEAST.0 && screen.height >= OVERVIEW_AT_LEAST.1
}

fn charts(frame: &mut Frame, area: Rect, run: &RunData, screen: RunScreen, look: &Look) {
    let all = panels(run);
    if screen.panel == 0 && fits_all_charts(frame.area()) {
        return overview(frame, area, run, screen, look);
    }
    let place = screen.panel.saturating_sub(1).min(all.len().saturating_sub(1));
    if let Some(panel) = all.get(place) {
        chart(run, *panel, screen).draw(area, look, frame.buffer_mut());
    }
}

/// Draws the training loss and the learning rate above, and the held-out losses below.
fn overview(frame: &mut Frame, area: Rect, run: &RunData, screen: RunScreen, look: &Look) {
    let corpora = run.curves.evals.len().max(1);
    let [upper, _, lower] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Fill(1)])
            .areas(area);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(2), Constraint::Fill(1)]).spacing(2).areas(upper);
    let mut draw = |panel, area| chart(run, panel, screen).draw(area, look, frame.buffer_mut());
    draw(Panel::Training, left);
    draw(Panel::LearningRate, right);
    let shown = corpora.min(usize::from(lower.width / CHART_COLUMNS).max(1));
    let places = Layout::horizontal(vec![Constraint::Fill(1); shown]).spacing(2).split(lower);
    for (place, area) in places.iter().enumerate() {
        draw(Panel::Corpus(place), *area);
    }
}

fn chart(run: &RunData, panel: Panel, screen: RunScreen) -> CurveChart {
    let curves = &run.curves;
    let chart = CurveChart {
        end: run.step(),
        absent: "nothing measured yet",
        is_logarithmic: screen.is_logarithmic,
        ..CurveChart::default()
    };
    match panel {
        Panel::Training => {
            let curve = smoothed(&curves.train);
            let last = curve.last().map(|point| loss(point.1));
            let title = titled("training loss", last);
            let short_title = title.clone();
            CurveChart { title, short_title, curve, raw: curves.train.clone(), ..chart }
        }
        Panel::LearningRate => {
            let last = curves.learning_rate.last().map(|point| rate(point.1));
            let title = titled("learning rate", last);
            let (short_title, curve) = (title.clone(), curves.learning_rate.clone());
            CurveChart { title, short_title, curve, is_logarithmic: false, ..chart }
        }
        Panel::Corpus(place) => corpus_chart(run, place, chart),
    }
}

fn titled(name: &str, last: Option<String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(last).collect()
}

fn rate(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.2e}") }
}

fn corpus_chart(run: &RunData, place: usize, chart: CurveChart) -> CurveChart {
    let Some(curve) = run.curves.evals.get(place) else {
        return CurveChart { short_title: vec!["held-out losses".to_owned()], ..chart };
    };
    let best = run.best_step();
    let at_best = best.and_then(|step| curve.at(step));
    let best_note =
        best.zip(at_best).map(|(step, value)| format!("┊ best {} at {step}", loss(value)));
    let before = curve.before.map(|value| format!("╌ before {}", loss(value)));
    let notes: Vec<String> = best_note.into_iter().chain(before).collect();
    let (name, last) = (clean(&curve.corpus), loss(curve.last.loss));
    let long = format!("{name}, held out   {last}");
    CurveChart {
        title: std::iter::once(long).chain(notes.clone()).collect(),
        short_title: std::iter::once(format!("{name} {last}")).chain(notes).collect(),
        curve: curve.points.clone(),
        before: curve.before,
        best,
        ..chart
    }
}

/// Returns the header: title and state, progress, speed, and the last evaluation; small screens have no speed.
fn header(run: &RunData, area: Rect, look: &Look) -> Vec<Line<'static>> {
    let columns = usize::from(area.width);
    let mut lines = vec![title_line(run, columns, look), progress_line(run, columns)];
    if let Some(damage) = &run.damage {
        lines.push(Line::styled(clean(damage), look.bad));
    }
    if area.height >= 14 {
        lines.push(Line::raw(fitting(&speed(run), columns)));
    }
    lines.extend(evaluation_lines(run, columns));
    if area.height >= 16 {
        lines.push(Line::default());
    }
    lines
}

fn title_line(run: &RunData, columns: usize, look: &Look) -> Line<'static> {
    let state = label(run.state);
    let style = match run.state {
        RunState::Running | RunState::Done => look.good,
        RunState::Stopped(_) => look.bad,
        RunState::Waiting => Style::new(),
    };
    let room = columns.saturating_sub(width(&state) + 2);
    let title = shortened(&run.title(), room);
    let gap = " ".repeat(columns.saturating_sub(width(&title) + width(&state)));
    Line::from(vec![Span::styled(title, look.title), Span::raw(gap), Span::styled(state, style)])
}

fn progress_line(run: &RunData, columns: usize) -> Line<'static> {
    if run.state == RunState::Waiting {
        return Line::raw(format!("waiting for {}/metrics.jsonl", clean(&run.place)));
    }
    let mut parts = vec![steps(run)];
    parts.extend(run.share().map(whole_percent));
    parts.extend(run.seconds_left().map(|seconds| format!("{} left", duration(seconds))));
    if let Some(summary) = run.summary.as_ref().filter(|_| run.state == RunState::Done) {
        parts.push(format!("took {}", duration(summary.seconds)));
    }
    let text = fitting(&parts, columns);
    let room = columns.saturating_sub(width(&text) + 3).min(40);
    match run.share().filter(|_| room >= 10 && run.state != RunState::Done) {
        Some(share) => Line::raw(format!("{text}   {}", bar(share, room))),
        None => Line::raw(text),
    }
}

/// Formats a share of the progress in whole percent, rounded down, so that 100 % is the end.
pub fn whole_percent(share: f64) -> String {
    format!("{:.0} %", (share * 100.0 + 1e-9).floor().max(0.0))
}

/// Formats the steps as `step 20 of 200`.
pub fn steps(run: &RunData) -> String {
    let step = thousands(run.step());
    run.steps().map_or_else(
        || format!("step {step}"),
        |steps| format!("step {step} of {}", thousands(steps)),
    )
}

/// Returns a bar with this many columns, filled to a share.
fn bar(share: f64, columns: usize) -> String {
    let all = to_f64(u64::try_from(columns).unwrap_or(0));
    let full = (1..=columns)
        .take_while(|column| to_f64(u64::try_from(*column).unwrap_or(u64::MAX)) <= share * all);
    let full = full.count();
    format!("{}{}", "━".repeat(full), "─".repeat(columns - full))
}

/// Returns rates and tokens.
pub fn speed(run: &RunData) -> Vec<String> {
    let Some(last) = &run.curves.last else { return Vec::new() };
    let percent = |name: &str, share: Option<f64>| {
        share.map(|share| format!("{name} {}", whole_percent(share)))
    };
    let rate = last.tokens_per_second.filter(|rate| rate.is_finite());
    let rate = rate.map(|rate| format!("{} tokens/s", short(rate)));
    let tokens = format!("{} tokens", short(to_f64(last.tokens)));
    let waits = [percent("data wait", last.data_wait), percent("MFU", last.mfu)];
    let parts = [rate].into_iter().chain(waits).chain([Some(tokens)]);
    parts.flatten().collect()
}

/// Returns the last evaluation in one line if it fits, otherwise in one for each corpus, at most two.
fn evaluation_lines(run: &RunData, columns: usize) -> Vec<Line<'static>> {
    let Some(Evaluation { step, is_best, readings }) = run.evaluation() else { return Vec::new() };
    let names = if is_best { ["best step", "best"] } else { ["evaluation at step", "at"] };
    let names = names.map(|name| format!("{name} {}", thousands(step)));
    for name in &names {
        let parts = readings.iter().map(|reading| reading_text(reading, true));
        let line = std::iter::once(name.clone()).chain(parts).collect::<Vec<_>>().join("   ");
        if width(&line) <= columns {
            return vec![Line::raw(line)];
        }
    }
    let room = columns.saturating_sub(24).max(8);
    let lines = readings.iter().take(2).enumerate().map(|(place, one)| {
        let one = Reading { corpus: shortened(&one.corpus, room), ..one.clone() };
        let at = if place == 0 { format!("{} ", names[1]) } else { String::new() };
        let variants = [format!("{at}{}", reading_text(&one, true)), reading_text(&one, true)];
        let fitting = variants.into_iter().find(|variant| width(variant) <= columns);
        fitting.unwrap_or_else(|| reading_text(&one, false))
    });
    lines.map(Line::raw).collect()
}

/// Formats a reading as `pretraining 5.6831 (+1.6043 forgotten)`.
pub fn reading_text(reading: &Reading, is_long: bool) -> String {
    let said = |value: f64| {
        let is_lost = reading.is_forgetting && value > 0.0 && is_long;
        format!(" ({}{})", change(value), if is_lost { " forgotten" } else { "" })
    };
    let change = reading.change.map(said);
    format!("{} {}{}", reading.corpus, loss(reading.loss), change.unwrap_or_default())
}
