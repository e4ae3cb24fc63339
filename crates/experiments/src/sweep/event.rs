//! The events of a sweep and their observer.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_runs::{RunRow, Summary};
use mixdown_train::Progress;

use super::preview::RateOrigin;
use crate::error::Error;

/// The observer of a sweep: a function that receives events, and a flag that stops the sweep at the next safe point.
///
/// The function may be called from any thread. Unlike those of an [`Observer`](mixdown_base::observer::Observer), its
/// events borrow from the sweep.
#[derive(Clone, Copy)]
pub struct SweepObserver<'a> {
    told: &'a (dyn Fn(SweepEvent<'_>) + Sync),
    stop: &'a AtomicBool,
}

impl<'a> SweepObserver<'a> {
    /// Returns an observer from a function that receives events and a flag that stops the sweep.
    ///
    /// ```
    /// use std::sync::atomic::AtomicBool;
    ///
    /// use mixdown_experiments::{SweepEvent, SweepObserver};
    ///
    /// let print = |event: SweepEvent<'_>| println!("{event:?}");
    /// let stop = AtomicBool::new(false);
    /// let observer = SweepObserver::new(&print, &stop);
    /// assert!(format!("{observer:?}").contains("SweepObserver"));
    /// ```
    pub fn new(told: &'a (dyn Fn(SweepEvent<'_>) + Sync), stop: &'a AtomicBool) -> Self {
        Self { told, stop }
    }

    /// Sends an event to the caller.
    pub(crate) fn tell(&self, event: SweepEvent<'_>) {
        (self.told)(event);
    }

    /// Returns whether the caller has stopped the sweep.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns the flag, for work that has another observer.
    pub(crate) fn stop(&self) -> &'a AtomicBool {
        self.stop
    }
}

impl fmt::Debug for SweepObserver<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SweepObserver").field("stop", self.stop).finish_non_exhaustive()
    }
}

/// An event of a sweep.
#[derive(Debug)]
#[non_exhaustive]
pub enum SweepEvent<'a> {
    /// The work begins: this process has locked the folder of the sweep.
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
        /// The progress of the part; `None` if the user's program does it.
        progress: Option<&'a Progress>,
    },
    /// The user's program begins, as the leader of a new process group.
    ProgramBegan {
        /// The program's process id.
        id: u32,
    },
    /// The user's program has ended.
    ProgramEnded,
    /// A base model is made.
    BaseMade {
        /// The base model.
        part: SweepPart<'a>,
        /// The summary of its pretraining.
        summary: &'a Summary,
    },
    /// A base model could not be made.
    BaseFailed {
        /// The base model.
        part: SweepPart<'a>,
        /// The reason.
        error: Error,
    },
    /// A run is done. Its row is recorded only after the observer returns.
    RunDone {
        /// The run.
        part: SweepPart<'a>,
        /// Its row.
        row: &'a RunRow,
        /// What is left of this call; `None` after its last run.
        left: Option<TimeLeft>,
    },
    /// A run failed.
    RunFailed {
        /// The run.
        part: SweepPart<'a>,
        /// The reason.
        error: Error,
        /// What is left of this call; `None` after its last run, or if nothing is done yet.
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

/// The remaining work of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLeft {
    /// The number of runs that are left.
    pub runs: usize,
    /// Seconds that they take at the rate of this call, if they end as early as those that are done.
    pub seconds: f64,
}
