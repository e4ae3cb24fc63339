//! Folders and patterns: the files that they select, in a fixed order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use globset::GlobBuilder;
use ignore::{DirEntry, WalkBuilder};

use crate::error::Error;
use crate::inputs::selection::{Filter, IgnoreRules};

/// An entry of a folder.
#[derive(Debug)]
pub(crate) enum Found {
    /// A file, and its name: the path relative to the folder.
    File(PathBuf, String),
    /// An entry that cannot be read as a file: its name, and the reason.
    LeftOut(String, &'static str),
    /// An entry that cannot be inspected.
    Unreadable(String, Error),
}

/// Returns every file below `folder` that passes the filter, in the order of names.
///
/// Names are compared as bytes, entry by entry instead of as whole paths, so a folder's files stay together. Hidden
/// entries (a leading dot) are skipped whatever an ignore rule says. Links are followed, each folder once, and a file
/// that several links lead to is returned once, by the name without a link if there is one. Corpora are not inputs.
pub(crate) fn files_below(folder: &Path, filter: &Filter) -> Result<Vec<Found>, Error> {
    let obey = filter.ignore_rules == IgnoreRules::Obey;
    let (root, exclude) = (folder.to_owned(), filter.exclude.clone());
    let turned_away = Arc::new(Mutex::new(TurnedAway::default()));
    let doorkeeper = Arc::clone(&turned_away);
    let mut walk = walk(folder);
    walk.ignore(obey).git_ignore(obey).follow_links(true).filter_entry(move |entry| {
        let name = entry.path().strip_prefix(&root).unwrap_or(entry.path());
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        name.as_os_str().is_empty()
            || (!is_hidden(name)
                && !exclude.matched(name, is_folder).is_ignore()
                && (!is_folder
                    || doorkeeper
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .admits(entry, name)))
    });
    let mut found = Vec::new();
    let mut through_links = false;
    for entry in walk.build() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.extend(fault(folder, error));
                continue;
            }
        };
        through_links |= entry.path_is_symlink();
        let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        let kind = entry.file_type();
        if kind.is_none_or(|kind| kind.is_dir()) || !filter.includes(name) {
            continue;
        }
        found.push(match kind.is_some_and(|kind| kind.is_file()) {
            true => Found::File(entry.path().to_owned(), slashed(name)),
            false => Found::LeftOut(slashed(name), "no regular file"),
        });
    }
    let turned_away =
        std::mem::take(&mut *turned_away.lock().unwrap_or_else(PoisonError::into_inner));
    through_links |= !turned_away.links.is_empty();
    found.extend(
        turned_away.corpora.into_iter().map(|name| Found::LeftOut(name, "a mixdown corpus")),
    );
    if through_links { without_repeats(folder, found) } else { Ok(found) }
}

/// Folders that the walk does not enter.
#[derive(Default)]
struct TurnedAway {
    /// Names of corpora.
    corpora: Vec<String>,
    /// Folders that links have led to.
    links: BTreeSet<PathBuf>,
}

impl TurnedAway {
    /// Returns whether a folder is entered: a corpus is not, and the target of links is entered once.
    fn admits(&mut self, entry: &DirEntry, name: &Path) -> bool {
        if is_corpus(entry.path()) {
            self.corpora.push(slashed(name));
            return false;
        }
        if !entry.path_is_symlink() {
            return true;
        }
        // A path that cannot be resolved cannot be walked either, and the walk reports that.
        fs::canonicalize(entry.path()).map_or(true, |target| self.links.insert(target))
    }
}

/// Returns whether any part of a relative path is hidden.
fn is_hidden(name: &Path) -> bool {
    name.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// Returns whether a folder is a mixdown corpus, finished or unfinished.
pub(crate) fn is_corpus(folder: &Path) -> bool {
    let marks = [("manifest.json", "mixdown-corpus"), (".work/plan.json", "mixdown-prepare-plan")];
    marks.iter().any(|(name, format)| {
        let mut head = Vec::new();
        let path = folder.join(name);
        // Reading a pipe of that name would block.
        let read = path.is_file()
            && File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head)).is_ok();
        read && memchr::memmem::find(&head, format.as_bytes()).is_some()
    })
}

/// Interprets an error of the walk; a link that leads back is ignored, as its folder is walked anyway.
fn fault(folder: &Path, error: ignore::Error) -> Option<Found> {
    let path = error_path(&error).unwrap_or(folder).to_owned();
    let name = path.strip_prefix(folder).unwrap_or(&path);
    if is_loop(&error) || is_hidden(name) {
        return None;
    }
    let is_link = path.is_symlink() && !path.exists();
    let name = slashed(name);
    Some(match is_link {
        true => Found::LeftOut(name, "a link to nothing"),
        false => Found::Unreadable(name, walk_error(folder, error)),
    })
}

/// Removes files that also occur under another name; the name without a link is kept if there is one.
fn without_repeats(folder: &Path, found: Vec<Found>) -> Result<Vec<Found>, Error> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|source| Error::io(path, source));
    let root = real(folder)?;
    let mut names: BTreeMap<PathBuf, (bool, usize)> = BTreeMap::new();
    for (index, found) in found.iter().enumerate() {
        let Found::File(path, name) = found else { continue };
        let target = real(path)?;
        let is_link = target != root.join(name);
        let first = names.entry(target).or_insert((is_link, index));
        if first.0 && !is_link {
            *first = (is_link, index);
        }
    }
    let kept: BTreeSet<usize> = names.into_values().map(|(_, index)| index).collect();
    let is_kept =
        |index: usize, found: &Found| !matches!(found, Found::File(..)) || kept.contains(&index);
    let found = found.into_iter().enumerate().filter(|(index, found)| is_kept(*index, found));
    Ok(found.map(|(_, found)| found).collect())
}

fn walk(folder: &Path) -> WalkBuilder {
    let mut walk = WalkBuilder::new(folder);
    walk.parents(false).git_global(false).git_exclude(false).require_git(false);
    walk.sort_by_file_name(|left, right| left.cmp(right));
    walk
}

/// Returns the paths that a pattern matches: files, and folders as a whole, in the order of names.
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

/// Returns whether a path that names no file may be a pattern.
pub(crate) fn has_pattern(path: &Path) -> bool {
    path.components().any(|part| is_pattern(&part))
}

fn is_pattern(part: &Component<'_>) -> bool {
    part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{'])
}

/// Returns a path with slashes between its parts.
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

fn is_loop(error: &ignore::Error) -> bool {
    match error {
        ignore::Error::Loop { .. } => true,
        ignore::Error::WithPath { err, .. }
        | ignore::Error::WithDepth { err, .. }
        | ignore::Error::WithLineNumber { err, .. } => is_loop(err),
        _ => false,
    }
}

fn error_path(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            error_path(err)
        }
        ignore::Error::Loop { child, .. } => Some(child),
        _ => None,
    }
}
