//! All that a view knows of one run.

use mixdown_runs::{EvalRecord, Summary};

use crate::description::Description;
use crate::view::curves::Curves;
use crate::view::text::{clean, to_f64};

/// How a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunState {
    /// It has written no metrics yet.
    #[default]
    Waiting,
    /// It writes.
    Running,
    /// It has written nothing for so many seconds, which is longer than its steps take.
    Stopped(u64),
    /// Its summary is there.
    Done,
}

impl RunState {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopped(_) => "stopped",
            Self::Done => "done",
        }
    }
}

/// All that a view knows of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunData {
    /// Its folder, as it was named.
    pub place: String,
    /// What run.toml says.
    pub description: Option<Description>,
    /// What it has measured.
    pub curves: Curves,
    /// What it left at its end.
    pub summary: Option<Summary>,
    /// How it stands.
    pub state: RunState,
    /// Seconds since it wrote last.
    pub silent_seconds: Option<u64>,
    /// Seconds a step and its share of evaluations took while this process watched.
    pub step_seconds: Option<f64>,
    /// What is wrong with its files.
    pub damage: Option<String>,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Its step.
    pub step: u64,
    /// Whether it is the best one of a finished run, in the place of the last.
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
    /// The loss less that before the first step.
    pub change: Option<f64>,
    /// Whether that change is forgetting.
    pub is_forgetting: bool,
}

impl RunData {
    /// The name for people, fit for a terminal.
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

    /// The share of the steps that is done, in [0, 1].
    pub fn share(&self) -> Option<f64> {
        Some((to_f64(self.step()) / to_f64(self.steps()?.max(1))).min(1.0))
    }

    /// What is left at the rate that was seen, or else at the rate of training alone, which leaves
    /// evaluations out; none for a run that does not run.
    pub fn seconds_left(&self) -> Option<f64> {
        if self.state != RunState::Running {
            return None;
        }
        let left = self.steps()?.saturating_sub(self.step());
        let seconds = to_f64(left) * self.step_seconds.or_else(|| self.training_seconds())?;
        seconds.is_finite().then_some(seconds)
    }

    /// Seconds that a step of training takes.
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

    /// The step of the checkpoint in best/.
    pub fn best_step(&self) -> Option<u64> {
        match &self.summary {
            Some(summary) if self.state == RunState::Done => Some(summary.best_step),
            _ => Some(self.curves.eval(self.select())?.best?.0),
        }
    }

    /// The last evaluation of each corpus, or of a finished run that at its best step.
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
