//! The terminal of a view, which is restored on every exit.

use std::io::{IsTerminal, Stdout, stdout};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};

use crate::app::{App, KeyAction};
use crate::error::Error;
use crate::live::Host;

/// The time between two polls of the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest delay before a signal is noticed; each interval costs one wakeup.
const KEY_INTERVAL: Duration = Duration::from_millis(250);

/// The host program whose terminal a view uses; `None` without a view.
static TAKEN: Mutex<Option<Host>> = Mutex::new(None);

fn is_taken() -> bool {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Returns whether standard output is a terminal that a view can be drawn on.
///
/// ```
/// // A test's output is not a terminal.
/// # if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
/// assert!(!mixdown_watch::is_possible());
/// # }
/// ```
pub fn is_possible() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stdout().is_terminal() && !is_dumb && is_in_foreground()
}

/// Returns whether this process is in the foreground of its terminal: the system stops a background process
/// (`mixdown train … &`) that changes the modes of the terminal.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    use rustix::process::getpgrp;
    use rustix::termios::tcgetpgrp;

    // A terminal that does not control this session has no background processes.
    tcgetpgrp(stdout()).map_or(true, |group| group == getpgrp())
}

/// Returns true, because other systems have no such jobs.
#[cfg(not(unix))]
fn is_in_foreground() -> bool {
    true
}

/// The way in which a view ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A key closed the view.
    Closed,
    /// The caller ended the view.
    Told,
}

/// The terminal while a view uses it.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    fn take(host: Host) -> Result<Self, Error> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore_terminal();
                earlier(panic);
            }));
        });
        (host.hold)();
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
        let take = || {
            enable_raw_mode()?;
            execute!(stdout(), EnterAlternateScreen)?;
            Terminal::new(CrosstermBackend::new(stdout()))
        };
        match take() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore_terminal();
                Err(failed(error))
            }
        }
    }

    /// Draws a frame, or nothing if the terminal was restored because another thread panicked.
    fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> Result<(), Error> {
        if is_taken() {
            self.terminal.draw(draw).map_err(failed)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Restores the terminal, if a view uses it, and releases the lines that were held back.
///
/// A program calls it before it exits immediately; every other end of a view calls it.
///
/// ```
/// mixdown_watch::restore_terminal(); // Without a view nothing happens.
/// ```
pub fn restore_terminal() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(host) = taken {
        // A missing terminal cannot be reported to anyone.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        (host.release)();
    }
}

/// Shows a view until a key ends it or `is_over` returns true. `interrupt` performs the action of Ctrl-C and returns
/// whether the view ends with it.
///
/// # Errors
/// A terminal that cannot be prepared, drawn on or read from.
///
/// ```
/// use mixdown_watch::{App, Host, KeyAction, Look, Subject, ViewProcess, is_possible, show};
///
/// let directory = tempfile::tempdir()?;
/// let mut app = App::new(Subject::run(directory.path())?, ViewProcess::Alone, Look::of_environment());
/// let host = Host { hold: || {}, release: || {}, interrupt: || {}, notify: |_| {} };
/// if is_possible() {
///     // A view that is over at once: the terminal is as before.
///     let ending = show(&mut app, host, &|| true, &|_| KeyAction::End)?;
///     println!("{ending:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn show(
    app: &mut App,
    host: Host,
    is_over: &dyn Fn() -> bool,
    interrupt: &dyn Fn(&mut App) -> KeyAction,
) -> Result<Ending, Error> {
    let mut screen = Screen::take(host)?;
    let mut looked: Option<Instant> = None;
    let mut is_fresh = false;
    loop {
        if is_over() {
            return Ok(Ending::Told);
        }
        if looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
            is_fresh |= app.poll(SystemTime::now()) || looked.is_none();
            looked = Some(Instant::now());
        }
        if is_fresh {
            screen.draw(|frame| app.draw(frame))?;
            is_fresh = false;
        }
        if !event::poll(KEY_INTERVAL).map_err(failed)? {
            continue;
        }
        let turn = match event::read().map_err(failed)? {
            Event::Key(key) if !key.is_release() => app.key(key, SystemTime::now()),
            Event::Resize(..) => KeyAction::Redraw,
            _ => KeyAction::Nothing,
        };
        let turn = if turn == KeyAction::Interrupt { interrupt(app) } else { turn };
        match turn {
            KeyAction::End => return Ok(Ending::Closed),
            KeyAction::Redraw => is_fresh = true,
            KeyAction::Nothing | KeyAction::Interrupt => {}
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("the terminal", "use", error)
}
