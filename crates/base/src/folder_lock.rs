//! A lock of a folder, by which processes keep out of each other's way.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::files::is_at;

/// How long a call waits before it tries a locked folder again.
const PAUSE: Duration = Duration::from_millis(25);

/// Whether other processes may hold the lock of a folder at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// This process alone holds the lock.
    Alone,
    /// Other processes may hold the lock too, if they share it.
    Shared,
}

/// The lock of a folder, which this process holds until the lock is dropped or the process ends in any way.
///
/// It is an advisory lock on the folder itself, which leaves no file behind. If the operating system or the file system
/// has no locks for folders, nothing is locked.
///
/// ```
/// use std::time::Duration;
///
/// use mixdown_base::folder_lock::{FolderLock, Sharing};
///
/// let folder = tempfile::tempdir()?;
/// let lock = FolderLock::take(folder.path(), Sharing::Alone, Duration::ZERO)?.unwrap();
/// assert!(lock.is_of(folder.path()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FolderLock {
    folder: File,
}

impl FolderLock {
    /// Locks the existing folder at `path`; `None` if another process still holds its lock after `patience`.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub fn take(path: &Path, sharing: Sharing, patience: Duration) -> io::Result<Option<Self>> {
        let folder = File::open(path)?;
        let end = Instant::now() + patience;
        loop {
            let locked = match sharing {
                Sharing::Alone => folder.try_lock(),
                Sharing::Shared => folder.try_lock_shared(),
            };
            match locked {
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Some(Self { folder })),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => return Ok(None),
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
            }
        }
    }

    /// Returns whether the folder at `path` is still the locked one, as far as the operating system can tell: another
    /// process may have renamed or removed it.
    pub fn is_of(&self, path: &Path) -> bool {
        is_at(&self.folder, path)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn take(path: &Path, sharing: Sharing) -> Option<FolderLock> {
        FolderLock::take(path, sharing, Duration::ZERO).unwrap()
    }

    #[test]
    fn one_holds_a_folder_alone_or_several_share_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path();
        let alone = take(path, Sharing::Alone).unwrap();
        assert!(take(path, Sharing::Alone).is_none() && take(path, Sharing::Shared).is_none());
        drop(alone);
        let shared = [(); 2].map(|()| take(path, Sharing::Shared).unwrap());
        assert!(take(path, Sharing::Alone).is_none());
        drop(shared);
        take(path, Sharing::Alone).unwrap();
        let missing = FolderLock::take(&path.join("missing"), Sharing::Alone, Duration::ZERO);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_lock_that_is_released_in_time_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let held = take(place.path(), Sharing::Alone).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                FolderLock::take(place.path(), Sharing::Alone, Duration::from_secs(600)).unwrap()
            });
            sleep(PAUSE);
            drop(held);
            assert!(waiting.join().unwrap().is_some());
        });
    }

    #[test]
    fn a_folder_that_is_renamed_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let [path, elsewhere] = ["a", "b"].map(|name| place.path().join(name));
        std::fs::create_dir(&path).unwrap();
        let held = take(&path, Sharing::Alone).unwrap();
        assert!(held.is_of(&path));
        std::fs::rename(&path, &elsewhere).unwrap();
        assert!(!held.is_of(&path));
        std::fs::create_dir(&path).unwrap();
        assert!(!held.is_of(&path) && held.is_of(&elsewhere));
    }
}
