//! Pinned host memory, from which a GPU copies ids while it still does earlier work.
//!
//! A copy from other memory waits for all earlier work. The memory is reused after the host has waited for the GPU,
//! which it does at the end of every batch and when the memory is full.

#![expect(unsafe_code, reason = "the driver's interface is C's")]

use std::ptr::NonNull;

use cudarc::driver::result;

use crate::engine::cuda::device::Address;
use crate::engine::cuda::device::driver::device_error;
use crate::error::Error;

/// The size in bytes, enough for the ids of more than ten passes of 8,192 tokens.
const BYTES: usize = 4 << 20;

/// Pinned memory of which the first `used` bytes are still to be copied.
pub(crate) struct Staging {
    memory: NonNull<u8>,
    used: usize,
}

impl Staging {
    /// Allocates the memory in the current CUDA context.
    ///
    /// # Errors
    /// The system cannot allocate the memory.
    pub(crate) fn new() -> Result<Self, Error> {
        let failed = device_error("take memory of the host");
        // SAFETY: the memory is freed in `drop`.
        let memory = unsafe { result::malloc_host(BYTES, 0) }.map_err(failed)?;
        let memory = NonNull::new(memory.cast()).ok_or_else(|| Error::Device {
            action: "take memory of the host",
            got: "none".to_owned(),
        })?;
        Ok(Self { memory, used: 0 })
    }

    /// Begins to copy `ids` to the device; returns false if the memory is full.
    pub(crate) fn copy(&mut self, to: Address, ids: &[u32]) -> Result<bool, Error> {
        let bytes = size_of_val(ids);
        if bytes > BYTES - self.used {
            return Ok(false);
        }
        // SAFETY: the place is within the memory, whose start and pieces are multiples of 4 bytes, and no copy reads it
        // any more.
        let staged = unsafe {
            let place = self.memory.as_ptr().add(self.used).cast::<u32>();
            std::ptr::copy_nonoverlapping(ids.as_ptr(), place, ids.len());
            std::slice::from_raw_parts(place, ids.len())
        };
        self.used += bytes;
        // SAFETY: callers give addresses within their allocations; the source is not overwritten until `reuse`.
        unsafe { result::memcpy_htod_async(to.0, staged, std::ptr::null_mut()) }
            .map_err(device_error("take ids"))?;
        Ok(true)
    }

    /// Marks all copies as done; the caller has waited for the device.
    pub(crate) fn reuse(&mut self) {
        self.used = 0;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A run that ends with an error may still have copies in progress.
        let _ = result::ctx::synchronize();
        // SAFETY: the memory was allocated in `new`; errors at the end of a process help nobody.
        let _ = unsafe { result::free_host(self.memory.as_ptr().cast()) };
    }
}
