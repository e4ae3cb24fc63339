//! A limit of one long record in memory at a time, however many threads read.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The size in bytes from which a record is long: tokenizing it takes a multiple of that.
pub const LONG_RECORD_BYTES: u64 = 16 << 20;

/// The turn to hold a long record; all readers of a process share it.
#[derive(Debug, Clone, Default)]
pub struct LongRecords {
    state: Arc<TurnState>,
}

#[derive(Debug, Default)]
struct TurnState {
    taken: Mutex<bool>,
    freed: Condvar,
}

/// The right to hold a long record, until this is dropped.
#[derive(Debug)]
pub struct Turn {
    state: Arc<TurnState>,
}

impl LongRecords {
    /// Waits for the turn, which lasts until the result is dropped.
    ///
    /// ```
    /// use mixdown_documents::LongRecords;
    ///
    /// let turns = LongRecords::default();
    /// let turn = turns.wait();
    /// drop(turn);
    /// turns.wait();
    /// ```
    #[must_use]
    pub fn wait(&self) -> Turn {
        let mut taken = self.state.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken {
            taken = self.state.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Turn { state: Arc::clone(&self.state) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.state.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.state.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn one_at_a_time() {
        let (turns, inside, passed) =
            (LongRecords::default(), AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _turn = turns.wait();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        passed.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 2000);
    }
}
