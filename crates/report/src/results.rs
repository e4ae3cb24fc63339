//! The tables of results, of the runs themselves and of their settings.

use mixdown_runs::EvalRecord;
use mixdown_scaling::forgetting_removed;

use crate::comparison::baseline;
use crate::html::{Cell, Table, escape, push};
use crate::page::RunPage;
use crate::series::Finetuned;
use crate::text::{count, duration, fixed, percent, percent_fixed, percent_rounded};

/// One line per finetuning run: what p cost and what it saved.
pub(crate) fn finetuning(runs: &[Finetuned<'_>]) -> Table {
    let mut table = Table::new([
        "Run",
        "p requested",
        "p realised to best step",
        "best step",
        "target loss ± se",
        "pretraining loss ± se",
        "forgetting (nats)",
        "share of p = 0’s forgetting removed",
    ]);
    for run in runs {
        let row = run.row;
        let removed = baseline(runs, run)
            .filter(|_| row.p_requested > 0.0)
            .and_then(|base| forgetting_removed(base.row.forgetting(), row.forgetting()));
        table.push(vec![
            run.series.label.clone().into(),
            Cell::number(percent(row.p_requested), row.p_requested),
            Cell::number(percent_rounded(row.p_realised, 3), row.p_realised),
            Cell::count(row.best_step),
            Cell::number(with_error(row.target_loss, run.target), row.target_loss),
            Cell::number(with_error(row.pretraining_loss, run.pretraining), row.pretraining_loss),
            Cell::fixed(row.forgetting(), 3),
            Cell::or_dash(removed.map(|share| Cell::number(percent_fixed(share, 0), share))),
        ]);
    }
    table
}

/// One line per run and corpus: the losses alone.
pub(crate) fn losses<'a>(pages: impl Iterator<Item = &'a RunPage>) -> Table {
    let mut table = Table::new([
        "Run",
        "corpus",
        "loss before (nats)",
        "loss at best step ± se",
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
                fixed(best.bits_per_byte, 3),
                loss(&summary.last),
                count(summary.best_step),
                count(summary.steps),
            ]);
        }
    }
    table
}

/// What identifies each run, fingerprints included.
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

/// The settings of every run, folded.
pub(crate) fn settings(pages: &[RunPage]) -> String {
    let mut html = String::new();
    for page in pages {
        push(
            &mut html,
            format_args!(
                "<details><summary>Settings of {} (run.toml)</summary><pre>{}</pre></details>\n",
                escape(&page.summary.title),
                escape(&page.settings_toml)
            ),
        );
    }
    html
}

fn with_error(loss: f64, record: Option<&EvalRecord>) -> String {
    match record {
        Some(record) => {
            format!("{}\u{a0}±\u{a0}{}", fixed(loss, 3), fixed(record.standard_error, 3))
        }
        None => fixed(loss, 3),
    }
}
