//! Whole files: capped reading, writing by rename.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The whole file, refused above `limit_bytes` before anything is allocated.
pub(crate) fn read_capped(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let io = |source| Error::io(path, "read it", source);
    let file = File::open(path).map_err(io)?;
    let got = file.metadata().map_err(io)?.len();
    if got > limit_bytes {
        return Err(Error::TooLarge { path: path.to_path_buf(), limit_bytes, got });
    }
    let mut bytes = Vec::new();
    file.take(limit_bytes).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// Like [`read_capped`], for text.
pub(crate) fn read_text_capped(path: &Path, limit_bytes: u64) -> Result<String, Error> {
    String::from_utf8(read_capped(path, limit_bytes)?).map_err(|error| {
        let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let newlines = before.filter(|byte| **byte == b'\n').count();
        Error::Damaged {
            path: path.to_path_buf(),
            line: u64::try_from(newlines).map_or(u64::MAX, |count| count.saturating_add(1)),
            expected: "UTF-8 text",
            got: error.utf8_error().to_string(),
        }
    })
}

/// Writes beside the target, syncs, renames: a reader sees the old file or the whole new one.
pub(crate) fn write_by_rename(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let temporary = temporary_name(path);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| Error::io(path, "write it", source))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}
