//! Which runs may be compared by p, and by how much their losses differ.

use mixdown_runs::{CorpusLosses, EvalRecord, MeanLoss, Unpaired, paired};

use crate::series::Finetuned;

/// What runs must share beside p and seed: where they start, what they learn, and how.
///
/// The loss before finetuning stands for the checkpoint, which a row does not name: another one,
/// or another evaluation, gives another loss. Numbers are compared bit by bit.
#[derive(Debug, PartialEq, Eq)]
struct Setting<'a> {
    domain: &'a str,
    model_size: u64,
    target_tokens: u64,
    pretraining_loss_before_bits: u64,
    learning_rate_bits: Option<u64>,
    schedule: Option<&'a str>,
    horizon_steps: Option<u64>,
    warmup_steps: Option<u64>,
    batch_tokens: Option<u64>,
    sequence_length: Option<u64>,
    weight_decay_bits: Option<u64>,
    optimizer: Option<&'a str>,
    method: Option<&'a str>,
}

impl<'a> Setting<'a> {
    fn of(run: &Finetuned<'a>) -> Self {
        let row = run.row;
        Self {
            domain: &row.domain,
            model_size: row.model_size,
            target_tokens: row.target_tokens,
            pretraining_loss_before_bits: row.pretraining_loss_before.to_bits(),
            learning_rate_bits: row.learning_rate.map(f64::to_bits),
            schedule: row.schedule.as_deref(),
            horizon_steps: row.horizon_steps,
            warmup_steps: row.warmup_steps,
            batch_tokens: row.batch_tokens,
            sequence_length: row.sequence_length,
            weight_decay_bits: row.weight_decay.map(f64::to_bits),
            optimizer: row.optimizer.as_deref(),
            method: row.method.as_deref(),
        }
    }
}

/// Whether these runs differ in p and seed only.
pub(crate) fn comparable(runs: &[Finetuned<'_>]) -> bool {
    let same = |pair: &[Finetuned<'_>]| match pair {
        [left, right] => Setting::of(left) == Setting::of(right),
        _ => true,
    };
    runs.windows(2).all(same)
}

/// The p = 0 run that a run is compared with: of the same setting, and of the same seed where there
/// is one.
pub(crate) fn baseline<'r, 'a>(
    runs: &'r [Finetuned<'a>],
    of: &Finetuned<'a>,
) -> Option<&'r Finetuned<'a>> {
    let setting = Setting::of(of);
    let fits = |run: &&Finetuned<'_>| run.row.p_requested <= 0.0 && Setting::of(run) == setting;
    let same_seed = runs.iter().filter(fits).find(|run| run.row.seed == of.row.seed);
    same_seed.or_else(|| runs.iter().find(fits))
}

/// One of the two losses of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yardstick {
    Target,
    Pretraining,
}

impl Yardstick {
    /// The evaluation that the row's loss came from.
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

/// A run's loss less that of another, sequence by sequence.
pub(crate) fn difference(
    run: &Finetuned<'_>,
    other: &Finetuned<'_>,
    of: Yardstick,
) -> Result<MeanLoss, Unpaired> {
    paired(of.losses(run), of.losses(other))
}

#[cfg(test)]
mod tests {
    use mixdown_runs::RunRow;

    use super::{baseline, comparable};
    use crate::series::arrange;
    use crate::testing::finetuned;

    #[test]
    fn another_start_or_recipe_is_not_compared() {
        let changes: [fn(&mut RunRow); 13] = [
            |row| row.domain = "prose".to_owned(),
            |row| row.model_size += 1,
            |row| row.target_tokens += 1,
            |row| row.pretraining_loss_before += 1e-12,
            |row| row.learning_rate = Some(3e-4),
            |row| row.schedule = Some("constant".to_owned()),
            |row| row.horizon_steps = Some(9),
            |row| row.warmup_steps = Some(9),
            |row| row.batch_tokens = Some(9),
            |row| row.sequence_length = Some(9),
            |row| row.weight_decay = Some(0.2),
            |row| row.optimizer = Some("sgd".to_owned()),
            |row| row.method = Some("lora".to_owned()),
        ];
        for (place, change) in changes.iter().enumerate() {
            let mut pages = [finetuned(0.0, 0.8), finetuned(0.01, 0.4)];
            change(pages[0].summary.row.as_mut().unwrap());
            let runs = arrange(&pages).0;
            assert!(!comparable(&runs), "change {place}");
            assert!(baseline(&runs, &runs[1]).is_none(), "change {place}");
        }
    }

    #[test]
    fn another_seed_is_compared_where_there_is_none_of_the_same() {
        let mut pages = [finetuned(0.0, 0.8), finetuned(0.0, 0.7), finetuned(0.01, 0.4)];
        pages[1].summary.row.as_mut().unwrap().seed = 8;
        let runs = arrange(&pages).0;
        assert!(comparable(&runs));
        assert!((baseline(&runs, &runs[2]).unwrap().row.forgetting() - 0.8).abs() < 1e-12);
        pages[2].summary.row.as_mut().unwrap().seed = 9;
        let runs = arrange(&pages).0;
        assert!(baseline(&runs, &runs[2]).is_some());
    }
}
