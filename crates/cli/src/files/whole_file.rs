//! Small files that are either absent or whole, and the folders that they claim.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use mixdown_base::files;
use mixdown_runs::sums;

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

/// Checks that `path`, the file by which `out` is claimed, may be written: there is no such folder, or an
/// empty one. A kill before `path` has its name leaves its sum or a temporary file of either.
///
/// # Errors
/// A folder of something else.
pub fn check_unclaimed(out: &Path, path: &Path) -> Result<(), Error> {
    let own = path.file_name().unwrap_or_default();
    let sum = [own, OsStr::new(sums::SUM_ENDING)].into_iter().collect::<OsString>();
    let is_leftover = |name: &OsStr| {
        let finished = name.to_str().and_then(files::unique_finished_name).map(OsStr::new);
        name == sum || finished.is_some_and(|finished| finished == own || finished == sum)
    };
    let stranger = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| !is_leftover(&entry.file_name()))
    };
    if out.is_file() || fs::read_dir(out).is_ok_and(|mut entries| entries.any(stranger)) {
        return Err(Error::usage(
            format!(
                "{}: expected no such folder or an empty one, got something else",
                out.display()
            ),
            "name another folder with --out",
        ));
    }
    Ok(())
}
