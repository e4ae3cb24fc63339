//! What an observer of a sweep is told.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_runs::{RunRow, Summary};
use mixdown_train::Progress;

use super::preview::RateOrigin;
use crate::error::Error;

/// The caller of a sweep: a function that is told what happens, and a flag that stops the sweep at its next safe place.
///
/// The function may be called from any thread. It differs from an [`Observer`](mixdown_base::observer::Observer) in
/// that what it is told borrows from the sweep.
#[derive(Clone, Copy)]
pub struct SweepObserver<'a> {
    told: &'a (dyn Fn(SweepEvent<'_>) + Sync),
    stop: &'a AtomicBool,
}

impl<'a> SweepObserver<'a> {
    /// Makes an observer of the function that is told what happens and of the flag that stops the sweep.
    pub fn new(told: &'a (dyn Fn(SweepEvent<'_>) + Sync), stop: &'a AtomicBool) -> Self {
        Self { told, stop }
    }

    /// Tells the caller what happens.
    pub(crate) fn tell(&self, event: SweepEvent<'_>) {
        (self.told)(event);
    }

    /// Whether the caller has stopped the sweep.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns the flag, for work that has an observer of its own.
    pub(crate) fn stop(&self) -> &'a AtomicBool {
        self.stop
    }
}

impl fmt::Debug for SweepObserver<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SweepObserver").field("stop", self.stop).finish_non_exhaustive()
    }
}

/// Something that happens while a sweep is done.
#[derive(Debug)]
#[non_exhaustive]
pub enum SweepEvent<'a> {
    /// The work begins: the sweep's folder is held by this process.
    Began,
    /// All base models of this call were made by earlier calls.
    BasesWereMade,
    /// The runs begin.
    Announced {
        /// The number of runs that this call does.
        runs: usize,
        /// The number of runs in the plan.
        planned: usize,
        /// Floating point operations of the runs and of the base models that they need, at most.
        flops: f64,
        /// Seconds, at most.
        seconds: f64,
        /// The origin of the rate behind the seconds.
        rate: RateOrigin,
    },
    /// A part is being done.
    Working {
        /// The part.
        part: SweepPart<'a>,
        /// Floating point operations that this call has done.
        done_flops: f64,
        /// Floating point operations that this call is expected to do in all.
        total_flops: f64,
        /// The progress of the part; none where a program of the user's does it.
        progress: Option<&'a Progress>,
    },
    /// A program of the user's begins, as the leader of a process group of its own.
    ProgramBegan {
        /// The program's process id.
        id: u32,
    },
    /// The program of the user's has ended.
    ProgramEnded,
    /// A base model is made.
    BaseMade {
        /// The base model.
        part: SweepPart<'a>,
        /// What its pretraining left.
        summary: &'a Summary,
    },
    /// A base model could not be made.
    BaseFailed {
        /// The base model.
        part: SweepPart<'a>,
        /// The reason.
        error: Error,
    },
    /// A run is done. Its row is not kept before the observer returns.
    RunDone {
        /// The run.
        part: SweepPart<'a>,
        /// Its row.
        row: &'a RunRow,
        /// What is left of this call; none after its last run.
        left: Option<TimeLeft>,
    },
    /// A run failed.
    RunFailed {
        /// The run.
        part: SweepPart<'a>,
        /// The reason.
        error: Error,
        /// What is left of this call; none after its last run, or where nothing is done yet.
        left: Option<TimeLeft>,
    },
    /// All runs of this call are done or failed.
    Ended {
        /// The number of runs that this call did.
        done: usize,
        /// The number of runs that failed.
        failed: usize,
    },
}

/// A part of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepPart<'a> {
    /// A base model.
    Base {
        /// Its name.
        name: &'a str,
    },
    /// A run.
    Run {
        /// Its number in this call, counted from 1.
        number: usize,
        /// The number of runs in this call.
        total: usize,
        /// Its unique name.
        run_id: &'a str,
    },
}

/// What is left of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLeft {
    /// The number of runs that are left.
    pub runs: usize,
    /// Seconds that they take at the rate of this call, if they end as early as those that are done.
    pub seconds: f64,
}
