//! The interface of a device: memory, kernels and matrix products. driver.rs implements it for a GPU, and the tests
//! have an emulator.

pub(crate) mod compile;
pub(crate) mod driver;
#[cfg(test)]
pub(crate) mod driver_tests;
#[cfg(test)]
pub(crate) mod emulator;
pub(crate) mod staging;
pub(crate) mod workspace;

use std::ops::Add;

use crate::error::Error;
use crate::ranks::ProcessGroup;

/// An address in device memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    /// The null address.
    pub(crate) const NULL: Self = Self(0);

    /// Returns the address of the f32 at `index` from here.
    pub(crate) fn f32(self, index: usize) -> Self {
        self + index * size_of::<f32>()
    }
}

impl Add<usize> for Address {
    type Output = Self;

    /// Returns the address this number of bytes later.
    fn add(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Argument {
    Address(Address),
    U32(u32),
    U64(u64),
    F32(f32),
}

impl Argument {
    /// Returns the bytes of the argument as a little-endian number; the bytes of the value come first.
    pub(crate) fn bits(self) -> u64 {
        match self {
            Self::Address(address) => address.0,
            Self::U32(value) => u64::from(value),
            Self::U64(value) => value,
            Self::F32(value) => u64::from(value.to_bits()),
        }
    }
}

/// One launch of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub(crate) kernel: &'static str,
    pub(crate) grid: [u32; 3],
    /// The number of threads per thread block.
    pub(crate) threads: u32,
    /// The bytes of shared memory beside those that the kernel declares.
    pub(crate) shared_bytes: u32,
    pub(crate) arguments: &'a [Argument],
}

/// One of the three products of a projection y = x · Wᵀ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// y = x · Wᵀ.
    Output,
    /// y += x · Wᵀ, y being f32.
    AddOutput,
    /// x is overwritten by its gradient, which is the gradient of y times W.
    Input,
    /// The transposed gradient of y times x is added to the gradient of W, which is f32.
    Weight,
}

/// A product of x \[rows, inputs\], W \[outputs, inputs\] and y \[rows, outputs\]; `form` selects the one that is
/// computed from the other two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) form: Form,
    pub(crate) x: Address,
    pub(crate) weight: Address,
    pub(crate) y: Address,
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// The distance from one row of y to the next.
    pub(crate) pitch: usize,
}

/// A device. It does its work in the order of the calls; reading waits for earlier work.
pub(crate) trait Device: Send {
    /// Allocates memory of arbitrary content.
    fn allocate(&mut self, bytes: u64) -> Result<Address, Error>;
    fn free(&mut self, address: Address) -> Result<(), Error>;
    fn zero(&mut self, to: Address, bytes: u64) -> Result<(), Error>;
    fn write_f32(&mut self, to: Address, from: &[f32]) -> Result<(), Error>;
    fn write_u32(&mut self, to: Address, from: &[u32]) -> Result<(), Error>;
    fn read_f32(&mut self, to: &mut [f32], from: Address) -> Result<(), Error>;
    fn launch(&mut self, launch: Launch) -> Result<(), Error>;
    fn product(&mut self, product: Product) -> Result<(), Error>;
    /// Connects this device with those of the other ranks, so that it can sum over them.
    fn join(&mut self, group: &mut ProcessGroup) -> Result<(), Error>;
    /// Begins to sum `len` f32 over all ranks, after all earlier work; later work does not wait for the sum.
    fn sum(&mut self, at: Address, len: usize) -> Result<(), Error>;
    /// Makes later work wait for all sums.
    fn finish_sums(&mut self) -> Result<(), Error>;
    /// Returns the free device memory in bytes, if the device reports it.
    fn free_bytes(&mut self) -> Result<Option<u64>, Error>;
}
