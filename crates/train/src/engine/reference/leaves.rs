//! Parameters as tensors cut from the flat buffer, and their gradients copied back into it.

use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var, WithDType};

use crate::error::Error;

/// Whether gradients will be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recording {
    On,
    Off,
}

/// Gives out parameters, and remembers them if gradients will be computed.
///
/// Each parameter is a separate variable: if `narrow` cut the parameters from one variable for the whole buffer, every
/// use would get a gradient as long as the buffer.
pub(super) struct Leaves<'a, W> {
    pub(super) parameters: &'a [W],
    pub(super) device: &'a Device,
    pub(super) dtype: DType,
    pub(super) recording: Recording,
    /// The parameters given out so far.
    pub(super) taken: Vec<Leaf>,
}

/// A parameter whose gradient will be computed.
pub(super) struct Leaf {
    name: String,
    range: Range<usize>,
    variable: Var,
}

impl<W: WithDType> Leaves<'_, W> {
    /// Returns the parameter at `range`, which is inside the buffer. Each parameter is taken once per pass.
    pub(super) fn take(
        &mut self,
        name: String,
        range: &Range<usize>,
        shape: &[usize],
    ) -> Result<Tensor, Error> {
        let values = &self.parameters[range.clone()];
        if self.recording == Recording::Off {
            return Ok(Tensor::from_slice(values, shape, self.device)?.to_dtype(self.dtype)?);
        }
        let variable = Var::from_slice(values, shape, self.device)?;
        let tensor = variable.to_dtype(self.dtype)?;
        self.taken.push(Leaf { name, range: range.clone(), variable });
        Ok(tensor)
    }

    /// Adds the gradients of all parameters to `gradients`, or nothing if any parameter has no gradient.
    pub(super) fn add_gradients(
        &self,
        store: &GradStore,
        gradients: &mut [W],
    ) -> Result<(), Error> {
        let gradient = |leaf: &Leaf| {
            let missing = || Error::NoGradient { name: leaf.name.clone() };
            store.get(&leaf.variable).cloned().ok_or_else(missing)
        };
        let tensors = self.taken.iter().map(gradient).collect::<Result<Vec<_>, _>>()?;
        for (leaf, tensor) in self.taken.iter().zip(tensors) {
            let values = tensor.flatten_all()?.to_vec1::<W>()?;
            for (sum, value) in gradients[leaf.range.clone()].iter_mut().zip(values) {
                *sum += value;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::{Leaves, Recording};
    use crate::error::Error;

    #[test]
    #[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
    fn a_parameter_without_a_gradient_is_named() {
        let parameters = [1.0, 2.0, 3.0];
        let (device, dtype, recording) = (&Device::Cpu, DType::F64, Recording::On);
        let mut leaves =
            Leaves { parameters: &parameters, device, dtype, recording, taken: Vec::new() };
        let used = leaves.take("used".to_owned(), &(0..2), &[2]).unwrap();
        leaves.take("cut".to_owned(), &(2..3), &[1]).unwrap();
        let store = used.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let mut gradients = [10.0; 3];
        let error = leaves.add_gradients(&store, &mut gradients).unwrap_err();
        assert!(matches!(&error, Error::NoGradient { name } if name == "cut"));
        assert_eq!(gradients, [10.0; 3]);
        leaves.taken.pop();
        leaves.add_gradients(&store, &mut gradients).unwrap();
        assert_eq!(gradients, [12.0, 14.0, 10.0]);
    }
}
