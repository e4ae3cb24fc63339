//! The output folder before it is a corpus: its owner, and the place of the unfinished work.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use mixdown_base::files::finished_name;
use mixdown_shards::{Manifest, ShardRecord, Split};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::plan::Plan;
use crate::spill::work_file::{read_json, write_json, write_json_first};
use crate::tokenizer::end_of_text::FILES;

const WORK: &str = ".work";
const PLAN: &str = "plan.json";
const SPLIT: &str = "split.json";
const LISTED: &str = "part-list";
const EXCEPTIONS: &str = "exceptions";
/// The list of held-out documents that moved to training, in the work and in the corpus.
pub(crate) const MOVED: &str = "moved.jsonl";
/// The list of documents that are left out as near-duplicates of other texts, in the work and in the corpus.
pub(crate) const LEFT_OUT: &str = "left-out.jsonl";
const LOCK: &str = "lock";
const TASKS: &str = "tasks.lock";

/// The processes that may work in an output folder at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Only this call.
    Alone,
    /// Any number of tasks.
    Shared,
}

/// `OUT/.work`, and the folder of the parts.
pub(crate) struct WorkFolder {
    out: PathBuf,
    work: PathBuf,
    parts: PathBuf,
    /// Files whose locks are held as long as they are open.
    _locks: Vec<File>,
}

/// The record file of a finished stream.
#[derive(Serialize, Deserialize)]
struct UnitRecord {
    parts: u64,
}

impl WorkFolder {
    /// Takes an output folder that is absent, empty or holds unfinished work with an equal plan.
    pub(crate) fn claim(out: &Path, plan: &Plan, hold: Hold) -> Result<Self, Error> {
        let work = out.join(WORK);
        let plan_path = work.join(PLAN);
        if is_finished(out)? {
            return Err(refuse_finished(out, plan)?);
        }
        refuse_taken(out, &work)?;
        fs::create_dir_all(&work).map_err(Error::io("create", &work))?;
        let lock = lock(out, &work, hold);
        // The previous holder of the lock may have finished in the meantime.
        if is_finished(out)? {
            drop(lock);
            return Err(refuse_finished(out, plan)?);
        }
        let Locked { file, known } = lock?;
        let parts = parts_folder(&work, out, plan)?;
        fs::create_dir_all(&parts).map_err(Error::io("create", &parts))?;
        let mut folder = Self { out: out.to_owned(), work, parts, _locks: vec![file] };
        match hold {
            // This applies only if no other process can be writing them.
            Hold::Alone if known => {
                folder.remove_leftovers()?;
                folder.replace_plan(plan)?;
            }
            Hold::Alone => {}
            Hold::Shared => folder.join_tasks(plan)?,
        }
        write_json_first(&plan_path, plan)?;
        match read_json(&plan_path)? {
            Some(before) => plan.check_equal(&before, out)?,
            // Another task has just finished.
            None => return Err(Error::AlreadyCorpus { path: out.to_owned() }),
        }
        Ok(folder)
    }

    /// Replaces another plan of which no part is finished: a wrong field name must not lock the folder. It applies only
    /// if no other process is at work.
    fn replace_plan(&self, plan: &Plan) -> Result<(), Error> {
        let path = self.work.join(PLAN);
        let Some(before) = read_json::<Value>(&path)? else { return Ok(()) };
        if plan.check_equal(&before, &self.out).is_ok() {
            return Ok(());
        }
        let parts = match before.get("work_dir") {
            None | Some(Value::Null) => self.work.clone(),
            // The parts are elsewhere, in a folder whose name only the same version of a plan can compute.
            Some(_) => match serde_json::from_value::<Plan>(before) {
                Ok(before) => parts_folder(&self.work, &self.out, &before)?,
                Err(_) => return Ok(()),
            },
        };
        let begun = |name: &String| name.starts_with("part-") || name.starts_with("run-");
        if names(&parts)?.iter().chain(&names(&self.work)?).any(begun) {
            return Ok(());
        }
        remove_files(&self.work, |name| {
            [SPLIT, EXCEPTIONS, LEFT_OUT, MOVED].contains(&name) || name.starts_with("unit-")
        })?;
        remove_parts(&parts, &self.work)?;
        write_json(&path, plan)
    }

    /// Removes the leftovers of killed tasks if no other task is at work, and registers this one. No task holds this
    /// lock exclusively for longer than that takes, so the wait is short.
    fn join_tasks(&mut self, plan: &Plan) -> Result<(), Error> {
        let path = self.work.join(TASKS);
        let open = || File::create(&path).map_err(Error::io("create", &path));
        if let alone = open()?
            && alone.try_lock().is_ok()
        {
            self.remove_leftovers()?;
            self.replace_plan(plan)?;
        }
        let together = open()?;
        // Without file locks, finishing removes the leftovers.
        let _no_locks_here = together.lock_shared();
        self._locks.push(together);
        Ok(())
    }

    /// Returns the folder of the parts.
    pub(crate) fn parts_folder(&self) -> &Path {
        &self.parts
    }

    /// Returns the output folder.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// Returns the path of part `part` of a unit.
    pub(crate) fn part(&self, unit: u64, part: u64) -> PathBuf {
        self.parts.join(format!("part-{unit:06}-{part:06}"))
    }

    /// Returns the units and numbers of the existing parts.
    pub(crate) fn parts(&self) -> Result<BTreeSet<(u64, u64)>, Error> {
        let part = |name: String| {
            let (unit, part) = name.strip_prefix("part-")?.split_once('-')?;
            Some((unit.parse().ok()?, part.parse().ok()?))
        };
        Ok(names(&self.parts)?.into_iter().filter_map(part).collect())
    }

    /// Returns the file that records the number of parts of a stream.
    pub(crate) fn unit(&self, unit: u64) -> PathBuf {
        self.parts.join(format!("unit-{unit:06}.json"))
    }

    /// Returns the number of parts of a stream, once it has been read to its end.
    pub(crate) fn unit_parts(&self, unit: u64) -> Result<Option<u64>, Error> {
        match read_json(&self.unit(unit)) {
            Ok(record) => Ok(record.map(|record: UnitRecord| record.parts)),
            Err(Error::DamagedWork { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Records the number of parts of a stream.
    pub(crate) fn write_unit(&self, unit: u64, parts: u64) -> Result<(), Error> {
        write_json(&self.unit(unit), &UnitRecord { parts })
    }

    /// Removes a damaged file of a part, which is then made again.
    pub(crate) fn forget(&self, path: &Path) -> Result<(), Error> {
        absent_or(fs::remove_file(path)).map_err(Error::io("remove", path))
    }

    /// Returns whether a path belongs to a part.
    pub(crate) fn is_part(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        path.parent() == Some(self.parts.as_path()) && name.starts_with("part-")
    }

    /// Returns the file that records the split.
    pub(crate) fn split(&self) -> PathBuf {
        self.work.join(SPLIT)
    }

    /// Returns the list of training documents while they are compared with each other.
    pub(crate) fn listed(&self) -> PathBuf {
        self.parts.join(LISTED)
    }

    /// Returns the file that lists the documents that are left out.
    pub(crate) fn left_out(&self) -> PathBuf {
        self.work.join(LEFT_OUT)
    }

    /// Returns the file that lists the documents that moved to training.
    pub(crate) fn moved(&self) -> PathBuf {
        self.work.join(MOVED)
    }

    /// Returns the file of the documents that are not on the side of their hash.
    pub(crate) fn exceptions(&self) -> PathBuf {
        self.work.join(EXCEPTIONS)
    }

    /// Returns the file that records the shards of a finished run of buckets.
    pub(crate) fn run(&self, run: u64) -> PathBuf {
        self.work.join(format!("run-{run:06}.json"))
    }

    /// Removes the records of finished shards, and the shards with them.
    pub(crate) fn forget_runs(&self) -> Result<(), Error> {
        remove_files(&self.work, |name| name.starts_with("run-"))?;
        self.keep_shards(Split::Train, &[])?;
        self.keep_shards(Split::Holdout, &[])
    }

    /// Removes the shards of a side except these.
    pub(crate) fn keep_shards(&self, side: Split, keep: &[ShardRecord]) -> Result<(), Error> {
        let folder = self.out.join(side.folder());
        let kept = |name: &str| {
            let of = |shard: &ShardRecord| name.strip_prefix(shard.file.as_str());
            keep.iter().filter_map(of).any(|ending| ending.starts_with('.'))
        };
        remove_files(&folder, |name| is_shard_file(name) && !kept(name))?;
        // A folder with other contents stays; a missing one needs no removal.
        let _not_empty = fs::remove_dir(&folder);
        Ok(())
    }

    /// Removes the temporary files that killed processes left.
    pub(crate) fn remove_leftovers(&self) -> Result<(), Error> {
        let unfinished = |name: &str| finished_name(name).is_some();
        remove_files(&self.work, unfinished)?;
        remove_files(&self.parts, unfinished)?;
        for side in [Split::Train, Split::Holdout] {
            let of_shard = |name: &str| finished_name(name).is_some_and(is_shard_file);
            remove_files(&self.out.join(side.folder()), of_shard)?;
        }
        let companion = |name: &str| {
            finished_name(name).is_some_and(|name| {
                [Manifest::FILE, "tokenizer.json", LEFT_OUT, MOVED].contains(&name)
                    || FILES.contains(&name)
            })
        };
        remove_files(&self.out, companion)
    }

    /// Removes the unfinished work, which is no longer needed once there is a manifest.
    pub(crate) fn remove(self) -> Result<(), Error> {
        self.remove_leftovers()?;
        remove_parts(&self.parts, &self.work)?;
        remove_work(&self.work)
    }
}

/// Returns the folder of the parts: its name comes from the output and the plan, so that several outputs can share a
/// work folder.
fn parts_folder(work: &Path, out: &Path, plan: &Plan) -> Result<PathBuf, Error> {
    let Some(shared) = &plan.work_dir else { return Ok(work.to_owned()) };
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let plan = plan.fingerprint(out)?.to_string();
    Ok(shared.join(format!("{name}-{}", plan.get(..16).unwrap_or(&plan))))
}

/// Returns the error for an output that is a corpus, after removing the work on it.
fn refuse_finished(out: &Path, plan: &Plan) -> Result<Error, Error> {
    forget_work(out, plan)?;
    Ok(Error::AlreadyCorpus { path: out.to_owned() })
}

/// Removes the work of a call that was killed between its manifest and the end, or of one that came while another one
/// finished.
pub(crate) fn forget_work(out: &Path, plan: &Plan) -> Result<(), Error> {
    let work = &out.join(WORK);
    let begun = work.is_dir() && foreign_in(work)?.is_none();
    if (begun || holds_our_plan(work))
        && let Ok(_lock) = lock(out, work, Hold::Alone)
        && is_finished(out)?
    {
        remove_parts(&parts_folder(work, out, plan)?, work)?;
        remove_work(work)?;
    }
    Ok(())
}

/// Removes the folder of the parts, if they have a separate one.
fn remove_parts(parts: &Path, work: &Path) -> Result<(), Error> {
    if parts != work {
        remove_files(parts, |name| {
            let whole = finished_name(name).unwrap_or(name);
            whole.starts_with("part-") || whole.starts_with("unit-")
        })?;
        // A folder with other contents stays.
        let _not_empty = fs::remove_dir(parts);
    }
    Ok(())
}

/// Removes the work; the plan is last, because it shows that the folder belongs to this program.
fn remove_work(work: &Path) -> Result<(), Error> {
    remove_files(work, |name| name != PLAN)?;
    absent_or(fs::remove_dir_all(work)).map_err(Error::io("remove", work))
}

/// Returns whether the output is a corpus; an unreadable manifest belongs to another program.
pub(crate) fn is_finished(out: &Path) -> Result<bool, Error> {
    match Manifest::read(out) {
        Ok(_) => Ok(true),
        Err(mixdown_shards::Error::NoManifest { .. }) => Ok(false),
        // The folder cannot be inspected: permission, a name that is too long, a loop of links.
        Err(error @ mixdown_shards::Error::Io { .. }) if !out.is_file() => Err(error.into()),
        Err(_) => {
            let got = format!("a {} that is not a corpus'", Manifest::FILE);
            Err(Error::OutputTaken { path: out.to_owned(), got })
        }
    }
}

/// Refuses an output that holds anything except our own unfinished work.
fn refuse_taken(out: &Path, work: &Path) -> Result<(), Error> {
    let taken = |got: String| Err(Error::OutputTaken { path: out.to_owned(), got });
    if !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        return taken("a file's data".to_owned());
    }
    if holds_our_plan(work) {
        return Ok(());
    }
    refuse_damaged_plan(out, work)?;
    let other = names(out)?.into_iter().filter(|name| name != WORK).min();
    match other.or(foreign_in(work)?.map(|name| format!("{WORK}/{name}"))) {
        // Between the two checks another task may have begun, or even finished.
        Some(name) if !holds_our_plan(work) && !is_finished(out)? => taken(name),
        _ => Ok(()),
    }
}

/// Returns an entry of the work folder that a call interrupted before writing its plan would not leave.
fn foreign_in(work: &Path) -> Result<Option<String>, Error> {
    let begun = |name: &str| [LOCK, TASKS].contains(&name) || finished_name(name) == Some(PLAN);
    Ok(names(work)?.into_iter().filter(|name| !begun(name)).min())
}

/// Refuses a damaged plan, with the fix.
fn refuse_damaged_plan(out: &Path, work: &Path) -> Result<(), Error> {
    let path = work.join(PLAN);
    match read_json::<Value>(&path) {
        Err(Error::DamagedWork { path, got, .. }) => {
            Err(Error::DamagedPlan { path, out: out.to_owned(), got })
        }
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

fn holds_our_plan(work: &Path) -> bool {
    let plan: Option<Value> = read_json(&work.join(PLAN)).ok().flatten();
    plan.is_some_and(|plan| plan.get("format").is_some_and(|format| format == Plan::FORMAT))
}

/// Returns whether a name is `shard-NNNNN.ENDING`, complete or temporary.
fn is_shard_file(name: &str) -> bool {
    let whole = finished_name(name).unwrap_or(name);
    let parts = whole.strip_prefix("shard-").and_then(|name| name.split_once('.'));
    parts.is_some_and(|(number, ending)| {
        number.bytes().all(|byte| byte.is_ascii_digit())
            && ["bin", "idx", "sums", "hashes", "ids", "mask", "sketches"].contains(&ending)
    })
}

fn remove_files(folder: &Path, ours: impl Fn(&str) -> bool) -> Result<(), Error> {
    for name in names(folder)?.iter().filter(|name| ours(name)) {
        let path = folder.join(name);
        absent_or(fs::remove_file(&path)).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

/// Returns the names in a folder; none if the folder does not exist.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("read", folder)(source)),
    };
    let name = |entry: io::Result<DirEntry>| {
        Ok(entry.map_err(Error::io("read", folder))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Treats an absent file as removed.
fn absent_or(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// Takes the lock file: exclusively for a plain call, shared for tasks. On a file system without locks there is no
/// lock: unique names keep two processes from harming each other, and they only do the same work twice.
fn lock(out: &Path, work: &Path, hold: Hold) -> Result<Locked, Error> {
    let path = work.join(LOCK);
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    let locked = match hold {
        Hold::Alone => file.try_lock(),
        Hold::Shared => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(Locked { file, known: true }),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { path: out.to_owned() }),
        Err(TryLockError::Error(_)) => Ok(Locked { file, known: false }),
    }
}

/// The lock file, and whether the file system supports locks.
struct Locked {
    file: File,
    known: bool,
}
