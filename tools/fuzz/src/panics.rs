//! Panics of libraries that mixdown catches on purpose: of damaged Parquet pages, of tokenizers.
//!
//! libFuzzer's own hook ends the process at every panic, also at one that is caught; the hook of
//! [`caught`] passes over a caught one, also where it is one of mixdown's own code.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::process;
use std::sync::Mutex;

use mixdown_base::panics::caught;

/// What the last panic of a library said.
static LAST: Mutex<String> = Mutex::new(String::new());

/// From here on a panic of a library is kept for [`none_comes_out`]; one of mixdown's own code ends
/// the process as before, caught or not.
pub fn keep_those_of_libraries() {
    let fatal = panic::take_hook();
    // Its first call sets a hook that stays silent: below this one, which must see every panic.
    let _ = caught(|| ());
    panic::set_hook(Box::new(move |info| {
        if is_ours(info) {
            fatal(info);
        }
        if let Ok(mut last) = LAST.lock() {
            *last = info.to_string();
        }
    }));
}

/// Whether the place of a panic stands in this repository. Cargo gives the compiler the paths of
/// these targets as relative ones and those of all other packages as absolute ones.
fn is_ours(info: &PanicHookInfo<'_>) -> bool {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let file = info.location().map(|location| Path::new(location.file()));
    file.is_none_or(|file| {
        file.is_relative() || repository.is_some_and(|repository| file.starts_with(repository))
    })
}

/// Ends the process with the library's words where a panic comes out of `work`.
pub fn none_comes_out<T>(work: impl FnOnce() -> T) -> T {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let last = LAST.lock().map(|last| last.clone()).unwrap_or_default();
        eprintln!("a library's panic came out: {last}");
        process::abort()
    })
}
