//! The subject of a view as one JSON object, with the same shape for one run, several, and those of sweeps.

use mixdown_runs::EvalRecord;
use serde::Serialize;

use crate::app::{Subject, Watched};
use crate::board::{BoardLine, RunStatus};
use crate::follow::RunFollower;
use crate::run_data::{RunData, RunState};

/// The current state of a subject.
#[derive(Debug, Serialize)]
pub struct WatchReport {
    title: String,
    runs: Vec<RunReport>,
    /// The damage of the files, if any.
    damage: Option<String>,
}

/// The current state of one run. Unknown values are null.
#[derive(Debug, Serialize)]
struct RunReport {
    /// The name of the run.
    run: String,
    /// The folder of the run.
    folder: Option<String>,
    is_base_model: bool,
    /// waiting, running, stopped, done or failed.
    state: &'static str,
    /// The reason why the run failed.
    reason: Option<String>,
    model_size: Option<u64>,
    target_tokens: Option<u64>,
    p: Option<f64>,
    seed: Option<u64>,
    /// Steps done.
    step: Option<u64>,
    steps: Option<u64>,
    best_step: Option<u64>,
    /// The loss on the target: at the best step if the run is done, else the last.
    target_loss: Option<f64>,
    pretraining_loss: Option<f64>,
    forgetting: Option<f64>,
    /// The metrics of the run; null for a run of a sweep.
    metrics: Option<MetricsReport>,
}

/// The metrics of a run.
#[derive(Debug, Serialize)]
struct MetricsReport {
    /// Since the last line of metrics.
    silent_seconds: Option<u64>,
    seconds_left: Option<f64>,
    tokens: u64,
    tokens_per_second: Option<f64>,
    data_wait: Option<f64>,
    mfu: Option<f64>,
    train_loss: Option<f64>,
    learning_rate: Option<f64>,
    evaluated_step: Option<u64>,
    evals: Vec<EvalReport>,
    damage: Option<String>,
}

/// The last evaluation of one corpus.
#[derive(Debug, Serialize)]
struct EvalReport {
    #[serde(flatten)]
    record: EvalRecord,
    before: Option<f64>,
    /// The loss minus that before the first step, in nats per token.
    change_since_before: Option<f64>,
    is_forgetting: bool,
}

/// Returns the state of a subject at its last poll.
///
/// ```
/// use mixdown_watch::{Subject, report};
///
/// let subject = Subject::run("runs/that/will/begin".as_ref())?;
/// let object = serde_json::to_value(report(&subject)).unwrap();
/// assert_eq!(object["runs"][0]["state"], "waiting");
/// # Ok::<(), mixdown_watch::Error>(())
/// ```
pub fn report(subject: &Subject) -> WatchReport {
    match &subject.0 {
        Watched::Run(run) => WatchReport {
            title: run.data().title(),
            runs: vec![of_run(run)],
            damage: run.data().damage.clone(),
        },
        Watched::Board(board) => {
            let of_runs = board.runs().iter().map(of_run);
            let first = board.runs().len();
            let of_sweeps = (first..).zip(board.sweep_lines()).map(|(place, line)| RunReport {
                folder: board.run_folder(place).map(|path| path.display().to_string()),
                ..of_line(line)
            });
            WatchReport {
                title: board.board().title.clone(),
                runs: of_runs.chain(of_sweeps).collect(),
                damage: board.board().damage.clone(),
            }
        }
    }
}

fn of_run(run: &RunFollower) -> RunReport {
    let run = run.data();
    RunReport {
        folder: Some(run.place.clone()),
        step: Some(run.step()),
        steps: run.steps(),
        best_step: run.best_step(),
        metrics: Some(metrics(run)),
        ..of_line(&BoardLine::of_run(run))
    }
}

fn metrics(run: &RunData) -> MetricsReport {
    let last = run.curves.last.as_ref();
    let evals = run.curves.evals.iter().map(|curve| EvalReport {
        record: curve.last.clone(),
        before: curve.before,
        change_since_before: curve.change().filter(|_| run.curves.evaluated_step() > Some(0)),
        is_forgetting: run.pretraining() == Some(curve.corpus.as_str()),
    });
    MetricsReport {
        silent_seconds: run.silent_seconds,
        seconds_left: run.seconds_left(),
        tokens: last.map_or(0, |last| last.tokens),
        tokens_per_second: last.and_then(|last| last.tokens_per_second),
        data_wait: last.and_then(|last| last.data_wait),
        mfu: last.and_then(|last| last.mfu),
        train_loss: last.and_then(|last| last.train_loss),
        learning_rate: last.map(|last| last.learning_rate),
        evaluated_step: run.curves.evaluated_step(),
        evals: evals.collect(),
        damage: run.damage.clone(),
    }
}

fn of_line(line: &BoardLine) -> RunReport {
    let (state, reason) = match &line.status {
        RunStatus::Planned => (RunState::Waiting.name(), None),
        RunStatus::Begun(state) => (state.name(), None),
        RunStatus::Failed(reason) => ("failed", Some(reason.clone())),
    };
    let is_done = line.status == RunStatus::Begun(RunState::Done);
    RunReport {
        run: line.name.clone(),
        folder: None,
        is_base_model: line.is_base,
        state,
        reason,
        model_size: line.model_size,
        target_tokens: line.target_tokens,
        p: line.inject,
        seed: line.seed,
        // The line of a finished run has its best step.
        step: line.step.filter(|_| !is_done),
        steps: line.steps,
        best_step: line.step.filter(|_| is_done),
        target_loss: line.target_loss,
        pretraining_loss: line.pretraining_loss,
        forgetting: line.forgetting,
        metrics: None,
    }
}
