//! A way to compute losses and gradients.

use crate::adapter::AdapterGradients;
use crate::error::Error;
use crate::initial;
use crate::rows::Rows;

/// A decoder over one flat buffer of parameters and one of gradients, of the same layout.
pub(crate) trait Engine: Send {
    /// The loss of every target in nats, 0 of one that does not count. Adds the gradients of
    /// `Σ loss / divisor` to `gradients`.
    fn losses_and_gradients(
        &mut self,
        parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        gradients: &mut [f32],
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
    ) -> Result<Vec<f32>, Error> {
        let mut gradients = initial::zeros(parameters.len())?;
        let losses = self.losses_and_gradients(parameters, rows, divisor, &mut gradients)?;
        adapter.add_whole(&gradients);
        Ok(losses)
    }

    /// The loss of every target in nats, 0 of one that does not count.
    fn losses(&mut self, parameters: &[f32], rows: &Rows) -> Result<Vec<f32>, Error>;

    /// Itself, where it keeps parameters, gradients and moments of its own and takes none of the host's.
    #[cfg(feature = "cuda")]
    fn resident(&mut self) -> Option<&mut dyn Resident> {
        None
    }
}

/// An engine that has parameters, gradients and moments on a device.
#[cfg(feature = "cuda")]
pub(crate) trait Resident {
    /// Forgets the gradients.
    fn zero_gradients(&mut self) -> Result<(), Error>;

    /// The root of the sum of the gradients' squares.
    fn gradient_norm(&mut self) -> Result<f64, Error>;

    /// One step of AdamW in each range; gradients become zero.
    fn update(
        &mut self,
        ranges: &[(std::ops::Range<usize>, crate::cuda::Update)],
    ) -> Result<(), Error>;

    /// Copies parameters, first and second moments to the host.
    fn read(&mut self, to: [&mut [f32]; 3]) -> Result<(), Error>;

    /// Takes them from the host.
    fn write(&mut self, from: [&[f32]; 3]) -> Result<(), Error>;

    /// Bytes free on the device, where it tells.
    fn free_bytes(&mut self) -> Result<Option<u64>, Error>;

    /// Operations a second of a large product.
    fn peak_flops(&mut self) -> Result<f64, Error>;

    /// Copies the gradients to the host.
    #[cfg(test)]
    fn read_gradients(&mut self, to: &mut [f32]) -> Result<(), Error>;
}
