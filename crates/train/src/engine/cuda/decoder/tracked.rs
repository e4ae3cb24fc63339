//! The trained state on the device: all parameters or an adapter, with gradients, moments and average.

use crate::adapter::AdapterLayout;
use crate::config::compute::Precision;
use crate::engine::cuda::decoder::CudaDecoder;
use crate::engine::cuda::decoder::adapter::DeviceAdapter;
use crate::engine::cuda::device::Address;
use crate::engine::cuda::kernels::SQUARE_RUN;
use crate::error::Error;
use crate::optim::trainable_state::TrainableSizes;

/// The flat buffers of the trained state, in its layout.
pub(crate) struct Tracked {
    /// The parameters of the model or of an adapter.
    pub(crate) numbers: Address,
    pub(crate) gradients: Address,
    pub(crate) moments: [Address; 2],
    /// The average of the parameters, if one is kept.
    pub(crate) average: Option<Address>,
    /// The parameters in the number format of products; null if products use the parameters themselves.
    pub(crate) narrow: Address,
    /// The sums of squares of the gradients.
    pub(crate) squares: Address,
    pub(crate) len: usize,
    pub(crate) adapter: Option<DeviceAdapter>,
}

/// Whether an average of the parameters is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Averaging {
    None,
    Kept,
}

impl CudaDecoder {
    /// Allocates the trained state of `len` parameters, which are those of an adapter or of the model. Gradients and
    /// moments are zero, and an adapter's parameters are arbitrary.
    pub(crate) fn track(
        &mut self,
        len: usize,
        adapter: Option<&AdapterLayout>,
        averaging: Averaging,
    ) -> Result<(), Error> {
        let device = &mut self.kernels.device;
        let bytes = (4 * len) as u64;
        let [gradients, first, second] =
            [device.allocate(bytes)?, device.allocate(bytes)?, device.allocate(bytes)?];
        for buffer in [gradients, first, second] {
            device.zero(buffer, bytes)?;
        }
        let average = match averaging {
            Averaging::None => None,
            Averaging::Kept => Some(device.allocate(bytes)?),
        };
        let squares = device.allocate(4 * len.div_ceil(SQUARE_RUN) as u64)?;
        let (numbers, narrow, adapter) = match adapter {
            None => {
                self.gradients = gradients;
                let is_own = self.narrow != self.parameters;
                (self.parameters, if is_own { self.narrow } else { Address::NULL }, None)
            }
            Some(layout) => {
                let (numbers, narrow) = self.own_narrow(layout.len)?;
                (numbers, narrow, Some(self.adapter_of(layout)?))
            }
        };
        let moments = [first, second];
        self.tracked =
            Some(Tracked { numbers, gradients, moments, average, narrow, squares, len, adapter });
        Ok(())
    }

    /// Allocates an adapter's parameters and their copy in the number format of products. From now on the model's
    /// parameters are the matrices without the adapter, so products need a separate copy in f32 as well.
    fn own_narrow(&mut self, len: usize) -> Result<(Address, Address), Error> {
        let (device, bytes) = (&mut self.kernels.device, self.pass.precision.bytes());
        if self.narrow == self.parameters {
            self.narrow = device.allocate((bytes * self.layout.len) as u64)?;
            self.kernels.cast(self.narrow, self.parameters, self.layout.len)?;
        }
        let device = &mut self.kernels.device;
        Ok((device.allocate((4 * len) as u64)?, device.allocate((bytes * len) as u64)?))
    }
}

/// Returns the bytes of a model with this number of parameters and of its trained state: parameters, gradients and two
/// moments in f32, and with bf16 a copy of the parameters; for an adapter its parameters, their copy and a merged
/// matrix.
pub(crate) fn tracked_bytes(
    parameters: u64,
    trainable: TrainableSizes,
    precision: Precision,
) -> u64 {
    let real = precision.bytes() as u64;
    let is_adapter = trainable.is_adapter();
    let narrow = if is_adapter || precision == Precision::Bf16 { real } else { 0 };
    let own = if is_adapter { 16 + real } else { 12 };
    [
        parameters.saturating_mul(4 + narrow),
        trainable.tracked.saturating_mul(own),
        trainable.average.saturating_mul(4),
        trainable.largest_target.saturating_mul(real),
        4 * trainable.tracked.div_ceil(SQUARE_RUN as u64),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}
