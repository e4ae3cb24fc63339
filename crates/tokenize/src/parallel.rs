//! Parallel processing of many items by several threads.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use mixdown_documents::Place;

use crate::error::Error;

/// Adds the items to one sum per thread, on `threads` threads, and returns the sums. The first error ends it.
pub(crate) fn fold<T: Sync, S: Send>(
    threads: usize,
    items: &[T],
    stop: &AtomicBool,
    sum: impl Fn() -> S + Sync,
    add: impl Fn(&mut S, usize, &T) -> Result<(), Error> + Sync,
) -> Result<Vec<S>, Error> {
    let next = AtomicUsize::new(0);
    let failure = Failure::default();
    let work = || {
        let mut own = sum();
        while !failure.is_set() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let stopped = stop.load(Ordering::Relaxed);
            let added = if stopped { Err(Error::Interrupted) } else { add(&mut own, index, item) };
            failure.note(added);
        }
        own
    };
    let sums = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len()))
            // If the system refuses a thread, the others do its work.
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut sums = vec![work()];
        // A scope passes on the panic of a thread only if nobody has joined it.
        let joined = others.into_iter().map(|other| other.join());
        sums.extend(joined.map(|sum| sum.unwrap_or_else(|panic| resume_unwind(panic))));
        sums
    });
    failure.into_result().map(|()| sums)
}

/// The first error of several threads, which stops the others.
#[derive(Default)]
pub(crate) struct Failure {
    set: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Failure {
    /// Returns whether a thread has failed.
    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    /// Keeps the error, if it is the first one.
    pub(crate) fn note(&self, result: Result<(), Error>) {
        if let Err(error) = result {
            let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            self.set.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the first error, if there was one.
    pub(crate) fn into_result(self) -> Result<(), Error> {
        match self.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The first error in the order of the inputs, whichever thread finds it when: work before it continues, work after it
/// ends.
#[derive(Default)]
pub(crate) struct FirstFailure {
    set: AtomicBool,
    first: Mutex<Option<(Place, Error)>>,
}

/// A place before all inputs, for an error that ends everything at once.
pub(crate) const AT_ONCE: Place = Place { input: 0, offset: 0 };

impl FirstFailure {
    /// Returns whether work at this place is no longer needed.
    pub(crate) fn stops(&self, place: Place) -> bool {
        self.set.load(Ordering::Acquire)
            && self.first().as_ref().is_some_and(|(first, _)| *first <= place)
    }

    /// Keeps the error, if its place is the first.
    pub(crate) fn note(&self, place: Place, error: Error) {
        let mut first = self.first();
        if first.as_ref().is_none_or(|(before, _)| place < *before) {
            *first = Some((place, error));
        }
        self.set.store(true, Ordering::Release);
    }

    /// Returns the first error, if there was one.
    pub(crate) fn into_result(self) -> Result<(), Error> {
        match self.first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn first(&self) -> MutexGuard<'_, Option<(Place, Error)>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_added_once_and_an_error_ends_it() {
        let items: Vec<u64> = (0..1000).collect();
        let stop = AtomicBool::new(false);
        for threads in [1, 2, 5] {
            let add = |sum: &mut u64, _: usize, item: &u64| {
                *sum += item;
                Ok(())
            };
            let sums = fold(threads, &items, &stop, || 0, add).unwrap();
            assert_eq!(sums.iter().sum::<u64>(), 499_500);
            let fail = |_: &mut u64, index: usize, _: &u64| {
                if index == 7 { Err(Error::Interrupted) } else { Ok(()) }
            };
            assert!(fold(threads, &items, &stop, || 0, fail).is_err());
        }
        // A panic of any thread is one of the caller's: a sum without its share would be wrong.
        let panics = |_: &mut u64, index: usize, _: &u64| {
            assert_ne!(index, 500, "a bug");
            Ok(())
        };
        for threads in [1, 2, 5] {
            let found = std::panic::catch_unwind(|| fold(threads, &items, &stop, || 0, panics));
            assert!(found.is_err());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(fold(2, &items, &stop, || 0, |_, _, _| Ok(())).is_err());
    }
}
