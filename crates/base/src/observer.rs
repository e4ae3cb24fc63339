//! The caller of long work, who receives its progress and can stop it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The caller of long work: a function that receives its progress, and a flag that stops it at its next safe point.
///
/// Any thread of the work may call the function. An observer is two references and cheap to copy.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use mixdown_base::observer::Observer;
///
/// /// Counts to 10 and returns the number that it reached.
/// fn count(observer: Observer<'_, u32>) -> u32 {
///     for done in 1..=10 {
///         observer.tell(done);
///         if observer.is_stopped() {
///             return done;
///         }
///     }
///     10
/// }
///
/// let stop = AtomicBool::new(false);
/// let stop_at_3 = |done| stop.store(done == 3, Ordering::Relaxed);
/// assert_eq!(count(Observer::new(&stop_at_3, &stop)), 3);
/// assert_eq!(count(Observer::silent()), 10);
/// ```
pub struct Observer<'a, P> {
    told: &'a (dyn Fn(P) + Sync),
    stop: &'a AtomicBool,
}

impl<'a, P> Observer<'a, P> {
    /// Makes an observer from the function that receives the progress and the flag that stops the work.
    pub fn new(told: &'a (dyn Fn(P) + Sync), stop: &'a AtomicBool) -> Self {
        Self { told, stop }
    }

    /// Makes an observer that ignores progress and never stops the work.
    pub fn silent() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self { told: &|_| {}, stop: &NEVER }
    }

    /// Reports progress to the caller.
    pub fn tell(&self, progress: P) {
        (self.told)(progress);
    }

    /// Returns whether the caller has stopped the work.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns the stop flag, for work that reports no progress.
    pub fn stop(&self) -> &'a AtomicBool {
        self.stop
    }
}

impl<P> Clone for Observer<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Observer<'_, P> {}

impl<P> fmt::Debug for Observer<'_, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Observer").field("stop", self.stop).finish_non_exhaustive()
    }
}
