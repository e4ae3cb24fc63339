//! `mixdown watch`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use clap::Args;
use mixdown_experiments::{SweepFolder, planned_runs};
use mixdown_watch::{
    App, ExpectedRun, Host, KeyAction, LiveView, Look, Notice, Subject, SweepRecords, ViewProcess,
    is_possible, report, show, write_lines,
};

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::output::Output;
use crate::terminal::{interrupt, progress};

/// The functions of this program that a view on its terminal calls.
const HOST: Host = Host {
    hold: progress::hold,
    release: progress::release,
    interrupt: interrupt::ask,
    notify: show_notice,
};

/// Arguments of `watch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  a run, from another terminal, also before it has begun:
    mixdown watch runs/math-1
  several runs, or all runs in a folder; a sweep:
    mixdown watch runs/math-0 runs/math-1 runs/math-5
    mixdown watch runs
    mixdown watch sweeps/mine
  lines for a log, until the run is done:
    mixdown watch runs/math-1 | tee watch.log
  the current state, for a program:
    mixdown watch runs/math-1 --json

Keys: q, Esc or Ctrl-C ends the view; left, right or Tab changes the chart; l makes losses logarithmic. In a table, up
and down choose a run and Enter opens it; Esc goes back and Tab opens the next. The runs themselves are not affected.
Without a terminal, `watch` prints a line for each evaluation, and every ten seconds a line with the run's progress.")]
pub struct WatchArgs {
    /// Run folders, or one folder of a sweep or of runs.
    #[arg(required = true, value_name = "RUNS|SWEEP")]
    run: Vec<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// A folder of something else, damaged metrics where no view is shown, a terminal that cannot be used.
pub fn run(arguments: WatchArgs, context: Context) -> Result<(), Error> {
    let mut subject = Subject::of(&arguments.run, read_sweep)?;
    if context.output == Output::Json {
        subject.poll(SystemTime::now());
        return context.output.print(&report(&subject), |_| String::new());
    }
    if !is_possible() {
        return Ok(write_lines(&mut subject, &mut std::io::stdout(), context.stop)?);
    }
    let mut app = App::new(subject, ViewProcess::Alone, Look::of_environment());
    show(&mut app, HOST, &|| context.stop.load(Ordering::Relaxed), &|_| KeyAction::End)?;
    Ok(())
}

/// Starts the view of a run in `folder` beside its training; dropping it or a key closes it.
pub fn beside(folder: &Path) -> LiveView {
    LiveView::start(folder, HOST)
}

fn show_notice(notice: Notice) {
    match notice {
        Notice::NoTerminal => {
            progress::say("--watch: there is no terminal to draw on, so progress is shown as usual")
        }
        Notice::Closed => {
            progress::say("the view is closed and the run continues; Ctrl-C stops it")
        }
        Notice::Failed(error) => progress::say(&format!("--watch: {error}; the run continues")),
        _ => {}
    }
}

/// The records of a sweep's folder; without readable settings, only the runs that exist.
fn read_sweep(path: &Path) -> Result<SweepRecords, String> {
    let folder = SweepFolder::open(path, None).map_err(|error| error.to_string())?;
    let planned = planned_runs(path).unwrap_or_default().into_iter().map(|run| ExpectedRun {
        run_id: run.run_id,
        target_tokens: run.target_tokens,
        inject: run.inject.share(),
        seed: run.seed,
    });
    let failures = folder.failures().map(|one| (one.run_id.clone(), one.reason.clone()));
    Ok(SweepRecords {
        rows: folder.rows().cloned().collect(),
        failures: failures.collect(),
        planned: planned.collect(),
    })
}
