//! Sums over the ranks on a stream of their own, so that they go on beside the backward pass.

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

/// Between two looks at a sum: short beside a step.
const PAUSE: Duration = Duration::from_micros(50);
/// Between two looks at the other ranks.
const CHECK: Duration = Duration::from_millis(50);

/// This GPU among those of the other ranks.
pub(super) struct Reduction {
    communicator: Communicator,
    /// One that does not wait for the null stream, where all else is done.
    stream: sys::CUstream,
    /// What a stream has done, for the other one to wait for.
    events: [sys::CUevent; 2],
    group: ProcessGroup,
}

fn failed(error: DriverError) -> Error {
    Error::Device { action: "order its work", got: error.to_string() }
}

impl Reduction {
    /// Joins the GPUs of all ranks; the context of this one is current.
    ///
    /// # Errors
    /// As [`Communicator::new`]; a rank that is lost; too little memory for NCCL.
    pub(super) fn new(group: &mut ProcessGroup) -> Result<Self, Error> {
        let rank = [group.rank().rank(), group.rank().world_size()];
        let mut own = group.try_clone()?;
        let communicator = Communicator::new(rank, |id| {
            let told = own.all_gather(id.0.to_vec())?;
            let first = told.first().and_then(|id| id.first_chunk());
            // Nobody waits in NCCL for a rank that has failed before.
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

    /// Sums of a whole bucket and of a small rest: the first ones connect the GPUs and take NCCL's memory, in calls
    /// that look at no other rank. Now all have just met, and what is free afterwards is free for the run.
    fn warm_up(&mut self) -> Result<(), Error> {
        let bytes = BUCKET * size_of::<f32>();
        // SAFETY: freed below, after all sums.
        let memory = unsafe { result::malloc_sync(bytes) }.map_err(failed)?;
        for len in [BUCKET, 1] {
            self.sum(Address(memory), len)?;
        }
        self.finish()?;
        self.wait()?;
        // SAFETY: taken above.
        unsafe { result::free_sync(memory) }.map_err(failed)
    }

    /// Lets `later` wait for what `earlier` has been asked to do.
    fn order(
        &self,
        place: usize,
        earlier: sys::CUstream,
        later: sys::CUstream,
    ) -> Result<(), Error> {
        let event = self.events[place];
        let at_once = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: event and streams are of this value, or the null stream, which is always there.
        unsafe {
            event::record(event, earlier).map_err(failed)?;
            stream::wait_event(later, event, at_once).map_err(failed)
        }
    }

    /// Begins to sum `len` f32 after all that the null stream was asked for.
    pub(super) fn sum(&mut self, at: Address, len: usize) -> Result<(), Error> {
        self.order(0, null_mut(), self.stream)?;
        self.communicator.sum(at, len, self.stream.cast()).map_err(|error| {
            // A rank that is lost says more than what NCCL makes of it.
            self.group.check().err().unwrap_or(error)
        })
    }

    /// Lets the null stream wait for all sums.
    pub(super) fn finish(&self) -> Result<(), Error> {
        self.order(1, self.stream, null_mut())
    }

    /// Waits for all work of the null stream, sums among it, as long as the other ranks are there.
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
        // SAFETY: this value's own; errors at the end of a process help nobody.
        unsafe {
            let _ = stream::destroy(self.stream);
            for event in self.events {
                let _ = event::destroy(event);
            }
        }
    }
}

/// Numbers that are summed at once, at least: 32 MiB. Less wastes the links between GPUs on latency, more leaves
/// little to be done beside the last sum (PyTorch's DistributedDataParallel takes 25 MiB).
pub(crate) const BUCKET: usize = 8 << 20;

/// What is left to be summed of one backward pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// All from here on has been handed out.
    end: usize,
    least: usize,
}

impl Buckets {
    /// Of a buffer of `len` numbers, in buckets of at least `least`.
    pub(crate) fn new(len: usize, least: usize) -> Self {
        Self { end: len, least }
    }

    /// What to sum now that all from `start` on is final: nothing where it is little, unless it is the last.
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
