//! `mixdown report`.

mod sweep;

use std::path::{Path, PathBuf};

use clap::Args;
use mixdown_experiments::read_fit;
use mixdown_report::{DomainPage, Laws, Report, RunPage, ScalingReport};
use mixdown_runs::RunFolder;
use mixdown_scaling::FitRecord;
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;
use crate::files::make_ready;
use crate::terminal::progress::say;

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  runs beside one another:
    mixdown report runs/math-0 runs/math-1 runs/math-5 --out report.html
  all finished runs in a folder; writes runs/report.html:
    mixdown report runs
  a sweep, with the laws fitted to it as `mixdown fit` does; writes sweeps/mine/report.html:
    mixdown report sweeps/mine
  a fit, with the advice that it was asked for; writes fit.html:
    mixdown fit sweeps/mine/runs.jsonl --budget 0.1 --model-size 1B --target-tokens 30M --out fit.json
    mixdown report fit.json

Inputs are recognized by their content: a run's folder has run.toml, a folder of runs contains such folders, a sweep's
folder has runs.jsonl or sweep.toml, a fit is the JSON of `mixdown fit --out`.")]
pub struct ReportArgs {
    /// Run folders and folders of runs, in the order in which the page shows them; or one sweep's folder; or one fit.
    #[arg(required = true, value_name = "RUNS|SWEEP|FIT.json")]
    run: Vec<PathBuf>,
    /// HTML page to write [default: report.html in a single folder, FIT.html beside a fit]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Title of the page [default: derived from the inputs]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Bootstrap draws for the intervals of a sweep's laws.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    draws: u32,
}

#[derive(Serialize)]
struct Written {
    report: PathBuf,
    runs: usize,
}

/// The kind of an input.
enum Input {
    Run,
    /// A folder with run folders in it.
    Runs(RunFolders),
    Sweep,
    Fit,
}

/// The run folders in a folder, by name.
struct RunFolders {
    finished: Vec<PathBuf>,
    /// Without a summary: they are still trained, or were stopped.
    unfinished: Vec<PathBuf>,
}

impl Input {
    /// # Errors
    /// A folder of something else, or one that cannot be listed.
    fn of(path: &Path) -> Result<Self, Error> {
        if path.is_file() {
            return Ok(Self::Fit);
        }
        // A missing folder counts as a run's, so that the error names the missing run.
        if path.join("run.toml").is_file() || !path.is_dir() {
            return Ok(Self::Run);
        }
        if sweep::is_sweep(path) {
            return Ok(Self::Sweep);
        }
        let folders = RunFolders::of(path)?;
        if !folders.finished.is_empty() || !folders.unfinished.is_empty() {
            return Ok(Self::Runs(folders));
        }
        Err(Error::usage(
            format!(
                "{}: expected a run's folder (run.toml), a folder of runs, or a sweep's folder (runs.jsonl or \
                 sweep.toml), got one with no run.toml in it or in its folders",
                path.display()
            ),
            "name the --out of `mixdown train` or `mixdown sweep`",
        ))
    }
}

impl RunFolders {
    fn of(path: &Path) -> Result<Self, Error> {
        let io = |error| Error::io(path, "list", error);
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(path).map_err(io)? {
            let folder = entry.map_err(io)?.path();
            if folder.join("run.toml").is_file() {
                folders.push(folder);
            }
        }
        folders.sort_unstable();
        let is_finished = |folder: &PathBuf| folder.join("summary.json").is_file();
        let (finished, unfinished) = folders.into_iter().partition(is_finished);
        Ok(Self { finished, unfinished })
    }
}

/// Runs the subcommand.
///
/// # Errors
/// An input that is not a finished run, sweep or fit, several inputs that cannot share a page, or an unwritable
/// output.
pub fn run(arguments: ReportArgs, context: Context) -> Result<(), Error> {
    let inputs = inputs(&arguments.run)?;
    let (report, runs) = match inputs.as_slice() {
        [(path, Input::Sweep)] => write_sweep(path, &arguments)?,
        [(path, Input::Fit)] => write_fit(path, &arguments)?,
        several => write_runs(several, &arguments)?,
    };
    context.output.print(&Written { report, runs }, |written| written.report.display().to_string())
}

/// The kind of every input; several inputs must all be runs.
fn inputs(paths: &[PathBuf]) -> Result<Vec<(&Path, Input)>, Error> {
    let found: Vec<_> = paths.iter().map(|path| (path.as_path(), Input::of(path))).collect();
    let alone = found.iter().find(|(_, input)| matches!(input, Ok(Input::Sweep | Input::Fit)));
    match alone {
        Some((path, _)) if found.len() > 1 => Err(Error::usage(
            format!(
                "{}: expected runs on a page of several inputs, got a sweep or a file",
                path.display()
            ),
            "write a separate page for every sweep and every fit",
        )),
        _ => found.into_iter().map(|(path, input)| Ok((path, input?))).collect(),
    }
}

fn write_runs(
    inputs: &[(&Path, Input)],
    arguments: &ReportArgs,
) -> Result<(PathBuf, usize), Error> {
    let (mut folders, mut unfinished) = (Vec::new(), Vec::new());
    for (path, input) in inputs {
        match input {
            Input::Run => folders.push(path.to_path_buf()),
            Input::Runs(runs) => {
                folders.extend(runs.finished.iter().cloned());
                unfinished.extend(runs.unfinished.iter().map(|path| path.display().to_string()));
            }
            // They are never among several inputs.
            Input::Sweep | Input::Fit => {}
        }
    }
    if folders.is_empty() {
        return Err(Error::Data {
            message: format!(
                "expected a finished run (with summary.json), got unfinished ones: {}",
                unfinished.join(", ")
            ),
            hint: "repeat their `mixdown train` command: it continues where it stopped".to_owned(),
        });
    }
    let (out, title) = match inputs {
        [(path, Input::Run)] => (Some(RunFolder::open(path)?.report()), None),
        [(path, _)] => (Some(path.join("report.html")), Some(format!("Runs in {}", name_of(path)))),
        _ => (None, None),
    };
    let out = arguments
        .out
        .clone()
        .or(out)
        .ok_or_else(|| Error::usage("several inputs, but no --out", "add --out report.html"))?;
    let runs = folders.iter().map(|path| read_run(path)).collect::<Result<Vec<_>, _>>()?;
    make_ready(&out)?;
    let left_out = (!unfinished.is_empty())
        .then(|| format!("Not finished and left out: {}.", unfinished.join(", ")));
    if let Some(note) = &left_out {
        say(note);
    }
    let title = arguments.title.clone().or(title);
    let report = Report {
        title: title.unwrap_or_else(|| "Finetuning runs".to_owned()),
        lead: String::new(),
        runs,
        notes: left_out.into_iter().collect(),
        settings: Vec::new(),
    };
    mixdown_report::write(&report, &out)?;
    Ok((out, report.runs.len()))
}

fn write_sweep(folder: &Path, arguments: &ReportArgs) -> Result<(PathBuf, usize), Error> {
    let out = arguments.out.clone().unwrap_or_else(|| folder.join("report.html"));
    let title = arguments.title.clone().unwrap_or_else(|| format!("Sweep {}", name_of(folder)));
    make_ready(&out)?;
    let report = sweep::read(folder, title, arguments.draws)?;
    mixdown_report::write_scaling(&report, &out)?;
    Ok((out, observations(&report)))
}

fn write_fit(path: &Path, arguments: &ReportArgs) -> Result<(PathBuf, usize), Error> {
    let out = arguments.out.clone().unwrap_or_else(|| path.with_extension("html"));
    let title = arguments.title.clone().unwrap_or_else(|| format!("Fit {}", name_of(path)));
    let report = of_fit(read_fit(path)?, title);
    make_ready(&out)?;
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

/// The page of a file of fits.
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
/// A folder that is not a finished run.
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
