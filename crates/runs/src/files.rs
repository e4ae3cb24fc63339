//! Whole files: capped reading, writing by rename.

use std::path::Path;

use mixdown_base::files;

use crate::error::Error;
use crate::sums;

/// The whole file, refused above `limit_bytes` before anything is allocated, and where a sum of it stands beside it
/// and is another one.
pub(crate) fn read_capped(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let bytes = files::read_capped(path, limit_bytes).map_err(|error| match error {
        files::Error::TooLarge { path, limit_bytes, got_bytes } => {
            Error::TooLarge { path, limit_bytes, got: got_bytes }
        }
        other => Error::io(path, "read it", other.into_parts().2),
    })?;
    sums::check_bytes(path, &bytes)?;
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
    files::write(path, contents).map_err(|error| Error::io(path, "write it", error.into_parts().2))
}
