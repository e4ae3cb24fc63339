//! Ctrl-C, SIGTERM and SIGHUP: the first signal asks the work to stop at its next safe point, and the second ends the
//! process at once; the files on disk stay complete either way. In a command without safe points, the first signal
//! ends the process. A program that the work started gets the same signals.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::error::Error;
use crate::terminal::progress::say;

static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the first signal ends the command, because it does not check the flag.
static AT_ONCE: AtomicBool = AtomicBool::new(false);

/// The process group of the running program; 0 if there is none.
static PROGRAM: AtomicU32 = AtomicU32::new(0);

/// Sets the program, the leader of a separate process group, that is ended together with this process; 0 for none.
pub fn end_together_with(program: u32) {
    PROGRAM.store(program, Ordering::SeqCst);
}

/// Kills all processes of the program's group.
#[cfg(unix)]
pub fn kill_program() {
    use rustix::process::{Pid, Signal, kill_process_group};

    let group = i32::try_from(PROGRAM.load(Ordering::SeqCst)).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // The program may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// On other systems the console has already signaled the program.
#[cfg(not(unix))]
pub fn kill_program() {}

/// Asks the work to stop at its next safe point.
pub fn stop() {
    STOP.store(true, Ordering::SeqCst);
}

/// Asks the work to stop; the second call ends the process at once. A view on the screen, which reads the keys from
/// the terminal, calls it for Ctrl-C.
pub fn ask() {
    if STOP.swap(true, Ordering::SeqCst) || AT_ONCE.load(Ordering::SeqCst) {
        kill_program();
        mixdown_watch::restore_terminal();
        std::process::exit(130);
    }
    say("stopping at the next safe point; press Ctrl-C again to quit now");
}

/// Declares that the command has no safe points: it only reads, computes and writes complete files, so the first
/// signal ends the process.
pub fn end_at_once() {
    AT_ONCE.store(true, Ordering::SeqCst);
}

/// Installs the handler and returns the flag that the work checks.
///
/// # Errors
/// When the handler cannot be installed.
pub fn install() -> Result<&'static AtomicBool, Error> {
    ctrlc::set_handler(ask).map_err(|error| {
        Error::io(std::path::Path::new("signal handler"), "install", std::io::Error::other(error))
    })?;
    Ok(&STOP)
}
