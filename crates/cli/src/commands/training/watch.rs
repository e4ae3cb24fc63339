//! `mixdown watch`.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use clap::Args;

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::output::Output;
use crate::watch::{App, Look, Place, Subject, Turn, is_possible, report, show, write_lines};

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
    let mut subject = Subject::of(&arguments.run)?;
    if context.output == Output::Json {
        subject.look(SystemTime::now());
        return context.output.print(&report(&subject), |_| String::new());
    }
    if !is_possible() {
        return write_lines(&mut subject, context.stop);
    }
    let mut app = App::new(subject, Place::Alone, Look::of_environment());
    show(&mut app, &|| context.stop.load(Ordering::Relaxed), &|_| Turn::End).map(|_| ())
}
