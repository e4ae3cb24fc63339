//! The comparison of runs by p: which may be compared, and by how much their losses differ.

use mixdown_runs::{CorpusLosses, EvalRecord, MeanLoss, Unpaired, paired};

use mixdown_runs::RunRow;

use crate::runs::series::Finetuned;

/// Returns the settings besides p and seed in which these runs differ, as fields with their values; empty for
/// comparable runs.
pub(crate) fn differences(runs: &[Finetuned<'_>]) -> Vec<(String, String)> {
    let rows: Vec<&RunRow> = runs.iter().map(|run| run.row).collect();
    mixdown_runs::differences(&rows)
}

/// Returns the run at p = 0 that a run is compared with, by the rule of [`mixdown_runs::baseline`].
pub(crate) fn baseline<'r, 'a>(
    runs: &'r [Finetuned<'a>],
    of: &Finetuned<'a>,
) -> Option<&'r Finetuned<'a>> {
    mixdown_runs::baseline(runs.iter().map(|run| run.row), of.row).and_then(|place| runs.get(place))
}

/// One of the two losses of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportedLoss {
    Target,
    Pretraining,
}

impl ReportedLoss {
    /// Returns the evaluation that the loss of the row came from.
    pub fn record<'a>(self, run: &Finetuned<'a>) -> Option<&'a EvalRecord> {
        match self {
            Self::Target => run.target,
            Self::Pretraining => run.pretraining,
        }
    }

    fn losses<'a>(self, run: &Finetuned<'a>) -> Option<&'a CorpusLosses> {
        let record = self.record(run)?;
        run.series.page.losses.as_ref()?.find(&record.corpus)
    }
}

/// Returns the loss of a run minus that of another, sequence by sequence.
pub(crate) fn difference(
    run: &Finetuned<'_>,
    other: &Finetuned<'_>,
    of: ReportedLoss,
) -> Result<MeanLoss, Unpaired> {
    paired(of.losses(run), of.losses(other))
}

#[cfg(test)]
mod tests {
    use super::{baseline, differences};
    use crate::runs::series::arrange;
    use crate::testing::finetuned;

    #[test]
    fn another_start_or_recipe_is_not_compared() {
        let mut pages = [finetuned(0.0, 0.8), finetuned(0.01, 0.4)];
        assert!(differences(&arrange(&pages).0).is_empty());
        pages[0].summary.row.as_mut().unwrap().learning_rate = Some(3e-4);
        pages[1].summary.row.as_mut().unwrap().learning_rate = Some(1e-3);
        let runs = arrange(&pages).0;
        assert_eq!(differences(&runs), [("learning_rate".to_owned(), "0.0003, 0.001".to_owned())]);
        assert!(baseline(&runs, &runs[1]).is_none());
    }

    /// `--steps "4 epochs of target"` under a cosine: the horizon and the warm-up grow with p, the recipe is one.
    #[test]
    fn runs_of_as_many_passes_over_the_target_are_compared() {
        let mut pages = [(0.0, 98, 4), (0.01, 99, 4), (0.05, 103, 5)].map(|(p, steps, warmup)| {
            let mut page = finetuned(p, 0.8 - 10.0 * p);
            let row = page.summary.row.as_mut().unwrap();
            (row.horizon_steps, row.warmup_steps) = (Some(steps), Some(warmup));
            (row.batch_tokens, row.schedule) = (Some(2048), Some("cosine".to_owned()));
            page
        });
        let runs = arrange(&pages).0;
        assert!(differences(&runs).is_empty(), "{:?}", differences(&runs));
        assert!((baseline(&runs, &runs[2]).unwrap().row.forgetting() - 0.8).abs() < 1e-12);
        pages[2].summary.row.as_mut().unwrap().horizon_steps = Some(98 * 2);
        let runs = arrange(&pages).0;
        assert!(baseline(&runs, &runs[2]).is_none() && baseline(&runs, &runs[1]).is_some());
    }
}
