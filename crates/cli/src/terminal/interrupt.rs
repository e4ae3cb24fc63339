//! Ctrl-C, SIGTERM and SIGHUP: the first asks the work to stop at its next safe place, the second ends
//! the process at once (what is on disk stays whole either way), as the first does where a command has no such places.
//! A program that the work runs is asked and ended with it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::error::Error;
use crate::terminal::progress::say;

static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the command looks at no flag, so that the first signal ends it.
static AT_ONCE: AtomicBool = AtomicBool::new(false);

/// The process group of programs that are running; 0 where there is none.
static PROGRAM: AtomicU32 = AtomicU32::new(0);

/// How urgently a program is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// When it has saved what it wants to (SIGTERM).
    Asked,
    /// At once (SIGKILL).
    Forced,
}

/// Says which program ends with this process, and its group with it; 0 for none. It leads a process group of its own.
pub fn follow(program: u32) {
    PROGRAM.store(program, Ordering::SeqCst);
}

/// Ends all processes of the program's group.
#[cfg(unix)]
pub fn end_program(ending: Ending) {
    use rustix::process::{Pid, Signal, kill_process_group};

    let group = i32::try_from(PROGRAM.load(Ordering::SeqCst)).ok().and_then(Pid::from_raw);
    let signal = if ending == Ending::Asked { Signal::TERM } else { Signal::KILL };
    if let Some(group) = group {
        // It may have ended by itself.
        let _ = kill_process_group(group, signal);
    }
}

/// Elsewhere the console has told the program already.
#[cfg(not(unix))]
pub fn end_program(_ending: Ending) {}

/// Asks the work to stop at its next safe place.
pub fn stop() {
    STOP.store(true, Ordering::SeqCst);
}

/// Asks the work to stop; asked again, ends the process at once. A view on the screen, which takes the keys from
/// the terminal, calls it for Ctrl-C.
pub fn ask() {
    if STOP.swap(true, Ordering::SeqCst) || AT_ONCE.load(Ordering::SeqCst) {
        end_program(Ending::Forced);
        mixdown_watch::give_back();
        std::process::exit(130);
    }
    say("stopping at the next safe point; press Ctrl-C again to quit now");
}

/// Says that the command at work has no safe places to stop at: it only reads, computes and writes files whole, so
/// the first signal ends the process.
pub fn end_at_once() {
    AT_ONCE.store(true, Ordering::SeqCst);
}

/// Installs the handler and returns the flag that work looks at.
///
/// # Errors
/// When the handler cannot be installed.
pub fn install() -> Result<&'static AtomicBool, Error> {
    ctrlc::set_handler(ask).map_err(|error| {
        Error::io(std::path::Path::new("signal handler"), "install", std::io::Error::other(error))
    })?;
    Ok(&STOP)
}
