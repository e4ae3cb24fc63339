//! `mixdown watch`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use clap::Args;
use mixdown_experiments::{SweepFolder, planned_runs};
use mixdown_watch::{
    App, ExpectedRun, Host, LiveView, Look, Notice, Place, Subject, SweepRecords, Turn,
    is_possible, report, show, write_lines,
};

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::output::Output;
use crate::terminal::{interrupt, progress};

/// This program, as a view on its terminal needs it.
const HOST: Host =
    Host { hold: progress::hold, release: progress::release, interrupt: interrupt::ask, tell };

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
  how it stands, for a program:
    mixdown watch runs/math-1 --json

Keys: q, Esc or Ctrl-C ends, left and right or Tab change the chart, l makes losses logarithmic; in a table up and
down choose a run and Enter opens it, Esc goes back and Tab opens the next. The runs themselves are not touched.
Without a terminal there is a line for each evaluation, and one every ten seconds that says how far the run is.")]
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
        subject.look(SystemTime::now());
        return context.output.print(&report(&subject), |_| String::new());
    }
    if !is_possible() {
        return Ok(write_lines(&mut subject, &mut std::io::stdout(), context.stop)?);
    }
    let mut app = App::new(subject, Place::Alone, Look::of_environment());
    show(&mut app, HOST, &|| context.stop.load(Ordering::Relaxed), &|_| Turn::End)?;
    Ok(())
}

/// The view of a run in `folder` beside its training, until it is dropped or closed by a key.
pub fn beside(folder: &Path) -> LiveView {
    LiveView::start(folder, HOST)
}

fn tell(notice: Notice) {
    match notice {
        Notice::NoTerminal => {
            progress::say("--watch: no terminal to draw on, so the meter goes on as without it")
        }
        Notice::Closed => progress::say("the view is closed, the run goes on; Ctrl-C stops it"),
        Notice::Failed(error) => progress::say(&format!("--watch: {error}; the run goes on")),
        _ => {}
    }
}

/// What a sweep's folder holds; without settings that can be read the runs that are there.
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
