//! Folders and patterns: which files below them are read, and in what order.

use std::path::{Component, Path, PathBuf};

use globset::GlobBuilder;
use ignore::{DirEntry, WalkBuilder};

use crate::error::Error;
use crate::selection::{Filter, IgnoreRules};

/// Every file below `folder` that the filter lets through, in the order of names, each with its
/// path relative to `folder`.
///
/// Names are compared as bytes, entry by entry and not by whole path, so a folder's files stand
/// together. Hidden entries (a leading dot) are passed over, and so are links to folders, which
/// could lead in circles; links to files are followed.
pub(crate) fn files_below(folder: &Path, filter: &Filter) -> Result<Vec<(PathBuf, String)>, Error> {
    let obey = filter.ignore_rules == IgnoreRules::Obey;
    let (root, exclude) = (folder.to_owned(), filter.exclude.clone());
    let mut walk = walk(folder);
    walk.ignore(obey).git_ignore(obey).filter_entry(move |entry| {
        let name = entry.path().strip_prefix(&root).unwrap_or(entry.path());
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        name.as_os_str().is_empty() || !exclude.matched(name, is_folder).is_ignore()
    });
    let mut files = Vec::new();
    for entry in walk.build() {
        let entry = entry.map_err(|error| walk_error(folder, error))?;
        let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        if is_file(&entry) && filter.includes(name) {
            files.push((entry.path().to_owned(), slashed(name)));
        }
    }
    Ok(files)
}

fn walk(folder: &Path) -> WalkBuilder {
    let mut walk = WalkBuilder::new(folder);
    walk.parents(false).git_global(false).git_exclude(false).require_git(false);
    walk.sort_by_file_name(|left, right| left.cmp(right));
    walk
}

/// What a pattern names: files, and folders as a whole, in the order of names.
pub(crate) fn matching(pattern: &Path) -> Result<Vec<PathBuf>, Error> {
    let bad = |error: globset::Error| Error::Pattern {
        got: pattern.to_string_lossy().into_owned(),
        source: error.into(),
    };
    let glob = GlobBuilder::new(&pattern.to_string_lossy()).literal_separator(true).build();
    let glob = glob.map_err(bad)?.compile_matcher();
    let base: PathBuf = pattern.components().take_while(|part| !is_pattern(part)).collect();
    let deeper = pattern.components().skip_while(|part| !is_pattern(part));
    let depth = deeper.clone().count();
    let any_depth = deeper.clone().any(|part| part.as_os_str().to_string_lossy().contains("**"));
    let here = base.as_os_str().is_empty();
    let mut walk = walk(if here { Path::new(".") } else { &base });
    walk.standard_filters(false).hidden(true).max_depth((!any_depth).then_some(depth));
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in walk.build() {
        let entry = entry.map_err(|error| walk_error(&base, error))?;
        let path = entry.path();
        let path = if here { path.strip_prefix(".").unwrap_or(path) } else { path };
        let within = found.last().is_some_and(|last| path.starts_with(last));
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        if !within && glob.is_match(path) && (is_folder || is_file(&entry)) {
            found.push(path.to_owned());
        }
    }
    Ok(found)
}

/// Whether a path that names no file may be a pattern.
pub(crate) fn has_pattern(path: &Path) -> bool {
    path.components().any(|part| is_pattern(&part))
}

fn is_pattern(part: &Component<'_>) -> bool {
    part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{'])
}

/// A path with slashes between its parts.
pub(crate) fn slashed(path: &Path) -> String {
    let parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

fn is_file(entry: &DirEntry) -> bool {
    entry
        .file_type()
        .is_some_and(|kind| kind.is_file() || (kind.is_symlink() && entry.path().is_file()))
}

fn walk_error(folder: &Path, error: ignore::Error) -> Error {
    let path = error_path(&error).unwrap_or(folder).to_owned();
    let words = error.to_string();
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other(words));
    Error::Io { path, source }
}

fn error_path(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            error_path(err)
        }
        _ => None,
    }
}
