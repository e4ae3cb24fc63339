//! Who writes a run's folder: one process at a time.

use std::fs::{File, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use mixdown_base::files::remove_leftovers;

use crate::error::Error;
use crate::folder::{RunFolder, WHOLE_FILES};

/// Whoever looks whether a folder is held holds it for a moment itself.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// A run's folder that this process writes, until this is dropped or the process ends, however it does.
///
/// It is an advisory lock on the folder itself, which leaves no file behind. Where the system or the file system knows
/// none for folders, nothing is held.
#[derive(Debug)]
pub struct FolderHold {
    _folder: Option<File>,
}

impl RunFolder {
    /// Holds the folder against other processes, and removes what killed ones left of unfinished files.
    ///
    /// # Errors
    /// [`Error::Held`] where another one holds it; [`Error::Io`].
    pub fn hold(&self) -> Result<FolderHold, Error> {
        let Ok(folder) = File::open(self.path()) else { return Ok(FolderHold { _folder: None }) };
        for _ in 0..PATIENCE {
            match folder.try_lock() {
                Ok(()) => {
                    // What killed processes left: nobody else writes these files now.
                    remove_leftovers(self.path(), &WHOLE_FILES).map_err(|error| {
                        Error::io(self.path(), "clear it", error.into_parts().2)
                    })?;
                    return Ok(FolderHold { _folder: Some(folder) });
                }
                Err(TryLockError::Error(_)) => return Ok(FolderHold { _folder: None }),
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
            }
        }
        Err(Error::Held { path: self.path().to_path_buf() })
    }

    /// Whether a process of this machine writes the folder, as far as the file system tells.
    pub fn is_held(&self) -> bool {
        let Ok(folder) = File::open(self.path()) else { return false };
        matches!(folder.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::folder::RunFolder;

    #[test]
    #[cfg(unix)]
    fn one_holds_a_folder_until_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        assert!(!folder.is_held());
        let [left, users] = ["run.toml.0123456789abcdef.tmp", "run.toml.tmp"];
        for name in [left, users] {
            std::fs::write(place.path().join(name), "half").unwrap();
        }
        let hold = folder.hold().unwrap();
        assert!(!place.path().join(left).exists() && place.path().join(users).exists());
        assert!(folder.is_held());
        let error = folder.hold().unwrap_err();
        assert!(matches!(error, Error::Held { .. }) && error.is_configuration(), "{error}");
        drop(hold);
        assert!(!folder.is_held());
        folder.hold().unwrap();
        let gone = RunFolder::expected(&place.path().join("gone")).unwrap();
        assert!(!gone.is_held());
    }
}
