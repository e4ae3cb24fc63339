//! `mixdown report`.

use std::path::{Path, PathBuf};

use clap::Args;
use mixdown_report::{Report, RunPage};
use mixdown_runs::RunFolder;
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  mixdown report runs/math-0 runs/math-1 runs/math-5 --out report.html")]
pub struct ReportArgs {
    /// Run folders, in the order in which the page shows them.
    #[arg(required = true)]
    run: Vec<PathBuf>,
    /// The page to write. [default: report.html in the only run's folder]
    #[arg(long)]
    out: Option<PathBuf>,
    /// The page's title.
    #[arg(long, default_value = "Finetuning runs")]
    title: String,
}

#[derive(Serialize)]
struct Written {
    report: PathBuf,
    runs: usize,
}

/// Runs the subcommand.
///
/// # Errors
/// A folder that is no finished run, or an unwritable output.
pub fn run(arguments: ReportArgs, context: Context) -> Result<(), Error> {
    let out = match (&arguments.out, arguments.run.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [only]) => RunFolder::open(only)?.report(),
        _ => return Err(Error::usage("several runs, but no --out", "add --out report.html")),
    };
    let runs = arguments.run.iter().map(|path| read_run(path)).collect::<Result<Vec<_>, _>>()?;
    let report = Report {
        title: arguments.title,
        lead: String::new(),
        runs,
        notes: Vec::new(),
        settings: Vec::new(),
    };
    mixdown_report::write(&report, &out)?;
    let written = Written { report: out, runs: report.runs.len() };
    context.output.print(&written, |written| written.report.display().to_string())
}

/// Reads what the page shows of the run in `path`.
///
/// # Errors
/// A folder that is no finished run.
pub fn read_run(path: &Path) -> Result<RunPage, Error> {
    let folder = RunFolder::open(path)?;
    Ok(RunPage {
        summary: folder.read_summary()?,
        metrics: folder.read_metrics()?,
        settings_toml: folder.read_run_toml()?,
    })
}
