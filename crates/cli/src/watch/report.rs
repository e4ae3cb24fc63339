//! What is watched as one JSON object.

use mixdown_runs::EvalRecord;
use serde::Serialize;

use crate::watch::app::Subject;
use crate::watch::board::{Board, BoardLine, Standing};
use crate::watch::run_data::{RunData, RunState};

/// What is watched, as it stands.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum WatchReport {
    /// One run.
    Run(Box<RunReport>),
    /// Several runs, or a sweep's.
    Board(BoardReport),
}

/// One run as it stands. What is not known is null.
#[derive(Debug, Serialize)]
pub struct RunReport {
    run: String,
    title: String,
    /// waiting, running, stopped or done.
    state: &'static str,
    /// Since its last line of metrics.
    silent_seconds: Option<u64>,
    step: u64,
    steps: Option<u64>,
    seconds_left: Option<f64>,
    tokens: u64,
    tokens_per_second: Option<f64>,
    data_wait: Option<f64>,
    mfu: Option<f64>,
    train_loss: Option<f64>,
    learning_rate: Option<f64>,
    best_step: Option<u64>,
    evaluated_step: Option<u64>,
    evals: Vec<EvalReport>,
    /// What is wrong with its files.
    damage: Option<String>,
}

/// The last evaluation of one corpus.
#[derive(Debug, Serialize)]
struct EvalReport {
    #[serde(flatten)]
    record: EvalRecord,
    before: Option<f64>,
    /// The loss less that before the first step, in nats per token.
    change_since_before: Option<f64>,
    is_forgetting: bool,
}

/// Several runs as they stand.
#[derive(Debug, Serialize)]
pub struct BoardReport {
    title: String,
    runs: Vec<LineReport>,
    damage: Option<String>,
}

/// One run of several.
#[derive(Debug, Serialize)]
struct LineReport {
    run: String,
    is_base_model: bool,
    /// waiting, running, stopped, done or failed.
    state: &'static str,
    reason: Option<String>,
    model_size: Option<u64>,
    target_tokens: Option<u64>,
    p: Option<f64>,
    seed: Option<u64>,
    /// Steps done; of a finished run the best.
    step: Option<u64>,
    steps: Option<u64>,
    target_loss: Option<f64>,
    pretraining_loss: Option<f64>,
    forgetting: Option<f64>,
}

/// What was read of a subject at its last look.
pub fn report(subject: &Subject) -> WatchReport {
    match subject {
        Subject::Run(run) => WatchReport::Run(Box::new(of_run(run.data()))),
        Subject::Board(board) => WatchReport::Board(of_board(board.board())),
    }
}

fn of_run(run: &RunData) -> RunReport {
    let last = run.curves.last.as_ref();
    let evals = run.curves.evals.iter().map(|curve| EvalReport {
        record: curve.last.clone(),
        before: curve.before,
        change_since_before: curve.change().filter(|_| run.curves.evaluated_step() > Some(0)),
        is_forgetting: run.pretraining() == Some(curve.corpus.as_str()),
    });
    RunReport {
        run: run.place.clone(),
        title: run.title(),
        state: run.state.name(),
        silent_seconds: run.silent_seconds,
        step: run.step(),
        steps: run.steps(),
        seconds_left: run.seconds_left(),
        tokens: last.map_or(0, |last| last.tokens),
        tokens_per_second: last.and_then(|last| last.tokens_per_second),
        data_wait: last.and_then(|last| last.data_wait),
        mfu: last.and_then(|last| last.mfu),
        train_loss: last.and_then(|last| last.train_loss),
        learning_rate: last.map(|last| last.learning_rate),
        best_step: run.best_step(),
        evaluated_step: run.curves.evaluated_step(),
        evals: evals.collect(),
        damage: run.damage.clone(),
    }
}

fn of_board(board: &Board) -> BoardReport {
    BoardReport {
        title: board.title.clone(),
        runs: board.lines.iter().map(of_line).collect(),
        damage: board.damage.clone(),
    }
}

fn of_line(line: &BoardLine) -> LineReport {
    let (state, reason) = match &line.standing {
        Standing::Planned => (RunState::Waiting.name(), None),
        Standing::Begun(state) => (state.name(), None),
        Standing::Failed(reason) => ("failed", Some(reason.clone())),
    };
    LineReport {
        run: line.name.clone(),
        is_base_model: line.is_base,
        state,
        reason,
        model_size: line.model_size,
        target_tokens: line.target_tokens,
        p: line.inject,
        seed: line.seed,
        step: line.step,
        steps: line.steps,
        target_loss: line.target_loss,
        pretraining_loss: line.pretraining_loss,
        forgetting: line.forgetting,
    }
}
