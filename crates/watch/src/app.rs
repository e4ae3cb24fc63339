//! A view's state: what is watched, what of it is on the screen, and what a key does.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::board::{BoardFollower, PlaceKind, place_kind};
use crate::error::Error;
use crate::follow::RunFollower;
use crate::sweep_board::SweepReader;
use crate::view::look::Look;
use crate::view::run_view::{RunScreen, panels};
use crate::view::{board_view, run_view};

/// What is watched: one run, or a board of several.
pub struct Subject(pub(crate) Watched);

/// The two kinds of subjects.
pub(crate) enum Watched {
    /// One run.
    Run(Box<RunFollower>),
    /// Several runs, or a sweep's.
    Board(BoardFollower),
}

impl Subject {
    /// Finds what stands at the paths: one run, which may not have begun, a sweep's folder, a folder with runs and
    /// sweeps in it, or several of them. `sweeps` reads what a sweep's folder holds.
    ///
    /// # Errors
    /// A folder of something else, a file.
    pub fn of(paths: &[PathBuf], sweeps: SweepReader) -> Result<Self, Error> {
        if let Some(file) = paths.iter().find(|path| path.is_file()) {
            return Err(Error::File { path: file.clone() });
        }
        let [path] = paths else { return Ok(Self::board(BoardFollower::named(paths, sweeps)?)) };
        match place_kind(path) {
            Some(PlaceKind::Run) => Self::run(path),
            Some(PlaceKind::Sweep) => Ok(Self::board(BoardFollower::sweep(path, sweeps))),
            None => match BoardFollower::folder(path, sweeps) {
                Some(board) => Ok(Self::board(board)),
                // A run that has not begun, or something else.
                None => Self::run(path),
            },
        }
    }

    /// Watches the run in `path`, which may not have begun.
    ///
    /// # Errors
    /// A folder of something else.
    pub fn run(path: &Path) -> Result<Self, Error> {
        Ok(Self(Watched::Run(Box::new(RunFollower::new(path)?))))
    }

    fn board(board: BoardFollower) -> Self {
        Self(Watched::Board(board))
    }

    /// Reads what is new in the files and returns whether anything that is shown has changed.
    pub fn look(&mut self, now: SystemTime) -> bool {
        match &mut self.0 {
            Watched::Run(run) => run.look(now),
            Watched::Board(board) => board.look(now),
        }
    }
}

/// The process that a view runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The view has a process of its own.
    Alone,
    /// The view runs in the process that trains.
    InTraining,
}

/// What a view does after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The view changes nothing.
    Nothing,
    /// The view draws another frame.
    Redraw,
    /// The view ends.
    End,
    /// The key was Ctrl-C: the caller decides.
    Interrupt,
}

/// A view: what is watched, and what of it is on the screen.
pub struct App {
    subject: Subject,
    place: Place,
    look: Look,
    /// The run of the board that is open.
    opened: Option<RunFollower>,
    chosen: usize,
    screen: RunScreen,
    /// Whether the last frame had room for all charts of a run.
    has_room: bool,
    /// What is said in the place of the keys until the next key.
    notice: Option<String>,
}

impl App {
    /// Makes a view of `subject` that has drawn nothing yet.
    pub fn new(subject: Subject, place: Place, look: Look) -> Self {
        let screen = RunScreen::default();
        let has_room = true;
        Self { subject, place, look, opened: None, chosen: 0, screen, has_room, notice: None }
    }

    /// Reads what is new in the files and returns whether anything on the screen has changed.
    pub fn look(&mut self, now: SystemTime) -> bool {
        match &mut self.opened {
            Some(run) => run.look(now),
            None => self.subject.look(now),
        }
    }

    /// Shows a notice in the place of the list of keys, until the next key.
    pub fn say(&mut self, notice: &str) {
        self.notice = Some(notice.to_owned());
    }

    /// Draws a frame of what was read at the last look.
    pub fn draw(&mut self, frame: &mut Frame) {
        self.has_room = run_view::has_room(frame.area());
        let keys = self.notice.clone().map_or_else(|| self.keys(), |notice| vec![notice]);
        match (self.run(), &self.subject.0) {
            (Some(run), _) => run_view::draw(frame, run.data(), self.screen, &keys, &self.look),
            (None, Watched::Board(board)) => {
                board_view::draw(frame, board.board(), self.chosen, &keys, &self.look);
            }
            (None, Watched::Run(_)) => {}
        }
    }

    /// The run on the screen, unless that has a board.
    fn run(&self) -> Option<&RunFollower> {
        match (&self.opened, &self.subject.0) {
            (Some(run), _) => Some(run),
            (None, Watched::Run(run)) => Some(run),
            (None, Watched::Board(_)) => None,
        }
    }

    fn keys(&self) -> Vec<String> {
        let keys: &[&str] = match (self.run().is_some(), self.opened.is_some(), self.place) {
            (false, ..) => &["q end", "↑↓ choose", "Enter open"],
            (_, true, _) => &["q end", "Esc back", "←→ chart", "Tab next run", "l log scale"],
            (_, _, Place::Alone) => &["q end", "←→ chart", "l log scale"],
            (_, _, Place::InTraining) => {
                &["q close the view", "Ctrl-C stop the run", "←→ chart", "l log scale"]
            }
        };
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    /// Does what a key asks for, and returns what follows.
    pub fn key(&mut self, key: KeyEvent, now: SystemTime) -> Turn {
        let had_notice = self.notice.take().is_some();
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Turn::Interrupt } else { Turn::Nothing };
        }
        let turn = match key.code {
            KeyCode::Char('q') => Turn::End,
            KeyCode::Esc if self.opened.is_none() => Turn::End,
            _ if self.run().is_some() => self.run_key(key.code, now),
            code => self.board_key(code, now),
        };
        if turn == Turn::Nothing && had_notice { Turn::Redraw } else { turn }
    }

    fn run_key(&mut self, code: KeyCode, now: SystemTime) -> Turn {
        match code {
            KeyCode::Esc | KeyCode::Backspace => {
                self.opened = None;
                self.subject.look(now);
            }
            KeyCode::Tab | KeyCode::BackTab if self.opened.is_some() => {
                let lines = self.lines();
                let step = if code == KeyCode::Tab { 1 } else { lines.saturating_sub(1) };
                self.chosen = (self.chosen + step) % lines.max(1);
                self.open(now);
            }
            KeyCode::Right | KeyCode::Tab => self.turn_panel(1),
            KeyCode::Left | KeyCode::BackTab => self.turn_panel(-1),
            KeyCode::Char('l') => self.screen.is_logarithmic = !self.screen.is_logarithmic,
            _ => return Turn::Nothing,
        }
        Turn::Redraw
    }

    /// The next chart or the one before; all of them together are one more, where they have room.
    fn turn_panel(&mut self, step: isize) {
        let last = self.run().map_or(0, |run| panels(run.data()).len());
        let first = usize::from(!self.has_room);
        let panel = self.screen.panel.clamp(first, last.max(first)).checked_add_signed(step);
        self.screen.panel = panel.filter(|panel| *panel >= first).unwrap_or(last);
        if self.screen.panel > last {
            self.screen.panel = first;
        }
    }

    fn board_key(&mut self, code: KeyCode, now: SystemTime) -> Turn {
        let last = self.lines().saturating_sub(1);
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.chosen = (self.chosen + 1).min(last),
            KeyCode::PageUp => self.chosen = self.chosen.saturating_sub(10),
            KeyCode::PageDown => self.chosen = (self.chosen + 10).min(last),
            KeyCode::Home => self.chosen = 0,
            KeyCode::End => self.chosen = last,
            KeyCode::Enter | KeyCode::Right => self.open(now),
            _ => return Turn::Nothing,
        }
        Turn::Redraw
    }

    fn lines(&self) -> usize {
        match &self.subject.0 {
            Watched::Board(board) => board.board().lines.len(),
            Watched::Run(_) => 1,
        }
    }

    /// Opens the run that is chosen, if there is something to see.
    fn open(&mut self, now: SystemTime) {
        let Watched::Board(board) = &self.subject.0 else { return };
        let run = board.run_folder(self.chosen).and_then(|folder| RunFollower::new(&folder).ok());
        match run {
            Some(mut run) => {
                run.look(now);
                self.opened = Some(run);
            }
            None => {
                self.opened = None;
                self.say(
                    "nothing of this run can be shown: it has no folder, or another program's",
                );
            }
        }
    }
}
