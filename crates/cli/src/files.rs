//! Files that commands write, the page cache, and the limit of open files.

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

/// Writes a whole file unless there is one already. Returns whether this call has written it.
///
/// # Errors
/// As [`write_whole`].
pub fn write_first(path: &Path, bytes: &[u8]) -> Result<bool, Error> {
    files::write_first(path, bytes).map_err(refused)
}

/// Checks before long work that a file can be written, and makes its folder, so that the work is not lost.
///
/// # Errors
/// When the file could not be written.
pub fn make_ready(path: &Path) -> Result<(), Error> {
    files::make_ready(path).map_err(refused)
}

/// Drops a file that no process has mapped from the page cache.
///
/// # Errors
/// The file cannot be opened; a system other than Linux.
#[cfg(target_os = "linux")]
pub fn drop_from_page_cache(path: &Path) -> Result<(), Error> {
    let file = std::fs::File::open(path).map_err(|error| Error::io(path, "open", error))?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .map_err(|error| Error::io(path, "drop from the page cache", error.into()))
}

/// See above.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn drop_from_page_cache(_path: &Path) -> Result<(), Error> {
    Err(Error::usage("--cold: expected Linux, got another system".to_owned(), "leave out --cold"))
}

/// Raises the soft limit to the hard one: a mixture maps all shards of all its sources, and shells give 256 or 1,024.
/// Only the program does so, because a library must not change the limits of its host. If the system refuses, the
/// limit stays the same.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub fn raise_limit() {}

fn refused(error: files::Error) -> Error {
    let (action, path, source) = error.into_parts();
    Error::io(&path, action, source)
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        super::raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
