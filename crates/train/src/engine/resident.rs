//! The calls between a run and the device that holds the model's parameters, gradients and optimizer state. On the CPU,
//! the calls that move numbers do nothing.

use crate::config::compute::PassOptions;
use crate::error::Error;
use crate::model::Model;
use crate::model::shape::ModelShape;
use crate::optim::trainable_state::TrainableState;
use crate::ranks::ProcessGroup;
use crate::trainer::estimate;
use crate::trainer::estimate::Estimate;

#[cfg(not(feature = "cuda"))]
impl Model {
    /// Copies the training state to the device, and returns an error if a pass does not fit into its memory.
    pub(crate) fn move_to_device(
        &mut self,
        _trained: &TrainableState,
        _estimate: &Estimate,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Makes every later backward pass sum gradients over all ranks, if the gradients are on a device.
    pub(crate) fn join(&mut self, _team: &mut ProcessGroup) -> Result<(), Error> {
        Ok(())
    }

    /// Sets the gradients to zero.
    pub(crate) fn clear_gradients(&mut self, gradients: &mut [f32]) -> Result<(), Error> {
        gradients.fill(0.0);
        Ok(())
    }

    /// Swaps the trained parameters and their average on the device.
    pub(crate) fn swap_average(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Returns the operations per second of a large matrix product on the model's device.
    pub(crate) fn peak_flops(&mut self) -> Result<f64, Error> {
        Ok(estimate::peak_flops())
    }
}

/// Returns the operations per second of a large matrix product on the device that would compute a model of this shape.
#[cfg(not(feature = "cuda"))]
pub(crate) fn peak_flops(_shape: &ModelShape, options: PassOptions) -> Result<f64, Error> {
    options.check()?;
    Ok(estimate::peak_flops())
}

/// Returns the operations per second of a large matrix product on the device that would compute a model of this shape.
#[cfg(feature = "cuda")]
pub(crate) fn peak_flops(shape: &ModelShape, options: PassOptions) -> Result<f64, Error> {
    options.check()?;
    match options.device {
        crate::config::compute::DeviceChoice::Cpu => Ok(estimate::peak_flops()),
        crate::config::compute::DeviceChoice::Cuda(number) => {
            let ordinal = usize::try_from(number).unwrap_or(usize::MAX);
            let head_width = shape.layout.sizes.head_width;
            crate::engine::cuda::peak_flops(ordinal, options.precision, head_width)
        }
    }
}

#[cfg(not(feature = "cuda"))]
impl TrainableState {
    /// Copies the training state to the host.
    pub(crate) fn read_from_device(&mut self, _model: &mut Model) -> Result<(), Error> {
        Ok(())
    }

    /// Runs [`step`](Self::step) on the device that holds the training state, or returns `None` if no device holds it.
    pub(crate) fn step_on_device(
        &mut self,
        _model: &mut Model,
        _learning_rate: f64,
    ) -> Result<Option<f64>, Error> {
        Ok(None)
    }
}

#[cfg(feature = "cuda")]
impl Model {
    /// Copies the training state to the device, and returns an error if a pass does not fit into its memory.
    pub(crate) fn move_to_device(
        &mut self,
        trainable: &TrainableState,
        estimate: &Estimate,
    ) -> Result<(), Error> {
        let (parameters, engine) = self.parameters_and_engine();
        let Some(resident) = engine.resident() else { return Ok(()) };
        resident.train(trainable.training(parameters))?;
        let (needed, free) = (estimate.pass_bytes, resident.free_bytes()?);
        match free.filter(|&free| needed > free) {
            Some(got) => Err(Error::DeviceMemory { expected: needed, got, pass: needed }),
            None => Ok(()),
        }
    }

    /// Makes every later backward pass sum gradients over all ranks, if the gradients are on a device.
    pub(crate) fn join(&mut self, group: &mut ProcessGroup) -> Result<(), Error> {
        let is_single = group.rank().world_size() == 1;
        match self.engine_mut().resident() {
            Some(resident) if !is_single => resident.join(group),
            _ => Ok(()),
        }
    }

    /// Sets the gradients to zero.
    pub(crate) fn clear_gradients(&mut self, gradients: &mut [f32]) -> Result<(), Error> {
        gradients.fill(0.0);
        let whole = 0..usize::MAX;
        let resident = self.engine_mut().resident();
        resident.map_or(Ok(()), |resident| resident.zero_gradients(&[whole]))
    }

    /// Swaps the trained parameters and their average on the device.
    pub(crate) fn swap_average(&mut self) -> Result<(), Error> {
        self.engine_mut().resident().map_or(Ok(()), |resident| resident.swap_average())
    }

    /// Returns the operations per second of a large matrix product on the model's device.
    pub(crate) fn peak_flops(&mut self) -> Result<f64, Error> {
        self.engine_mut()
            .resident()
            .map_or_else(|| Ok(estimate::peak_flops()), |resident| resident.peak_flops())
    }
}

#[cfg(feature = "cuda")]
impl TrainableState {
    fn training<'a>(&'a self, parameters: &'a [f32]) -> crate::engine::Training<'a> {
        let (Self::Parameters(state) | Self::Adapter(_, state)) = self;
        let [first, second] = state.optimizer.moments();
        let average = state.average.as_ref().map(|average| average.numbers());
        let (numbers, adapter) = match self {
            Self::Parameters(_) => (parameters, None),
            Self::Adapter(adapter, _) => {
                (&adapter.numbers[..], Some((&adapter.layout, &adapter.base[..])))
            }
        };
        crate::engine::Training { numbers: [numbers, first, second], average, adapter }
    }

    /// Copies the training state to the host.
    pub(crate) fn read_from_device(&mut self, model: &mut Model) -> Result<(), Error> {
        let (parameters, engine) = model.parameters_and_engine();
        let Some(resident) = engine.resident() else { return Ok(()) };
        let (adapter, state) = match self {
            Self::Parameters(state) => (None, state),
            Self::Adapter(adapter, state) => (Some(adapter), state),
        };
        let [first, second] = state.optimizer.moments_mut();
        let average = state.average.as_mut().map(|average| &mut average.numbers_mut()[..]);
        let Some(adapter) = adapter else {
            return resident.read([parameters, first, second], average);
        };
        resident.read([&mut adapter.numbers, first, second], average)?;
        adapter.layout.merge(&adapter.base, &adapter.numbers, parameters);
        Ok(())
    }

    /// Runs [`step`](Self::step) on the device that holds the training state, or returns `None` if no device holds it.
    pub(crate) fn step_on_device(
        &mut self,
        model: &mut Model,
        learning_rate: f64,
    ) -> Result<Option<f64>, Error> {
        let (Self::Parameters(state) | Self::Adapter(_, state)) = self;
        let Some(resident) = model.engine_mut().resident() else { return Ok(None) };
        let norm = state.optimizer.step_on_device(resident, learning_rate)?;
        if let Some(average) = state.average.as_ref().filter(|_| norm.is_finite()) {
            resident.update_average(average.fresh_share())?;
        }
        Ok(Some(norm))
    }
}
