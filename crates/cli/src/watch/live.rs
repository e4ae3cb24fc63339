//! The view of a run in the process that trains it.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::error::Error;
use crate::terminal::interrupt;
use crate::terminal::progress::say;
use crate::watch::app::{App, Place, Subject, Turn};
use crate::watch::follow::RunFollower;
use crate::watch::screen::{Ending, is_possible, show};
use crate::watch::view::look::Look;

/// The view of a run in the process that trains it; dropped, it gives the terminal back.
pub struct LiveView {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LiveView {
    /// Shows the run in `folder` from a thread of its own until it is dropped or closed by a key. Where there is
    /// no terminal to draw on, it says so and shows nothing.
    pub fn start(folder: &Path) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        if !is_possible() || !std::io::stderr().is_terminal() {
            say("--watch: no terminal to draw on, so the meter goes on as without it");
            return Self { is_over, thread: None };
        }
        let (folder, over) = (folder.to_owned(), Arc::clone(&is_over));
        let thread = thread::spawn(move || match view(&folder, &over) {
            Ok(Ending::Told) => {}
            Ok(Ending::Closed) => say("the view is closed, the run goes on; Ctrl-C stops it"),
            Err(error) => say(&format!("--watch: {error}; the run goes on")),
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

fn view(folder: &Path, is_over: &AtomicBool) -> Result<Ending, Error> {
    let subject = Subject::Run(Box::new(RunFollower::new(folder)?));
    let mut app = App::new(subject, Place::InTraining, Look::of_environment());
    let stop = |app: &mut App| {
        interrupt::ask();
        app.say("stopping with a checkpoint; press Ctrl-C again to quit now");
        Turn::Redraw
    };
    show(&mut app, &|| is_over.load(Ordering::SeqCst), &stop)
}
