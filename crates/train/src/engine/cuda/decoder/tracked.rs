//! What is trained on the device: all parameters or an adapter, with its gradients, moments and average.

use crate::adapter::AdapterLayout;
use crate::config::compute::Precision;
use crate::engine::cuda::decoder::CudaDecoder;
use crate::engine::cuda::decoder::adapter::DeviceAdapter;
use crate::engine::cuda::device::Address;
use crate::engine::cuda::kernels::SQUARE_RUN;
use crate::error::Error;
use crate::optim::trainable_state::TrainableSizes;

/// Flat buffers of what is trained, in its layout.
pub(crate) struct Tracked {
    /// The parameters themselves, or an adapter's numbers.
    pub(crate) numbers: Address,
    pub(crate) gradients: Address,
    pub(crate) moments: [Address; 2],
    /// The average of recent steps, where one is kept.
    pub(crate) average: Option<Address>,
    /// The numbers in the width of products; null where these take the numbers themselves.
    pub(crate) narrow: Address,
    /// Sums of squares of the gradients.
    pub(crate) squares: Address,
    pub(crate) len: usize,
    pub(crate) adapter: Option<DeviceAdapter>,
}

/// Whether an average is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Averaging {
    None,
    Kept,
}

impl CudaDecoder {
    /// Takes memory for what is trained: `len` numbers, which are those of an adapter or all parameters. Gradients and
    /// moments are zero, an adapter's numbers arbitrary.
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

    /// An adapter's numbers, and their copy in the width of products. Parameters are the matrices without the adapter
    /// from now on, so that products need a copy of their own in f32, too.
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

/// Bytes of a model of so many parameters and of what is trained of it: parameters, gradients and two moments in f32,
/// with bf16 a copy of the parameters; of an adapter its numbers, their copy and a matrix that is merged.
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
