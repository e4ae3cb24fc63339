//! The terminal: taken for a view, and given back on every way out.

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

use crate::app::{App, Turn};
use crate::error::Error;
use crate::live::Host;

/// Time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a signal may wait for an answer; each time is one wakeup.
const KEY_INTERVAL: Duration = Duration::from_millis(250);

/// The program whose terminal a view has; none where no view has it.
static TAKEN: Mutex<Option<Host>> = Mutex::new(None);

fn is_taken() -> bool {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Returns whether standard output is a terminal that a view can be drawn on.
pub fn is_possible() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stdout().is_terminal() && !is_dumb && is_in_foreground()
}

/// Whether the shell has left the terminal to this process: one in the background (`mixdown train … &`) that
/// changes the terminal's modes is stopped by the system.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    use rustix::process::getpgrp;
    use rustix::termios::tcgetpgrp;

    // A terminal that controls no process of this session has no background.
    tcgetpgrp(stdout()).map_or(true, |group| group == getpgrp())
}

/// Elsewhere there are no such jobs.
#[cfg(not(unix))]
fn is_in_foreground() -> bool {
    true
}

/// How a view ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A key closed the view.
    Closed,
    /// The caller ended the view.
    Told,
}

/// The terminal while a view has it.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    fn take(host: Host) -> Result<Self, Error> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
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
                give_back();
                Err(failed(error))
            }
        }
    }

    /// Draws a frame; nothing where the terminal was given back by another thread's panic.
    fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> Result<(), Error> {
        if is_taken() {
            self.terminal.draw(draw).map_err(failed)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was, if a view has it, and releases the lines that waited meanwhile.
///
/// A program calls it before it ends at once; every other way out of a view calls it itself.
pub fn give_back() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(host) = taken {
        // There is nobody to be told that the terminal is gone.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        (host.release)();
    }
}

/// Shows a view until a key ends it or `is_over` says so. `interrupt` does what Ctrl-C should do, and returns whether
/// the view ends with it.
///
/// # Errors
/// A terminal that cannot be taken, drawn on or read from.
pub fn show(
    app: &mut App,
    host: Host,
    is_over: &dyn Fn() -> bool,
    interrupt: &dyn Fn(&mut App) -> Turn,
) -> Result<Ending, Error> {
    let mut screen = Screen::take(host)?;
    let mut looked: Option<Instant> = None;
    let mut is_fresh = false;
    loop {
        if is_over() {
            return Ok(Ending::Told);
        }
        if looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
            is_fresh |= app.look(SystemTime::now()) || looked.is_none();
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
            Event::Resize(..) => Turn::Redraw,
            _ => Turn::Nothing,
        };
        let turn = if turn == Turn::Interrupt { interrupt(app) } else { turn };
        match turn {
            Turn::End => return Ok(Ending::Closed),
            Turn::Redraw => is_fresh = true,
            Turn::Nothing | Turn::Interrupt => {}
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("the terminal", "use", error)
}
