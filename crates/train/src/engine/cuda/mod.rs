//! The decoder on an NVIDIA GPU.
//!
//! Parameters, gradients and moments stay on the device; ids are copied to it, and losses are copied back. cuBLAS
//! computes products, and kernels in CUDA C (kernels/), which are compiled for the device when the run starts, do the
//! rest. All sums have a fixed order. The decoder asks a [`Device`](device::Device) for everything: the tests give it
//! an emulator, so the same launches and the same kernels are compared with the CPU's decoder without a GPU.

mod decoder;
mod device;
mod kernels;
mod reduction;
mod resident;
#[cfg(test)]
mod trainer_tests;

use crate::config::compute::Precision;
use crate::error::Error;

pub(crate) use decoder::{CudaDecoder, CudaPass, device_bytes};
pub(crate) use kernels::Update;

/// Opens GPU number `ordinal` with the kernels for heads of `head_width`, or in tests an emulator.
///
/// # Errors
/// The GPU does not exist or does not support the kernels.
pub(crate) fn open(
    ordinal: usize,
    precision: Precision,
    head_width: usize,
) -> Result<Box<dyn device::Device>, Error> {
    #[cfg(test)]
    return Ok(device::emulator::device(
        precision,
        head_width,
        u32::try_from(ordinal).unwrap_or(0),
    ));
    #[cfg(not(test))]
    Ok(Box::new(device::driver::Gpu::open(ordinal, precision, head_width)?))
}

/// Measures the operations per second of a large product on GPU number `ordinal`.
///
/// # Errors
/// Those of [`open`].
pub(crate) fn peak_flops(
    ordinal: usize,
    precision: Precision,
    head_width: usize,
) -> Result<f64, Error> {
    resident::measured_flops(open(ordinal, precision, head_width)?.as_mut(), precision)
}
