//! The text of evaluations: losses with their errors, and the data behind the errors.

use mixdown_base::display::{escaped, fixed, plural, signed, thousands};
use mixdown_runs::{ErrorUnit, EvalRecord, MeanLoss, Summary};
use mixdown_train::{BestSoFar, Progress};

use crate::terminal::output::table;

/// `4.1826 ± 0.0460`, or only the loss if it has no standard error.
pub fn loss(record: &EvalRecord) -> String {
    with_error(fixed(record.loss, 4), record.standard_error)
}

/// A difference with its sign, and with its standard error if it has one.
pub fn difference(mean: f64, standard_error: Option<f64>) -> String {
    with_error(signed(mean, 4), standard_error)
}

fn with_error(value: String, standard_error: Option<f64>) -> String {
    match standard_error {
        Some(error) => format!("{value} ± {}", fixed(error, 4)),
        None => value,
    }
}

/// The line about an evaluation of a run: `step 20 of 220: target 4.1826 ± 0.0460, pretraining 5.6593 ± 0.0412
/// (+1.5009 ± 0.0102); best so far`.
pub fn line(at: &Progress, evals: &[EvalRecord]) -> String {
    let losses: Vec<String> = evals
        .iter()
        .map(|eval| {
            let change = eval.change.map_or_else(String::new, |change| {
                format!(" ({})", difference(change.mean, change.standard_error))
            });
            format!("{} {}{change}", escaped(&eval.corpus), loss(eval))
        })
        .collect();
    let best = at.best.as_ref().map_or_else(String::new, |best| best_so_far(best, at.step));
    let (step, steps) = (thousands(at.step), thousands(at.steps));
    format!("step {step} of {steps}: {}{best}", losses.join(", "))
}

fn best_so_far(best: &BestSoFar, step: u64) -> String {
    if best.step == step {
        return "; best so far".to_owned();
    }
    let chosen = EvalRecord::find(&best.evals, &best.select);
    let chosen = chosen.map(|eval| format!(", {} {}", escaped(&eval.corpus), fixed(eval.loss, 4)));
    format!("; best so far: step {}{}", thousands(best.step), chosen.unwrap_or_default())
}

/// Losses as a table, with notes about their errors.
pub fn eval_table(records: &[EvalRecord]) -> String {
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            vec![
                escaped(&record.corpus).into_owned(),
                loss(record),
                fixed(record.bits_per_byte, 4),
                thousands(record.tokens),
                thousands(record.sequences),
                record.documents.map_or_else(|| "–".to_owned(), thousands),
            ]
        })
        .collect();
    let header = ["corpus", "loss (nats/token)", "bits/byte", "targets", "sequences", "documents"];
    let table = table(&header, &rows);
    let notes = records.iter().filter_map(note);
    std::iter::once(table).chain(notes).collect::<Vec<_>>().join("\n")
}

/// The note about an error that is not over documents.
fn note(record: &EvalRecord) -> Option<String> {
    let name = escaped(&record.corpus);
    match (record.standard_error, record.error_unit) {
        (None, _) => {
            Some(format!("{name}: no standard error, because only one sequence has targets"))
        }
        (Some(_), Some(ErrorUnit::Sequences)) => Some(format!(
            "{name}: ± is over sequences, because they come from one document: it tells nothing about other documents"
        )),
        _ => None,
    }
}

/// Remarks that the tables of a run do not contain, one per line.
pub fn remarks(summary: &Summary) -> String {
    let forgetting = summary.row.as_ref().map(|row| {
        let is_its = |eval: &&EvalRecord| eval.loss.to_bits() == row.pretraining_loss.to_bits();
        let change = summary.best.iter().find(is_its).and_then(|eval| eval.change);
        let error = change.and_then(|change| change.standard_error);
        let forgetting = difference(row.forgetting(), error);
        format!("forgetting at the best step: {forgetting} nats/token")
    });
    let alone = summary.best.iter().filter(|eval| eval.chose_itself()).map(|eval| {
        format!(
            "{}: too few sequences to split, so the reported ones also chose the best step: the loss there is \
             probably too low",
            escaped(&eval.corpus)
        )
    });
    let idle = summary.steps_without_targets;
    let idle = (idle > 0).then(|| {
        format!(
            "{} of {} had no target that counts, so {} no training loss",
            plural(idle, "batch"),
            thousands(summary.steps),
            if idle == 1 { "that step has" } else { "those steps have" }
        )
    });
    forgetting.into_iter().chain(alone).chain(idle).map(|line| format!("\n{line}")).collect()
}

/// The data behind a mean and its error: `over 64 sequences of 12 documents, error by document`.
pub fn over(mean: &MeanLoss) -> String {
    let sequences = plural(mean.sequences, "sequence");
    let documents = mean.documents.map(|count| format!(" of {}", plural(count, "document")));
    let unit = match mean.unit {
        Some(ErrorUnit::Documents) => ", error by document",
        Some(ErrorUnit::Sequences) => ", error by sequence",
        None => ", too few for an error",
    };
    format!("over {sequences}{}{unit}", documents.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use mixdown_runs::{ErrorUnit, EvalRecord, LossChange};
    use mixdown_train::{BestSoFar, Progress};

    use super::{eval_table, line};

    fn record(corpus: &str, loss: f64) -> EvalRecord {
        EvalRecord {
            corpus: corpus.to_owned(),
            loss,
            standard_error: Some(0.046),
            bits_per_byte: 2.5,
            tokens: 8_192,
            sequences: 64,
            documents: Some(12),
            error_unit: Some(ErrorUnit::Documents),
            ..EvalRecord::default()
        }
    }

    #[test]
    fn a_line_has_both_losses_and_the_best_so_far() {
        let change = Some(LossChange { mean: 1.5009, standard_error: Some(0.0102) });
        let evals =
            vec![record("target", 4.1826), EvalRecord { change, ..record("a\u{1b}[2J", 5.6593) }];
        let best = BestSoFar { step: 20, select: "target".to_owned(), evals: evals.clone() };
        let at = |step: u64| Progress {
            step,
            steps: 2_200,
            tokens_per_second: 1.0,
            train_loss: None,
            evals: None,
            best: Some(best.clone()),
            samples: Vec::new(),
        };
        let text = line(&at(20), &evals);
        assert!(text.starts_with("step 20 of 2,200: target 4.1826 ± 0.0460, a"), "{text}");
        assert!(text.ends_with("[2J 5.6593 ± 0.0460 (+1.5009 ± 0.0102); best so far"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        let text = line(&at(40), &evals);
        assert!(text.ends_with("; best so far: step 20, target 4.1826"), "{text}");
    }

    #[test]
    fn errors_that_are_absent_or_of_one_document_are_said() {
        assert_eq!(eval_table(&[record("c", 4.0)]).lines().count(), 3);
        let one = EvalRecord {
            error_unit: Some(ErrorUnit::Sequences),
            documents: Some(1),
            ..record("c", 4.0)
        };
        assert!(eval_table(&[one]).ends_with("it tells nothing about other documents"));
        let alone =
            EvalRecord { standard_error: None, error_unit: None, sequences: 1, ..record("c", 4.0) };
        let text = eval_table(&[alone]);
        assert!(text.ends_with("c: no standard error, because only one sequence has targets"));
        assert!(!text.contains('±'), "{text}");
    }
}
