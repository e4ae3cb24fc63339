//! `mixdown demo`.

use std::path::PathBuf;

use clap::Args;
use mixdown_base::display::{fixed, percent, percent_requested, signed};
use mixdown_experiments::{Injection, PRETRAINING, TARGET};
use mixdown_runs::{RunRow, paired};
use mixdown_scaling::forgetting_removed;
use serde::Serialize;

use crate::commands::Context;
use crate::demo::{self, DemoOutcome, DemoSettings, FinishedRun};
use crate::error::Error;
use crate::runs::evaluations::{self, over};
use crate::terminal::output::table;

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown demo
  mixdown demo --inject 0,0.5%,1%,5%,20% --out wide
  mixdown demo --pretraining general/ --target poems/ --out poems-demo

A stopped demo continues where it stopped when the same command is given again.")]
pub struct DemoArgs {
    /// Shares p of pretraining data to compare.
    #[arg(long, value_delimiter = ',', default_value = "0,1%,5%", value_name = "SHARES")]
    inject: Vec<Injection>,
    /// Pretraining text, files or folders [default: prose from cargo's registry]
    #[arg(long, help_heading = "Text", num_args = 1.., requires = "target", value_name = "FILES")]
    pretraining: Vec<PathBuf>,
    /// Target text, files or folders [default: Rust code from cargo's registry]
    #[arg(long, help_heading = "Text", num_args = 1.., requires = "pretraining", value_name = "FILES")]
    target: Vec<PathBuf>,
    /// Demo folder.
    #[arg(long, value_name = "DIR", default_value = "mixdown-demo")]
    out: PathBuf,
    /// Vocabulary size of the tokenizer, in entries.
    #[arg(long, value_name = "N", help_heading = "Size", default_value_t = 2048)]
    vocab_size: u32,
    /// Unique target tokens for finetuning.
    #[arg(long, help_heading = "Size", value_name = "D", default_value = "50k")]
    target_tokens: u64,
    /// Optimizer steps of the base model.
    #[arg(long, value_name = "N", help_heading = "Size", default_value_t = 500)]
    pretraining_steps: u64,
    /// Optimizer steps of each finetuning run.
    #[arg(long, value_name = "N", help_heading = "Size", default_value_t = 220)]
    finetuning_steps: u64,
    /// Random seed of weights and of the order of the data.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Serialize)]
struct DemoReport {
    runs: Vec<DemoRow>,
    report: PathBuf,
}

#[derive(Serialize)]
struct DemoRow {
    p_requested: f64,
    p_realised: f64,
    best_step: u64,
    target_loss: f64,
    /// The target loss minus the target loss at p = 0.
    target_difference: Option<Difference>,
    pretraining_loss: f64,
    pretraining_loss_before: f64,
    forgetting: f64,
    /// The forgetting minus the forgetting at p = 0.
    forgetting_difference: Option<Difference>,
    forgetting_removed: Option<f64>,
}

/// A loss minus that of the run with p = 0, on the same sequences.
#[derive(Serialize)]
struct Difference {
    mean: f64,
    standard_error: Option<f64>,
    sequences: u64,
    documents: Option<u64>,
    /// Whether 0 is outside the 95 % interval.
    is_clear: bool,
    #[serde(skip)]
    over: String,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever a stage of the demo reports.
pub fn run(arguments: DemoArgs, context: Context) -> Result<(), Error> {
    let out = arguments.out.clone();
    let outcome = demo::run(&arguments.settings()?, &out, context)?;
    context.output.print(&demo_report(outcome), describe)
}

impl DemoArgs {
    fn settings(self) -> Result<DemoSettings, Error> {
        let mut inject = self.inject;
        inject.sort_by(|left, right| left.share().total_cmp(&right.share()));
        inject.dedup();
        Ok(DemoSettings {
            inject: inject.iter().map(Injection::to_string).collect(),
            pretraining: absolute(self.pretraining)?,
            target: absolute(self.target)?,
            vocab_size: self.vocab_size,
            target_tokens: self.target_tokens,
            pretraining_steps: self.pretraining_steps,
            finetuning_steps: self.finetuning_steps,
            seed: self.seed,
        })
    }
}

fn absolute(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, Error> {
    let resolve =
        |path: PathBuf| path.canonicalize().map_err(|error| Error::io(&path, "find", error));
    paths.into_iter().map(resolve).collect()
}

fn demo_report(outcome: DemoOutcome) -> DemoReport {
    let runs: Vec<(&FinishedRun, &RunRow)> =
        outcome.runs.iter().filter_map(|run| Some((run, run.summary.row.as_ref()?))).collect();
    let baseline = runs.iter().find(|(_, row)| row.p_requested <= 0.0).copied();
    let rows = runs.iter().map(|(run, row)| {
        let other = baseline.filter(|_| row.p_requested > 0.0);
        let forgetting = baseline.map(|(_, row)| row.forgetting());
        DemoRow {
            p_requested: row.p_requested,
            p_realised: row.p_realised,
            best_step: row.best_step,
            target_loss: row.target_loss,
            target_difference: other.and_then(|(other, _)| less(run, other, TARGET)),
            pretraining_loss: row.pretraining_loss,
            pretraining_loss_before: row.pretraining_loss_before,
            forgetting: row.forgetting(),
            // All runs start from one model, whose loss cancels.
            forgetting_difference: other.and_then(|(other, _)| less(run, other, PRETRAINING)),
            forgetting_removed: forgetting
                .and_then(|baseline| forgetting_removed(baseline, row.forgetting())),
        }
    });
    DemoReport { runs: rows.collect(), report: outcome.report }
}

/// The loss of `run` minus that of `other` on one corpus, sequence by sequence; none if an earlier version, which
/// kept no losses by sequence, made one of the runs.
fn less(run: &FinishedRun, other: &FinishedRun, corpus: &str) -> Option<Difference> {
    let losses =
        |run: &'_ FinishedRun| run.losses.as_ref().and_then(|all| all.find(corpus).cloned());
    let mean = paired(losses(run).as_ref(), losses(other).as_ref()).ok()?;
    Some(Difference {
        mean: mean.mean,
        standard_error: mean.standard_error,
        sequences: mean.sequences,
        documents: mean.documents,
        is_clear: mean.is_clear(),
        over: over(&mean),
    })
}

fn describe(report: &DemoReport) -> String {
    let rows: Vec<Vec<String>> = report.runs.iter().map(row).collect();
    let header = [
        "p requested",
        "p realized",
        "best step",
        "target loss",
        "against p = 0",
        "pretraining loss",
        "forgetting",
        "against p = 0",
        "removed",
    ];
    let before = report.runs.first().map_or(f64::NAN, |run| run.pretraining_loss_before);
    format!(
        "{}\nlosses in nats per token at the least target loss; pretraining loss before finetuning: {before:.4}\n\
         against p = 0: {}{}\n\
         removed: share of the forgetting at p = 0 that p removes\npage: {}",
        table(&header, &rows),
        errors(&report.runs),
        chance(&report.runs),
        report.report.display()
    )
}

/// Names the differences that may be chance, in a separate line.
fn chance(runs: &[DemoRow]) -> String {
    let names = runs.iter().flat_map(|run| {
        let p = percent_requested(run.p_requested);
        let both = [("target", &run.target_difference), ("forgetting", &run.forgetting_difference)];
        let unclear =
            both.into_iter().filter(|(_, one)| one.as_ref().is_some_and(|one| !one.is_clear));
        unclear.map(move |(name, _)| format!("{name} at p = {p}"))
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        return String::new();
    }
    format!("\nmay be chance (0 is within the 95 % interval): {}", names.join(", "))
}

/// The sequences and documents behind the differences and their errors.
fn errors(runs: &[DemoRow]) -> String {
    let injected = || runs.iter().filter(|run| run.p_requested > 0.0);
    let differences = injected().find_map(|run| {
        Some((run.target_difference.as_ref()?, run.forgetting_difference.as_ref()?))
    });
    match differences {
        Some((target, pretraining)) => format!(
            "difference on the same held-out text ± its standard error (target: {}; pretraining: {})",
            target.over, pretraining.over
        ),
        None if injected().count() == runs.len() => "no run with p = 0 to compare with".to_owned(),
        None => "unknown, because an earlier version made one of the runs and kept no losses by sequence"
            .to_owned(),
    }
}

fn row(run: &DemoRow) -> Vec<String> {
    vec![
        percent_requested(run.p_requested),
        percent(run.p_realised),
        run.best_step.to_string(),
        fixed(run.target_loss, 4),
        less_zero(run.target_difference.as_ref()),
        fixed(run.pretraining_loss, 4),
        signed(run.forgetting, 4),
        less_zero(run.forgetting_difference.as_ref()),
        run.forgetting_removed
            .map_or_else(|| "–".to_owned(), |share| format!("{} %", fixed(share * 100.0, 0))),
    ]
}

fn less_zero(difference: Option<&Difference>) -> String {
    difference
        .map_or_else(|| "–".to_owned(), |one| evaluations::difference(one.mean, one.standard_error))
}
