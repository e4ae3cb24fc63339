//! Sums over the ranks on a separate stream, so that they overlap with the backward pass.

#![expect(unsafe_code, reason = "the driver's interface is C's")]

pub(crate) mod nccl;
#[cfg(test)]
pub(crate) mod ranks_tests;

use std::ops::Range;
use std::ptr::null_mut;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cudarc::driver::result::{self, event, stream};
use cudarc::driver::{DriverError, sys};

use super::device::Address;
use crate::engine::cuda::reduction::nccl::{Communicator, UniqueId};
use crate::error::Error;
use crate::ranks::ProcessGroup;

/// The pause between two checks of a sum, which is short compared with a training step.
const PAUSE: Duration = Duration::from_micros(50);
/// The pause between two checks of the other ranks.
const CHECK: Duration = Duration::from_millis(50);

/// The connection of this GPU to those of the other ranks.
pub(super) struct Reduction {
    communicator: Communicator,
    /// The stream of the sums, which does not wait for the null stream of all other work.
    stream: sys::CUstream,
    /// The events by which the streams wait for each other.
    events: [sys::CUevent; 2],
    group: ProcessGroup,
}

fn failed(error: DriverError) -> Error {
    Error::Device { action: "order its work", got: error.to_string() }
}

impl Reduction {
    /// Joins the GPUs of all ranks. The CUDA context of this GPU must be current.
    ///
    /// # Errors
    /// Those of [`Communicator::new`]; a rank is lost; there is too little memory for NCCL.
    pub(super) fn new(group: &mut ProcessGroup) -> Result<Self, Error> {
        let rank = [group.rank().rank(), group.rank().world_size()];
        let mut own = group.try_clone()?;
        let communicator = Communicator::new(rank, |id| {
            let told = own.all_gather(id.0.to_vec())?;
            let first = told.first().and_then(|id| id.first_chunk());
            // After this barrier, no rank waits in NCCL for a rank that has already failed.
            own.barrier()?;
            Ok(first.map_or(id, |first| UniqueId(*first)))
        })?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let events = [event::create(flags).map_err(failed)?, event::create(flags).map_err(failed)?];
        let stream = stream::create(stream::StreamKind::NonBlocking).map_err(failed)?;
        let mut reduction = Self { communicator, stream, events, group: own };
        reduction.warm_up()?;
        Ok(reduction)
    }

    /// Sums a whole bucket and a small rest once. The first sums connect the GPUs and allocate NCCL's memory, in calls
    /// that do not check the other ranks. At this point all ranks have just met, and the memory that is free afterward
    /// stays free for the run.
    fn warm_up(&mut self) -> Result<(), Error> {
        let bytes = BUCKET * size_of::<f32>();
        // SAFETY: the memory is freed below, after all sums.
        let memory = unsafe { result::malloc_sync(bytes) }.map_err(failed)?;
        for len in [BUCKET, 1] {
            self.sum(Address(memory), len)?;
        }
        self.finish()?;
        self.wait()?;
        // SAFETY: the memory was allocated above.
        unsafe { result::free_sync(memory) }.map_err(failed)
    }

    /// Makes the stream `later` wait for the earlier work of the stream `earlier`.
    fn order(
        &self,
        place: usize,
        earlier: sys::CUstream,
        later: sys::CUstream,
    ) -> Result<(), Error> {
        let event = self.events[place];
        let at_once = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: the event and the streams belong to this value, or are the null stream, which always exists.
        unsafe {
            event::record(event, earlier).map_err(failed)?;
            stream::wait_event(later, event, at_once).map_err(failed)
        }
    }

    /// Begins to sum `len` f32 after all earlier work of the null stream.
    pub(super) fn sum(&mut self, at: Address, len: usize) -> Result<(), Error> {
        self.order(0, null_mut(), self.stream)?;
        self.communicator.sum(at, len, self.stream.cast()).map_err(|error| {
            // The error of a lost rank says more than the error that NCCL returns for it.
            self.group.check().err().unwrap_or(error)
        })
    }

    /// Makes the null stream wait for all sums.
    pub(super) fn finish(&self) -> Result<(), Error> {
        self.order(1, self.stream, null_mut())
    }

    /// Waits for all work of the null stream, including sums, as long as the other ranks live.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        let event = self.events[0];
        // SAFETY: as in `order`.
        unsafe { event::record(event, null_mut()) }.map_err(failed)?;
        let mut looked = Instant::now();
        loop {
            // SAFETY: as above.
            match unsafe { event::query(event) } {
                Ok(()) => return Ok(()),
                Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => sleep(PAUSE),
                Err(error) => return Err(failed(error)),
            }
            if looked.elapsed() > CHECK {
                looked = Instant::now();
                let healthy = self.group.check().and_then(|()| self.communicator.check());
                if healthy.is_err() {
                    self.communicator.abort();
                }
                healthy?;
            }
        }
    }
}

impl Drop for Reduction {
    fn drop(&mut self) {
        self.communicator.abort();
        // SAFETY: this value owns the stream and the events; errors at the end of a process help nobody.
        unsafe {
            let _ = stream::destroy(self.stream);
            for event in self.events {
                let _ = event::destroy(event);
            }
        }
    }
}

/// The minimum length of a bucket: 32 MiB. Smaller buckets waste the links between GPUs on latency, and larger ones
/// leave little work to overlap with the last sum (PyTorch's DistributedDataParallel uses 25 MiB).
pub(crate) const BUCKET: usize = 8 << 20;

/// The gradients of one backward pass that are still to be summed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// The index from which on all gradients have been handed out.
    end: usize,
    least: usize,
}

impl Buckets {
    /// Makes the state for a buffer of `len` values, in buckets of at least `least`.
    pub(crate) fn new(len: usize, least: usize) -> Self {
        Self { end: len, least }
    }

    /// Returns the range to sum when all gradients from `start` on are final; `None` if it is small and not the last
    /// one.
    pub(crate) fn ready(&mut self, start: usize) -> Option<Range<usize>> {
        let enough = self.end.saturating_sub(start) >= self.least || start == 0;
        let bucket = start..self.end;
        (enough && !bucket.is_empty()).then(|| {
            self.end = start;
            bucket
        })
    }
}

#[cfg(test)]
mod buckets_tests {
    use super::Buckets;

    #[test]
    fn every_number_is_in_one_bucket() {
        let mut buckets = Buckets::new(100, 30);
        let handed_out: Vec<_> = [90, 75, 70, 65, 20, 0].map(|start| buckets.ready(start)).into();
        assert_eq!(handed_out, [None, None, Some(70..100), None, Some(20..70), Some(0..20)]);
        assert_eq!(buckets.ready(0), None);
        assert_eq!(Buckets::new(100, 1000).ready(0), Some(0..100));
    }
}
