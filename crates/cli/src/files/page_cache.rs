//! The system's cache of file pages.

use std::path::Path;

use crate::error::Error;

/// Drops a file that no process has mapped from the page cache.
///
/// # Errors
/// The file cannot be opened; a system other than Linux.
#[cfg(target_os = "linux")]
pub fn forget(path: &Path) -> Result<(), Error> {
    let file = std::fs::File::open(path).map_err(|error| Error::io(path, "open", error))?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .map_err(|error| Error::io(path, "forget", error.into()))
}

/// See above.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn forget(_path: &Path) -> Result<(), Error> {
    Err(Error::usage("--cold: expected Linux, got another system".to_owned(), "leave out --cold"))
}
