//! `mixdown demo`.

use std::path::PathBuf;

use clap::Args;
use mixdown_base::display::percent_requested;
use mixdown_scaling::forgetting_removed;
use serde::Serialize;

use crate::commands::Context;
use crate::demo::{self, DemoOutcome, DemoSettings};
use crate::error::Error;
use crate::injection::Injection;
use crate::output::{percent, table};

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown demo
  mixdown demo --inject 0,0.5%,1%,5%,20% --out wide
  mixdown demo --pretraining general/ --target poems/ --out poems-demo

A stopped demo continues where it stopped when the same command is given again.")]
pub struct DemoArgs {
    /// The shares p of pretraining data to compare.
    #[arg(long, value_delimiter = ',', default_value = "0,1%,5%", value_name = "SHARES")]
    inject: Vec<Injection>,
    /// Your own pretraining text (files or folders) instead of prose from cargo's registry.
    #[arg(long, help_heading = "Text", num_args = 1.., requires = "target", value_name = "FILES")]
    pretraining: Vec<PathBuf>,
    /// Your own target text instead of Rust code from cargo's registry.
    #[arg(long, help_heading = "Text", num_args = 1.., requires = "pretraining", value_name = "FILES")]
    target: Vec<PathBuf>,
    /// The demo's folder.
    #[arg(long, default_value = "mixdown-demo")]
    out: PathBuf,
    /// Entries of the tokenizer.
    #[arg(long, help_heading = "Size", default_value_t = 2048)]
    vocab_size: u32,
    /// Unique target tokens that finetuning may see.
    #[arg(long, help_heading = "Size", value_name = "D", default_value = "50k")]
    target_tokens: u64,
    /// Optimizer steps of the base model.
    #[arg(long, help_heading = "Size", default_value_t = 500)]
    pretraining_steps: u64,
    /// Optimizer steps of each finetuning run.
    #[arg(long, help_heading = "Size", default_value_t = 220)]
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
    pretraining_loss: f64,
    pretraining_loss_before: f64,
    forgetting: f64,
    forgetting_removed: Option<f64>,
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
    let rows: Vec<_> = outcome.runs.into_iter().filter_map(|summary| summary.row).collect();
    let baseline = rows.iter().find(|row| row.p_requested <= 0.0).map(|row| row.forgetting());
    let runs = rows.iter().map(|row| DemoRow {
        p_requested: row.p_requested,
        p_realised: row.p_realised,
        best_step: row.best_step,
        target_loss: row.target_loss,
        pretraining_loss: row.pretraining_loss,
        pretraining_loss_before: row.pretraining_loss_before,
        forgetting: row.forgetting(),
        forgetting_removed: baseline
            .and_then(|baseline| forgetting_removed(baseline, row.forgetting())),
    });
    DemoReport { runs: runs.collect(), report: outcome.report }
}

fn describe(report: &DemoReport) -> String {
    let rows: Vec<Vec<String>> = report.runs.iter().map(row).collect();
    let header = [
        "p requested",
        "p realised",
        "best step",
        "target loss",
        "pretraining loss",
        "forgetting",
        "removed",
    ];
    let before = report.runs.first().map_or(f64::NAN, |run| run.pretraining_loss_before);
    format!(
        "{}\nlosses in nats per token at the least target loss; pretraining loss before finetuning: {before:.4}\n\
         removed: share of the forgetting at p = 0 that p removes\npage: {}",
        table(&header, &rows),
        report.report.display()
    )
}

fn row(run: &DemoRow) -> Vec<String> {
    vec![
        percent_requested(run.p_requested),
        percent(run.p_realised),
        run.best_step.to_string(),
        format!("{:.4}", run.target_loss),
        format!("{:.4}", run.pretraining_loss),
        format!("{:+.4}", run.forgetting),
        run.forgetting_removed.map_or_else(|| "–".to_owned(), |share| percent(share)),
    ]
}
