//! A loss with its record, and the gradients taken from it.

use std::fmt;

use candle_core::Tensor;

use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::model::Parameter;

/// The loss of one batch, with all that its gradients need.
pub struct Loss {
    value: f64,
    graph: Graph,
}

impl fmt::Debug for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Loss").field("value", &self.value).finish_non_exhaustive()
    }
}

impl Loss {
    pub(crate) fn new(loss: &Value, graph: Graph) -> Result<Self, Error> {
        Ok(Self { value: f64::from(loss.tensor.to_scalar::<f32>()?), graph })
    }

    /// The loss in nats per token; an f32, widened.
    pub fn value(&self) -> f64 {
        self.value
    }
}

/// One gradient a parameter, of its shape, in the parameters' order.
#[derive(Debug)]
pub struct Gradients(Vec<Tensor>);

impl Gradients {
    /// Takes the gradients of a loss of these parameters; the record is used up.
    pub(crate) fn of(loss: Loss, parameters: &[Parameter]) -> Result<Self, Error> {
        let gradients = loss.graph.gradients()?;
        let named = parameters.iter().zip(gradients).map(|(parameter, gradient)| {
            gradient.ok_or_else(|| Error::NoGradient { name: parameter.name.clone() })
        });
        Ok(Self(named.collect::<Result<_, _>>()?))
    }

    /// The gradients.
    pub fn tensors(&self) -> &[Tensor] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn from_tensors(tensors: Vec<Tensor>) -> Self {
        Self(tensors)
    }
}
