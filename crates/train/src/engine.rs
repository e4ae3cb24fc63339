//! A way to compute losses and gradients.

use crate::error::Error;
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

    /// The loss of every target in nats, 0 of one that does not count.
    fn losses(&mut self, parameters: &[f32], rows: &Rows) -> Result<Vec<f32>, Error>;
}
