//! The state that training changes: a model's parameters or an adapter's, with their optimizer and average.

use std::sync::atomic::AtomicBool;

use mixdown_mixer::Batch;

use crate::adapter::{AdapterGradients, AdapterLayout};
use crate::config::run_config::RunConfig;
use crate::error::Error;
use crate::model::Model;
use crate::model::initial;
use crate::model::shape::ModelShape;
use crate::optim::Average;
use crate::optim::adamw::{AdamW, Update};
use crate::optim::freeze::frozen;

/// The parameters that a run trains, with their optimizer.
pub(crate) enum TrainableState {
    /// The model's parameters, except frozen ones.
    Parameters(OptimizerState),
    /// A low-rank adapter; the model has merged weights.
    Adapter(Box<Adapter>, OptimizerState),
}

/// An adapter with the original weights of its targets.
pub(crate) struct Adapter {
    pub(crate) layout: AdapterLayout,
    pub(crate) numbers: Vec<f32>,
    pub(crate) base: Vec<f32>,
}

/// The optimizer and the average of the trained parameters, in their layout.
pub(crate) struct OptimizerState {
    pub(crate) optimizer: AdamW,
    pub(crate) average: Option<Average>,
}

/// The sizes of a run's trainable state, without the state itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TrainableSizes {
    /// The number of parameters with gradients and moments.
    pub(crate) tracked: u64,
    /// The number of parameters that change.
    pub(crate) trainable: u64,
    /// The number of weights of an adapter's targets; 0 without an adapter.
    pub(crate) base: u64,
    /// The number of weights of the largest target, and the adapter's rank; 0 without an adapter.
    pub(crate) largest_target: u64,
    pub(crate) rank: u64,
    /// The number of averaged weights; 0 without an average.
    pub(crate) average: u64,
}

/// The weights that a model computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightSet {
    /// The weights that steps change.
    Current,
    /// The weights that are evaluated and saved: the average, if there is one.
    Evaluated,
}

impl TrainableSizes {
    /// # Errors
    /// Those of [`TrainableState::new`].
    pub(crate) fn new(shape: &ModelShape, config: &RunConfig) -> Result<Self, Error> {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let sizes = match adapter_layout(shape, config)? {
            Some(layout) => {
                let largest = layout.parts().iter().map(|part| part.weight.len()).max();
                Self {
                    tracked: count(layout.len),
                    trainable: count(layout.len),
                    base: count(layout.base_len),
                    largest_target: count(largest.unwrap_or(0)),
                    rank: count(layout.rank()),
                    average: 0,
                }
            }
            None => {
                let frozen = frozen(&config.train.freeze, shape)?;
                let frozen: usize = frozen.iter().map(ExactSizeIterator::len).sum();
                let tracked = count(shape.layout.len);
                Self { tracked, trainable: tracked - count(frozen), ..Self::default() }
            }
        };
        let average = if config.train.ema.is_some() { sizes.tracked } else { 0 };
        Ok(Self { average, ..sizes })
    }

    /// Returns whether it is an adapter.
    pub(crate) fn is_adapter(&self) -> bool {
        self.base > 0
    }
}

fn adapter_layout(shape: &ModelShape, config: &RunConfig) -> Result<Option<AdapterLayout>, Error> {
    let lora = config.train.lora.as_ref();
    lora.map(|lora| AdapterLayout::new(&shape.config, &shape.layout, lora)).transpose()
}

impl TrainableState {
    /// Returns the state that `config` trains of `model`, before the first step.
    ///
    /// # Errors
    /// The model lacks a target, or a pattern matches nothing; there is not enough memory.
    pub(crate) fn new(model: &Model, config: &RunConfig) -> Result<Self, Error> {
        let options = config.train.adamw();
        let zeros = |len| -> Result<_, Error> { Ok([initial::zeros(len)?, initial::zeros(len)?]) };
        let average =
            |numbers: &[f32]| config.train.ema.map(|decay| Average::new(decay, numbers.to_vec()));
        let Some(layout) = adapter_layout(model.shape(), config)? else {
            let frozen = frozen(&config.train.freeze, model.shape())?;
            let moments = zeros(model.parameters().len())?;
            let optimizer = AdamW::resumed(model.layout(), options, moments, 0).without(&frozen);
            return Ok(Self::Parameters(OptimizerState {
                optimizer,
                average: average(model.parameters()),
            }));
        };
        let numbers = layout.initial(config.mixture.seed)?;
        let ranges = vec![(0..layout.len, Update::Decayed)];
        let optimizer = AdamW::of(ranges, options, zeros(layout.len)?, 0);
        let state = OptimizerState { optimizer, average: average(&numbers) };
        let base = layout.base(model.parameters())?;
        Ok(Self::Adapter(Box::new(Adapter { layout, numbers, base }), state))
    }

    fn optimizer_state(&self) -> &OptimizerState {
        let (Self::Parameters(state) | Self::Adapter(_, state)) = self;
        state
    }

    /// Returns the adapter, if there is one.
    pub(crate) fn adapter(&self) -> Option<&AdapterLayout> {
        match self {
            Self::Parameters(_) => None,
            Self::Adapter(adapter, _) => Some(&adapter.layout),
        }
    }

    /// Returns zero gradients of the trained parameters; an empty buffer if they are on a device.
    pub(crate) fn zero_gradients(&self, model: &Model) -> Result<Vec<f32>, Error> {
        let [first, _] = self.optimizer_state().optimizer.moments();
        initial::zeros(if model.is_resident() { 0 } else { first.len() })
    }

    /// Does what [`Model::losses_and_gradients_until`] does, for the trained parameters.
    pub(crate) fn losses_and_gradients(
        &self,
        model: &mut Model,
        batch: &Batch,
        target_tokens: u64,
        gradients: &mut [f32],
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        match self {
            Self::Parameters(_) => {
                model.losses_and_gradients_until(batch, target_tokens, gradients, stop)
            }
            Self::Adapter(adapter, _) => {
                let (layout, numbers) = (&adapter.layout, &adapter.numbers[..]);
                let gradients = AdapterGradients { layout, numbers, gradients };
                model.losses_and_adapter_gradients(batch, target_tokens, gradients, stop)
            }
        }
    }

    /// Does one step of the optimizer and of the average, and returns the gradients' norm before clipping. If the norm
    /// is not finite, nothing is changed.
    pub(crate) fn step(
        &mut self,
        model: &mut Model,
        gradients: &mut [f32],
        learning_rate: f64,
    ) -> Result<f64, Error> {
        if let Some(norm) = self.step_on_device(model, learning_rate)? {
            return Ok(norm);
        }
        let (norm, numbers, state) = match self {
            Self::Parameters(state) => {
                let norm = state.optimizer.step(model, gradients, learning_rate)?;
                (norm, model.parameters(), state)
            }
            Self::Adapter(adapter, state) => {
                let numbers = &mut adapter.numbers[..];
                let norm = state.optimizer.update(numbers, gradients, learning_rate);
                adapter.layout.merge(&adapter.base, &adapter.numbers, model.parameters_mut());
                (norm, &adapter.numbers[..], state)
            }
        };
        if let Some(average) = state.average.as_mut().filter(|_| norm.is_finite()) {
            average.update(numbers);
        }
        Ok(norm)
    }

    /// Puts these weights into the model. Steps need the current ones.
    ///
    /// The model's parameters and their average are swapped, so the same weights must not be shown twice.
    pub(crate) fn swap_in(&mut self, set: WeightSet, model: &mut Model) -> Result<(), Error> {
        match self {
            Self::Parameters(OptimizerState { average: Some(average), .. }) => {
                std::mem::swap(model.parameters_mut(), average.numbers_mut());
            }
            Self::Adapter(adapter, OptimizerState { average: Some(average), .. }) => {
                let numbers = match set {
                    WeightSet::Current => &adapter.numbers[..],
                    WeightSet::Evaluated => average.numbers(),
                };
                adapter.layout.merge(&adapter.base, numbers, model.parameters_mut());
            }
            Self::Parameters(_) | Self::Adapter(..) => return Ok(()),
        }
        // Parameters on a device are swapped there as well.
        model.swap_average()
    }

    /// Returns the weights that are evaluated and saved, in the model's layout.
    pub(crate) fn fill_weights(&self, model: &Model, weights: &mut Vec<f32>) {
        weights.clear();
        match self {
            Self::Parameters(OptimizerState { average: Some(average), .. }) => {
                weights.extend_from_slice(average.numbers());
            }
            Self::Adapter(adapter, OptimizerState { average: Some(average), .. }) => {
                weights.extend_from_slice(model.parameters());
                adapter.layout.merge(&adapter.base, average.numbers(), weights);
            }
            Self::Parameters(_) | Self::Adapter(..) => {
                weights.extend_from_slice(model.parameters());
            }
        }
    }

    /// Returns an adapter's parameters that are evaluated and saved.
    pub(crate) fn evaluated_adapter(&self) -> Option<&[f32]> {
        match self {
            Self::Parameters(_) => None,
            Self::Adapter(_, OptimizerState { average: Some(average), .. }) => {
                Some(average.numbers())
            }
            Self::Adapter(adapter, _) => Some(&adapter.numbers),
        }
    }

    /// Returns the state, by its names in a checkpoint, that a run needs to continue beside the weights of
    /// [`fill_weights`](Self::fill_weights).
    pub(crate) fn numbers<'a>(&'a self, model: &'a Model) -> Vec<(&'static str, &'a [f32])> {
        let [first, second] = self.optimizer_state().optimizer.moments();
        let mut numbers = vec![(FIRST, first), (SECOND, second)];
        match self {
            Self::Parameters(OptimizerState { average: Some(_), .. }) => {
                numbers.push((CURRENT, model.parameters()));
            }
            Self::Parameters(_) => {}
            Self::Adapter(adapter, state) => {
                numbers.push((CURRENT, &adapter.numbers));
                numbers.extend(state.average.as_ref().map(|a| (AVERAGE, a.numbers())));
            }
        }
        numbers
    }

    /// Continues after `steps` steps. `model` has the weights of [`fill_weights`](Self::fill_weights), or with an
    /// adapter the initial ones; `read` fills the buffers of [`numbers`](Self::numbers).
    pub(crate) fn resume(
        &mut self,
        model: &mut Model,
        steps: u64,
        read: impl FnOnce(&mut [(&str, &mut [f32])]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Self::Parameters(OptimizerState { average: Some(average), .. }) = self {
            average.numbers_mut().copy_from_slice(model.parameters());
        }
        let (adapter, state) = match self {
            Self::Parameters(state) => (None, state),
            Self::Adapter(adapter, state) => (Some(adapter), state),
        };
        let [first, second] = state.optimizer.resume(steps);
        let mut numbers = vec![(FIRST, &mut first[..]), (SECOND, &mut second[..])];
        match (adapter, &mut state.average) {
            (None, None) => read(&mut numbers),
            (None, Some(_)) => {
                numbers.push((CURRENT, model.parameters_mut()));
                read(&mut numbers)
            }
            (Some(adapter), average) => {
                numbers.push((CURRENT, &mut adapter.numbers));
                if let Some(average) = average {
                    numbers.push((AVERAGE, average.numbers_mut()));
                }
                read(&mut numbers)?;
                adapter.layout.merge(&adapter.base, &adapter.numbers, model.parameters_mut());
                Ok(())
            }
        }
    }
}

/// The names of buffers in a checkpoint.
const FIRST: &str = "first_moment";
const SECOND: &str = "second_moment";
const CURRENT: &str = "parameters";
const AVERAGE: &str = "average";

#[cfg(test)]
#[path = "trainable_state_tests.rs"]
pub(crate) mod tests;
