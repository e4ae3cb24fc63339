//! Lines for a pipe or a log: one for each evaluation, and at intervals one with the progress of each run.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use mixdown_base::display::{duration, short};

use crate::app::{Subject, Watched};
use crate::board::{Board, BoardLine, RunStatus};
use crate::error::Error;
use crate::follow::label;
use crate::run_data::{Reading, RunData, RunState};
use crate::view::board_view::{counts, status};
use crate::view::run_view::{reading_text, steps, whole_percent};
use crate::view::text::{change, clean, loss};

/// The time between two polls of the files, in parts after which signals are checked.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSES: u32 = 10;
/// The time between two lines with progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Writes lines to `out` until all runs are done, the reader has gone, or `stop` is set.
///
/// # Errors
/// Files of a run that are damaged; an output that cannot be written.
///
/// ```
/// use std::sync::atomic::AtomicBool;
///
/// use mixdown_watch::{Subject, write_lines};
///
/// let directory = tempfile::tempdir()?;
/// let mut subject = Subject::run(directory.path())?;
/// let mut out = Vec::new();
/// let stop = AtomicBool::new(true); // Ends after one look at the files.
/// write_lines(&mut subject, &mut out, &stop)?;
/// assert!(String::from_utf8(out)?.contains("waiting"), "the run has not begun");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_lines(
    subject: &mut Subject,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let mut news = Written::default();
    let mut written: Option<Instant> = None;
    loop {
        subject.poll(SystemTime::now());
        if let Some(damage) = damage(subject) {
            return Err(Error::Damaged { damage: clean(damage) });
        }
        let is_over = is_over(subject) || stop.load(Ordering::Relaxed);
        let mut lines = news.events(subject);
        if is_over || written.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL) {
            let progress = news.progress(subject);
            // A run that has just begun was already reported as running.
            let fresh: Vec<String> =
                progress.into_iter().filter(|line| !lines.contains(line)).collect();
            lines.extend(fresh);
            written = Some(Instant::now());
        }
        if write(out, &lines)?.is_break() || is_over {
            return Ok(());
        }
        for _ in 0..PAUSES {
            if !stop.load(Ordering::Relaxed) {
                sleep(PAUSE);
            }
        }
    }
}

/// Writes lines and breaks if the reader has gone (`| head`).
fn write(out: &mut dyn Write, lines: &[String]) -> Result<ControlFlow<()>, Error> {
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Error::io("standard output", "write", error)),
    }
}

fn damage(subject: &Subject) -> Option<&str> {
    match &subject.0 {
        Watched::Run(run) => run.data().damage.as_deref(),
        Watched::Board(board) => board.board().damage.as_deref(),
    }
}

fn is_over(subject: &Subject) -> bool {
    match &subject.0 {
        Watched::Run(run) => run.data().state == RunState::Done,
        Watched::Board(board) => board.board().is_done(),
    }
}

/// What was written already.
#[derive(Debug, Default)]
struct Written {
    /// The last step of each run whose evaluation was written.
    evaluated: BTreeMap<String, u64>,
    /// The last status of the runs of a sweep.
    standings: BTreeMap<String, String>,
    /// The last lines about progress.
    progress: Vec<String>,
}

impl Written {
    /// Returns new evaluations, and runs of a sweep that began, ended or failed.
    fn events(&mut self, subject: &Subject) -> Vec<String> {
        match &subject.0 {
            Watched::Run(run) => self.evaluations(run.data()),
            Watched::Board(board) => {
                let of_runs = board.runs().iter().flat_map(|run| self.evaluations(run.data()));
                let mut lines: Vec<String> = of_runs.collect();
                lines.extend(self.changes(board.sweep_lines()));
                lines
            }
        }
    }

    /// Returns the progress of all runs, unless it was written last.
    fn progress(&mut self, subject: &Subject) -> Vec<String> {
        let lines = match &subject.0 {
            Watched::Run(run) => vec![progress(run.data())],
            Watched::Board(board) => {
                let of_runs = board.runs().iter().map(|run| progress(run.data()));
                of_runs.chain(board.sweeps().flat_map(of_sweep)).collect()
            }
        };
        let fresh = lines.iter().filter(|line| !self.progress.contains(line)).cloned().collect();
        self.progress = lines;
        fresh
    }

    fn evaluations(&mut self, run: &RunData) -> Vec<String> {
        let Some(last) = run.curves.evaluated_step() else { return Vec::new() };
        let written = self.evaluated.get(&run.place).copied();
        // A run that continues from a checkpoint repeats the evaluations after it.
        let written = written.map(|written| written.min(last));
        self.evaluated.insert(run.place.clone(), last);
        let steps = run.curves.evaluated.iter().copied();
        let fresh = steps.filter(|step| written.is_none_or(|written| *step > written));
        fresh.map(|step| evaluation(run, step)).collect()
    }

    fn changes(&mut self, of_sweeps: &[BoardLine]) -> Vec<String> {
        let mut lines = Vec::new();
        for line in of_sweeps {
            let now = match &line.status {
                RunStatus::Planned | RunStatus::Begun(RunState::Waiting | RunState::Stopped(_)) => {
                    continue;
                }
                status => self::status(status),
            };
            if self.standings.get(&line.name) != Some(&now) {
                lines.push(of_line(line));
                self.standings.insert(line.name.clone(), now);
            }
        }
        lines
    }
}

/// `run: evaluation at 110: target 4.4571 (-1.2034), pretraining 5.6831 (+1.6043 forgotten)`.
fn evaluation(run: &RunData, step: u64) -> String {
    let readings = run.curves.evals.iter().filter_map(|curve| {
        let loss = curve.at(step)?;
        Some(Reading {
            corpus: clean(&curve.corpus),
            loss,
            change: curve.before.map(|before| loss - before).filter(|_| step > 0),
            is_forgetting: run.pretraining() == Some(curve.corpus.as_str()),
        })
    });
    let readings: Vec<String> = readings.map(|reading| reading_text(&reading, true)).collect();
    format!("{}: evaluation at {step}: {}", run.title(), readings.join(", "))
}

/// Formats the progress of a run.
fn progress(run: &RunData) -> String {
    let title = run.title();
    if run.state == RunState::Waiting {
        return format!("{title}: waiting for {}/metrics.jsonl", clean(&run.place));
    }
    let last = run.curves.last.as_ref();
    let parts = [
        (run.state != RunState::Running).then(|| label(run.state)),
        Some(steps(run)),
        run.share().map(whole_percent),
        last.and_then(|last| last.train_loss).map(|value| format!("loss {}", loss(value))),
        last.and_then(|last| last.tokens_per_second)
            .map(|rate| format!("{} tokens/s", short(rate))),
        run.seconds_left().map(|seconds| format!("{} left", duration(seconds))),
        run.best_step().filter(|_| run.state == RunState::Done).map(|step| format!("best {step}")),
    ];
    format!("{title}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Formats the counts of runs by status and the progress of the running ones.
fn of_sweep(board: &Board) -> Vec<String> {
    let is_running = |line: &&BoardLine| line.status == RunStatus::Begun(RunState::Running);
    let running = board.lines.iter().filter(is_running).map(of_line);
    std::iter::once(format!("{}: {}", board.title, counts(board).join(", ")))
        .chain(running)
        .collect()
}

fn of_line(line: &BoardLine) -> String {
    let is_done = line.status == RunStatus::Begun(RunState::Done);
    let step = match (line.step, line.steps) {
        (Some(step), _) if is_done => Some(format!("best step {step}")),
        (Some(step), Some(steps)) => Some(format!("step {step} of {steps}")),
        (step, _) => step.map(|step| format!("step {step}")),
    };
    let reason = match &line.status {
        RunStatus::Failed(reason) => Some(reason.clone()),
        _ => None,
    };
    let parts = [
        Some(status(&line.status)),
        reason,
        step,
        line.target_loss.map(|value| format!("target {}", loss(value))),
        line.pretraining_loss.map(|value| format!("pretraining {}", loss(value))),
        line.forgetting.map(|value| format!("forgetting {}", change(value))),
    ];
    format!("{}: {}", line.name, parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use mixdown_runs::{EvalRecord, MetricsRecord};

    use super::{Written, progress};
    use crate::description::Description;
    use crate::run_data::{RunData, RunState};

    fn run(steps: &[u64]) -> RunData {
        let mut run = RunData {
            place: "runs/a".to_owned(),
            description: Description::parse(
                "title = \"a\\u001b[2J\"\n[train]\nsteps = 9\n[eval]\npretraining = 'general'",
            ),
            state: RunState::Running,
            ..RunData::default()
        };
        let record = |step: &u64| MetricsRecord {
            step: *step,
            evals: vec![EvalRecord {
                corpus: "general".to_owned(),
                loss: f64::from(u32::try_from(*step).unwrap()) / 8.0 + 4.0,
                ..EvalRecord::default()
            }],
            ..MetricsRecord::default()
        };
        run.curves.extend(steps.iter().map(record).collect());
        run
    }

    #[test]
    fn each_evaluation_is_said_once_also_after_a_step_back() {
        let mut news = Written::default();
        assert_eq!(
            news.evaluations(&run(&[0, 4])),
            [
                "a[2J: evaluation at 0: general 4.0000",
                "a[2J: evaluation at 4: general 4.5000 (+0.5000 forgotten)"
            ]
        );
        assert!(news.evaluations(&run(&[0, 4])).is_empty());
        assert!(news.evaluations(&run(&[0])).is_empty());
        assert_eq!(news.evaluations(&run(&[0, 4])).len(), 1);
    }

    #[test]
    fn progress_says_what_is_known() {
        assert_eq!(progress(&run(&[0, 3])), "a[2J: step 3 of 9, 33 %");
        let waiting = RunData { place: "x".to_owned(), ..RunData::default() };
        assert_eq!(progress(&waiting), "x: waiting for x/metrics.jsonl");
    }
}
