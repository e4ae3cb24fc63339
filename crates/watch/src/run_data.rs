//! The data of one run in a view.

use mixdown_runs::{EvalRecord, Summary};

use crate::description::Description;
use crate::view::curves::Curves;
use crate::view::text::{clean, to_f64};

/// The state of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunState {
    /// The run has written no metrics yet.
    #[default]
    Waiting,
    /// The run is writing metrics.
    Running,
    /// The run has written nothing for this many seconds, which is longer than its steps take.
    Stopped(u64),
    /// The run has written its summary.
    Done,
}

impl RunState {
    /// Returns the state as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopped(_) => "stopped",
            Self::Done => "done",
        }
    }
}

/// The data of one run in a view.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunData {
    /// The folder of the run as it was named.
    pub place: String,
    /// The contents of run.toml.
    pub description: Option<Description>,
    /// The measured curves.
    pub curves: Curves,
    /// The summary, once the run is done.
    pub summary: Option<Summary>,
    /// The state of the run.
    pub state: RunState,
    /// Seconds since the run last wrote.
    pub silent_seconds: Option<u64>,
    /// Seconds per step, with its share of evaluations, while this process watched.
    pub step_seconds: Option<f64>,
    /// The damage of the files, if any.
    pub damage: Option<String>,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Its step.
    pub step: u64,
    /// Whether it is the best evaluation of a finished run, as opposed to the last one.
    pub is_best: bool,
    /// Its losses.
    pub readings: Vec<Reading>,
}

/// The loss of one corpus in an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The corpus.
    pub corpus: String,
    /// Its loss in nats per token.
    pub loss: f64,
    /// The loss minus that before the first step.
    pub change: Option<f64>,
    /// Whether that change is forgetting.
    pub is_forgetting: bool,
}

impl RunData {
    /// Returns the name for people, safe for a terminal.
    pub fn title(&self) -> String {
        let title = self.description.as_ref().map_or("", |description| &description.title);
        clean(if title.trim().is_empty() { &self.place } else { title })
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.curves.last.as_ref().map_or(0, |record| record.step)
    }

    /// Steps at most.
    pub fn steps(&self) -> Option<u64> {
        let planned = self.description.as_ref().and_then(Description::steps);
        planned.or_else(|| Some(self.summary.as_ref()?.steps))
    }

    /// Returns the share of the steps that are done, in [0, 1].
    pub fn share(&self) -> Option<f64> {
        Some((to_f64(self.step()) / to_f64(self.steps()?.max(1))).min(1.0))
    }

    /// Returns the remaining seconds at the rate that was observed, or else at the rate of training without
    /// evaluations; `None` for a run that is not running.
    pub fn seconds_left(&self) -> Option<f64> {
        if self.state != RunState::Running {
            return None;
        }
        let left = self.steps()?.saturating_sub(self.step());
        let seconds = to_f64(left) * self.step_seconds.or_else(|| self.training_seconds())?;
        seconds.is_finite().then_some(seconds)
    }

    /// Returns the seconds per training step.
    pub fn training_seconds(&self) -> Option<f64> {
        let last = self.curves.last.as_ref().filter(|last| last.step > 0)?;
        let batch = to_f64(last.tokens) / to_f64(last.step);
        Some(batch / last.tokens_per_second.filter(|rate| *rate > 0.0)?)
    }

    /// The corpus whose loss chooses the best step.
    pub fn select(&self) -> &str {
        self.description.as_ref().map_or("target", Description::select)
    }

    /// The corpus whose change is forgetting.
    pub fn pretraining(&self) -> Option<&str> {
        self.description.as_ref().and_then(Description::pretraining)
    }

    /// Returns the step of the checkpoint in best/.
    pub fn best_step(&self) -> Option<u64> {
        match &self.summary {
            Some(summary) if self.state == RunState::Done => Some(summary.best_step),
            _ => Some(self.curves.eval(self.select())?.best?.0),
        }
    }

    /// Returns the last evaluation of each corpus; for a finished run that at its best step.
    pub fn evaluation(&self) -> Option<Evaluation> {
        let summary = self.summary.as_ref().filter(|_| self.state == RunState::Done);
        if let Some(summary) = summary.filter(|summary| !summary.best.is_empty()) {
            let readings = summary.best.iter().map(|eval| {
                let before = EvalRecord::find(&summary.before, &eval.corpus);
                self.reading(eval, before.map(|before| before.loss), summary.best_step)
            });
            let readings = readings.collect();
            return Some(Evaluation { step: summary.best_step, is_best: true, readings });
        }
        let step = self.curves.evaluated_step()?;
        let readings = self.curves.evals.iter();
        let readings = readings.map(|curve| self.reading(&curve.last, curve.before, step));
        Some(Evaluation { step, is_best: false, readings: readings.collect() })
    }

    fn reading(&self, eval: &EvalRecord, before: Option<f64>, step: u64) -> Reading {
        let paired = eval.change.map(|change| change.mean);
        let change = paired.or_else(|| Some(eval.loss - before?));
        Reading {
            corpus: clean(&eval.corpus),
            loss: eval.loss,
            change: change.filter(|_| step > 0),
            is_forgetting: self.pretraining() == Some(eval.corpus.as_str()),
        }
    }
}
