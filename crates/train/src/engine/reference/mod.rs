//! The decoder built from candle's composed operations: the reference for the fast path, and the path for every other
//! device that candle supports.
//!
//! Nothing is fused (candle-nn's fused operations drop the gradient silently), so until the gradients are computed a
//! block keeps about ten copies of its hidden states and three of its \[rows, heads, length, length\] scores. The code
//! is derived from transformers' models alone and shares only the layout with the fast path, so agreement is evidence
//! for both.

mod leaves;
mod pass;
mod places;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;

use candle_core::{D, DType, Device, Result as TensorResult, Tensor, WithDType};

use crate::engine::Engine;
use crate::engine::kernels::cross_entropy::IGNORED;
use crate::engine::reference::leaves::{Leaves, Recording};
use crate::engine::reference::pass::Pass;
use crate::engine::reference::places::Places;
use crate::engine::rows::Rows;
use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::layout::Layout;

/// A decoder of composed candle operations on one device, in one dtype.
///
/// Parameters and gradients are f32 or f64 in the order of [`Layout`], whatever dtype the pass computes in.
#[derive(Debug)]
pub(crate) struct Reference {
    config: ModelConfig,
    layout: Layout,
    device: Device,
    dtype: DType,
}

impl Reference {
    /// Creates the decoder for a model of `config`, which computes in `dtype`, f32 or f64.
    pub(crate) fn new(config: &ModelConfig, device: &Device, dtype: DType) -> Result<Self, Error> {
        config.check().map_err(|(field, expected, got)| Error::setting(field, expected, got))?;
        let too_large =
            || Error::setting("hidden_size", "a model that fits the memory", config.parameters());
        let layout = Layout::new(config).ok_or_else(too_large)?;
        Ok(Self { config: config.clone(), layout, device: device.clone(), dtype })
    }

    /// Returns the logits, \[rows, length, vocabulary\], on the device.
    #[cfg(test)]
    pub(crate) fn logits<W: WithDType>(
        &self,
        parameters: &[W],
        rows: &Rows,
    ) -> Result<Tensor, Error> {
        let logits = self.pass(parameters, rows, Recording::Off)?.logits(rows)?;
        Ok(logits.reshape((rows.rows, rows.length, self.layout.sizes.vocabulary))?)
    }

    /// Returns the cross-entropy of every target in nats, \[rows · length\], or 0 for an ignored target.
    pub(crate) fn losses<W: WithDType>(
        &self,
        parameters: &[W],
        rows: &Rows,
    ) -> Result<Vec<W>, Error> {
        let logits = self.pass(parameters, rows, Recording::Off)?.logits(rows)?;
        Ok(token_losses(&logits, &rows.targets)?.to_dtype(W::DTYPE)?.to_vec1()?)
    }

    /// Like [`Self::losses`], and adds the gradient of the sum of the losses divided by `target_tokens` to `gradients`.
    pub(crate) fn losses_and_gradients<W: WithDType>(
        &self,
        parameters: &[W],
        rows: &Rows,
        target_tokens: f64,
        gradients: &mut [W],
    ) -> Result<Vec<W>, Error> {
        self.check_len("gradients", gradients.len())?;
        if !(target_tokens.is_finite() && target_tokens > 0.0) {
            return Err(Error::setting("target_tokens", "a positive number", target_tokens));
        }
        let mut pass = self.pass(parameters, rows, Recording::On)?;
        let losses = token_losses(&pass.logits(rows)?, &rows.targets)?;
        let store = (losses.sum_all()? / target_tokens)?.backward()?;
        pass.leaves.add_gradients(&store, gradients)?;
        Ok(losses.to_dtype(W::DTYPE)?.to_vec1()?)
    }

    fn pass<'a, W: WithDType>(
        &'a self,
        parameters: &'a [W],
        rows: &Rows,
        recording: Recording,
    ) -> Result<Pass<'a, W>, Error> {
        self.check_len("parameters", parameters.len())?;
        let (device, dtype) = (&self.device, self.dtype);
        Ok(Pass {
            config: &self.config,
            layout: &self.layout,
            leaves: Leaves { parameters, device, dtype, recording, taken: Vec::new() },
            places: Places::new(&self.config, rows, device, dtype)?,
        })
    }

    fn check_len(&self, field: &str, len: usize) -> Result<(), Error> {
        if len == self.layout.len {
            return Ok(());
        }
        Err(Error::setting(field, format!("{} numbers", self.layout.len), len))
    }
}

/// `log Σ exp(logits) − logits[target]` of each row, shifted so that the exponentials stay finite.
fn token_losses(logits: &Tensor, targets: &[u32]) -> TensorResult<Tensor> {
    let device = logits.device();
    let list = |values: Vec<u32>| Tensor::from_vec(values, targets.len(), device);
    let ids =
        list(targets.iter().map(|&target| if target == IGNORED { 0 } else { target }).collect())?;
    let counts = list(targets.iter().map(|&target| u32::from(target != IGNORED)).collect())?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let all = shifted.exp()?.sum(D::Minus1)?.log()?;
    let losses = (all - shifted.gather(&ids.unsqueeze(1)?, 1)?.squeeze(1)?)?;
    counts.where_cond(&losses, &losses.zeros_like()?)
}

/// The reference processes all rows of a batch as one micro-batch.
impl Engine for Reference {
    fn losses_and_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        gradients: &mut [f32],
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        Error::check_stop(stop, "the training step")?;
        Self::losses_and_gradients(self, parameters, rows, divisor, gradients)
    }

    fn losses(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        Error::check_stop(stop, "the evaluation")?;
        Self::losses(self, parameters, rows)
    }
}
