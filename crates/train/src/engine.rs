//! A way to compute losses and gradients.

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

/// The stop flag of a pass that nobody stops.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// A decoder over one flat buffer of parameters and one of gradients, of the same layout.
///
/// The stop flag ends a pass between two micro-batches with [`Error::Stopped`]. The gradients then have some of the
/// batch's rows in them, so the caller clears them.
pub(crate) trait Engine: Send {
    /// The loss of every target in nats, 0 of one that does not count. Adds the gradients of
    /// `Σ loss / divisor` to `gradients`.
    fn losses_and_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        gradients: &mut [f32],
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error>;

    /// The same with the gradients of an adapter that is merged into `parameters`, and of nothing else.
    ///
    /// Here by way of the gradients of all parameters, which an engine may do without.
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

    /// The loss of every target in nats, 0 of one that does not count.
    fn losses(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error>;

    /// Makes the workspace for `sequences` sequences that grow token by token to at most `capacity` positions each,
    /// which is within the model's limit.
    ///
    /// The default is the CPU's, whatever computes losses.
    fn cached<'a>(
        &'a mut self,
        (config, layout): (&ModelConfig, &Layout),
        parameters: &'a [f32],
        sequences: usize,
        capacity: usize,
    ) -> Result<Box<dyn CachedDecoding + 'a>, Error> {
        Ok(Box::new(CachedDecoder::new(config, layout, parameters, sequences, capacity)?))
    }

    /// Itself, where it keeps parameters, gradients and moments of its own and takes none of the host's.
    #[cfg(feature = "cuda")]
    fn resident(&mut self) -> Option<&mut dyn Resident> {
        None
    }
}

/// A decoder that keeps the keys and values of what it has read, so that a further token costs one row.
///
/// The numbers of a sequence do not depend on the others.
pub(crate) trait CachedDecoding {
    /// Reads the ids that `sequence` begins with, at least one; the logits of what comes next, \[vocabulary\].
    fn prefill(&mut self, sequence: usize, ids: &[u32]) -> Result<Vec<f32>, Error>;

    /// Reads one further id of each of `sequences`; the logits of what comes next, \[sequences, vocabulary\].
    fn step(&mut self, sequences: &[usize], ids: &[u32]) -> Result<Vec<f32>, Error>;
}

/// What an engine is to train, as the host has it.
#[cfg(feature = "cuda")]
#[derive(Clone, Copy)]
pub(crate) struct Training<'a> {
    /// Parameters or an adapter's numbers, first and second moments.
    pub(crate) numbers: [&'a [f32]; 3],
    pub(crate) average: Option<&'a [f32]>,
    /// The adapter with the numbers of its targets without it; all parameters are trained where there is none.
    pub(crate) adapter: Option<(&'a AdapterLayout, &'a [f32])>,
}

/// An engine that has what is trained, gradients and moments on a device.
#[cfg(feature = "cuda")]
pub(crate) trait Resident {
    /// Sums gradients over all ranks from now on, in each backward pass.
    fn join(&mut self, group: &mut ProcessGroup) -> Result<(), Error>;

    /// Takes what is to be trained from the host; gradients are zero.
    fn train(&mut self, training: Training) -> Result<(), Error>;

    /// Forgets the gradients in these ranges.
    fn zero_gradients(&mut self, ranges: &[std::ops::Range<usize>]) -> Result<(), Error>;

    /// The root of the sum of the gradients' squares.
    fn gradient_norm(&mut self) -> Result<f64, Error>;

    /// One step of AdamW in each range; gradients become zero.
    fn update(
        &mut self,
        ranges: &[(std::ops::Range<usize>, crate::engine::cuda::Update)],
    ) -> Result<(), Error>;

    /// Brings the average nearer to the numbers by the share `fresh_share`, where there is one.
    fn update_average(&mut self, fresh_share: f32) -> Result<(), Error>;

    /// Lets numbers and average change places, where there is one.
    fn swap_average(&mut self) -> Result<(), Error>;

    /// Copies numbers, first and second moments to the host, and the average, where there is one.
    fn read(&mut self, to: [&mut [f32]; 3], average: Option<&mut [f32]>) -> Result<(), Error>;

    /// Bytes free on the device, where it tells.
    fn free_bytes(&mut self) -> Result<Option<u64>, Error>;

    /// Operations a second of a large product.
    fn peak_flops(&mut self) -> Result<f64, Error>;

    /// Copies the gradients of what is trained to the host.
    #[cfg(test)]
    fn read_gradients(&mut self, to: &mut [f32]) -> Result<(), Error>;
}
