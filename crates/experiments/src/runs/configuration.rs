//! Configuration files in TOML; an unknown key is an error that names the nearest known one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mixdown_base::display::cut_lines;
use mixdown_train::RunConfig;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::runs::overrides::{Override, apply_overrides};

/// The most characters of a line in a message about TOML: enough for the names of all settings, less than a file in one
/// line.
const LINE_COLUMNS: usize = 1000;

/// Reads the TOML file at `path` into `T`.
///
/// # Errors
/// A missing file, a folder, TOML that does not parse, unknown keys, wrong types.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_experiments::{TrainSettings, read_toml};
///
/// let path = directory.path().join("train.toml");
/// std::fs::write(&path, "batch_size = 16\nsequence_length = 128")?;
/// let settings: TrainSettings = read_toml(&path)?;
/// assert_eq!(settings.batch_size, 16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    parse_toml(path, &read_text(path)?)
}

/// Reads the description of a run with some settings changed: one that a user wrote, or the run.toml of an earlier run,
/// whose name, title and fingerprints are left out.
///
/// # Errors
/// As [`read_toml`]; settings that no run has.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_experiments::read_run;
///
/// let path = directory.path().join("run.toml");
/// let text = "[model]
///      init = 'base/best'
///      [mixture]
///      sequence_length = 8
///      batch_size = 2
///      seed = 5
///      [[mixture.source]]
///      name = 'target'
///      corpus = 'math'
///      weight = '100%'
///      [train]
///      steps = 3
///      [eval]
///      every_steps = 2
///      sequences = 4
///      [[eval.corpus]]
///      name = 'target'
///      corpus = 'math'";
/// std::fs::write(&path, text)?;
/// let run = read_run(&path, &["train.steps=5".parse()?])?;
/// assert_eq!(run.train.steps, 5);
/// assert!(read_run(&path, &["train.step=5".parse()?]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_run(path: &Path, overrides: &[Override]) -> Result<RunConfig, Error> {
    if overrides.is_empty() {
        return read_description(path);
    }
    let text = read_text(path)?;
    let Ok(mut table) = text.parse::<toml::Table>() else { return parse_toml(path, &text) };
    remove_run_keys(&mut table);
    apply_overrides(&path.display().to_string(), &table, overrides)
}

/// Reads a description that a user wrote, or that of an earlier run or sweep.
///
/// # Errors
/// As [`read_toml`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_experiments::read_description;
/// use mixdown_train::RunConfig;
///
/// let path = directory.path().join("run.toml");
/// // A run writes its name into the description that it keeps; what was described is the rest.
/// let text = "[model]
///      init = 'base/best'
///      [mixture]
///      sequence_length = 8
///      batch_size = 2
///      seed = 5
///      [[mixture.source]]
///      name = 'target'
///      corpus = 'math'
///      weight = '100%'
///      [train]
///      steps = 3
///      [eval]
///      every_steps = 2
///      sequences = 4
///      [[eval.corpus]]
///      name = 'target'
///      corpus = 'math'";
/// std::fs::write(&path, text)?;
/// assert_eq!(read_description::<RunConfig>(&path)?.train.steps, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_description<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    parse_description(path, &read_text(path)?)
}

/// Parses a description as [`read_description`] does, from the text of the file at `path`.
///
/// # Errors
/// As [`read_toml`], except for a missing file.
///
/// ```
/// use mixdown_experiments::parse_description;
/// use mixdown_mixer::MixtureConfig;
///
/// let text = "sequence_length = 8\nbatch_size = 2\nseed = 5
///      source = [{ name = 'target', corpus = 'math', weight = '100%' }]";
/// let mixture: MixtureConfig = parse_description("mix.toml".as_ref(), text)?;
/// assert_eq!(mixture.batch_size, 2);
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
pub fn parse_description<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    let Ok(mut table) = text.parse::<toml::Table>() else { return parse_toml(path, text) };
    match remove_run_keys(&mut table) {
        true => parse_toml(path, &table.to_string()),
        false => parse_toml(path, text),
    }
}

/// Removes what a run adds to its description and returns whether it was there.
fn remove_run_keys(table: &mut toml::Table) -> bool {
    let is_left = table.remove("fingerprints").is_some();
    if is_left {
        table.remove("run_id");
        table.remove("title");
    }
    is_left
}

fn read_text(path: &Path) -> Result<String, Error> {
    if path.is_dir() {
        return Err(folder_instead(path));
    }
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => {
            let message = format!("{}: expected TOML, got bytes that are not text", path.display());
            Error::configuration(
                message,
                "give a description in TOML, such as MIX.toml or RUN.toml",
            )
        }
        _ => Error::io(path, "read", error),
    })?;
    // The run.toml and sweep.toml of our own folders have sums.
    mixdown_runs::sums::check_bytes(path, text.as_bytes())?;
    Ok(text)
}

/// The error for a folder where a description in TOML was expected, with what it may be.
fn folder_instead(path: &Path) -> Error {
    let is_there = |name: &str| path.join(name).is_file();
    let hint = if is_there("run.toml") {
        format!("this is a run's folder, whose description is {}", path.join("run.toml").display())
    } else if is_there("sweep.toml") {
        format!(
            "this is a sweep's folder, whose description is {}",
            path.join("sweep.toml").display()
        )
    } else if is_there("manifest.json") {
        "this is a corpus: a description names corpora, each as a source".to_owned()
    } else {
        match tomls_in(path).as_slice() {
            [] => "give the file itself".to_owned(),
            names => format!("give one of its files: {}", names.join(", ")),
        }
    };
    Error::configuration(
        format!("{}: expected a description in TOML, got a folder", path.display()),
        hint,
    )
}

/// The first few TOML files in a folder.
fn tomls_in(path: &Path) -> Vec<String> {
    let entries =
        path.read_dir().into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let mut names: Vec<String> =
        entries.filter(is_toml).map(|path| path.display().to_string()).collect();
    names.sort();
    names.truncate(3);
    names
}

fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| {
        let reason = cut_lines(&error.to_string(), LINE_COLUMNS);
        let hint = nearest_key(error.message()).map(|key| format!("did you mean `{key}`?"));
        let hint = hint.unwrap_or_default();
        Error::configuration(format!("{}: {}", path.display(), reason.trim_end()), hint)
    })
}

/// Returns the known key nearest to the unknown one that serde's message names first.
pub fn nearest_key(message: &str) -> Option<&str> {
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

/// Returns the folder that relative paths in the file at `path` start from.
///
/// ```
/// use std::path::Path;
///
/// assert_eq!(mixdown_experiments::base_folder(Path::new("runs/math/run.toml")), Path::new("runs/math"));
/// ```
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
    fn a_long_line_is_not_printed_whole() {
        let text = format!("values = [{} x]", "1, ".repeat(100_000));
        let error =
            parse_toml::<toml::Table>(Path::new("long.toml"), &text).unwrap_err().to_string();
        assert!(
            error.starts_with("long.toml: TOML parse error at line 1, column 300012\n"),
            "{error}"
        );
        assert!(error.len() < 2000 && error.contains("\n1 | values = [1, 1, "), "{error}");
    }

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
