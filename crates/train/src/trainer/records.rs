//! Evaluations, samples and records of a run, and the progress that it reports.

use std::sync::atomic::AtomicBool;

use mixdown_runs::{CorpusLosses, EvalRecord, LossesRecord, SampleRecord};

use super::Trainer;
use crate::checkpoint::EvaluationResults;
use crate::error::Error;
use crate::evaluate::{halves, measure, measured, record};

impl Trainer {
    /// Evaluates every corpus without recording the results.
    pub(super) fn evaluate(&mut self, stop: &AtomicBool) -> Result<EvaluationResults, Error> {
        let step = self.state.step;
        let (mut evals, mut all) = (Vec::new(), Vec::new());
        for (place, eval) in self.inputs.evals.iter().enumerate() {
            let rows =
                measure(&mut self.model, &eval.corpus, &eval.evaluation, stop, &mut self.group)?;
            // Before the first step there is nothing to compare with.
            let before = self.state.before_rows.get(place).filter(|_| step > 0).map(Vec::as_slice);
            evals.push(record(&eval.corpus, &eval.evaluation, &rows, before)?);
            all.push(rows);
        }
        for record in &evals {
            self.finite(step, &format!("loss on {}", record.corpus), record.loss)?;
        }
        Ok(EvaluationResults { evals, rows: all })
    }

    /// Returns the model's continuations of the prompts, if there are any, on rank 0.
    pub(super) fn sample(&mut self, stop: &AtomicBool) -> Result<Vec<SampleRecord>, Error> {
        let own = match (&self.samples, &self.config.eval.samples) {
            (None, None) => return Ok(Vec::new()),
            (None, Some(_)) => {
                let expected = "a trainer with a text codec (Trainer::set_text_codec)";
                Err(Error::setting("eval.samples", expected, "none"))
            }
            (Some(_), _) if !self.group.is_main_process() => Ok(Vec::new()),
            (Some(samples), _) => samples.records(&mut self.model, self.state.step, stop),
        };
        self.group.agree_on_stop(own)
    }

    /// Checks that the lines up to the checkpoint are all there, and removes those that a killed run wrote after it.
    pub(super) fn truncate_records(&self) -> Result<(), Error> {
        if !self.group.is_main_process() {
            return Ok(());
        }
        let due = u64::from(self.state.pending.is_some() || self.state.before.is_empty());
        let last = self.state.step.checked_sub(due);
        if let Some(last) = last {
            let prompts = self.config.eval.samples.as_ref().map_or(0, |one| one.prompts.len());
            let prompts = u64::try_from(prompts).unwrap_or(u64::MAX);
            self.folder.check_records(last, prompts)?;
            let checkpoint = self.folder.checkpoint(self.state.step);
            let faults = self.folder.recorded_faults(&checkpoint, false)?;
            if let Some(fault) = faults.into_iter().next() {
                let way_out =
                    "bring it back from a copy, or name another --out to train the run again";
                return Err(fault.into_error(way_out).into());
            }
        }
        self.folder.begin_records()?;
        Ok(self.folder.truncate_after(last)?)
    }

    /// Writes the losses of each sequence at the best step, for comparisons with other runs.
    pub(super) fn write_losses(&self) -> Result<(), Error> {
        // A checkpoint of an earlier version has none.
        let Some(best) = self.state.best.as_ref().filter(|best| !best.rows.is_empty()) else {
            return Ok(self.folder.remove_losses()?);
        };
        let corpora = self.inputs.evals.iter().zip(&best.rows).map(|(eval, rows)| {
            let [sequences, _] = halves(eval.evaluation.part, rows);
            Ok(CorpusLosses {
                corpus: eval.evaluation.name.clone(),
                measured: measured(&eval.corpus, &eval.evaluation, rows)?.to_string(),
                sequences,
            })
        });
        let corpora = corpora.collect::<Result<Vec<_>, Error>>()?;
        Ok(self.folder.write_losses(&LossesRecord::new(best.step, corpora))?)
    }
}

/// The names of a run in its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunName {
    /// The run's name, unique within a table of runs.
    pub run_id: String,
    /// The title that pages and tables show.
    pub title: String,
}

/// The progress of a run, reported after every step and every evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The number of finished steps.
    pub step: u64,
    /// The number of steps of the whole run.
    pub steps: u64,
    /// Target tokens per second of training, averaged over recent steps.
    pub tokens_per_second: f64,
    /// The loss of the last step's batch in nats per token; `None` before the first step and for a batch without a
    /// target that counts.
    pub train_loss: Option<f64>,
    /// The results of the evaluation that was just made, if there was one.
    pub evals: Option<Vec<EvalRecord>>,
    /// The best evaluation so far, these results included.
    pub best: Option<BestSoFar>,
    /// The texts that the model generated from the prompts, with an evaluation.
    pub samples: Vec<SampleRecord>,
}

/// The evaluation whose checkpoint is in best/ so far.
#[derive(Debug, Clone, PartialEq)]
pub struct BestSoFar {
    /// The step of the evaluation.
    pub step: u64,
    /// The corpus whose loss decides which step is best.
    pub select: String,
    /// The results of the evaluation.
    pub evals: Vec<EvalRecord>,
}
