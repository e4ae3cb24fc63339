//! Who writes a run's folder: one process at a time.

use std::fs::{File, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use mixdown_base::files::remove_abandoned_in;

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
    folder: Option<File>,
}

impl FolderHold {
    /// Checks that the folder still is where it was, as far as the system tells.
    ///
    /// # Errors
    /// [`Error::Gone`] when it was removed or renamed, also when another one has its name now.
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
    /// Holds the folder against other processes, and removes what killed ones left of unfinished files.
    ///
    /// # Errors
    /// [`Error::Held`] where another one holds it.
    pub fn hold(&self) -> Result<FolderHold, Error> {
        let Ok(folder) = File::open(self.path()) else { return Ok(FolderHold { folder: None }) };
        for _ in 0..PATIENCE {
            match folder.try_lock() {
                Ok(()) => {
                    // What killed processes left, but not the ranks.txt that one is just writing without the folder.
                    remove_abandoned_in(self.path(), |name| WHOLE_FILES.contains(&name));
                    return Ok(FolderHold { folder: Some(folder) });
                }
                Err(TryLockError::Error(_)) => return Ok(FolderHold { folder: Some(folder) }),
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
    use mixdown_base::error_kind::ErrorKind;

    use crate::error::Error;
    use crate::folder::{RunFolder, WHOLE_FILES};

    #[test]
    #[cfg(unix)]
    fn one_holds_a_folder_until_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        assert!(!folder.is_held());
        let left = WHOLE_FILES.map(|name| format!("{name}.0123456789abcdef.tmp"));
        for name in left.iter().map(String::as_str).chain(["run.toml.tmp"]) {
            std::fs::write(place.path().join(name), "half").unwrap();
        }
        let hold = folder.hold().unwrap();
        assert!(left.iter().all(|name| !place.path().join(name).exists()));
        assert!(place.path().join("run.toml.tmp").exists());
        assert!(folder.is_held());
        let error = folder.hold().unwrap_err();
        assert!(
            matches!(error, Error::Held { .. }) && error.kind() == ErrorKind::Configuration,
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
        assert!(!folder.is_held());
        folder.hold().unwrap();
        let gone = RunFolder::expected(&place.path().join("gone")).unwrap();
        assert!(!gone.is_held());
    }
}
