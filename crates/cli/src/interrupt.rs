//! Ctrl-C, SIGTERM and SIGHUP: the first asks the work to stop at its next safe place, the second ends
//! the process at once (what is on disk stays whole either way).

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::progress::say;

static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handler and returns the flag that work looks at.
///
/// # Errors
/// When the handler cannot be installed.
pub fn install() -> Result<&'static AtomicBool, Error> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        say("stopping at the next safe place; once more ends at once");
    })
    .map_err(|error| {
        Error::io(std::path::Path::new("signal handler"), "install", std::io::Error::other(error))
    })?;
    Ok(&STOP)
}
