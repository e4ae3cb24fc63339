//! The output folder before it is a corpus: whose it is, and where the unfinished work lies.

use std::fs::{self, DirEntry, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use mixdown_shards::{Manifest, Split, finished_name};
use serde_json::Value;

use crate::error::Error;
use crate::plan::Plan;
use crate::work_file::{read_json, write_json};

const WORK: &str = ".work";
const PLAN: &str = "plan.json";

/// `OUT/.work`, held by one process at a time.
pub(crate) struct WorkFolder {
    out: PathBuf,
    work: PathBuf,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

impl WorkFolder {
    /// Takes an output folder that is absent, empty or holds unfinished work with an equal plan.
    pub(crate) fn claim(out: &Path, plan: &Plan) -> Result<Self, Error> {
        let work = out.join(WORK);
        let plan_path = work.join(PLAN);
        if is_finished(out)? {
            return Err(refuse_finished(out, &work)?);
        }
        refuse_taken(out, &work)?;
        fs::create_dir_all(&work).map_err(Error::io("create", &work))?;
        let lock = lock(out, &work);
        // Whoever held the lock may have finished in the meantime.
        if is_finished(out)? {
            drop(lock);
            return Err(refuse_finished(out, &work)?);
        }
        let lock = lock?;
        remove_files(&work, |name| finished_name(name).is_some())?;
        match read_json(&plan_path)? {
            None => write_json(&plan_path, plan)?,
            Some(before) => plan.check_equal(&before, out)?,
        }
        Ok(Self { out: out.to_owned(), work, _lock: lock })
    }

    /// The output folder.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// Where part `part` of a unit is written.
    pub(crate) fn part(&self, unit: u64, part: u64) -> PathBuf {
        self.work.join(format!("part-{unit:06}-{part:06}"))
    }

    /// The file that says how many parts a finished unit has.
    pub(crate) fn unit(&self, unit: u64) -> PathBuf {
        self.work.join(format!("unit-{unit:06}.json"))
    }

    /// The file that says how documents are split.
    pub(crate) fn split(&self) -> PathBuf {
        self.work.join("split.json")
    }

    /// The file that says which shards a finished run of buckets gave.
    pub(crate) fn run(&self, run: u64) -> PathBuf {
        self.work.join(format!("run-{run:06}.json"))
    }

    /// Forgets which shards are finished, and the shards with it.
    pub(crate) fn forget_runs(&self) -> Result<(), Error> {
        remove_files(&self.work, |name| name.starts_with("run-"))?;
        for side in [Split::Train, Split::Holdout] {
            let folder = self.out.join(side.folder());
            if folder.is_dir() {
                remove_files(&folder, is_shard_file)?;
                // Left where it holds something else, which is not ours.
                let _not_empty = fs::remove_dir(&folder);
            }
        }
        Ok(())
    }

    /// Removes what killed calls left of the shards' files.
    pub(crate) fn remove_unfinished_shards(&self) -> Result<(), Error> {
        for side in [Split::Train, Split::Holdout] {
            let unfinished = |name: &str| finished_name(name).is_some_and(is_shard_file);
            remove_files(&self.out.join(side.folder()), unfinished)?;
        }
        Ok(())
    }

    /// Forgets the unfinished work, which a manifest has made superfluous.
    pub(crate) fn remove(self) -> Result<(), Error> {
        remove_work(&self.work)
    }
}

/// The error for an output that is a corpus, after removing the work of a call that was killed
/// between its manifest and the end, or of one that came while another finished.
fn refuse_finished(out: &Path, work: &Path) -> Result<Error, Error> {
    let begun = work.is_dir() && foreign_in(work)?.is_none();
    if (begun || holds_our_plan(work))
        && let Ok(_lock) = lock(out, work)
        && is_finished(out)?
    {
        remove_work(work)?;
    }
    Ok(Error::AlreadyCorpus { path: out.to_owned() })
}

/// The plan goes last, for it tells that the folder is ours.
fn remove_work(work: &Path) -> Result<(), Error> {
    remove_files(work, |name| name != PLAN)?;
    absent_or(fs::remove_dir_all(work)).map_err(Error::io("remove", work))
}

/// Whether the output is a corpus; a manifest that cannot be read is somebody else's.
fn is_finished(out: &Path) -> Result<bool, Error> {
    match Manifest::read(out) {
        Ok(_) => Ok(true),
        Err(mixdown_shards::Error::NoManifest { .. }) => Ok(false),
        Err(_) => {
            let got = format!("a {} that is not a corpus'", Manifest::FILE);
            Err(Error::OutputTaken { path: out.to_owned(), got })
        }
    }
}

/// Refuses an output that holds anything but our own unfinished work.
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
    let other = names(out)?.into_iter().filter(|name| name != WORK).min();
    match other.or(foreign_in(work)?.map(|name| format!("{WORK}/{name}"))) {
        Some(name) => taken(name),
        None => Ok(()),
    }
}

/// Something in the work folder that no call leaves that was ended before it had written its plan.
fn foreign_in(work: &Path) -> Result<Option<String>, Error> {
    let begun = |name: &str| name == "lock" || finished_name(name) == Some(PLAN);
    Ok(names(work)?.into_iter().filter(|name| !begun(name)).min())
}

fn holds_our_plan(work: &Path) -> bool {
    let plan: Option<Value> = read_json(&work.join(PLAN)).ok().flatten();
    plan.is_some_and(|plan| plan.get("format").is_some_and(|format| format == Plan::FORMAT))
}

/// `shard-NNNNN.ENDING`, whole or not.
fn is_shard_file(name: &str) -> bool {
    let whole = finished_name(name).unwrap_or(name);
    let parts = whole.strip_prefix("shard-").and_then(|name| name.split_once('.'));
    parts.is_some_and(|(number, ending)| {
        number.bytes().all(|byte| byte.is_ascii_digit())
            && ["bin", "idx", "sums", "hashes", "ids", "mask"].contains(&ending)
    })
}

fn remove_files(folder: &Path, ours: impl Fn(&str) -> bool) -> Result<(), Error> {
    for name in names(folder)?.iter().filter(|name| ours(name)) {
        let path = folder.join(name);
        absent_or(fs::remove_file(&path)).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

/// The names in a folder; none where there is no folder.
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

/// What has been removed already needs no removing.
fn absent_or(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// Takes the lock file. Where the file system knows no locks it is left at that: two processes in
/// one folder then damage each other's unfinished work, which the checks on reading notice.
fn lock(out: &Path, work: &Path) -> Result<File, Error> {
    let path = work.join("lock");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Busy { path: out.to_owned() }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
