//! Whole files into memory, none of them without a limit.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use crate::spill::as_u64;

/// The largest tokenizer.json that is read: some ten times the largest in use.
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// The largest tokenizer_config.json or special_tokens_map.json that is read.
pub(crate) const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// Reads a regular file of at most `max_bytes`; anything else is [`ErrorKind::InvalidData`].
pub(crate) fn read_capped(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let invalid = |words: String| Err(Error::new(ErrorKind::InvalidData, words));
    // Looked at before it is opened: opening a pipe waits for somebody to write.
    if !fs::metadata(path)?.is_file() {
        return invalid("expected a regular file, got something else".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if as_u64(bytes.len()) > max_bytes {
        return invalid(format!("expected at most {max_bytes} bytes, got more"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read_capped(&path, 4).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&path, "four").unwrap();
        assert_eq!(read_capped(&path, 4).unwrap(), b"four");
        for (path, max_bytes) in [(path.as_path(), 3), (folder.path(), 4)] {
            let error = read_capped(path, max_bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        }
    }
}
