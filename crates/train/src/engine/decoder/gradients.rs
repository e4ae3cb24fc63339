//! Where a backward pass leaves the gradients of what is trained.

use std::ops::Range;

use crate::adapter::AdapterGradients;
use crate::engine::kernels::elementwise::add;
use crate::engine::kernels::linear::{Linear, backward_bias};
use crate::engine::kernels::norm::Sums;
use crate::engine::kernels::number::Number;
use crate::model::layout::{LinearRange, NormRange};

/// The gradients that a backward pass adds to.
pub(super) enum Gradients<'a, F> {
    /// Those of all parameters, in their layout.
    All(&'a mut [F]),
    /// Those of an adapter alone.
    Adapter(AdapterGradients<'a, F>),
}

impl<F: Number> Gradients<'_, F> {
    /// The gradients of these parameters, where they are trained.
    pub(super) fn of(&mut self, range: Range<usize>) -> Option<&mut [F]> {
        match self {
            Self::All(gradients) => Some(&mut gradients[range]),
            Self::Adapter(_) => None,
        }
    }

    /// Adds to the gradients of these parameters.
    pub(super) fn add(&mut self, range: &Range<usize>, sums: &[F]) {
        if let Some(gradients) = self.of(range.clone()) {
            add(gradients, sums);
        }
    }

    /// Adds the gradients of a norm's weight and bias.
    pub(super) fn add_norm(&mut self, range: &NormRange, sums: &Sums<F>) {
        self.add(&range.weight, &sums.weight);
        if let (Some(range), Some(bias)) = (&range.bias, &sums.bias) {
            self.add(range, bias);
        }
    }

    /// Adds the gradients of a projection's weight and bias, or of the adapter's part of it.
    pub(super) fn add_linear(&mut self, linear: Linear<F>, range: &LinearRange, x: &[F], dy: &[F]) {
        match self {
            Self::All(gradients) => {
                linear.backward_weight(x, dy, &mut gradients[range.weight.clone()]);
                if let Some(bias) = &range.bias {
                    backward_bias(dy, &mut gradients[bias.clone()]);
                }
            }
            Self::Adapter(adapter) => adapter.add_linear(&range.weight, linear.outputs, x, dy),
        }
    }
}
