//! A run as the figures show it: its name, colour and yardsticks.

use mixdown_runs::{EvalRecord, MetricsRecord, RunRow};
use plotly::common::{DashType, MarkerSymbol};

use crate::page::RunPage;
use crate::text::percent;

/// Injected shares have colours 1 to this one, from teal to violet as p grows; 0 is p = 0.
const INJECTED_COLOURS: usize = 5;

/// One run, ready for figures and tables.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    pub page: &'a RunPage,
    /// "p = 1 %", or the run's title where p does not tell the runs apart.
    pub label: String,
    /// A CSS variable of page.css.
    pub colour: String,
    pub symbol: MarkerSymbol,
    pub dash: DashType,
}

/// A finetuning run with its row.
#[derive(Debug)]
pub(crate) struct Finetuned<'a> {
    pub series: Series<'a>,
    pub row: &'a RunRow,
    /// The evaluations the row's two losses came from.
    pub target: Option<&'a EvalRecord>,
    pub pretraining: Option<&'a EvalRecord>,
}

impl<'a> Series<'a> {
    /// Evaluations of one corpus as (step, record), with the one before the first step.
    pub fn evaluations(&self, corpus: &str) -> Vec<(u64, &'a EvalRecord)> {
        let page = self.page;
        let recorded = page.metrics.iter().filter_map(|record: &MetricsRecord| {
            EvalRecord::find(&record.evals, corpus).map(|eval| (record.step, eval))
        });
        let mut points: Vec<(u64, &EvalRecord)> = recorded.collect();
        let first = EvalRecord::find(&page.summary.before, corpus);
        if let Some(first) = first.filter(|_| points.first().is_none_or(|(step, _)| *step > 0)) {
            points.insert(0, (0, first));
        }
        points
    }
}

/// The runs with rows by growing p, and the others in their order.
pub(crate) fn arrange(pages: &[RunPage]) -> (Vec<Finetuned<'_>>, Vec<Series<'_>>) {
    let mut with_row: Vec<(&RunPage, &RunRow)> =
        pages.iter().filter_map(|page| page.summary.row.as_ref().map(|row| (page, row))).collect();
    with_row.sort_by(|left, right| left.1.p_requested.total_cmp(&right.1.p_requested));
    let shares: Vec<f64> = with_row.iter().map(|(_, row)| row.p_requested).collect();
    let distinct = shares.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    let injected = shares.iter().filter(|p| **p > 0.0).count();
    let baselines = shares.len() - injected;
    let finetuned = with_row.into_iter().enumerate().map(|(place, (page, row))| {
        let label = if distinct {
            format!("p\u{a0}=\u{a0}{}", percent(row.p_requested))
        } else {
            page.summary.title.clone()
        };
        let slot = place.checked_sub(baselines).map_or(0, |rank| colour_slot(rank, injected));
        let series = Series {
            page,
            label,
            colour: format!("var(--series-{slot})"),
            symbol: symbol(place),
            dash: dash(place),
        };
        Finetuned {
            series,
            row,
            target: yardstick(page, row.target_loss, "target"),
            pretraining: yardstick(page, row.pretraining_loss, "pretraining"),
        }
    });
    let others = pages.iter().filter(|page| page.summary.row.is_none()).map(|page| Series {
        page,
        label: page.summary.title.clone(),
        colour: "var(--series-4)".to_owned(),
        symbol: MarkerSymbol::Circle,
        dash: DashType::Solid,
    });
    (finetuned.collect(), others.collect())
}

/// Spreads few shares over the whole ramp; more than it holds go round, told apart by dashes.
fn colour_slot(rank: usize, injected: usize) -> usize {
    match injected {
        0 | 1 => 1 + INJECTED_COLOURS / 2,
        2..=INJECTED_COLOURS => 1 + rank * (INJECTED_COLOURS - 1) / (injected - 1),
        _ => 1 + rank % INJECTED_COLOURS,
    }
}

fn symbol(place: usize) -> MarkerSymbol {
    match place % 5 {
        0 => MarkerSymbol::Circle,
        1 => MarkerSymbol::Square,
        2 => MarkerSymbol::Diamond,
        3 => MarkerSymbol::TriangleUp,
        _ => MarkerSymbol::X,
    }
}

fn dash(place: usize) -> DashType {
    match place / (INJECTED_COLOURS + 1) {
        0 => DashType::Solid,
        1 => DashType::Dash,
        _ => DashType::Dot,
    }
}

/// The row does not say which corpus its loss was measured on: it is the one with that very loss
/// at the chosen checkpoint, else the one with the customary name.
fn yardstick<'a>(page: &'a RunPage, loss: f64, name: &str) -> Option<&'a EvalRecord> {
    let best = &page.summary.best;
    let same = |record: &&EvalRecord| record.loss.to_bits() == loss.to_bits();
    let named = EvalRecord::find(best, name);
    named.filter(same).or_else(|| best.iter().find(same)).or(named)
}
