//! What the system keeps of files in memory.

use std::path::Path;

use crate::error::Error;

/// Has the system forget what it keeps of a file that nobody has mapped.
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
    Err(Error::usage("--cold: expected Linux, got another system".to_owned(), "leave it out"))
}
