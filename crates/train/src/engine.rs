//! The `Engine` trait: the interface of everything that computes losses and gradients.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub(crate) mod decoder;
pub(crate) mod kernels;
pub(crate) mod reference;
pub(crate) mod resident;
pub(crate) mod rows;

use std::sync::atomic::AtomicBool;

use crate::adapter::AdapterGradients;
#[cfg(feature = "cuda")]
use crate::adapter::AdapterLayout;
use crate::engine::decoder::cached::CachedDecoder;
use crate::engine::rows::Rows;
use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::initial;
use crate::model::layout::Layout;
#[cfg(feature = "cuda")]
use crate::ranks::ProcessGroup;

/// The stop flag of a pass that is never stopped.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// A decoder over a flat buffer of parameters and a flat buffer of gradients with the same layout.
///
/// The stop flag ends a pass between two micro-batches with [`Error::Stopped`]. The gradients then contain those of
/// some rows of the batch, so the caller clears them.
pub(crate) trait Engine: Send {
    /// Returns the loss of every target in nats, or 0 for a target that does not count, and adds the gradients of `Σ
    /// loss / divisor` to `gradients`.
    fn losses_and_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        gradients: &mut [f32],
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error>;

    /// Returns the losses as `losses_and_gradients` does, but adds only the gradients of an adapter that is merged into
    /// `parameters`.
    ///
    /// This default computes the gradients of all parameters first; an engine may avoid that.
    fn losses_and_adapter_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        mut adapter: AdapterGradients<f32>,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        let mut gradients = initial::zeros(parameters.len())?;
        let losses = self.losses_and_gradients(parameters, rows, divisor, &mut gradients, stop)?;
        adapter.add_whole(&gradients);
        Ok(losses)
    }

    /// Returns the loss of every target in nats, or 0 for a target that does not count.
    fn losses(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error>;

    /// Creates the workspace for `sequences` sequences that grow token by token to at most `capacity` positions each;
    /// `capacity` is within the model's limit.
    ///
    /// The default is the CPU's workspace.
    fn cached<'a>(
        &'a mut self,
        (config, layout): (&ModelConfig, &Layout),
        parameters: &'a [f32],
        sequences: usize,
        capacity: usize,
    ) -> Result<Box<dyn CachedDecoding + 'a>, Error> {
        Ok(Box::new(CachedDecoder::new(config, layout, parameters, sequences, capacity)?))
    }

    /// Returns the engine if it keeps parameters, gradients and moments on a device instead of using the host's.
    #[cfg(feature = "cuda")]
    fn resident(&mut self) -> Option<&mut dyn Resident> {
        None
    }
}

/// A decoder that keeps the keys and values of the tokens that it has read, so that a further token costs one row.
///
/// The results of a sequence do not depend on the other sequences.
pub(crate) trait CachedDecoding {
    /// Reads the first ids of `sequence`, at least one, and returns the logits of the next id, \[vocabulary\].
    fn prefill(&mut self, sequence: usize, ids: &[u32]) -> Result<Vec<f32>, Error>;

    /// Reads one further id of each of `sequences` and returns the logits of the next ids, \[sequences, vocabulary\].
    fn step(&mut self, sequences: &[usize], ids: &[u32]) -> Result<Vec<f32>, Error>;
}

/// The host's copy of the state that an engine trains.
#[cfg(feature = "cuda")]
#[derive(Clone, Copy)]
pub(crate) struct Training<'a> {
    /// The parameters of the model or of the adapter, with their first and second moments.
    pub(crate) numbers: [&'a [f32]; 3],
    pub(crate) average: Option<&'a [f32]>,
    /// The adapter and the unmerged weights of its targets; `None` if all parameters are trained.
    pub(crate) adapter: Option<(&'a AdapterLayout, &'a [f32])>,
}

/// An engine that keeps the trained parameters, gradients and moments on a device.
#[cfg(feature = "cuda")]
pub(crate) trait Resident {
    /// Makes each later backward pass sum gradients over all ranks.
    fn join(&mut self, group: &mut ProcessGroup) -> Result<(), Error>;

    /// Copies the training state from the host to the device and sets the gradients to zero.
    fn train(&mut self, training: Training) -> Result<(), Error>;

    /// Sets the gradients in these ranges to zero.
    fn zero_gradients(&mut self, ranges: &[std::ops::Range<usize>]) -> Result<(), Error>;

    /// Returns the gradient norm: the square root of the sum of the gradients' squares.
    fn gradient_norm(&mut self) -> Result<f64, Error>;

    /// Does one step of AdamW in each range and sets the gradients to zero.
    fn update(
        &mut self,
        ranges: &[(std::ops::Range<usize>, crate::engine::cuda::Update)],
    ) -> Result<(), Error>;

    /// Moves the average toward the current parameters by the share `fresh_share`, if there is an average.
    fn update_average(&mut self, fresh_share: f32) -> Result<(), Error>;

    /// Swaps the parameters and their average, if there is an average.
    fn swap_average(&mut self) -> Result<(), Error>;

    /// Copies the parameters, both moments and the average, if there is one, to the host.
    fn read(&mut self, to: [&mut [f32]; 3], average: Option<&mut [f32]>) -> Result<(), Error>;

    /// Returns the free device memory in bytes, if the device reports it.
    fn free_bytes(&mut self) -> Result<Option<u64>, Error>;

    /// Returns the operations per second of a large matrix product.
    fn peak_flops(&mut self) -> Result<f64, Error>;

    /// Copies the gradients of the trained parameters to the host.
    #[cfg(test)]
    fn read_gradients(&mut self, to: &mut [f32]) -> Result<(), Error>;
}
