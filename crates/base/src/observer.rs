//! Who asked for long work: told how far it is, and able to stop it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The caller of long work: a function that is told of its progress, and a flag that stops it at its next safe place.
///
/// The function may be called from any thread of the work. An observer is two references, and is copied freely.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use mixdown_base::observer::Observer;
///
/// /// Counts to 10, and returns how far it came.
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
    /// Makes an observer of the function that is told of the progress and of the flag that stops the work.
    pub fn new(told: &'a (dyn Fn(P) + Sync), stop: &'a AtomicBool) -> Self {
        Self { told, stop }
    }

    /// Makes an observer that hears nothing and never stops the work.
    pub fn silent() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self { told: &|_| {}, stop: &NEVER }
    }

    /// Tells the caller of progress.
    pub fn tell(&self, progress: P) {
        (self.told)(progress);
    }

    /// Whether the caller has stopped the work.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns the flag, for work that tells of no progress.
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
