//! Sums over the GPUs of a node by NVIDIA's NCCL, on a stream of their own, so that they go on beside the backward pass.

#![expect(unsafe_code, reason = "the driver's and NCCL's interfaces are C's")]

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cudarc::driver::result::{event, stream};
use cudarc::driver::{DriverError, sys};
use cudarc::nccl;
use cudarc::nccl::result as calls;

use super::device::Address;
use crate::error::Error;
use crate::ranks::Team;

/// Between two looks at a sum: a fifth of the shortest step.
const PAUSE: Duration = Duration::from_micros(50);
/// Between two looks at the other ranks.
const CHECK: Duration = Duration::from_millis(50);

/// This GPU among those of the other ranks.
pub(super) struct Reduction {
    communicator: nccl::sys::ncclComm_t,
    stream: sys::CUstream,
    /// What a stream has done, for the other one to wait for.
    events: [sys::CUevent; 2],
    team: Team,
}

fn driver_error(error: DriverError) -> Error {
    Error::Device { action: "order its work", got: error.to_string() }
}

fn nccl_error(error: calls::NcclError) -> Error {
    Error::Device {
        action: "sum gradients with the others (NCCL_DEBUG=INFO tells more)",
        got: format!("{:?}", error.0),
    }
}

impl Reduction {
    /// Joins the GPUs of all ranks; the context of this one is current.
    ///
    /// # Errors
    /// No NCCL; GPUs that it cannot join, such as two ranks with the same one.
    pub(super) fn new(team: &mut Team) -> Result<Self, Error> {
        // SAFETY: loads NVIDIA's library, as a missing one would be a panic at the first call.
        if !unsafe { nccl::sys::is_culib_present() } {
            let expected = "NVIDIA's libnccl on the loader's path (LD_LIBRARY_PATH; PyTorch's wheels bring it under \
                            nvidia/), or one process";
            return Err(Error::setting("--gpus", expected, "no such library"));
        }
        let own = if team.leads() {
            calls::get_uniqueid().map_err(nccl_error)?.internal
        } else {
            [0; 128]
        };
        let told = team.gather(own.iter().map(|byte| byte.cast_unsigned()).collect())?;
        let mut id = nccl::sys::ncclUniqueId { internal: [0; 128] };
        for (to, from) in id.internal.iter_mut().zip(told.iter().flatten()) {
            *to = c_char::from_ne_bytes([*from]);
        }
        // Nobody waits in NCCL for a rank that has failed before.
        team.wait()?;
        let side = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let (rank, world_size) = (side(team.rank().rank()), side(team.rank().world_size()));
        let mut communicator = MaybeUninit::uninit();
        // SAFETY: written by the call before it is read, and given back in `drop`.
        let communicator = unsafe {
            calls::comm_init_rank(communicator.as_mut_ptr(), world_size, id, rank)
                .map_err(nccl_error)?;
            communicator.assume_init()
        };
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let events = [event::create(flags), event::create(flags)];
        let [Ok(first), Ok(second)] = events else {
            return Err(Error::Device { action: "order its work", got: "no events".to_owned() });
        };
        // One that does not wait for the null stream, where all else is done.
        let stream = stream::create(stream::StreamKind::NonBlocking).map_err(driver_error)?;
        Ok(Self { communicator, stream, events: [first, second], team: team.share()? })
    }

    /// Lets `later` wait for what `earlier` has been asked to do.
    fn order(
        &self,
        place: usize,
        earlier: sys::CUstream,
        later: sys::CUstream,
    ) -> Result<(), Error> {
        let event = self.events[place];
        // SAFETY: event and streams are of this value, or the null stream, which is always there.
        unsafe {
            event::record(event, earlier).map_err(driver_error)?;
            stream::wait_event(later, event, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)
                .map_err(driver_error)
        }
    }

    /// Begins to sum `len` f32 after all that the null stream was asked for.
    pub(super) fn sum(&self, at: Address, len: usize) -> Result<(), Error> {
        self.order(0, std::ptr::null_mut(), self.stream)?;
        let number = nccl::sys::ncclDataType_t::ncclFloat32;
        let sum = nccl::sys::ncclRedOp_t::ncclSum;
        // SAFETY: the numbers lie within one allocation, and nothing touches them before `finish`.
        let begun = unsafe {
            let place = at.0 as *mut std::ffi::c_void;
            calls::all_reduce(place, place, len, number, sum, self.communicator, self.stream.cast())
        };
        begun.map(|_| ()).map_err(nccl_error)
    }

    /// Lets the null stream wait for all sums.
    pub(super) fn finish(&self) -> Result<(), Error> {
        self.order(1, self.stream, std::ptr::null_mut())
    }

    /// Waits for all work of the null stream, sums among it, as long as the other ranks are there.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        let event = self.events[0];
        // SAFETY: as in `order`.
        unsafe { event::record(event, std::ptr::null_mut()) }.map_err(driver_error)?;
        let mut looked = Instant::now();
        loop {
            // SAFETY: as above.
            match unsafe { event::query(event) } {
                Ok(()) => return Ok(()),
                Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => sleep(PAUSE),
                Err(error) => return Err(driver_error(error)),
            }
            if looked.elapsed() > CHECK {
                looked = Instant::now();
                self.check()?;
            }
        }
    }

    /// Ends the sums that a lost rank will never answer.
    fn check(&mut self) -> Result<(), Error> {
        let mut state = nccl::sys::ncclResult_t::ncclSuccess;
        // SAFETY: the communicator is this value's own.
        let asked = unsafe { nccl::sys::ncclCommGetAsyncError(self.communicator, &raw mut state) };
        let healthy = asked.result().and_then(|_| state.result());
        let lost = self.team.check().and_then(|()| healthy.map(|_| ()).map_err(nccl_error));
        if lost.is_err() {
            self.abort();
        }
        lost
    }

    fn abort(&mut self) {
        if !self.communicator.is_null() {
            // SAFETY: given back once. It does not wait for other ranks, as `ncclCommDestroy` may.
            let _ = unsafe { calls::comm_abort(self.communicator) };
            self.communicator = std::ptr::null_mut();
        }
    }
}

impl Drop for Reduction {
    fn drop(&mut self) {
        self.abort();
        // SAFETY: this value's own; errors at the end of a process help nobody.
        unsafe {
            let _ = stream::destroy(self.stream);
            for event in self.events {
                let _ = event::destroy(event);
            }
        }
    }
}
