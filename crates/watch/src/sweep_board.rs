//! The board of a sweep: planned runs from its settings, finished ones from their rows, others from their folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mixdown_runs::RunRow;

use crate::board::{Board, BoardLine, RunStatus};
use crate::follow::{RunFollower, Stamp, stamp};
use crate::run_data::RunState;
use crate::view::text::clean;

/// The files that the user's program (the sweep's `command`) writes while it does a run.
const SIGNS_OF_LIFE: [&str; 3] = ["stderr.log", "stdout.log", "run.json"];
/// Such a run counts as stopped if these files have not changed for this time.
const SILENCE: Duration = Duration::from_secs(300);

/// The contents of a sweep's folder.
#[derive(Debug, Clone, Default)]
pub struct SweepRecords {
    /// The rows of its finished runs.
    pub rows: Vec<RunRow>,
    /// The ids of the runs that failed in the last attempt, each with the reason.
    pub failures: Vec<(String, String)>,
    /// The runs that its settings ask for, in the order in which they are done; empty if the settings cannot be read.
    pub planned: Vec<ExpectedRun>,
}

/// A run that a sweep's settings ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedRun {
    /// The unique name of the run.
    pub run_id: String,
    /// D: the requested target tokens.
    pub target_tokens: u64,
    /// p: the share of pretraining data.
    pub inject: f64,
    /// Seed of the order.
    pub seed: u64,
}

/// A function that reads the folder of a sweep; its error describes the damage of the files.
///
/// This crate reads only runs. The program that shows a view provides the reader of sweeps.
pub type SweepReader = fn(&Path) -> Result<SweepRecords, String>;

/// Follows the folder of a sweep.
pub struct SweepBoard {
    path: PathBuf,
    reader: SweepReader,
    board: Board,
    /// The folders of the lines.
    folders: Vec<Option<PathBuf>>,
    /// The stamps of the files in the sweep's folder when they were read.
    stamps: BTreeMap<PathBuf, Stamp>,
    rows: BTreeMap<String, RunRow>,
    /// The reasons why runs failed, by their ids.
    failures: BTreeMap<String, String>,
    planned: Vec<ExpectedRun>,
    /// The folders of the runs, those of base models first.
    runs: BTreeMap<(Kind, String), Folder>,
}

/// The kind of a folder of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Base,
    Run,
}

/// The folder of one run.
enum Folder {
    /// A run of mixdown.
    Own(Box<RunFollower>),
    /// A run of the user's program.
    Foreign(PathBuf),
}

impl SweepBoard {
    /// Follows the sweep in `path`.
    pub fn new(path: &Path, reader: SweepReader) -> Self {
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = whole.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self {
            path: path.to_owned(),
            reader,
            board: Board { title: clean(&format!("sweep {name}")), ..Board::default() },
            folders: Vec::new(),
            stamps: BTreeMap::new(),
            rows: BTreeMap::new(),
            failures: BTreeMap::new(),
            planned: Vec::new(),
            runs: BTreeMap::new(),
        }
    }

    /// Returns the board as of the last poll.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Returns the folder of the run in a line, if it has one.
    pub fn folder(&self, place: usize) -> Option<PathBuf> {
        self.folders.get(place)?.clone().filter(|path| path.is_dir())
    }

    /// Reads the new parts of the files and returns whether anything that is shown has changed.
    pub fn poll(&mut self, now: SystemTime) -> bool {
        let before = self.board.clone();
        self.board.damage = self.read_tables().err().map(|error| clean(&error));
        for (kind, name) in [(Kind::Base, "bases"), (Kind::Run, "runs")] {
            self.find(kind, &self.path.join(name));
        }
        self.lines(now);
        self.board != before
    }

    /// Reads rows, failures and settings, if one of their files changed since the last poll.
    fn read_tables(&mut self) -> Result<(), String> {
        let Ok(entries) = fs::read_dir(&self.path) else { return Ok(()) };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_table = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "jsonl" || extension == "toml")
        };
        let tables = paths.filter(is_table).map(|path| (path.clone(), stamp(&path)));
        let stamps: BTreeMap<PathBuf, Stamp> = tables.collect();
        if stamps == self.stamps {
            return Ok(());
        }
        let SweepRecords { rows, failures, planned } = (self.reader)(&self.path)?;
        self.rows = rows.into_iter().map(|row| (row.run_id.clone(), row)).collect();
        self.failures = failures.into_iter().collect();
        self.planned = planned;
        self.stamps = stamps;
        Ok(())
    }

    /// Begins to follow new runs in a folder of runs.
    fn find(&mut self, kind: Kind, place: &Path) {
        let Ok(entries) = fs::read_dir(place) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !path.is_dir() || self.runs.contains_key(&(kind, name.clone())) {
                continue;
            }
            let folder = if path.join("run.toml").is_file() {
                RunFollower::new(&path).ok().map(|mut run| {
                    run.poll_settings();
                    Folder::Own(Box::new(run))
                })
            } else {
                path.join("run.json").is_file().then_some(Folder::Foreign(path))
            };
            if let Some(folder) = folder {
                self.runs.insert((kind, name), folder);
            }
        }
    }

    /// Makes all lines: base models, planned runs in their order, and other runs.
    fn lines(&mut self, now: SystemTime) {
        let mut found: BTreeMap<String, (BoardLine, PathBuf)> = BTreeMap::new();
        let mut lines = Vec::new();
        for ((kind, name), folder) in &mut self.runs {
            let id = folder.id(name);
            let line = match self.rows.get(&id).filter(|_| *kind == Kind::Run) {
                Some(row) => BoardLine::of_row(row),
                None => folder.line(&id, now),
            };
            let line = (line, folder.path());
            if *kind == Kind::Base {
                lines.push((BoardLine { is_base: true, ..line.0 }, Some(line.1)));
            } else {
                found.insert(id, line);
            }
        }
        for (id, row) in &self.rows {
            if !found.contains_key(id) {
                let path = self.path.join("runs").join(id);
                found.insert(id.clone(), (BoardLine::of_row(row), path));
            }
        }
        for run in &self.planned {
            let there = found.remove(&run.run_id);
            let line = there.map(|(line, path)| (line.with_plan(run), Some(path)));
            let planned = || (BoardLine::planned(&run.run_id).with_plan(run), None);
            lines.push(line.unwrap_or_else(planned));
        }
        lines.extend(found.into_values().map(|(line, path)| (line, Some(path))));
        for (line, _) in &mut lines {
            if let Some(reason) = self.failures.get(&line.name)
                && line.status != RunStatus::Begun(RunState::Running)
            {
                line.status = RunStatus::Failed(clean(reason));
            }
        }
        (self.board.lines, self.folders) = lines.into_iter().unzip();
    }
}

impl Folder {
    fn path(&self) -> PathBuf {
        match self {
            Self::Own(run) => run.path(),
            Self::Foreign(path) => path.clone(),
        }
    }

    /// Returns the id of the run, which may differ from the name of its folder.
    fn id(&self, name: &str) -> String {
        let Self::Own(run) = self else { return name.to_owned() };
        let id = run.data().description.as_ref().map_or("", |description| &description.run_id);
        if id.is_empty() { name.to_owned() } else { id.to_owned() }
    }

    fn line(&mut self, id: &str, now: SystemTime) -> BoardLine {
        let path = match self {
            Self::Own(run) => {
                run.poll(now);
                return BoardLine::of_run(run.data());
            }
            Self::Foreign(path) => path,
        };
        let written = SIGNS_OF_LIFE.iter().filter_map(|name| Some(stamp(&path.join(name))?.0));
        let silence = written.max().map(|at| now.duration_since(at).unwrap_or_default());
        let state = match silence {
            Some(silence) if silence > SILENCE => RunState::Stopped(silence.as_secs()),
            _ => RunState::Running,
        };
        BoardLine { status: RunStatus::Begun(state), ..BoardLine::planned(id) }
    }
}

impl BoardLine {
    /// Adds what the settings of the sweep say about the run, as far as its files do not.
    fn with_plan(self, run: &ExpectedRun) -> Self {
        Self {
            target_tokens: self.target_tokens.or(Some(run.target_tokens)),
            inject: self.inject.or(Some(run.inject)),
            seed: self.seed.or(Some(run.seed)),
            ..self
        }
    }
}
