//! The decoder on an NVIDIA GPU.
//!
//! Parameters, gradients and moments stay on the device; ids go there, losses come back. Products are cuBLAS's, all
//! else is done by kernels in CUDA C (kernels/), compiled when the run starts for the device that is there. All sums
//! have a fixed order. The decoder asks a [`Device`](device::Device) for everything: the tests give it an emulator, so
//! the same launches and the same kernels are compared with the CPU's decoder without a GPU.

mod adapter;
mod attention;
#[cfg(test)]
mod attention_tests;
mod block;
mod buckets;
mod cached;
mod compile;
mod decoder;
#[cfg(test)]
mod decoder_tests;
mod device;
mod driver;
#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod emulator;
mod kernels;
mod libraries;
mod nccl;
mod norms;
#[cfg(test)]
mod ranks_tests;
mod reduction;
mod resident;
mod room;
mod source;
mod staging;
mod tracked;
#[cfg(test)]
mod trainer_tests;

use crate::config::precision::Precision;
use crate::error::Error;

pub(crate) use decoder::{CudaDecoder, CudaPass, device_bytes};
pub(crate) use kernels::Update;

/// GPU number `ordinal` with the kernels for heads of `head_width`; in tests an emulator.
///
/// # Errors
/// No such GPU, or one that cannot do it.
pub(crate) fn open(
    ordinal: usize,
    precision: Precision,
    head_width: usize,
) -> Result<Box<dyn device::Device>, Error> {
    #[cfg(test)]
    return Ok(emulator::device(precision, head_width, u32::try_from(ordinal).unwrap_or(0)));
    #[cfg(not(test))]
    Ok(Box::new(driver::Gpu::open(ordinal, precision, head_width)?))
}

/// Operations a second of a large product on GPU number `ordinal`.
///
/// # Errors
/// As [`open`].
pub(crate) fn peak_flops(
    ordinal: usize,
    precision: Precision,
    head_width: usize,
) -> Result<f64, Error> {
    resident::measured_flops(open(ordinal, precision, head_width)?.as_mut(), precision)
}
