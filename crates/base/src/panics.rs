//! Panics of libraries as values, without the message that a panic prints.
//!
//! A file on which a library panics is damaged. The caller reports that in its own words; the library's message, which
//! names its source code, would only get in the way.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// The number of [`caught`] calls that this thread is inside of.
    static WITHIN: Cell<u32> = const { Cell::new(0) };
}

/// Installs a hook that is silent inside [`caught`] and otherwise calls the previous hook.
static HOOK: Once = Once::new();

/// A library panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

/// Runs `work` and returns its result; a panic in it, on this thread, ends it silently.
///
/// Changes that `work` made outside of itself before a panic remain.
///
/// # Errors
/// [`Panicked`] where `work` panicked.
///
/// ```
/// use mixdown_base::panics::{Panicked, caught};
///
/// let lens = [3_usize];
/// assert_eq!(caught(|| lens[0]), Ok(3));
/// assert_eq!(caught(|| lens[lens[0]]), Err(Panicked));
/// ```
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if WITHIN.get() == 0 {
                before(panic);
            }
        }));
    });
    WITHIN.set(WITHIN.get() + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    WITHIN.set(WITHIN.get() - 1);
    result.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_within_each_other_and_later_panics_are_counted_right() {
        let inner = || caught(|| panic!("inner"));
        assert_eq!(caught(inner), Ok(Err::<(), _>(Panicked)));
        assert_eq!(caught(|| -> u8 { panic!("outer") }), Err(Panicked));
        assert_eq!(WITHIN.get(), 0);
    }
}
