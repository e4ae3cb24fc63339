//! The trainer's interface to the decoder on a device.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::decoder::CudaDecoder;
use super::device::{Address, Device, Form, Product};
use super::kernels::{Buffers, SQUARE_RUN, Update};
use crate::adapter::AdapterGradients;
use crate::config::compute::Precision;
use crate::engine::cuda::decoder::adapter::DeviceAdapter;
use crate::engine::cuda::decoder::cached::CudaCachedDecoder;
use crate::engine::cuda::decoder::tracked::Averaging;
use crate::engine::rows::Rows;
use crate::engine::{CachedDecoding, Engine, Resident, Training};
use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::layout::Layout;
use crate::ranks::ProcessGroup;

/// The size of the matrices that measure the device's speed; it is small for an emulator.
const MEASURED_SIDE: usize = if cfg!(test) { 16 } else { 8192 };
const LEAST_SIDE: usize = 512;
/// The number of products that are timed at once, so that the wait for the last one is short in comparison.
const PRODUCTS: usize = 4;

impl Engine for CudaDecoder {
    /// The parameters and gradients are those on the device.
    fn losses_and_gradients(
        &mut self,
        _parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        _gradients: &mut [f32],
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        self.pass(rows, Some(divisor), stop)
    }

    /// The adapter's parameters and gradients are also those on the device.
    fn losses_and_adapter_gradients(
        &mut self,
        _parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        _adapter: AdapterGradients<f32>,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        self.pass(rows, Some(divisor), stop)
    }

    fn losses(
        &mut self,
        _parameters: &[f32],
        rows: &Rows,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        self.pass(rows, None, stop)
    }

    /// Computes with the parameters on the device.
    fn cached<'a>(
        &'a mut self,
        _model: (&ModelConfig, &Layout),
        _parameters: &'a [f32],
        sequences: usize,
        capacity: usize,
    ) -> Result<Box<dyn CachedDecoding + 'a>, Error> {
        Ok(Box::new(CudaCachedDecoder::new(self, sequences, capacity)?))
    }

    fn resident(&mut self) -> Option<&mut dyn Resident> {
        Some(self)
    }
}

impl Resident for CudaDecoder {
    fn join(&mut self, group: &mut ProcessGroup) -> Result<(), Error> {
        self.is_joined = true;
        self.kernels.device.join(group)
    }

    fn train(&mut self, training: Training) -> Result<(), Error> {
        let Training { numbers: [numbers, first, second], average, adapter } = training;
        let averaging = if average.is_some() { Averaging::Kept } else { Averaging::None };
        self.track(numbers.len(), adapter.map(|(layout, _)| layout), averaging)?;
        let Some(tracked) = &self.tracked else { return Ok(()) };
        let moments = tracked.moments;
        let kept = tracked.average.zip(average);
        let own = tracked.numbers;
        for (to, from) in moments.into_iter().zip([first, second]).chain(kept) {
            self.kernels.device.write_f32(to, from)?;
        }
        let Some((layout, base)) = adapter else { return self.set_parameters(numbers) };
        self.kernels.device.write_f32(own, numbers)?;
        for part in layout.parts() {
            let to = self.parameters.f32(part.weight.start);
            self.kernels.device.write_f32(to, &base[part.base.clone()])?;
        }
        self.merge_adapter()
    }

    fn zero_gradients(&mut self, ranges: &[Range<usize>]) -> Result<(), Error> {
        let Some(tracked) = &self.tracked else { return Ok(()) };
        for range in ranges {
            let len = range.end.min(tracked.len).saturating_sub(range.start);
            self.kernels.device.zero(tracked.gradients.f32(range.start), (4 * len) as u64)?;
        }
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64, Error> {
        let Some(tracked) = &self.tracked else { return Ok(0.0) };
        let mut sums = vec![0.0; tracked.len.div_ceil(SQUARE_RUN)];
        self.kernels.square_sums(tracked.squares, tracked.gradients, tracked.len)?;
        self.kernels.device.read_f32(&mut sums, tracked.squares)?;
        let norm = sums.iter().map(|&sum| f64::from(sum)).sum::<f64>().sqrt();
        Ok(tracked.adapter.as_ref().map_or(norm, |adapter| norm * adapter.layout.scale()))
    }

    fn update(&mut self, ranges: &[(Range<usize>, Update)]) -> Result<(), Error> {
        let Some(tracked) = &self.tracked else { return Ok(()) };
        let scale = tracked.adapter.as_ref().map_or(1.0, DeviceAdapter::scale);
        let bytes = self.pass.precision.bytes();
        for (range, update) in ranges.iter().filter(|(range, _)| !range.is_empty()) {
            let [first, second] = tracked.moments.map(|moment| moment.f32(range.start));
            // The narrow copy of an adapter is written when the adapter is merged into the matrices.
            let is_narrow = tracked.narrow != Address::NULL && tracked.adapter.is_none();
            let narrow = tracked.narrow + range.start * bytes;
            let buffers = Buffers {
                parameters: tracked.numbers.f32(range.start),
                gradients: tracked.gradients.f32(range.start),
                first,
                second,
                narrow: if is_narrow { narrow } else { Address::NULL },
            };
            let update = Update { clip: update.clip * scale, ..*update };
            self.kernels.adamw(buffers, update, range.len())?;
        }
        self.merge_adapter()
    }

    fn update_average(&mut self, fresh_share: f32) -> Result<(), Error> {
        let Some(tracked) = &self.tracked else { return Ok(()) };
        let Some(average) = tracked.average else { return Ok(()) };
        self.kernels.average(average, tracked.numbers, fresh_share, tracked.len)
    }

    fn swap_average(&mut self) -> Result<(), Error> {
        let Some(tracked) = &mut self.tracked else { return Ok(()) };
        let Some(average) = &mut tracked.average else { return Ok(()) };
        std::mem::swap(average, &mut tracked.numbers);
        if tracked.adapter.is_some() {
            return self.merge_adapter();
        }
        let (numbers, before) = (tracked.numbers, self.parameters);
        self.parameters = numbers;
        if self.narrow == before {
            self.narrow = numbers;
            return Ok(());
        }
        self.kernels.cast(self.narrow, numbers, self.layout.len)
    }

    fn read(&mut self, to: [&mut [f32]; 3], average: Option<&mut [f32]>) -> Result<(), Error> {
        let Some(tracked) = &self.tracked else { return Ok(()) };
        let from = [tracked.numbers, tracked.moments[0], tracked.moments[1]];
        let kept = average.zip(tracked.average);
        let all = to.into_iter().zip(from).chain(kept);
        for (to, from) in all {
            self.kernels.device.read_f32(to, from)?;
        }
        Ok(())
    }

    fn free_bytes(&mut self) -> Result<Option<u64>, Error> {
        self.kernels.device.free_bytes()
    }

    fn peak_flops(&mut self) -> Result<f64, Error> {
        measured_flops(self.kernels.device.as_mut(), self.pass.precision)
    }

    #[cfg(test)]
    fn read_gradients(&mut self, to: &mut [f32]) -> Result<(), Error> {
        let Some(tracked) = &self.tracked else { return Ok(()) };
        self.kernels.device.read_f32(to, tracked.gradients)
    }
}

/// Measures the operations per second of a large product: the best of a few.
pub(super) fn measured_flops(device: &mut dyn Device, precision: Precision) -> Result<f64, Error> {
    let (memory, side) = product_memory(device, precision)?;
    let bytes = side * side * precision.bytes();
    // Zeros would use less power than other numbers; all numbers are about 3/4, as two bf16 or as one f32.
    let numbers = vec![f32::from_bits(0x3f40_3f40); 2 * bytes / size_of::<f32>()];
    device.write_f32(memory, &numbers)?;
    let (form, x, weight, y) = (Form::Output, memory, memory + bytes, memory + 2 * bytes);
    let product =
        Product { form, x, weight, y, rows: side, inputs: side, outputs: side, pitch: side };
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        (0..PRODUCTS).try_for_each(|_| device.product(product))?;
        // Reading waits for the products.
        device.read_f32(&mut [0.0], y)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    device.free(memory)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let operations = 2.0 * (PRODUCTS * side * side * side) as f64;
    Ok(operations / best.max(1e-9))
}

/// Allocates three square matrices, which are smaller if a run has left too little memory, and returns their address
/// and side.
fn product_memory(
    device: &mut dyn Device,
    precision: Precision,
) -> Result<(Address, usize), Error> {
    let mut side = MEASURED_SIDE;
    loop {
        match device.allocate((3 * side * side * precision.bytes()) as u64) {
            Ok(memory) => return Ok((memory, side)),
            Err(Error::DeviceMemory { .. }) if side > LEAST_SIDE => side /= 2,
            Err(error) => return Err(error),
        }
    }
}
