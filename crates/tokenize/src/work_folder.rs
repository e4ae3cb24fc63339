//! The output folder before it is a corpus: whose it is, and where the unfinished work lies.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use mixdown_shards::{Manifest, Split};

use crate::error::Error;
use crate::plan::Plan;
use crate::work_file::{read_json, write_json};

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
        let work = out.join(".work");
        if out.join(Manifest::FILE).exists() {
            if work.is_dir() {
                // Killed after the manifest and before this.
                fs::remove_dir_all(&work).map_err(Error::io("remove", &work))?;
            }
            return Err(Error::AlreadyCorpus { path: out.to_owned() });
        }
        if !work.is_dir() {
            refuse_taken(out)?;
        }
        fs::create_dir_all(&work).map_err(Error::io("create", &work))?;
        let lock = lock(out, &work.join("lock"))?;
        let plan_path = work.join("plan.json");
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
        for entry in fs::read_dir(&self.work).map_err(Error::io("read", &self.work))? {
            let path = entry.map_err(Error::io("read", &self.work))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("run-") {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        for side in [Split::Train, Split::Holdout] {
            let folder = self.out.join(side.folder());
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
            }
        }
        Ok(())
    }

    /// Forgets the unfinished work, which a manifest has made superfluous.
    pub(crate) fn remove(self) -> Result<(), Error> {
        fs::remove_dir_all(&self.work).map_err(Error::io("remove", &self.work))
    }
}

/// Refuses an output that holds anything.
fn refuse_taken(out: &Path) -> Result<(), Error> {
    let taken = |got: String| Err(Error::OutputTaken { path: out.to_owned(), got });
    if !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        return taken("a file's data".to_owned());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(out).map_err(Error::io("read", out))? {
        names.push(entry.map_err(Error::io("read", out))?.file_name());
    }
    match names.iter().min() {
        Some(name) => taken(name.to_string_lossy().into_owned()),
        None => Ok(()),
    }
}

/// Takes the lock file. Where the file system knows no locks it is left at that: two processes in
/// one folder then damage each other's unfinished work, which the checks on reading notice.
fn lock(out: &Path, path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::io("create", path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Busy { path: out.to_owned() }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
