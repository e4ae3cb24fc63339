//! `mixdown report`.

mod sweep;

use std::path::{Path, PathBuf};

use clap::Args;
use mixdown_report::{DomainPage, Laws, Report, RunPage, ScalingReport};
use mixdown_runs::RunFolder;
use mixdown_scaling::FitRecord;
use serde::Serialize;

use crate::commands::Context;
use crate::commands::design::read_fit;
use crate::error::Error;

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  runs beside one another:
    mixdown report runs/math-0 runs/math-1 runs/math-5 --out report.html
  a sweep, with the laws fitted to it as `mixdown fit` does; writes sweeps/mine/report.html:
    mixdown report sweeps/mine
  a fit, with the advice that it was asked for; writes fit.html:
    mixdown fit sweeps/mine/runs.jsonl --budget 0.1 --model-size 1B --target-tokens 30M --out fit.json
    mixdown report fit.json

What an input is, is told by its contents: a run's folder has run.toml, a sweep's folder has runs.jsonl, a fit is
the JSON of `mixdown fit --out`.")]
pub struct ReportArgs {
    /// Run folders, in the order in which the page shows them; or one sweep's folder; or one fit.
    #[arg(required = true, value_name = "RUNS|SWEEP|FIT.json")]
    run: Vec<PathBuf>,
    /// The page to write. [default: report.html in the only folder, FIT.html beside a fit]
    #[arg(long)]
    out: Option<PathBuf>,
    /// The page's title. [default: what it is of]
    #[arg(long)]
    title: Option<String>,
    /// Bootstrap draws for the intervals of a sweep's laws.
    #[arg(long, default_value_t = 1000)]
    draws: u32,
}

#[derive(Serialize)]
struct Written {
    report: PathBuf,
    runs: usize,
}

/// What an input is.
enum Input {
    Run,
    Sweep,
    Fit,
}

impl Input {
    /// A folder without run.toml is a run's all the same where it is no sweep's: the error then says what
    /// a run's folder has.
    fn of(path: &Path) -> Self {
        if path.is_file() {
            Self::Fit
        } else if !path.join("run.toml").is_file() && sweep::is_sweep(path) {
            Self::Sweep
        } else {
            Self::Run
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// An input that is no finished run, sweep or fit, several that do not go on one page, or an unwritable
/// output.
pub fn run(arguments: ReportArgs, context: Context) -> Result<(), Error> {
    let (report, runs) = match arguments.run.as_slice() {
        [only] => match Input::of(only) {
            Input::Run => write_runs(&arguments)?,
            Input::Sweep => write_sweep(only, &arguments)?,
            Input::Fit => write_fit(only, &arguments)?,
        },
        several => {
            if let Some(other) = several.iter().find(|path| !matches!(Input::of(path), Input::Run))
            {
                return Err(Error::usage(
                    format!(
                        "{}: expected runs on a page of several inputs, got a sweep or a file",
                        other.display()
                    ),
                    "make a page of its own for every sweep and every fit",
                ));
            }
            write_runs(&arguments)?
        }
    };
    context.output.print(&Written { report, runs }, |written| written.report.display().to_string())
}

fn write_runs(arguments: &ReportArgs) -> Result<(PathBuf, usize), Error> {
    let out = match (&arguments.out, arguments.run.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [only]) => RunFolder::open(only)?.report(),
        _ => return Err(Error::usage("several runs, but no --out", "add --out report.html")),
    };
    let runs = arguments.run.iter().map(|path| read_run(path)).collect::<Result<Vec<_>, _>>()?;
    let report = Report {
        title: arguments.title.clone().unwrap_or_else(|| "Finetuning runs".to_owned()),
        lead: String::new(),
        runs,
        notes: Vec::new(),
        settings: Vec::new(),
    };
    mixdown_report::write(&report, &out)?;
    Ok((out, report.runs.len()))
}

fn write_sweep(folder: &Path, arguments: &ReportArgs) -> Result<(PathBuf, usize), Error> {
    let out = arguments.out.clone().unwrap_or_else(|| folder.join("report.html"));
    let title = arguments.title.clone().unwrap_or_else(|| format!("Sweep {}", name_of(folder)));
    let report = sweep::read(folder, title, arguments.draws)?;
    mixdown_report::write_scaling(&report, &out)?;
    Ok((out, observations(&report)))
}

fn write_fit(path: &Path, arguments: &ReportArgs) -> Result<(PathBuf, usize), Error> {
    let out = arguments.out.clone().unwrap_or_else(|| path.with_extension("html"));
    let title = arguments.title.clone().unwrap_or_else(|| format!("Fit {}", name_of(path)));
    let report = of_fit(read_fit(path)?, title);
    mixdown_report::write_scaling(&report, &out)?;
    Ok((out, observations(&report)))
}

fn observations(report: &ScalingReport) -> usize {
    report.domains.iter().map(|domain| domain.observations.len()).sum()
}

fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    whole.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// All that a file of fits holds.
fn of_fit(record: FitRecord, title: String) -> ScalingReport {
    let method = record.domains.first().map(|one| &one.fit.method);
    let settings = method.map(|method| {
        let draws = format!("{} bootstrap draws, seed {}", method.draws, method.seed);
        ("Intervals".to_owned(), draws)
    });
    let fitted = record.domains.into_iter().map(domain_of_fit);
    let refused = record.refused.into_iter().map(|one| DomainPage {
        name: one.domain,
        recipe: Vec::new(),
        observations: Vec::new(),
        laws: Laws::Refused(one.reason),
        rows: Vec::new(),
        runs: Vec::new(),
    });
    ScalingReport {
        title,
        lead: String::new(),
        settings: settings.into_iter().collect(),
        domains: fitted.chain(refused).collect(),
        bases: Vec::new(),
        notes: Vec::new(),
        documents: Vec::new(),
    }
}

fn domain_of_fit(one: mixdown_scaling::DomainFit) -> DomainPage {
    DomainPage {
        name: one.domain,
        recipe: one.recipe,
        observations: one.fit.observations.clone(),
        laws: Laws::Fitted { fit: Box::new(one.fit), advice: one.advice.map(Box::new) },
        rows: Vec::new(),
        runs: Vec::new(),
    }
}

/// Reads what the page shows of the run in `path`.
///
/// # Errors
/// A folder that is no finished run.
pub fn read_run(path: &Path) -> Result<RunPage, Error> {
    let folder = RunFolder::open(path)?;
    let summary = folder.read_summary()?;
    Ok(RunPage {
        losses: folder.read_losses(&summary)?,
        summary,
        metrics: folder.read_metrics()?,
        settings_toml: folder.read_run_toml()?,
    })
}
