//! Paths from a manifest, confined to the corpus folder.

use std::{fs, io, path::Path};

use crate::{Error, error::quoted};

/// The longest shard name, in bytes: it leaves space for endings within every file system's 255.
const MAX_NAME_BYTES: usize = 200;

/// The rule for a shard name, for messages.
pub(crate) const NAME_RULE: &str = "a plain file name of 1 to 200 bytes without '/', '\\', ':', \
                                    control characters or a leading dot";

/// Returns whether `name` is one plain component that cannot lead out of its folder.
pub(crate) fn is_plain_name(name: &str) -> bool {
    is_harmless(name, MAX_NAME_BYTES)
}

/// Returns whether a part of a path names an entry of its folder and nothing else.
pub(crate) fn is_harmless(part: &str, max_bytes: usize) -> bool {
    let harmful = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    !part.is_empty() && part.len() <= max_bytes && !part.starts_with('.') && !part.contains(harmful)
}

/// Refuses `path`, directly below `folder` or one of its splits, if it is a symbolic link that leads out of `folder` to
/// anything but a regular file. A missing path is left to the caller that opens it.
///
/// Links to files were made by the folder's owner: the Hugging Face Hub's cache consists of them, and a shard may be on
/// another disk. The names in a manifest are confined separately ([`is_plain_name`]), so a manifest reaches such a file
/// only through a link that the owner made. A link to a folder would give it access to all files of that folder.
///
/// An ordinary file costs one lstat: only links are resolved.
pub(crate) fn check_link(folder: &Path, path: &Path) -> Result<(), Error> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(()),
                _ => Err(Error::io("look at", path)(error)),
            };
        }
    };
    if !metadata.is_symlink() {
        return Ok(());
    }
    let inside = fs::canonicalize(folder).map_err(Error::io("resolve", folder))?;
    match fs::canonicalize(path) {
        Ok(target) if target.is_file() || target.starts_with(&inside) => Ok(()),
        Ok(target) => {
            let expected =
                "a file, a link to a file, or a link to a folder inside the corpus folder";
            let got = format!("a link to {}", quoted(&target.to_string_lossy()));
            Err(Error::damaged(path, None, expected, got))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("resolve", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_not_plain() {
        for name in ["shard-00000", "my data_text_document", "ü", "a..b", &"x".repeat(200)] {
            assert!(is_plain_name(name), "{name}");
        }
        let long = "x".repeat(201);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
            ".hidden",
            &long,
        ] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
