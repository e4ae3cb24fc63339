//! Small files that are either absent or whole, and the folders that they claim.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The name a file has while it is written.
fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Writes a file so that it is either absent or whole, also after a power cut.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = temporary(path);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| Error::io(&temporary, "write", error))?;
    fs::rename(&temporary, path).map_err(|error| Error::io(path, "rename to", error))
}

/// Checks that `path`, the file by which `out` is claimed, may be written: there is no such folder, or an
/// empty one. A kill between writing and renaming leaves the temporary file alone.
///
/// # Errors
/// A folder of something else.
pub fn check_unclaimed(out: &Path, path: &Path) -> Result<(), Error> {
    let temporary = temporary(path);
    let stranger =
        |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|e| e.path() != temporary);
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
