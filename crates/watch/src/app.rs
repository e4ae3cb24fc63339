//! The state of a view: its subject, what is on the screen, and the actions of keys.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::board::{BoardFollower, FolderKind, folder_kind};
use crate::error::Error;
use crate::follow::RunFollower;
use crate::sweep_board::SweepReader;
use crate::view::look::Look;
use crate::view::run_view::{RunScreen, panels};
use crate::view::{board_view, run_view};

/// The subject of a view: one run, or a board of several.
pub struct Subject(pub(crate) Watched);

/// The two kinds of subjects.
pub(crate) enum Watched {
    /// One run.
    Run(Box<RunFollower>),
    /// Several runs, or those of a sweep.
    Board(BoardFollower),
}

impl Subject {
    /// Finds the subject at the paths: one run, which may not have begun, a sweep's folder, a folder that contains runs
    /// and sweeps, or several of these. `sweeps` reads the folder of a sweep.
    ///
    /// ```
    /// use std::path::{Path, PathBuf};
    ///
    /// use mixdown_watch::{Subject, SweepRecords};
    ///
    /// fn no_sweeps(_: &Path) -> Result<SweepRecords, String> {
    ///     Ok(SweepRecords::default())
    /// }
    ///
    /// assert!(Subject::of(&[PathBuf::from("runs/that/will/begin")], no_sweeps).is_ok());
    /// let file = tempfile::NamedTempFile::new().unwrap();
    /// assert!(Subject::of(&[file.path().to_owned()], no_sweeps).is_err());
    /// ```
    ///
    /// # Errors
    /// A folder of something else, a file.
    pub fn of(paths: &[PathBuf], sweeps: SweepReader) -> Result<Self, Error> {
        if let Some(file) = paths.iter().find(|path| path.is_file()) {
            return Err(Error::File { path: file.clone() });
        }
        let [path] = paths else { return Ok(Self::board(BoardFollower::named(paths, sweeps)?)) };
        match folder_kind(path) {
            Some(FolderKind::Run) => Self::run(path),
            Some(FolderKind::Sweep) => Ok(Self::board(BoardFollower::sweep(path, sweeps))),
            None => match BoardFollower::folder(path, sweeps) {
                Some(board) => Ok(Self::board(board)),
                // A run that has not begun, or something else.
                None => Self::run(path),
            },
        }
    }

    /// Returns the run in `path`, which may not have begun, as a subject.
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// use mixdown_runs::{MetricsRecord, RunFolder};
    /// use mixdown_watch::Subject;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let mut subject = Subject::run(directory.path())?;
    /// let folder = RunFolder::create(directory.path())?;
    /// folder.append_metrics(&MetricsRecord { step: 1, ..MetricsRecord::default() })?;
    /// assert!(subject.poll(SystemTime::now()), "a step is new");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A folder of something else.
    pub fn run(path: &Path) -> Result<Self, Error> {
        Ok(Self(Watched::Run(Box::new(RunFollower::new(path)?))))
    }

    fn board(board: BoardFollower) -> Self {
        Self(Watched::Board(board))
    }

    /// Reads the new parts of the files and returns whether anything that is shown has changed.
    pub fn poll(&mut self, now: SystemTime) -> bool {
        match &mut self.0 {
            Watched::Run(run) => run.poll(now),
            Watched::Board(board) => board.poll(now),
        }
    }
}

/// The process that a view runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewProcess {
    /// The view runs in a separate process.
    Alone,
    /// The view runs in the process that trains.
    InTraining,
}

/// The action of a view after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    /// Nothing changes.
    Nothing,
    /// The view must be drawn again.
    Redraw,
    /// The view ends.
    End,
    /// The key was Ctrl-C: the caller decides.
    Interrupt,
}

/// A view: its subject and what of it is on the screen.
pub struct App {
    subject: Subject,
    place: ViewProcess,
    look: Look,
    /// The run of the board that is open.
    opened: Option<RunFollower>,
    chosen: usize,
    screen: RunScreen,
    /// Whether the last frame had space for all charts of a run.
    has_room: bool,
    /// The notice that is shown instead of the list of keys until the next key.
    notice: Option<String>,
}

impl App {
    /// Returns a view of `subject` that has drawn nothing yet.
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// use mixdown_watch::{App, KeyAction, Look, Subject, ViewProcess};
    /// use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    ///
    /// let directory = tempfile::tempdir()?;
    /// let subject = Subject::run(directory.path())?;
    /// let mut app = App::new(subject, ViewProcess::Alone, Look::of_environment());
    /// let q = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    /// assert_eq!(app.key(q, SystemTime::now()), KeyAction::End);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(subject: Subject, place: ViewProcess, look: Look) -> Self {
        let screen = RunScreen::default();
        let has_room = true;
        Self { subject, place, look, opened: None, chosen: 0, screen, has_room, notice: None }
    }

    /// Reads the new parts of the files and returns whether anything on the screen has changed.
    pub fn poll(&mut self, now: SystemTime) -> bool {
        match &mut self.opened {
            Some(run) => run.poll(now),
            None => self.subject.poll(now),
        }
    }

    /// Shows a notice instead of the list of keys until the next key.
    pub fn show_notice(&mut self, notice: &str) {
        self.notice = Some(notice.to_owned());
    }

    /// Draws a frame of the state at the last poll.
    pub fn draw(&mut self, frame: &mut Frame) {
        self.has_room = run_view::fits_all_charts(frame.area());
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
            (_, _, ViewProcess::Alone) => &["q end", "←→ chart", "l log scale"],
            (_, _, ViewProcess::InTraining) => {
                &["q close the view", "Ctrl-C stop the run", "←→ chart", "l log scale"]
            }
        };
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    /// Performs the action of a key and returns what the view does next.
    pub fn key(&mut self, key: KeyEvent, now: SystemTime) -> KeyAction {
        let had_notice = self.notice.take().is_some();
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') {
                KeyAction::Interrupt
            } else {
                KeyAction::Nothing
            };
        }
        let turn = match key.code {
            KeyCode::Char('q') => KeyAction::End,
            KeyCode::Esc if self.opened.is_none() => KeyAction::End,
            _ if self.run().is_some() => self.run_key(key.code, now),
            code => self.board_key(code, now),
        };
        if turn == KeyAction::Nothing && had_notice { KeyAction::Redraw } else { turn }
    }

    fn run_key(&mut self, code: KeyCode, now: SystemTime) -> KeyAction {
        match code {
            KeyCode::Esc | KeyCode::Backspace => {
                self.opened = None;
                self.subject.poll(now);
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
            _ => return KeyAction::Nothing,
        }
        KeyAction::Redraw
    }

    /// Selects the next or the previous chart; all charts together are one more choice if there is space.
    fn turn_panel(&mut self, step: isize) {
        let last = self.run().map_or(0, |run| panels(run.data()).len());
        let first = usize::from(!self.has_room);
        let panel = self.screen.panel.clamp(first, last.max(first)).checked_add_signed(step);
        self.screen.panel = panel.filter(|panel| *panel >= first).unwrap_or(last);
        if self.screen.panel > last {
            self.screen.panel = first;
        }
    }

    fn board_key(&mut self, code: KeyCode, now: SystemTime) -> KeyAction {
        let last = self.lines().saturating_sub(1);
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.chosen = (self.chosen + 1).min(last),
            KeyCode::PageUp => self.chosen = self.chosen.saturating_sub(10),
            KeyCode::PageDown => self.chosen = (self.chosen + 10).min(last),
            KeyCode::Home => self.chosen = 0,
            KeyCode::End => self.chosen = last,
            KeyCode::Enter | KeyCode::Right => self.open(now),
            _ => return KeyAction::Nothing,
        }
        KeyAction::Redraw
    }

    fn lines(&self) -> usize {
        match &self.subject.0 {
            Watched::Board(board) => board.board().lines.len(),
            Watched::Run(_) => 1,
        }
    }

    /// Opens the selected run, if it has a folder.
    fn open(&mut self, now: SystemTime) {
        let Watched::Board(board) = &self.subject.0 else { return };
        let run = board.run_folder(self.chosen).and_then(|folder| RunFollower::new(&folder).ok());
        match run {
            Some(mut run) => {
                run.poll(now);
                self.opened = Some(run);
            }
            None => {
                self.opened = None;
                self.show_notice(
                    "nothing of this run can be shown: it has no folder, or another program's",
                );
            }
        }
    }
}
