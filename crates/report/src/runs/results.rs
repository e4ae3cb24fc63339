//! The tables of results, of what identifies the runs, and of their settings.

use maud::{Markup, html};
use mixdown_base::display::plural;
use mixdown_runs::{ErrorUnit, EvalRecord};
use mixdown_scaling::forgetting_removed;

use crate::parts::figure::{Cell, Table};
use crate::parts::folded;
use crate::parts::text::{count, duration, fixed, percent, percent_fixed, percent_rounded, signed};
use crate::runs::RunPage;
use crate::runs::comparison::{ReportedLoss, baseline, difference};
use crate::runs::series::Finetuned;

/// Returns the table of finetuning runs: for each run the losses, and their differences from the run at p = 0.
pub(crate) fn finetuning(runs: &[Finetuned<'_>]) -> Table {
    let mut table = Table::new([
        "Run",
        "p requested",
        "p realized to best step",
        "best step",
        "target loss ± se",
        "against p = 0 ± se",
        "pretraining loss ± se",
        "forgetting ± se (nats)",
        "against p = 0 ± se",
        "share of p = 0’s forgetting removed",
    ]);
    for run in runs {
        let row = run.row;
        let base = baseline(runs, run).filter(|_| row.p_requested > 0.0);
        let removed =
            base.and_then(|base| forgetting_removed(base.row.forgetting(), row.forgetting()));
        let change = run.pretraining.and_then(|record| record.change);
        let forgetting_error = change.and_then(|change| change.standard_error);
        let against = |of: ReportedLoss| {
            let found = base.and_then(|base| difference(run, base, of).ok());
            Cell::or_dash(found.map(|one| {
                Cell::number(plus_minus(signed(one.mean, 3), one.standard_error), one.mean)
            }))
        };
        table.push(vec![
            run.series.label.clone().into(),
            Cell::number(percent(row.p_requested), row.p_requested),
            Cell::number(percent_rounded(row.p_realised, 3), row.p_realised),
            Cell::count(row.best_step),
            Cell::number(with_error(row.target_loss, run.target), row.target_loss),
            against(ReportedLoss::Target),
            Cell::number(with_error(row.pretraining_loss, run.pretraining), row.pretraining_loss),
            Cell::number(
                plus_minus(fixed(row.forgetting(), 3), forgetting_error),
                row.forgetting(),
            ),
            against(ReportedLoss::Pretraining),
            Cell::or_dash(removed.map(|share| Cell::number(percent_fixed(share, 0), share))),
        ]);
    }
    table
}

/// Returns the table of losses with one line for each run and corpus.
pub(crate) fn losses<'a>(pages: impl Iterator<Item = &'a RunPage>) -> Table {
    let mut table = Table::new([
        "Run",
        "corpus",
        "loss before (nats)",
        "loss at best step ± se",
        "sequences",
        "documents",
        "bits per byte",
        "loss at the end",
        "best step",
        "steps",
    ]);
    for page in pages {
        let summary = &page.summary;
        for best in &summary.best {
            let loss = |records: &[EvalRecord]| {
                EvalRecord::find(records, &best.corpus)
                    .map_or_else(|| "—".to_owned(), |record| fixed(record.loss, 3))
            };
            table.push(vec![
                summary.title.clone(),
                best.corpus.clone(),
                loss(&summary.before),
                with_error(best.loss, Some(best)),
                count(best.sequences),
                best.documents.map_or_else(|| "—".to_owned(), count),
                fixed(best.bits_per_byte, 3),
                loss(&summary.last),
                count(summary.best_step),
                count(summary.steps),
            ]);
        }
    }
    table
}

/// Returns the table of what identifies each run, with fingerprints.
pub(crate) fn identities(pages: &[RunPage]) -> Table {
    let mut table = Table::new([
        "Run",
        "run id",
        "parameters",
        "unique target tokens",
        "steps",
        "tokens/s",
        "time",
        "seed",
        "fingerprint",
    ]);
    for page in pages {
        let summary = &page.summary;
        let row = summary.row.as_ref();
        let of_row = |text: Option<String>| text.unwrap_or_else(|| "—".to_owned());
        table.push(vec![
            summary.title.clone(),
            summary.run_id.clone(),
            count(summary.model_parameters),
            of_row(row.map(|row| count(row.target_tokens))),
            count(summary.steps),
            fixed(summary.tokens_per_second, 0),
            duration(summary.seconds),
            of_row(row.map(|row| row.seed.to_string())),
            of_row(row.map(|row| row.fingerprint.clone())),
        ]);
    }
    table
}

/// Renders the settings of every run, folded.
pub(crate) fn settings(pages: &[RunPage]) -> Markup {
    html! {
        @for page in pages {
            (folded(
                &format!("Settings of {} (run.toml)", page.summary.title),
                &html! { pre { (page.settings_toml) } },
            ))
        }
    }
}

fn with_error(loss: f64, record: Option<&EvalRecord>) -> String {
    plus_minus(fixed(loss, 3), record.and_then(|record| record.standard_error))
}

/// Formats a number with its standard error, if it has one.
pub(crate) fn plus_minus(value: String, standard_error: Option<f64>) -> String {
    match standard_error {
        Some(error) => format!("{value}\u{a0}±\u{a0}{}", fixed(error, 3)),
        None => value,
    }
}

/// Describes corpus by corpus how much was measured and what the errors assume, and names the runs that cannot be
/// compared.
pub(crate) fn sample(runs: &[Finetuned<'_>]) -> String {
    let mut sentences: Vec<String> = Vec::new();
    let mut add = |sentence: String| {
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    };
    for run in runs {
        for of in [ReportedLoss::Target, ReportedLoss::Pretraining] {
            of.record(run).into_iter().for_each(|record| add(measured(record)));
        }
    }
    for run in runs.iter().filter(|run| run.row.p_requested > 0.0) {
        let Some(base) = baseline(runs, run) else { continue };
        for (of, name) in
            [(ReportedLoss::Target, "target"), (ReportedLoss::Pretraining, "pretraining")]
        {
            if let Err(reason) = difference(run, base, of) {
                add(format!(
                    "No error of the {name} loss against p = 0 is given for {}: {reason}.",
                    run.series.label
                ));
            }
        }
    }
    sentences.join(" ")
}

/// `Measured on target: 64 sequences of 12 documents; errors take documents as drawn independently.`
fn measured(record: &EvalRecord) -> String {
    let sequences = plural(record.sequences, "sequence");
    let documents = record.documents.map(|count| format!(" of {}", plural(count, "document")));
    let errors = match (record.standard_error, record.error_unit) {
        (None, _) => "one sequence alone has targets, so there is no error",
        (_, Some(ErrorUnit::Documents)) => "errors take documents as drawn independently",
        (_, Some(ErrorUnit::Sequences)) if record.documents.is_some() => {
            "errors are those of its sequences and say nothing about other documents"
        }
        _ => {
            "errors take sequences as drawn independently, which is too little where they share documents"
        }
    };
    let chosen =
        if record.chose_itself() { " The same sequences chose the best step." } else { "" };
    format!(
        "Measured on {}: {sequences}{}; {errors}.{chosen}",
        record.corpus,
        documents.unwrap_or_default()
    )
}
