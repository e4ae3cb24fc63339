//! The lock of a sweep's folder, in which one call works, or each task of an array once.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mixdown_base::files::is_at;
use mixdown_base::folder_lock::{FolderLock, Sharing};
use mixdown_tokenize::Task;

use crate::error::{Error, Hint};

/// How long a locked folder is tried again: a program that a killed sweep was just starting holds the lock until it
/// begins.
const PATIENCE: Duration = Duration::from_millis(500);

/// The lock of a sweep's folder, which this process holds until the lock is dropped or the process ends in any way.
///
/// If the file system has no locks, nothing is locked.
#[derive(Debug)]
pub struct SweepLock {
    /// `None` if the folder could not be opened, as on Windows.
    _folder: Option<FolderLock>,
    /// The lock file of a task, which is removed when the lock is dropped.
    task: Option<PathBuf>,
    _task: Option<File>,
}

impl SweepLock {
    /// Locks the existing folder: alone, or for a task together with other tasks.
    ///
    /// # Errors
    /// Another process holds the lock.
    pub fn take(out: &Path, task: Option<Task>) -> Result<Self, Error> {
        let sharing = if task.is_some() { Sharing::Shared } else { Sharing::Alone };
        let folder = match FolderLock::take(out, sharing, PATIENCE) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return Err(busy(out, "another process is at work in this sweep")),
            Err(_) => None,
        };
        Ok(Self { _folder: folder, task: None, _task: None })
    }

    /// Locks the task as well, once the folder is known to belong to the sweep.
    ///
    /// # Errors
    /// Another process has the same task.
    pub fn take_task(&mut self, out: &Path, task: Option<Task>) -> Result<(), Error> {
        let Some(task) = task else { return Ok(()) };
        let path = out.join(format!(".task-{}-of-{}.lock", task.index(), task.count()));
        loop {
            let file = File::create(&path).map_err(|error| Error::io(&path, "create", error))?;
            if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                return Err(busy(out, &format!("another process is task {task} of this sweep")));
            }
            // Its last holder may have removed it in between.
            if is_at(&file, &path) {
                (self.task, self._task) = (Some(path), Some(file));
                return Ok(());
            }
        }
    }
}

impl Drop for SweepLock {
    fn drop(&mut self) {
        if let Some(path) = &self.task {
            let _ = fs::remove_file(path);
        }
    }
}

fn busy(out: &Path, what: &str) -> Error {
    Error::configuration(format!("{}: {what}", out.display()), Hint::SweepBusy)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn one_call_or_each_task_once() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path();
        let task = |text: &str| Some(text.parse::<Task>().unwrap());
        let alone = SweepLock::take(out, None).unwrap();
        for other in [None, task("0/2")] {
            let error = SweepLock::take(out, other).unwrap_err().to_string();
            assert!(error.contains("another process is at work"), "{error}");
        }
        drop(alone);
        let mut first = SweepLock::take(out, task("0/2")).unwrap();
        first.take_task(out, task("0/2")).unwrap();
        let mut second = SweepLock::take(out, task("1/2")).unwrap();
        let error = second.take_task(out, task("0/2")).unwrap_err().to_string();
        assert!(error.contains("another process is task 0/2"), "{error}");
        second.take_task(out, task("1/2")).unwrap();
        assert!(SweepLock::take(out, None).is_err());
        drop((first, second));
        assert_eq!(fs::read_dir(out).unwrap().count(), 0);
        SweepLock::take(out, None).unwrap();
    }
}
