//! Small files that are either absent or complete.

use std::path::Path;

use mixdown_base::files;

use crate::error::Error;

/// Writes a file that is either absent or complete, also after a power cut.
///
/// # Errors
/// When the file cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    files::write(path, bytes).map_err(refused)
}

/// Checks before long work that a file can be written, and makes its folder, so that the work is not lost.
///
/// # Errors
/// When the file could not be written.
pub fn make_ready(path: &Path) -> Result<(), Error> {
    files::make_ready(path).map_err(refused)
}

fn refused(error: files::Error) -> Error {
    let (action, path, source) = error.into_parts();
    Error::io(&path, action, source)
}
