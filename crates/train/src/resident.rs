//! What a run tells a device that keeps a model's numbers, and takes back from it. On the CPU nothing is to be done.

use crate::adamw::AdamW;
use crate::error::Error;
use crate::flops::peak_flops;
use crate::memory::Estimate;
use crate::model::Model;

#[cfg(not(feature = "cuda"))]
impl Model {
    /// Takes the optimiser's moments to the device; refuses a pass that does not fit its memory.
    pub(crate) fn settle(&mut self, _optimiser: &AdamW, _estimate: &Estimate) -> Result<(), Error> {
        Ok(())
    }

    /// Brings parameters and moments up to date on the host.
    pub(crate) fn fetch(&mut self, _optimiser: &mut AdamW) -> Result<(), Error> {
        Ok(())
    }

    /// Leaves the gradients zero.
    pub(crate) fn forget(&mut self, gradients: &mut [f32]) -> Result<(), Error> {
        gradients.fill(0.0);
        Ok(())
    }

    /// Operations a second of a large product where the model is computed.
    pub(crate) fn peak_flops(&mut self) -> Result<f64, Error> {
        Ok(peak_flops())
    }
}

#[cfg(feature = "cuda")]
impl Model {
    /// Takes the optimiser's moments to the device; refuses a pass that does not fit its memory.
    pub(crate) fn settle(&mut self, optimiser: &AdamW, estimate: &Estimate) -> Result<(), Error> {
        let (parameters, engine) = self.parameters_and_engine();
        let Some(resident) = engine.resident() else { return Ok(()) };
        let [first, second] = optimiser.moments();
        resident.write([parameters, first, second])?;
        let (needed, free) = (estimate.pass_bytes, resident.free_bytes()?);
        match free.filter(|&free| needed > free) {
            Some(got) => Err(Error::DeviceMemory { expected: needed, got, pass: needed }),
            None => Ok(()),
        }
    }

    /// Brings parameters and moments up to date on the host.
    pub(crate) fn fetch(&mut self, optimiser: &mut AdamW) -> Result<(), Error> {
        let (parameters, engine) = self.parameters_and_engine();
        let Some(resident) = engine.resident() else { return Ok(()) };
        let [first, second] = optimiser.moments_mut();
        resident.read([parameters, first, second])
    }

    /// Leaves the gradients zero.
    pub(crate) fn forget(&mut self, gradients: &mut [f32]) -> Result<(), Error> {
        gradients.fill(0.0);
        self.engine_mut().resident().map_or(Ok(()), |resident| resident.zero_gradients())
    }

    /// Operations a second of a large product where the model is computed.
    pub(crate) fn peak_flops(&mut self) -> Result<f64, Error> {
        self.engine_mut()
            .resident()
            .map_or_else(|| Ok(peak_flops()), |resident| resident.peak_flops())
    }
}
