//! NVIDIA's NCCL, which sums over the GPUs of a node. It is loaded when a run of several processes starts.
//!
//! The functions are declared here because cudarc, whose bindings also load NCCL at run time, looks only for
//! `libnccl.so`, whereas Debian's package and PyTorch's wheels contain `libnccl.so.2`. The constants are those of
//! nccl.h, version 2.

#![expect(unsafe_code, reason = "NCCL's interface is C's")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

use libloading::Library;

use crate::engine::cuda::device::Address;
use crate::error::Error;

const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
const SUCCESS: c_int = 0;
const FLOAT32: c_int = 7;
const SUM: c_int = 0;

/// The id by which the ranks of a communicator know each other.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct UniqueId(pub(crate) [u8; 128]);

type Handle = *mut c_void;

/// The functions of the library, which stays loaded.
struct Nccl {
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    init_rank: unsafe extern "C" fn(*mut Handle, c_int, UniqueId, c_int) -> c_int,
    all_reduce:
        unsafe extern "C" fn(*const c_void, Handle, usize, c_int, c_int, Handle, Handle) -> c_int,
    get_async_error: unsafe extern "C" fn(Handle, *mut c_int) -> c_int,
    abort: unsafe extern "C" fn(Handle) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
}

/// The communicator of one rank with the GPUs of all ranks.
pub(crate) struct Communicator {
    nccl: Nccl,
    /// The handle; null once it is destroyed.
    handle: Handle,
}

impl Nccl {
    fn load() -> Result<Self, Error> {
        // SAFETY: the library's initializers are NVIDIA's.
        let found = NAMES.iter().find_map(|name| unsafe { Library::new(*name) }.ok());
        let library = found.ok_or_else(|| {
            let expected = "NVIDIA's libnccl.so.2 on the loader's path (LD_LIBRARY_PATH; PyTorch's wheels bring it \
                            under nvidia/), or one process";
            Error::setting("--gpus", expected, "no such library")
        })?;
        let missing = |error: libloading::Error| Error::Device {
            action: "load NCCL",
            got: error.to_string(),
        };
        // SAFETY: the types are those of nccl.h, and the library is never unloaded.
        let nccl = unsafe {
            Self {
                get_unique_id: *library.get(b"ncclGetUniqueId\0").map_err(missing)?,
                init_rank: *library.get(b"ncclCommInitRank\0").map_err(missing)?,
                all_reduce: *library.get(b"ncclAllReduce\0").map_err(missing)?,
                get_async_error: *library.get(b"ncclCommGetAsyncError\0").map_err(missing)?,
                abort: *library.get(b"ncclCommAbort\0").map_err(missing)?,
                error_string: *library.get(b"ncclGetErrorString\0").map_err(missing)?,
            }
        };
        // The library stays loaded, because NCCL's threads may still run when a communicator has failed.
        std::mem::forget(library);
        Ok(nccl)
    }

    fn check(&self, result: c_int) -> Result<(), Error> {
        if result == SUCCESS {
            return Ok(());
        }
        // SAFETY: the function returns a constant text for any number.
        let told = unsafe { CStr::from_ptr((self.error_string)(result)) };
        let action = "sum gradients with the others";
        Err(Error::Device { action, got: told.to_string_lossy().into_owned() })
    }
}

impl Communicator {
    /// Joins the GPUs of all ranks. The CUDA context of this GPU must be current. On the first rank, `agree` receives
    /// the new id; on every rank, it returns that id.
    ///
    /// # Errors
    /// NCCL is not installed, or it cannot join the GPUs, for example because two ranks have the same one.
    pub(crate) fn new(
        [rank, world_size]: [u32; 2],
        agree: impl FnOnce(UniqueId) -> Result<UniqueId, Error>,
    ) -> Result<Self, Error> {
        let nccl = Nccl::load()?;
        let mut id = UniqueId([0; 128]);
        if rank == 0 {
            // SAFETY: the call fills the id.
            nccl.check(unsafe { (nccl.get_unique_id)(&raw mut id) })?;
        }
        let id = agree(id)?;
        let number = |count: u32| c_int::try_from(count).unwrap_or(c_int::MAX);
        let mut handle = null_mut();
        // SAFETY: the handle is written before it is read, and released in `abort`.
        let joined =
            unsafe { (nccl.init_rank)(&raw mut handle, number(world_size), id, number(rank)) };
        nccl.check(joined)?;
        Ok(Self { nccl, handle })
    }

    /// Begins to sum `len` f32 in place on `stream`.
    ///
    /// # Errors
    /// NCCL returns an error.
    pub(crate) fn sum(&self, at: Address, len: usize, stream: *mut c_void) -> Result<(), Error> {
        let place = at.0 as *mut c_void;
        // SAFETY: the numbers lie within one allocation, which nothing touches before the stream is waited for.
        let begun =
            unsafe { (self.nccl.all_reduce)(place, place, len, FLOAT32, SUM, self.handle, stream) };
        self.nccl.check(begun)
    }

    /// Checks whether a sum has failed.
    ///
    /// # Errors
    /// A sum has failed meanwhile.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut state = SUCCESS;
        // SAFETY: the call writes one number, and this value owns the handle.
        self.nccl.check(unsafe { (self.nccl.get_async_error)(self.handle, &raw mut state) })?;
        self.nccl.check(state)
    }

    /// Ends all sums, including those that other ranks will never answer.
    pub(crate) fn abort(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle is released once; errors at the end of a process help nobody.
            let _ = unsafe { (self.nccl.abort)(self.handle) };
            self.handle = null_mut();
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::Nccl;

    /// An error contains the library's message or, without the library, what to do.
    #[test]
    fn errors_are_in_words() {
        match Nccl::load() {
            Ok(nccl) => {
                assert!(nccl.check(0).is_ok());
                let error = nccl.check(4).unwrap_err().to_string();
                assert!(error.contains(": invalid argument"), "{error}");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Configuration, "{error}"),
        }
    }
}
