//! Parallel processing of many tasks by several threads.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::Error;

/// Runs `count` tasks on at most `threads` threads and returns the results in order, or the error of the first task
/// that fails; no new task begins after an error.
pub(crate) fn map<T: Send>(
    count: u64,
    threads: u64,
    work: impl Fn(u64) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let next = AtomicU64::new(0);
    let done = Mutex::new((Vec::new(), None::<(u64, Error)>));
    let run = || {
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return;
            }
            let result = work(piece);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(result) => done.0.push((piece, result)),
                Err(error) => {
                    next.store(count, Ordering::Relaxed);
                    if done.1.as_ref().is_none_or(|(first, _)| piece < *first) {
                        done.1 = Some((piece, error));
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            // If the system refuses a thread, the others do its work.
            let _ = thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    let (mut results, error) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, error)) = error {
        return Err(error);
    }
    results.sort_unstable_by_key(|(piece, _)| *piece);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Returns the number of threads that this process may use.
pub(crate) fn available_threads() -> u64 {
    thread::available_parallelism().map_or(1, |threads| threads.get() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_for_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let squares = map(100, threads, |n| Ok(n * n)).unwrap();
            assert_eq!(squares, (0..100).map(|n| n * n).collect::<Vec<_>>());
            let stopped =
                map(100, threads, |n| if n == 5 { Err(Error::Interrupted) } else { Ok(n) });
            assert!(stopped.is_err());
        }
        assert!(map(0, 2, Ok).unwrap().is_empty());
    }
}
