//! A run with its label, color, symbol and evaluations for figures.

use std::collections::BTreeSet;

use mixdown_runs::{EvalRecord, MetricsRecord, RunRow};

use crate::parts::chart::{DashType, Symbol};
use crate::parts::text::percent;
use crate::runs::RunPage;

/// Injected shares have colors 1 to this one, from teal to violet as p grows; 0 is p = 0.
const INJECTED_COLORS: usize = 5;

/// One run, ready for figures and tables.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    pub page: &'a RunPage,
    /// "p = 1 %", or the title of the run if p does not distinguish the runs; unique among them.
    pub label: String,
    /// A CSS variable of page.css.
    pub color: String,
    pub symbol: Symbol,
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

/// Sorts the runs with rows by growing p and keeps the others in their order.
pub(crate) fn arrange(pages: &[RunPage]) -> (Vec<Finetuned<'_>>, Vec<Series<'_>>) {
    arrange_all(&pages.iter().collect::<Vec<_>>())
}

/// Like [`arrange`], for pages that are not adjacent.
pub(crate) fn arrange_all<'a>(pages: &[&'a RunPage]) -> (Vec<Finetuned<'a>>, Vec<Series<'a>>) {
    let mut with_row: Vec<(&'a RunPage, &'a RunRow)> =
        pages.iter().filter_map(|page| page.summary.row.as_ref().map(|row| (*page, row))).collect();
    with_row.sort_by(|left, right| left.1.p_requested.total_cmp(&right.1.p_requested));
    let shares: Vec<f64> = with_row.iter().map(|(_, row)| row.p_requested).collect();
    let distinct = shares.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    let injected = shares.iter().filter(|p| **p > 0.0).count();
    let baselines = shares.len() - injected;
    let mut taken = BTreeSet::new();
    let finetuned: Vec<Finetuned<'_>> = with_row
        .into_iter()
        .enumerate()
        .map(|(place, (page, row))| {
            let label =
                if distinct { share_label(row.p_requested) } else { page.summary.title.clone() };
            let slot = place.checked_sub(baselines).map_or(0, |rank| color_slot(rank, injected));
            let series = Series {
                page,
                label: unique(label, &mut taken),
                color: format!("var(--series-{slot})"),
                symbol: symbol(place),
                dash: dash(place),
            };
            Finetuned {
                series,
                row,
                target: evaluation_behind(page, row.target_loss, "target"),
                pretraining: evaluation_behind(page, row.pretraining_loss, "pretraining"),
            }
        })
        .collect();
    let others =
        pages.iter().copied().filter(|page| page.summary.row.is_none()).map(|page| Series {
            page,
            label: unique(page.summary.title.clone(), &mut taken),
            color: "var(--series-4)".to_owned(),
            symbol: Symbol::Circle,
            dash: DashType::Solid,
        });
    let others = others.collect();
    (finetuned, others)
}

/// Returns the label, with a number behind it if an earlier run has the same one: plotly stacks bars of equal labels
/// into one.
fn unique(label: String, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2_u64..).map(|number| format!("{label} ({number})"));
    let free = std::iter::once(label.clone()).chain(numbered).find(|name| !taken.contains(name));
    let name = free.unwrap_or_default();
    taken.insert(name.clone());
    name
}

fn share_label(p: f64) -> String {
    let share = if p > 0.0 { percent(p) } else { "0".to_owned() };
    format!("p\u{a0}=\u{a0}{share}")
}

/// Returns the color of a share: few shares are spread over the whole range of colors; more shares repeat them and
/// differ in their dashes.
pub(crate) fn color_slot(rank: usize, injected: usize) -> usize {
    match injected {
        0 | 1 => 1 + INJECTED_COLORS / 2,
        2..=INJECTED_COLORS => 1 + rank * (INJECTED_COLORS - 1) / (injected - 1),
        _ => 1 + rank % INJECTED_COLORS,
    }
}

pub(crate) fn symbol(place: usize) -> Symbol {
    match place % 5 {
        0 => Symbol::Circle,
        1 => Symbol::Square,
        2 => Symbol::Diamond,
        3 => Symbol::TriangleUp,
        _ => Symbol::X,
    }
}

fn dash(place: usize) -> DashType {
    match place / (INJECTED_COLORS + 1) {
        0 => DashType::Solid,
        1 => DashType::Dash,
        _ => DashType::Dot,
    }
}

/// Finds the evaluation behind a loss of the row, which does not name its corpus: the one with exactly that loss at the
/// chosen checkpoint, else the one with the customary name.
fn evaluation_behind<'a>(page: &'a RunPage, loss: f64, name: &str) -> Option<&'a EvalRecord> {
    let best = &page.summary.best;
    let same = |record: &&EvalRecord| record.loss.to_bits() == loss.to_bits();
    let named = EvalRecord::find(best, name);
    named.filter(same).or_else(|| best.iter().find(same)).or(named)
}

#[cfg(test)]
mod tests {
    use super::{arrange, color_slot};
    use crate::runs::RunPage;
    use crate::testing::{base, finetuned};

    #[test]
    fn runs_are_ordered_by_p_and_the_baseline_has_its_own_color() {
        let pages = [finetuned(0.05, 0.2), base(), finetuned(0.0, 0.8), finetuned(0.01, 0.4)];
        let (runs, others) = arrange(&pages);
        let seen: Vec<(&str, &str)> =
            runs.iter().map(|run| (run.series.label.as_str(), run.series.color.as_str())).collect();
        let expected = [
            ("p\u{a0}=\u{a0}0", "var(--series-0)"),
            ("p\u{a0}=\u{a0}1\u{a0}%", "var(--series-1)"),
            ("p\u{a0}=\u{a0}5\u{a0}%", "var(--series-5)"),
        ];
        assert_eq!(seen, expected);
        assert_eq!(others.len(), 1);
        for injected in 1..=12 {
            let slots: Vec<usize> = (0..injected).map(|rank| color_slot(rank, injected)).collect();
            assert!(slots.iter().all(|slot| (1..=5).contains(slot)), "{slots:?}");
            assert!(injected > 5 || slots.is_sorted_by(|low, high| low < high), "{slots:?}");
        }
    }

    #[test]
    fn runs_of_the_same_p_are_told_apart_by_title() {
        let mut second = finetuned(0.0, 0.8);
        second.summary.title = "Other seed".to_owned();
        let pages = [finetuned(0.0, 0.8), second];
        let (runs, _) = arrange(&pages);
        assert_eq!(runs[1].series.label, "Other seed");
    }

    #[test]
    fn equal_labels_are_numbered() {
        let titles = ["One", "One (2)", "One", "One"];
        let mut pages = titles.map(|title| {
            let mut page = finetuned(0.01, 0.4);
            page.summary.title = title.to_owned();
            page
        });
        let labels = |pages: &[RunPage]| -> Vec<String> {
            let (runs, others) = arrange(pages);
            let runs = runs.into_iter().map(|run| run.series);
            runs.chain(others).map(|series| series.label).collect()
        };
        assert_eq!(labels(&pages), ["One", "One (2)", "One (3)", "One (4)"]);
        pages[0].summary.row = None;
        assert_eq!(labels(&pages), ["One (2)", "One", "One (3)", "One (4)"]);
    }

    #[test]
    fn the_yardsticks_are_found_by_their_losses() {
        let mut page = finetuned(0.01, 0.4);
        let rename = [("target", "rust"), ("pretraining", "prose")];
        for eval in &mut page.summary.best {
            let found = rename.iter().find(|(from, _)| *from == eval.corpus);
            eval.corpus = found.unwrap().1.to_owned();
        }
        let pages = [page];
        let (runs, _) = arrange(&pages);
        assert_eq!(runs[0].target.unwrap().corpus, "rust");
        assert_eq!(runs[0].pretraining.unwrap().corpus, "prose");
    }

    #[test]
    fn the_state_before_the_first_step_is_shown_once() {
        let mut page = finetuned(0.01, 0.4);
        let pages = [page.clone()];
        assert_eq!(arrange(&pages).0[0].series.evaluations("target").len(), 3);
        page.metrics.remove(0);
        let pages = [page];
        let (runs, _) = arrange(&pages);
        let points = runs[0].series.evaluations("target");
        assert_eq!(points.iter().map(|point| point.0).collect::<Vec<_>>(), [0, 20, 40]);
    }
}
