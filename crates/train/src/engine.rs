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
}
