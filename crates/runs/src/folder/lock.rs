//! The lock of a run's folder, which one process at a time writes.

use std::fs::{File, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use mixdown_base::files::remove_abandoned_in;

use crate::error::Error;
use crate::folder::{RunFolder, WHOLE_FILES};

/// How often a locked folder is tried again: a process that checks a lock holds it for a moment.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// The lock of a run's folder, which this process holds until the lock is dropped or the process ends in any way.
///
/// It is an advisory lock on the folder itself, which leaves no file behind. If the operating system or the file system
/// has no locks for folders, nothing is locked.
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
    folder: Option<File>,
}

impl RunLock {
    /// Checks that the folder is still in its place, as far as the operating system can tell.
    ///
    /// # Errors
    /// [`Error::Gone`] if it was removed or renamed, even if another folder now has its name.
    pub fn check(&self, folder: &RunFolder) -> Result<(), Error> {
        #[cfg(unix)]
        if let Some(held) = &self.folder {
            use std::os::unix::fs::MetadataExt;
            let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
            let own = held.metadata().map(identity);
            if own.is_ok_and(|own| {
                !folder.path().metadata().is_ok_and(|there| identity(there) == own)
            }) {
                return Err(Error::Gone { path: folder.path().to_path_buf() });
            }
        }
        #[cfg(not(unix))]
        let _ = (&self.folder, folder);
        Ok(())
    }
}

impl RunFolder {
    /// Locks the folder against other processes and removes the unfinished files of killed ones.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds the lock.
    pub fn lock(&self) -> Result<RunLock, Error> {
        let Ok(folder) = File::open(self.path()) else { return Ok(RunLock { folder: None }) };
        for _ in 0..PATIENCE {
            match folder.try_lock() {
                Ok(()) => {
                    // Removes what killed processes left, but not a ranks.txt that is being written without the lock.
                    remove_abandoned_in(self.path(), |name| WHOLE_FILES.contains(&name));
                    return Ok(RunLock { folder: Some(folder) });
                }
                Err(TryLockError::Error(_)) => return Ok(RunLock { folder: Some(folder) }),
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
            }
        }
        Err(Error::Locked { path: self.path().to_path_buf() })
    }

    /// Returns whether a process of this machine writes the folder, as far as the file system can tell.
    pub fn is_locked(&self) -> bool {
        let Ok(folder) = File::open(self.path()) else { return false };
        matches!(folder.try_lock_shared(), Err(TryLockError::WouldBlock))
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
