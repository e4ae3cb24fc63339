//! The decoder on an NVIDIA GPU.
//!
//! Parameters, gradients and moments stay on the device; ids go there, losses come back. Products are cuBLAS's, all
//! else is done by kernels in CUDA C (kernels/), compiled when the run starts for the device that is there. All sums
//! have a fixed order. The decoder asks a [`Device`](device::Device) for everything: the tests give it an emulator, so
//! the same launches and the same kernels are compared with the CPU's decoder without a GPU.

mod attention;
#[cfg(test)]
mod attention_tests;
mod block;
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
mod norms;
mod resident;
mod room;
mod source;

pub(crate) use decoder::{CudaDecoder, CudaPass, device_bytes};
pub(crate) use driver::Gpu;
pub(crate) use kernels::Update;
