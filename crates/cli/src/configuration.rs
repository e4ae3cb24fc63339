//! Configuration files: TOML in which an unknown key is an error that names the nearest known one.

use std::fs;
use std::path::Path;

use mixdown_train::RunConfig;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// Reads `path` into `T`.
///
/// # Errors
/// A missing file, TOML that does not parse, unknown keys, wrong types.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    parse_toml(path, &fs::read_to_string(path).map_err(|error| Error::io(path, "read", error))?)
}

/// Reads a run's description: one that a user wrote, or the run.toml that a run left (whose name, title
/// and fingerprints are the new run's own).
///
/// # Errors
/// As [`read_toml`].
pub fn read_run(path: &Path) -> Result<RunConfig, Error> {
    read_left(path)
}

/// Reads a description that a user wrote, or the one that a run or a sweep left.
///
/// # Errors
/// As [`read_toml`].
pub fn read_left<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    parse_left(path, &fs::read_to_string(path).map_err(|error| Error::io(path, "read", error))?)
}

/// As [`read_left`], of the text of the file at `path`.
///
/// # Errors
/// As [`read_toml`], but for a file that is not there.
pub fn parse_left<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    let Ok(mut table) = text.parse::<toml::Table>() else { return parse_toml(path, text) };
    if table.remove("fingerprints").is_none() {
        return parse_toml(path, text);
    }
    table.remove("run_id");
    table.remove("title");
    parse_toml(path, &table.to_string())
}

fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| {
        let reason = error.to_string();
        let hint = nearest_key(error.message()).map(|key| format!("did you mean `{key}`?"));
        let hint = hint.unwrap_or_default();
        Error::usage(format!("{}: {}", path.display(), reason.trim_end()), hint)
    })
}

/// The known key nearest to the unknown one that serde's message names first.
fn nearest_key(message: &str) -> Option<&str> {
    if !message.contains("unknown field") && !message.contains("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    quoted
        .map(|known| (strsim::jaro_winkler(unknown, known), known))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, known)| known)
}

/// The folder that relative paths in the file at `path` count from.
pub fn base_folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        let message = "unknown field `wieght`, expected one of `name`, `corpus`, `weight`";
        assert_eq!(nearest_key(message), Some("weight"));
        assert_eq!(nearest_key("unknown field `zzz`, expected `name`"), None);
        assert_eq!(nearest_key("missing field `name`"), None);
    }

    #[test]
    fn a_bare_file_name_lies_in_the_current_folder() {
        assert_eq!(base_folder(Path::new("mix.toml")), Path::new(""));
        assert_eq!(base_folder(Path::new("a/mix.toml")), Path::new("a"));
    }
}
