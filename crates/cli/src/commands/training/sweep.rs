//! `mixdown sweep`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mixdown_base::display::{percent, plural, signed, thousands};
use mixdown_experiments::{
    Design, Failure, Sweep, SweepConfig, SweepObserver, SweepStage, bottom_is_reached,
};
use mixdown_runs::RunRow;
use mixdown_tokenize::Task;
use serde::Serialize;

use crate::commands::Context;
use crate::commands::corpora::verify::{
    VerifyCorporaArgs, check_corpora, warn_of_missing_sketches,
};
use crate::commands::training::sweep_preview;
use crate::commands::training::sweep_progress::SweepProgress;
use crate::error::Error;
use crate::terminal::output::table;

/// Arguments of `sweep`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown sweep sweep.toml --out sweeps/math
  mixdown sweep sweep.toml --out sweeps/math --design minimal
  what the sweep would do and need, without running it:
    mixdown sweep sweep.toml --out sweeps/math --dry-run
  as task 3 of 8 of an array job (0/8 … 7/8), or as the scheduler says:
    mixdown sweep sweep.toml --out sweeps/math --task 3/8
    mixdown sweep sweep.toml --out sweeps/math --task auto

A stopped sweep continues where it stopped when the same command is given again, and tries failed runs again. Runs
whose row is in the table are never repeated.")]
pub struct SweepArgs {
    /// Sweep description in TOML.
    sweep: PathBuf,
    /// Sweep folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Part of the grid to run [default: the description's, or the whole grid]
    #[arg(long, value_enum)]
    design: Option<DesignName>,
    /// Run the share of task I of N (0/4 … 3/4) of an array job, or auto to read I and N from the scheduler.
    #[arg(long, help_heading = "Many machines", value_name = "I/N")]
    task: Option<String>,
    /// Number of tasks for --task auto, if the scheduler does not give it (Kubernetes, AWS Batch).
    #[arg(long, help_heading = "Many machines", value_name = "N", requires = "task")]
    tasks: Option<u64>,
    /// Make only the base models, before the tasks of an array start, so that no two tasks make the same one.
    #[arg(long, help_heading = "Many machines")]
    bases_only: bool,
    #[command(flatten)]
    verify: VerifyCorporaArgs,
    /// Show what the sweep would do and need, without running it.
    #[arg(long)]
    dry_run: bool,
    /// Training rate of the largest model for --dry-run, in tokens per second [default: that of the sweep's finished
    /// runs, or an estimate from the speed of this machine's matrix product]
    #[arg(long, value_name = "RATE", requires = "dry_run")]
    tokens_per_second: Option<f64>,
}

/// The designs as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DesignName {
    /// Three models × three numbers of target tokens × {0, 1 %}: the smallest grid that determines a law.
    Minimal,
}

impl From<DesignName> for Design {
    fn from(name: DesignName) -> Self {
        match name {
            DesignName::Minimal => Self::Minimal,
        }
    }
}

#[derive(Serialize)]
struct SweepReport {
    planned: usize,
    runs: Vec<RunRow>,
    /// Ids of runs whose target loss was lowest at the very last step.
    bottom_not_reached: Vec<String>,
    failures: Vec<Failure>,
}

/// Runs the subcommand.
///
/// # Errors
/// As the sweep; runs that failed.
pub fn run(arguments: SweepArgs, context: Context) -> Result<(), Error> {
    let mut settings = SweepConfig::read(&arguments.sweep)?;
    settings.design = arguments.design.map(Design::from).or(settings.design);
    let settings = settings.checked()?;
    let sweep = Sweep { settings: &settings, out: &arguments.out, task: arguments.task()? };
    if arguments.dry_run {
        let preview = sweep.preview(arguments.tokens_per_second)?;
        return context.output.print(&preview, sweep_preview::describe);
    }
    let targets = settings.domain.iter().map(|domain| domain.corpus.as_path());
    let corpora = targets.chain([settings.pretraining.as_path()]);
    check_corpora(arguments.verify, corpora.clone(), Path::new(""), context)?;
    warn_of_missing_sketches("sweep", corpora, Path::new(""));
    let stage = if arguments.bases_only { SweepStage::Bases } else { SweepStage::Runs };
    let progress = SweepProgress::default();
    let outcome =
        sweep.run(stage, SweepObserver::new(&|event| progress.show(event), context.stop))?;
    let late = outcome.rows.iter().filter(|row| !bottom_is_reached(row));
    let report = SweepReport {
        planned: outcome.planned,
        bottom_not_reached: late.map(|row| row.run_id.clone()).collect(),
        runs: outcome.rows,
        failures: outcome.failures,
    };
    context.output.print(&report, describe)?;
    incomplete(&report.failures)
}

impl SweepArgs {
    fn task(&self) -> Result<Option<Task>, Error> {
        let task = match self.task.as_deref() {
            None => return Ok(None),
            Some("auto") => Task::from_environment(|name| std::env::var(name).ok(), self.tasks),
            Some(task) => task.parse(),
        };
        Ok(Some(task?))
    }
}

fn incomplete(failures: &[Failure]) -> Result<(), Error> {
    if failures.is_empty() {
        return Ok(());
    }
    let reasons =
        failures.iter().map(|failure| format!("\n  {}: {}", failure.run_id, failure.reason));
    Err(Error::Incomplete {
        message: format!(
            "{} failed:{}",
            plural(u64::try_from(failures.len()).unwrap_or(u64::MAX), "run"),
            reasons.collect::<String>()
        ),
        numerical: failures.iter().any(|failure| failure.numerical),
    })
}

fn describe(report: &SweepReport) -> String {
    let header = [
        "run",
        "N",
        "D",
        "p realized",
        "best step",
        "target loss",
        "pretraining loss",
        "forgetting",
    ];
    let rows: Vec<Vec<String>> = report.runs.iter().map(row).collect();
    let late = match report.bottom_not_reached.len() {
        0 => String::new(),
        late => format!(
            "\n{late} marked *: the target loss was lowest at the very last step, so its minimum may lie beyond \
             that step: give [train] more epochs in another folder"
        ),
    };
    format!(
        "{}\n{} of {}; losses in nats per token at the least target loss{late}",
        table(&header, &rows),
        report.runs.len(),
        plural(u64::try_from(report.planned).unwrap_or(u64::MAX), "run")
    )
}

fn row(row: &RunRow) -> Vec<String> {
    let mark = if bottom_is_reached(row) { "" } else { "*" };
    vec![
        row.run_id.clone(),
        thousands(row.model_size),
        thousands(row.target_tokens),
        percent(row.p_realised),
        format!("{}{mark}", row.best_step),
        format!("{:.4}", row.target_loss),
        format!("{:.4}", row.pretraining_loss),
        signed(row.forgetting(), 4),
    ]
}
