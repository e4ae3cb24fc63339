//! The view of a run in the process that trains it.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::app::{App, Place, Subject, Turn};
use crate::error::Error;
use crate::screen::{Ending, is_possible, show};
use crate::view::look::Look;

/// The program that a view is part of: what it does about its own terminal. Each function may be called from any
/// thread.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Keeps lines and progress back from now on: a view has the screen.
    pub hold: fn(),
    /// Writes what was kept back: the screen is free again.
    pub release: fn(),
    /// Asks the work to stop, as Ctrl-C does where no view takes the keys; it may end the process.
    pub interrupt: fn(),
    /// Tells the user what became of a view beside the work.
    pub tell: fn(Notice),
}

/// What became of a view beside the work, which goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// There is no terminal to draw on.
    NoTerminal,
    /// The user closed the view.
    Closed,
    /// The view cannot be shown.
    Failed(Error),
}

/// A view of a run in the process that trains it; dropped, it gives the terminal back.
pub struct LiveView {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LiveView {
    /// Shows the run in `folder` from a thread of its own until it is dropped or closed by a key. Where there is
    /// no terminal to draw on, the host is told so and nothing is shown.
    pub fn start(folder: &Path, host: Host) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        if !is_possible() || !std::io::stderr().is_terminal() {
            (host.tell)(Notice::NoTerminal);
            return Self { is_over, thread: None };
        }
        let (folder, over) = (folder.to_owned(), Arc::clone(&is_over));
        let thread = thread::spawn(move || match view(&folder, host, &over) {
            Ok(Ending::Told) => {}
            Ok(Ending::Closed) => (host.tell)(Notice::Closed),
            Err(error) => (host.tell)(Notice::Failed(error)),
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic of the view was reported, and gave the terminal back.
            let _ = thread.join();
        }
    }
}

fn view(folder: &Path, host: Host, is_over: &AtomicBool) -> Result<Ending, Error> {
    let mut app = App::new(Subject::run(folder)?, Place::InTraining, Look::of_environment());
    let stop = |app: &mut App| {
        (host.interrupt)();
        app.say("stopping with a checkpoint; press Ctrl-C again to quit now");
        Turn::Redraw
    };
    show(&mut app, host, &|| is_over.load(Ordering::SeqCst), &stop)
}
