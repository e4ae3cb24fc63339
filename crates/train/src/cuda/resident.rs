//! The decoder on a device as the trainer sees it.

use std::ops::Range;
use std::time::Instant;

use super::decoder::CudaDecoder;
use super::device::{Address, Device, Form, Product};
use super::kernels::{Buffers, SQUARE_RUN, Update};
use crate::engine::{Engine, Resident};
use crate::error::Error;
use crate::precision::Precision;
use crate::rows::Rows;

/// The side of the product that measures what the device can do.
const MEASURED_SIDE: usize = 8192;

impl Engine for CudaDecoder {
    /// The parameters and gradients are those on the device.
    fn losses_and_gradients(
        &mut self,
        _parameters: &[f32],
        rows: &Rows,
        divisor: f64,
        _gradients: &mut [f32],
    ) -> Result<Vec<f32>, Error> {
        self.pass(rows, Some(divisor))
    }

    fn losses(&mut self, _parameters: &[f32], rows: &Rows) -> Result<Vec<f32>, Error> {
        self.pass(rows, None)
    }

    fn resident(&mut self) -> Option<&mut dyn Resident> {
        Some(self)
    }
}

impl Resident for CudaDecoder {
    fn zero_gradients(&mut self) -> Result<(), Error> {
        self.kernels.device.zero(self.gradients, (4 * self.layout.len) as u64)
    }

    fn gradient_norm(&mut self) -> Result<f64, Error> {
        let mut sums = vec![0.0; self.layout.len.div_ceil(SQUARE_RUN)];
        self.kernels.square_sums(self.squares, self.gradients, self.layout.len)?;
        self.kernels.device.read_f32(&mut sums, self.squares)?;
        Ok(sums.iter().map(|&sum| f64::from(sum)).sum::<f64>().sqrt())
    }

    fn update(&mut self, ranges: &[(Range<usize>, Update)]) -> Result<(), Error> {
        for (range, update) in ranges.iter().filter(|(range, _)| !range.is_empty()) {
            let [first, second] = self.moments.map(|moment| moment.f32(range.start));
            let is_narrow = self.narrow != self.parameters;
            let buffers = Buffers {
                parameters: self.parameters.f32(range.start),
                gradients: self.gradients.f32(range.start),
                first,
                second,
                narrow: if is_narrow { self.narrow(range.start) } else { Address::NULL },
            };
            self.kernels.adamw(buffers, *update, range.len())?;
        }
        Ok(())
    }

    fn read(&mut self, to: [&mut [f32]; 3]) -> Result<(), Error> {
        let from = [self.parameters, self.moments[0], self.moments[1]];
        to.into_iter().zip(from).try_for_each(|(to, from)| self.kernels.device.read_f32(to, from))
    }

    fn write(&mut self, from: [&[f32]; 3]) -> Result<(), Error> {
        let [parameters, first, second] = from;
        self.kernels.device.write_f32(self.moments[0], first)?;
        self.kernels.device.write_f32(self.moments[1], second)?;
        self.set_parameters(parameters)
    }

    fn free_bytes(&mut self) -> Result<Option<u64>, Error> {
        self.kernels.device.free_bytes()
    }

    fn peak_flops(&mut self) -> Result<f64, Error> {
        measured_flops(self.kernels.device.as_mut(), self.pass.precision)
    }

    #[cfg(test)]
    fn read_gradients(&mut self, to: &mut [f32]) -> Result<(), Error> {
        self.kernels.device.read_f32(to, self.gradients)
    }
}

/// Operations a second of a large product: the best of a few.
fn measured_flops(device: &mut dyn Device, precision: Precision) -> Result<f64, Error> {
    let side = MEASURED_SIDE;
    let bytes = side * side * precision.bytes();
    let [x, weight, y] = [
        device.allocate(bytes as u64)?,
        device.allocate(bytes as u64)?,
        device.allocate(bytes as u64)?,
    ];
    // Zeros would take less power than numbers do: two bf16, or one f32, of about 3/4.
    let numbers = vec![f32::from_bits(0x3f40_3f40); bytes / size_of::<f32>()];
    device.write_f32(x, &numbers)?;
    device.write_f32(weight, &numbers)?;
    let form = Form::Output;
    let product =
        Product { form, x, weight, y, rows: side, inputs: side, outputs: side, pitch: side };
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        device.product(product)?;
        // Reading waits for the product.
        device.read_f32(&mut [0.0], y)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    [x, weight, y].into_iter().try_for_each(|address| device.free(address))?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let operations = 2.0 * (side * side * side) as f64;
    Ok(operations / best.max(1e-9))
}
