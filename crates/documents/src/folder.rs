//! Folders: which files below them are read, and in what order.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Every file below `folder` in the order of names, each with its path relative to `folder`.
///
/// Names are compared as bytes, entry by entry and not by whole path, so a folder's files stand
/// together. Hidden entries (a leading dot) are passed over, and so are links to folders, which
/// could lead in circles; links to files are followed.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut files = Vec::new();
    // A stack instead of recursion: depth on disk is not ours to bound.
    let mut pending = vec![(folder.to_owned(), String::new())];
    while let Some((path, name)) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).map_err(|source| io_error(&path, source))?;
        if metadata.is_dir() || path == folder {
            let mut entries = entries_of(&path, &name)?;
            entries.sort_by(|left, right| right.0.file_name().cmp(&left.0.file_name()));
            pending.append(&mut entries);
        } else if metadata.is_file() || points_to_file(&path) {
            files.push((path, name));
        }
    }
    Ok(files)
}

fn entries_of(folder: &Path, name: &str) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| io_error(folder, source))? {
        let entry = entry.map_err(|source| io_error(folder, source))?;
        let own_name = entry.file_name().to_string_lossy().into_owned();
        if own_name.starts_with('.') {
            continue;
        }
        let name = if name.is_empty() { own_name } else { format!("{name}/{own_name}") };
        entries.push((entry.path(), name));
    }
    Ok(entries)
}

fn points_to_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn io_error(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}
