//! The lock of a run's folder, which one process at a time writes.

use std::time::Duration;

use mixdown_base::files::remove_abandoned_in;
use mixdown_base::folder_lock::{FolderLock, Sharing};

use crate::error::Error;
use crate::folder::{RunFolder, WHOLE_FILES};

/// How long a locked folder is tried again: a process that checks a lock holds it for a moment.
const PATIENCE: Duration = Duration::from_millis(500);

/// The lock of a run's folder, which this process holds until the lock is dropped or the process ends in any way.
///
/// If the operating system or the file system has no locks for folders, nothing is locked ([`FolderLock`]).
///
/// ```
/// use mixdown_runs::RunFolder;
///
/// let directory = tempfile::tempdir()?;
/// let folder = RunFolder::create(directory.path())?;
/// let lock = folder.lock()?;
/// lock.check(&folder)?;
/// drop(lock);
/// assert!(!folder.is_locked());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunLock {
    /// `None` if the folder could not be opened, as on Windows.
    folder: Option<FolderLock>,
}

impl RunLock {
    /// Checks that the folder is still in its place, as far as the operating system can tell.
    ///
    /// # Errors
    /// [`Error::Gone`] if it was removed or renamed, even if another folder now has its name.
    pub fn check(&self, folder: &RunFolder) -> Result<(), Error> {
        match &self.folder {
            Some(held) if !held.is_of(folder.path()) => {
                Err(Error::Gone { path: folder.path().to_path_buf() })
            }
            _ => Ok(()),
        }
    }
}

impl RunFolder {
    /// Locks the folder against other processes and removes the unfinished files of killed ones.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds the lock.
    pub fn lock(&self) -> Result<RunLock, Error> {
        let Ok(lock) = FolderLock::take(self.path(), Sharing::Alone, PATIENCE) else {
            return Ok(RunLock { folder: None });
        };
        let lock = lock.ok_or_else(|| Error::Locked { path: self.path().to_path_buf() })?;
        // Removes what killed processes left, but not a ranks.txt that is being written without the lock.
        remove_abandoned_in(self.path(), |name| WHOLE_FILES.contains(&name));
        Ok(RunLock { folder: Some(lock) })
    }

    /// Returns whether a process of this machine writes the folder, as far as the file system can tell.
    pub fn is_locked(&self) -> bool {
        matches!(FolderLock::take(self.path(), Sharing::Shared, Duration::ZERO), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use crate::error::Error;
    use crate::folder::{RunFolder, WHOLE_FILES};

    #[test]
    #[cfg(unix)]
    fn one_holds_a_folder_until_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        assert!(!folder.is_locked());
        let left = WHOLE_FILES.map(|name| format!("{name}.0123456789abcdef.tmp"));
        for name in left.iter().map(String::as_str).chain(["run.toml.tmp"]) {
            std::fs::write(place.path().join(name), "half").unwrap();
        }
        let hold = folder.lock().unwrap();
        assert!(left.iter().all(|name| !place.path().join(name).exists()));
        assert!(place.path().join("run.toml.tmp").exists());
        assert!(folder.is_locked());
        let error = folder.lock().unwrap_err();
        assert!(
            matches!(error, Error::Locked { .. }) && error.kind() == ErrorKind::Configuration,
            "{error}"
        );
        hold.check(&folder).unwrap();
        let elsewhere = place.path().with_extension("elsewhere");
        std::fs::rename(place.path(), &elsewhere).unwrap();
        for _ in 0..2 {
            let error = hold.check(&folder).unwrap_err();
            assert!(matches!(error, Error::Gone { .. }), "{error}");
            // Another folder of the same name is another folder.
            std::fs::create_dir_all(place.path()).unwrap();
        }
        std::fs::remove_dir(place.path()).unwrap();
        std::fs::rename(&elsewhere, place.path()).unwrap();
        hold.check(&folder).unwrap();
        drop(hold);
        assert!(!folder.is_locked());
        folder.lock().unwrap();
        let gone = RunFolder::expected(&place.path().join("gone")).unwrap();
        assert!(!gone.is_locked());
    }
}
