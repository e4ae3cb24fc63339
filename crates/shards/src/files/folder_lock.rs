//! A lock that lets one process at a time write to a folder.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use crate::Error;

/// The exclusive right to write to a folder, until this is dropped or the process ends in any way.
///
/// It is an advisory lock on the folder itself, which leaves no file behind. On a file system without locks for
/// folders, nothing is locked.
#[derive(Debug)]
pub(crate) struct FolderLock {
    folder: File,
}

impl FolderLock {
    /// Locks the folder at `path`.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process holds it; the folder cannot be opened.
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let folder = File::open(path).map_err(Error::io("open", path))?;
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::Busy { path: path.to_owned() }),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { folder }),
        }
    }

    /// Returns whether the folder at `path` is still the locked one: another process may have renamed or removed it
    /// before the lock was taken.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
            let own = self.folder.metadata().map(identity);
            own.is_ok_and(|own| path.metadata().map(identity).is_ok_and(|there| there == own))
        }
        #[cfg(not(unix))]
        {
            self.folder.metadata().is_ok() && path.is_dir()
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;

    #[test]
    fn one_holds_a_folder_and_notices_that_it_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let [path, elsewhere] = ["a", "b"].map(|name| place.path().join(name));
        std::fs::create_dir(&path).unwrap();
        let held = FolderLock::take(&path).unwrap();
        let error = FolderLock::take(&path).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Configuration
                && error.to_string().contains("another process"),
            "{error}"
        );
        assert!(held.is_of(&path));
        std::fs::rename(&path, &elsewhere).unwrap();
        assert!(!held.is_of(&path));
        std::fs::create_dir(&path).unwrap();
        assert!(!held.is_of(&path) && held.is_of(&elsewhere));
        drop(held);
        FolderLock::take(&elsewhere).unwrap();
    }
}
