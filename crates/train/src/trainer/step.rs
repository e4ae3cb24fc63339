//! One optimizer step, and its measurements.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use mixdown_base::error_kind::ErrorKind;
use mixdown_mixer::{Batch, LoadedBatch, Loader, LoaderConfig};
use mixdown_runs::{MetricsRecord, SequenceLoss, SourceLoss};

use crate::config::run_config::RunConfig;
use crate::error::Error;
use crate::evaluate::Attention;
use crate::evaluate::sequence_bytes::gather;
use crate::model::Model;
use crate::optim::trainable_state::TrainableState;
use crate::ranks::ProcessGroup;
use crate::trainer::estimate::{adapter_flops, training_flops};
use crate::trainer::inputs::Inputs;

/// The weight of the last step in averages of recent steps.
const FRESH: f64 = 0.05;

/// The result of one step.
pub(crate) struct Step {
    /// The mean loss of the batch's targets in nats per token; `None` if the batch has no target that counts.
    pub(crate) loss: Option<f64>,
    /// The mean losses by source.
    pub(crate) sources: Vec<SourceLoss>,
    /// The norm of the gradient before clipping.
    pub(crate) gradient_norm: f64,
    pub(crate) seconds: f64,
}

/// The memory of steps, and averages of recent ones.
pub(crate) struct Stepper {
    /// The loader, which makes batches during training; `None` before the first step.
    loader: Option<Loader>,
    steps: u64,
    gradients: Vec<f32>,
    batch_tokens: u64,
    batch_flops: f64,
    peak_flops: f64,
    /// The average over recent steps; `None` before the first one.
    seconds: f64,
    data_seconds: f64,
}

impl Stepper {
    pub(crate) fn new(
        model: &mut Model,
        trainable: &TrainableState,
        inputs: &Inputs,
        config: &RunConfig,
        group: &ProcessGroup,
    ) -> Result<Self, Error> {
        let length = config.mixture.sequence_length;
        let batch_tokens = inputs.mixer.batch_size().saturating_mul(length);
        let flops = if trainable.adapter().is_some() { adapter_flops } else { training_flops };
        Ok(Self {
            loader: None,
            steps: config.train.steps,
            gradients: trainable.zero_gradients(model)?,
            batch_tokens,
            batch_flops: flops(model.config(), length, batch_tokens),
            peak_flops: model.peak_flops()? * f64::from(group.rank().world_size()),
            seconds: 0.0,
            data_seconds: 0.0,
        })
    }

    /// Returns the gradients, which are zero between steps.
    #[cfg(test)]
    pub(crate) fn gradients(&self) -> &[f32] {
        &self.gradients
    }

    /// Returns the average over recent steps.
    #[expect(clippy::cast_precision_loss, reason = "a batch is far shorter than 2^53 tokens")]
    pub(crate) fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.batch_tokens as f64 / self.seconds } else { 0.0 }
    }

    /// Returns the share of the time of recent steps that was spent waiting for data.
    fn data_wait(&self) -> f64 {
        if self.seconds > 0.0 { self.data_seconds / self.seconds } else { 0.0 }
    }

    /// Returns the operations per second of recent steps, divided by those of a matrix product on every rank.
    fn mfu(&self) -> f64 {
        if self.seconds > 0.0 { self.batch_flops / self.seconds / self.peak_flops } else { 0.0 }
    }

    /// Trains on the batch of step `step`, of which each rank computes its part. A loss or a norm that is not finite is
    /// returned; the model is then unchanged.
    ///
    /// The stop flag drops the step between two micro-batches: the model, the optimizer and the average are then as
    /// they were. Of several ranks each ends its pass as soon as it sees its flag (on GPUs, whose sums need every rank,
    /// at the end), and all drop the step.
    pub(crate) fn step(
        &mut self,
        model: &mut Model,
        trainable: &mut TrainableState,
        inputs: &Inputs,
        group: &mut ProcessGroup,
        (step, rate): (u64, f64),
        stop: &AtomicBool,
    ) -> Result<Step, Error> {
        let start = Instant::now();
        let batch = self.batch(step, inputs, group)?;
        let data_seconds = start.elapsed().as_secs_f64();
        // A batch may have no target that counts; it has no loss then, and no gradient.
        let targets = group.sum_counts(batch.loss_targets())?.max(1);
        let gradients = &mut self.gradients;
        let losses = trainable.losses_and_gradients(model, &batch, targets, gradients, stop);
        let losses = group.agree_on_stop(losses);
        if losses.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
            model.clear_gradients(&mut self.gradients)?;
        }
        let losses = losses?;
        let (loss, sources) = by_source(&losses, &batch, inputs, group)?;
        if loss.is_some_and(|loss| !loss.is_finite()) {
            model.clear_gradients(&mut self.gradients)?;
            return Ok(Step { loss, sources, gradient_norm: 0.0, seconds: 0.0 });
        }
        // Gradients on a device are summed there.
        group.all_reduce(&mut self.gradients)?;
        let gradient_norm = trainable.step(model, &mut self.gradients, rate)?;
        let seconds = start.elapsed().as_secs_f64();
        self.average(seconds, data_seconds);
        Ok(Step { loss, sources, gradient_norm, seconds })
    }

    /// Returns this rank's part of the batch of `step`: the next one, unless the step is repeated.
    fn batch(
        &mut self,
        step: u64,
        inputs: &Inputs,
        group: &ProcessGroup,
    ) -> Result<LoadedBatch, Error> {
        let loader = match self.loader.take() {
            Some(loader) if loader.step() == step => loader,
            _ => {
                let documents = inputs.attention == Attention::Document;
                let (steps, rank) = (step..self.steps, group.rank());
                let config =
                    LoaderConfig { steps, rank, documents, ..LoaderConfig::from_step(step) };
                Loader::new(Arc::clone(&inputs.mixer), config)?
            }
        };
        let batch = self.loader.insert(loader).next();
        Ok(batch
            .ok_or_else(|| Error::setting("train.steps", "steps that the mixer has", step))??)
    }

    /// Returns the record of step `step` for metrics.jsonl without evaluations. The record of the state before the
    /// first step has no measurements.
    pub(crate) fn record(
        &self,
        step: u64,
        learning_rate: f64,
        done: Option<Step>,
    ) -> MetricsRecord {
        let tokens = step.saturating_mul(self.batch_tokens);
        let record = MetricsRecord { step, learning_rate, tokens, ..MetricsRecord::default() };
        let Some(done) = done else { return record };
        MetricsRecord {
            train_loss: done.loss,
            gradient_norm: Some(done.gradient_norm),
            tokens_per_second: Some(self.tokens_per_second()),
            data_wait: Some(self.data_wait()),
            mfu: Some(self.mfu()),
            sources: done.sources,
            ..record
        }
    }

    fn average(&mut self, seconds: f64, data_seconds: f64) {
        let share = if self.seconds > 0.0 { FRESH } else { 1.0 };
        self.seconds += share * (seconds - self.seconds);
        self.data_seconds += share * (data_seconds - self.data_seconds);
    }
}

/// Returns the mean loss over all ranks of a batch and of each source's sequences in it, in the mixture's order. There
/// is one sum per source, so that the losses add up.
#[expect(clippy::cast_precision_loss, reason = "a batch is far shorter than 2^53 tokens")]
fn by_source(
    losses: &[f32],
    batch: &Batch,
    inputs: &Inputs,
    group: &mut ProcessGroup,
) -> Result<(Option<f64>, Vec<SourceLoss>), Error> {
    let names: Vec<&str> =
        inputs.mixer.mixture().sources().iter().map(|source| source.name.as_str()).collect();
    let mut own = vec![SequenceLoss::default(); names.len()];
    let length = losses.len() / batch.sources.len().max(1);
    let mut masks = batch.loss_mask.chunks(length.max(1));
    for (row, &source) in losses.chunks(length.max(1)).zip(&batch.sources) {
        let targets = masks
            .next()
            .map_or(row.len() as u64, |mask| mask.iter().map(|&counts| u64::from(counts)).sum());
        if let Some(sum) = own.get_mut(source as usize) {
            sum.loss += row.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            sum.targets += targets;
        }
    }
    let mut sums = vec![SequenceLoss::default(); names.len()];
    for rows in gather(group, &own)? {
        for (sum, row) in sums.iter_mut().zip(rows) {
            sum.loss += row.loss;
            sum.targets += row.targets;
        }
    }
    let all = sums.iter().map(|sum| sum.loss).sum::<f64>();
    let targets: u64 = sums.iter().map(|sum| sum.targets).sum();
    let sources = names.into_iter().zip(sums).filter(|(_, sum)| sum.targets > 0);
    let sources = sources.map(|(name, sum)| SourceLoss {
        source: name.to_owned(),
        loss: sum.loss / sum.targets as f64,
        tokens: sum.targets,
    });
    let loss = (targets > 0).then(|| all / targets as f64);
    Ok((loss, sources.collect()))
}
