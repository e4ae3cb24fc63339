//! The view of a run in the process that trains it.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::app::{App, KeyAction, Subject, ViewProcess};
use crate::error::Error;
use crate::screen::{Ending, is_possible, show};
use crate::view::look::Look;

/// The functions by which the host program of a view manages its terminal. Each may be called from any thread.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Holds back lines and progress from now on, because a view uses the screen.
    pub hold: fn(),
    /// Writes what was held back, because the screen is free again.
    pub release: fn(),
    /// Asks the work to stop, as Ctrl-C does without a view; it may end the process.
    pub interrupt: fn(),
    /// Reports the end of a view beside the work to the user.
    pub notify: fn(Notice),
}

/// The end of a view beside the work, which continues.
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

/// A view of a run in the process that trains it. Dropping it restores the terminal.
pub struct LiveView {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LiveView {
    /// Shows the run in `folder` from a new thread until it is dropped or closed by a key. Without a terminal the host
    /// is notified and nothing is shown.
    ///
    /// ```
    /// use mixdown_watch::{Host, LiveView};
    ///
    /// let directory = tempfile::tempdir()?;
    /// let host = Host { hold: || {}, release: || {}, interrupt: || {}, notify: |notice| eprintln!("{notice:?}") };
    /// let view = LiveView::start(directory.path(), host);
    /// // Training goes here; the view follows the files that it writes.
    /// drop(view);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(folder: &Path, host: Host) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        if !is_possible() || !std::io::stderr().is_terminal() {
            (host.notify)(Notice::NoTerminal);
            return Self { is_over, thread: None };
        }
        let (folder, over) = (folder.to_owned(), Arc::clone(&is_over));
        let thread = thread::spawn(move || match view(&folder, host, &over) {
            Ok(Ending::Told) => {}
            Ok(Ending::Closed) => (host.notify)(Notice::Closed),
            Err(error) => (host.notify)(Notice::Failed(error)),
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic of the view was reported, and the terminal was restored.
            let _ = thread.join();
        }
    }
}

fn view(folder: &Path, host: Host, is_over: &AtomicBool) -> Result<Ending, Error> {
    let mut app = App::new(Subject::run(folder)?, ViewProcess::InTraining, Look::of_environment());
    let stop = |app: &mut App| {
        (host.interrupt)();
        app.show_notice("stopping with a checkpoint; press Ctrl-C again to quit now");
        KeyAction::Redraw
    };
    show(&mut app, host, &|| is_over.load(Ordering::SeqCst), &stop)
}
