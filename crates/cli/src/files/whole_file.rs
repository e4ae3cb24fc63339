//! Small files that are either absent or whole.

use std::path::Path;

use mixdown_base::files;

use crate::error::Error;

/// Writes a file so that it is either absent or whole, also after a power cut.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    files::write(path, bytes).map_err(refused)
}

/// Makes the place of a file that is to be written after long work, which would be lost if the file could not be.
///
/// # Errors
/// When it could not be written.
pub fn make_ready(path: &Path) -> Result<(), Error> {
    files::make_ready(path).map_err(refused)
}

fn refused(error: files::Error) -> Error {
    let (action, path, source) = error.into_parts();
    Error::io(&path, action, source)
}
