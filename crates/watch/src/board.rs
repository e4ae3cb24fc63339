//! Boards: many runs with one line each.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mixdown_runs::RunRow;

use crate::description::Description;
use crate::error::Error;
use crate::follow::RunFollower;
use crate::run_data::{RunData, RunState};
use crate::sweep_board::{SweepBoard, SweepReader};
use crate::view::curves::EvalCurve;
use crate::view::text::clean;

/// Many runs with one line each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    /// The title of the board.
    pub title: String,
    /// The runs.
    pub lines: Vec<BoardLine>,
    /// The damage of their files, if any.
    pub damage: Option<String>,
}

/// The status of a run on a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunStatus {
    /// The run has not begun.
    Planned,
    /// The run has a folder.
    Begun(RunState),
    /// The run failed for this reason.
    Failed(String),
}

/// One run on a board.
#[derive(Debug, Clone, PartialEq)]
pub struct BoardLine {
    /// The name of the run, safe for a terminal.
    pub name: String,
    /// Whether the run makes a base model that other runs start from.
    pub is_base: bool,
    /// N: parameters.
    pub model_size: Option<u64>,
    /// D: unique target tokens.
    pub target_tokens: Option<u64>,
    /// p: the share of pretraining data.
    pub inject: Option<f64>,
    /// Seed of the order.
    pub seed: Option<u64>,
    /// The status of the run.
    pub status: RunStatus,
    /// The steps that are done; for a finished run the best step.
    pub step: Option<u64>,
    /// The largest number of steps.
    pub steps: Option<u64>,
    /// The loss on the target: at the best step if the run is done, else the last.
    pub target_loss: Option<f64>,
    /// The loss on the pretraining data at the same step.
    pub pretraining_loss: Option<f64>,
    /// That loss minus the one before finetuning.
    pub forgetting: Option<f64>,
}

impl Board {
    /// Returns whether all runs are done or failed.
    pub fn is_done(&self) -> bool {
        let is_done = |line: &BoardLine| {
            matches!(line.status, RunStatus::Begun(RunState::Done) | RunStatus::Failed(_))
        };
        !self.lines.is_empty() && self.lines.iter().all(is_done)
    }
}

impl BoardLine {
    /// Returns the line of a run of which only the name is known.
    pub fn planned(name: &str) -> Self {
        Self {
            name: clean(name),
            is_base: false,
            model_size: None,
            target_tokens: None,
            inject: None,
            seed: None,
            status: RunStatus::Planned,
            step: None,
            steps: None,
            target_loss: None,
            pretraining_loss: None,
            forgetting: None,
        }
    }

    /// Returns the line of a run from its row in a table.
    pub fn of_row(row: &RunRow) -> Self {
        Self {
            name: clean(&row.run_id),
            is_base: false,
            model_size: Some(row.model_size),
            target_tokens: Some(row.target_tokens),
            inject: Some(row.p_requested),
            seed: Some(row.seed),
            status: RunStatus::Begun(RunState::Done),
            step: Some(row.best_step),
            steps: row.horizon_steps,
            target_loss: Some(row.target_loss),
            pretraining_loss: Some(row.pretraining_loss),
            forgetting: Some(row.forgetting()),
        }
    }

    /// Returns the line of a run from its folder.
    pub fn of_run(run: &RunData) -> Self {
        if let Some(summary) = run.summary.as_ref().filter(|_| run.state == RunState::Done)
            && let Some(row) = &summary.row
        {
            let (name, steps) = (run.title(), run.steps());
            return Self { name, steps, ..Self::of_row(row) };
        }
        let description = run.description.as_ref();
        let select = run.curves.eval(run.select());
        // A pretraining run measures only its own corpus, which may have any name.
        let is_finetuning = run.pretraining().is_some();
        let pretraining =
            if is_finetuning { run.curves.eval(run.pretraining().unwrap_or("")) } else { select };
        let loss = |curve: Option<&EvalCurve>| curve.map(|curve| curve.last.loss);
        Self {
            name: run.title(),
            is_base: false,
            model_size: run.summary.as_ref().map(|summary| summary.model_parameters),
            target_tokens: description.and_then(Description::target_tokens),
            inject: description.and_then(Description::inject),
            seed: description.and_then(Description::seed),
            status: RunStatus::Begun(run.state),
            step: run.curves.last.as_ref().map(|last| last.step),
            steps: run.steps(),
            target_loss: if is_finetuning { loss(select) } else { None },
            pretraining_loss: loss(pretraining),
            forgetting: pretraining.filter(|_| is_finetuning).and_then(EvalCurve::change),
        }
    }
}

/// Follows many runs: those that were named, those of sweeps, and those inside a folder.
pub struct BoardFollower {
    board: Board,
    /// The folder that is searched for runs and sweeps.
    folder: Option<PathBuf>,
    runs: Vec<RunFollower>,
    sweeps: Vec<FollowedSweep>,
    reader: SweepReader,
}

/// A sweep among others.
struct FollowedSweep {
    path: PathBuf,
    /// The prefix of the names of its runs; empty if it is the only sweep.
    prefix: String,
    sweep: SweepBoard,
}

impl BoardFollower {
    /// Follows runs and sweeps that were named.
    ///
    /// # Errors
    /// A folder of something else.
    pub fn named(paths: &[PathBuf], reader: SweepReader) -> Result<Self, Error> {
        let mut board = Self::empty(&format!("{} folders", paths.len()), None, reader);
        for path in paths {
            match folder_kind(path) {
                Some(FolderKind::Sweep) => board.push_sweep(path, &path.display().to_string()),
                _ => board.runs.push(RunFollower::new(path)?),
            }
        }
        Ok(board)
    }

    /// Follows a sweep.
    pub fn sweep(path: &Path, reader: SweepReader) -> Self {
        let mut board = Self::empty("", None, reader);
        board.push_sweep(path, "");
        board
    }

    /// Follows the runs and sweeps in a folder, including later ones; `None` if it has none now.
    pub fn folder(path: &Path, reader: SweepReader) -> Option<Self> {
        let title = path.display().to_string();
        let mut board = Self::empty(&title, Some(path.to_owned()), reader);
        board.find();
        (!board.runs.is_empty() || !board.sweeps.is_empty()).then_some(board)
    }

    fn empty(title: &str, folder: Option<PathBuf>, reader: SweepReader) -> Self {
        let board = Board { title: clean(title), ..Board::default() };
        Self { board, folder, runs: Vec::new(), sweeps: Vec::new(), reader }
    }

    fn push_sweep(&mut self, path: &Path, name: &str) {
        let prefix = if name.is_empty() { String::new() } else { format!("{}/", clean(name)) };
        let sweep = SweepBoard::new(path, self.reader);
        self.sweeps.push(FollowedSweep { path: path.to_owned(), prefix, sweep });
    }

    /// Begins to follow new runs and sweeps in the folder.
    fn find(&mut self) {
        let Some(folder) = self.folder.clone() else { return };
        for (path, kind) in runs_and_sweeps_in(&folder) {
            let is_known = self.runs.iter().any(|run| run.path() == path)
                || self.sweeps.iter().any(|one| one.path == path);
            if is_known {
                continue;
            }
            match kind {
                FolderKind::Run => self.runs.extend(RunFollower::new(&path).ok()),
                FolderKind::Sweep => {
                    let name = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
                    self.push_sweep(&path, &name);
                }
            }
        }
    }

    /// Reads the new parts of the files and returns whether anything that is shown has changed.
    pub fn poll(&mut self, now: SystemTime) -> bool {
        self.find();
        let before = self.board.clone();
        for run in &mut self.runs {
            run.poll(now);
        }
        let mut lines: Vec<BoardLine> =
            self.runs.iter().map(|run| BoardLine::of_run(run.data())).collect();
        let mut damage = self.runs.iter().find_map(|run| run.data().damage.clone());
        for FollowedSweep { prefix, sweep, .. } in &mut self.sweeps {
            sweep.poll(now);
            let named = |line: &BoardLine| BoardLine {
                name: format!("{prefix}{}", line.name),
                ..line.clone()
            };
            lines.extend(sweep.board().lines.iter().map(named));
            damage = damage.or_else(|| sweep.board().damage.clone());
        }
        if let (true, [one]) = (self.board.title.is_empty(), self.sweeps.as_slice()) {
            self.board.title.clone_from(&one.sweep.board().title);
        }
        (self.board.lines, self.board.damage) = (lines, damage.as_deref().map(clean));
        self.board != before
    }

    /// Returns the board as of the last poll.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Returns the runs outside of sweeps, whose lines come first.
    pub fn runs(&self) -> &[RunFollower] {
        &self.runs
    }

    /// Returns the lines of the runs of sweeps.
    pub fn sweep_lines(&self) -> &[BoardLine] {
        self.board.lines.get(self.runs.len()..).unwrap_or_default()
    }

    /// Returns the board of each sweep.
    pub fn sweeps(&self) -> impl Iterator<Item = &Board> {
        self.sweeps.iter().map(|one| one.sweep.board())
    }

    /// Returns the folder of the run in a line, if it has one.
    pub fn run_folder(&self, place: usize) -> Option<PathBuf> {
        if let Some(run) = self.runs.get(place) {
            return Some(run.path());
        }
        let mut place = place - self.runs.len();
        for FollowedSweep { sweep, .. } in &self.sweeps {
            let len = sweep.board().lines.len();
            if place < len {
                return sweep.folder(place);
            }
            place -= len;
        }
        None
    }
}

/// The kind of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderKind {
    /// The folder of a run.
    Run,
    /// The folder of a sweep.
    Sweep,
}

/// Returns the kind of a folder by the files in it; `None` if it is neither.
pub fn folder_kind(path: &Path) -> Option<FolderKind> {
    let has = |name: &str| path.join(name).is_file();
    if has("run.toml") {
        return Some(FolderKind::Run);
    }
    (has("sweep.toml") || has("runs.jsonl")).then_some(FolderKind::Sweep)
}

/// The depth of the search for runs and sweeps, and the largest number of folders, so that a wrong folder does not take
/// a minute.
const DEPTH: u32 = 4;
const FOLDERS: usize = 5_000;

/// Returns the runs and sweeps in a folder in the order of their names. Corpora and hidden folders are skipped.
fn runs_and_sweeps_in(folder: &Path) -> Vec<(PathBuf, FolderKind)> {
    let (mut found, mut level, mut seen) = (Vec::new(), vec![folder.to_owned()], 0);
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for path in level.iter().flat_map(|path| subfolders(path)).take(FOLDERS - seen) {
            seen += 1;
            match folder_kind(&path) {
                Some(kind) => found.push((path, kind)),
                None if path.join("manifest.json").is_file() => {}
                None => next.push(path),
            }
        }
        level = next;
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

fn subfolders(path: &Path) -> Vec<PathBuf> {
    let entries = path.read_dir().into_iter().flatten().filter_map(Result::ok);
    let is_hidden = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    let paths = entries.map(|entry| entry.path()).filter(|path| !is_hidden(path) && path.is_dir());
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort();
    paths
}
