//! Many runs, a line each.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mixdown_runs::RunRow;

use crate::error::Error;
use crate::watch::curves::EvalCurve;
use crate::watch::description::Description;
use crate::watch::follow::RunFollower;
use crate::watch::run_data::{RunData, RunState};
use crate::watch::sweep_board::SweepBoard;
use crate::watch::text::clean;

/// Many runs, a line each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    /// What they are.
    pub title: String,
    /// The runs.
    pub lines: Vec<BoardLine>,
    /// What is wrong with their files.
    pub damage: Option<String>,
}

/// How a run of many stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has not begun.
    Planned,
    /// It has a folder.
    Begun(RunState),
    /// It failed, and why.
    Failed(String),
}

/// One run of many.
#[derive(Debug, Clone, PartialEq)]
pub struct BoardLine {
    /// Its name, fit for a terminal.
    pub name: String,
    /// Whether it makes a model that others begin from.
    pub is_base: bool,
    /// N: parameters.
    pub model_size: Option<u64>,
    /// D: unique target tokens.
    pub target_tokens: Option<u64>,
    /// p: the share of pretraining data.
    pub inject: Option<f64>,
    /// Seed of the order.
    pub seed: Option<u64>,
    /// How it stands.
    pub standing: Standing,
    /// Steps done; of a finished run the best.
    pub step: Option<u64>,
    /// Steps at most.
    pub steps: Option<u64>,
    /// The target's loss: at the best step when the run is done, else the last.
    pub target_loss: Option<f64>,
    /// The loss of the pretraining data there.
    pub pretraining_loss: Option<f64>,
    /// That loss less the one before finetuning.
    pub forgetting: Option<f64>,
}

impl Board {
    /// Whether nothing is left to be done.
    pub fn is_done(&self) -> bool {
        let is_done = |line: &BoardLine| {
            matches!(line.standing, Standing::Begun(RunState::Done) | Standing::Failed(_))
        };
        !self.lines.is_empty() && self.lines.iter().all(is_done)
    }
}

impl BoardLine {
    /// Of a run that nothing else is known of.
    pub fn planned(name: &str) -> Self {
        Self {
            name: clean(name),
            is_base: false,
            model_size: None,
            target_tokens: None,
            inject: None,
            seed: None,
            standing: Standing::Planned,
            step: None,
            steps: None,
            target_loss: None,
            pretraining_loss: None,
            forgetting: None,
        }
    }

    /// Of a run that is in its table.
    pub fn of_row(row: &RunRow) -> Self {
        Self {
            name: clean(&row.run_id),
            is_base: false,
            model_size: Some(row.model_size),
            target_tokens: Some(row.target_tokens),
            inject: Some(row.p_requested),
            seed: Some(row.seed),
            standing: Standing::Begun(RunState::Done),
            step: Some(row.best_step),
            steps: row.horizon_steps,
            target_loss: Some(row.target_loss),
            pretraining_loss: Some(row.pretraining_loss),
            forgetting: Some(row.forgetting()),
        }
    }

    /// Of a run that was followed.
    pub fn of_run(run: &RunData) -> Self {
        if let Some(summary) = run.summary.as_ref().filter(|_| run.state == RunState::Done)
            && let Some(row) = &summary.row
        {
            let (name, steps) = (run.title(), run.steps());
            return Self { name, steps, ..Self::of_row(row) };
        }
        let description = run.description.as_ref();
        let select = run.curves.eval(run.select());
        // A run that pretrains measures its own corpus alone, by whatever name.
        let is_finetuning = run.pretraining().is_some();
        let pretraining =
            if is_finetuning { run.curves.eval(run.pretraining().unwrap_or("")) } else { select };
        let loss = |curve: Option<&EvalCurve>| curve.map(|curve| curve.last.loss);
        Self {
            name: run.title(),
            is_base: false,
            model_size: run.summary.as_ref().map(|summary| summary.model_parameters),
            target_tokens: description.and_then(Description::target_tokens),
            inject: description.and_then(Description::inject),
            seed: description.and_then(Description::seed),
            standing: Standing::Begun(run.state),
            step: run.curves.last.as_ref().map(|last| last.step),
            steps: run.steps(),
            target_loss: if is_finetuning { loss(select) } else { None },
            pretraining_loss: loss(pretraining),
            forgetting: pretraining.filter(|_| is_finetuning).and_then(EvalCurve::change),
        }
    }
}

/// Many runs, followed.
pub enum BoardFollower {
    /// Runs that were named.
    Runs(Board, Vec<RunFollower>),
    /// A sweep's.
    Sweep(Box<SweepBoard>),
}

impl BoardFollower {
    /// Follows runs.
    ///
    /// # Errors
    /// A folder of something else.
    pub fn runs(title: String, paths: &[PathBuf]) -> Result<Self, Error> {
        let runs = paths.iter().map(|path| RunFollower::new(path));
        let board = Board { title: clean(&title), ..Board::default() };
        Ok(Self::Runs(board, runs.collect::<Result<_, _>>()?))
    }

    /// Follows a sweep.
    pub fn sweep(path: &Path) -> Self {
        Self::Sweep(Box::new(SweepBoard::new(path)))
    }

    /// Reads what is new; whether anything that is shown has changed.
    pub fn look(&mut self, now: SystemTime) -> bool {
        match self {
            Self::Sweep(sweep) => sweep.look(now),
            Self::Runs(board, runs) => {
                let before = board.clone();
                for run in runs.iter_mut() {
                    run.look(now);
                }
                board.lines = runs.iter().map(|run| BoardLine::of_run(run.data())).collect();
                let damage = runs.iter().find_map(|run| run.data().damage.as_deref());
                board.damage = damage.map(clean);
                *board != before
            }
        }
    }

    /// What is known.
    pub fn board(&self) -> &Board {
        match self {
            Self::Sweep(sweep) => sweep.board(),
            Self::Runs(board, _) => board,
        }
    }

    /// The runs that were named; none of a sweep, whose runs are known by their lines.
    pub fn named(&self) -> &[RunFollower] {
        match self {
            Self::Sweep(_) => &[],
            Self::Runs(_, runs) => runs,
        }
    }

    /// The folder of the run in a line, where it has one.
    pub fn folder(&self, place: usize) -> Option<PathBuf> {
        match self {
            Self::Sweep(sweep) => sweep.folder(place),
            Self::Runs(_, runs) => Some(runs.get(place)?.path()),
        }
    }
}
