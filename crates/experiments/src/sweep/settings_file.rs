//! The file sweep.toml: the settings of the sweep in a folder, with the fingerprints of all its inputs.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use mixdown_base::files;
use mixdown_runs::sums;
use serde::Serialize;
use toml::{Table, Value};

use super::fingerprints::Fingerprints;
use super::settings::SweepConfig;
use crate::error::{Error, Hint};

pub const FILE: &str = "sweep.toml";

/// The beginning of the file if the sweep's files have sums, by which removed sums are noticed.
const MARK: &str = "# The BLAKE3 sum of each file here is in NAME.blake3 beside it.\n";

/// Tables that no call may change.
const FIXED: [&str; 4] = ["command", "train", "pretrain", "eval"];

/// Lists of named tables, to which calls may add.
const NAMED: [&str; 2] = ["domain", "model"];

/// Paths, whose contents are compared by fingerprint.
const PATHS: [&str; 2] = ["corpus", "init"];

/// The settings of a sweep as they are stored in its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingsFile {
    table: Table,
}

#[derive(Serialize)]
struct Contents<'a> {
    #[serde(flatten)]
    settings: &'a SweepConfig,
    fingerprints: &'a Fingerprints,
}

impl SettingsFile {
    /// Returns the file of these settings.
    ///
    /// # Errors
    /// Settings that TOML cannot hold.
    pub fn new(settings: &SweepConfig, fingerprints: &Fingerprints) -> Result<Self, Error> {
        let table = Table::try_from(Contents { settings, fingerprints }).map_err(|error| {
            Error::configuration(format!("settings that TOML cannot hold: {error}"), "")
        })?;
        Ok(Self { table })
    }

    /// Returns the path of the file of the sweep in `out`.
    pub fn path(out: &Path) -> PathBuf {
        out.join(FILE)
    }

    /// Reads the file of the sweep in `out`, if there is one.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML.
    pub fn read(out: &Path) -> Result<Option<Self>, Error> {
        let path = Self::path(out);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", error))?;
        sums::check_bytes(&path, text.as_bytes())?;
        let table = text.parse::<Table>().map_err(|error| damaged(&path, error.message()))?;
        Ok(Some(Self { table }))
    }

    /// Returns whether the files of the sweep in `out` must have sums; those of older versions have none.
    pub fn is_summed(out: &Path) -> bool {
        fs::read(Self::path(out)).is_ok_and(|text| text.starts_with(MARK.as_bytes()))
    }

    /// Returns the recorded fingerprints.
    ///
    /// # Errors
    /// Missing or invalid fingerprints.
    pub fn fingerprints(&self) -> Result<Fingerprints, Error> {
        let value = self.table.get("fingerprints").cloned();
        let value = value.unwrap_or_else(|| Value::Table(Table::new()));
        value.try_into().map_err(|error: toml::de::Error| {
            damaged(Path::new(FILE), &format!("[fingerprints]: {}", error.message()))
        })
    }

    /// Returns the first setting that differs although it must not: its key, the value in `self` and that in `other`.
    fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let fixed = FIXED
            .into_iter()
            .find_map(|key| difference(key, self.table.get(key), other.table.get(key)));
        let named = || NAMED.into_iter().find_map(|key| self.named_difference(other, key));
        fixed.or_else(named).or_else(|| self.fingerprint_difference(other))
    }

    fn named_difference(&self, other: &Self, key: &str) -> Option<(String, String, String)> {
        let theirs = named(&other.table, key);
        named(&self.table, key).into_iter().find_map(|(name, ours)| {
            let (_, theirs) = theirs.iter().find(|(other, _)| *other == name)?;
            let place = format!("{key} {name}");
            difference(&place, Some(&without_paths(ours)), Some(&without_paths(theirs)))
        })
    }

    fn fingerprint_difference(&self, other: &Self) -> Option<(String, String, String)> {
        let of = |file: &Self, key: &str| file.table.get("fingerprints")?.get(key).cloned();
        let own = difference(
            "pretraining",
            of(self, "pretraining").as_ref(),
            of(other, "pretraining").as_ref(),
        );
        own.or_else(|| {
            NAMED.into_iter().find_map(|key| {
                let (ours, theirs) = (of(self, key)?, of(other, key)?);
                let (ours, theirs) = (ours.as_table()?, theirs.as_table()?);
                ours.iter().find_map(|(name, ours)| {
                    let theirs = theirs.get(name)?;
                    difference(&format!("fingerprint of {key} {name}"), Some(ours), Some(theirs))
                })
            })
        })
    }

    /// Takes over the named tables that only `earlier` has, because their runs are in the folder.
    fn keep(&mut self, earlier: &Self) {
        for key in NAMED {
            let ours: BTreeSet<String> =
                named(&self.table, key).into_iter().map(|(name, _)| name.to_owned()).collect();
            let gone =
                named(&earlier.table, key).into_iter().filter(|(name, _)| !ours.contains(*name));
            let gone: Vec<Value> = gone.map(|(_, table)| Value::Table(table.clone())).collect();
            if let Some(Value::Array(all)) = self.table.get_mut(key) {
                all.extend(gone);
            }
            let earlier = earlier.table.get("fingerprints").and_then(|table| table.get(key));
            let own = self.table.get_mut("fingerprints").and_then(|table| table.get_mut(key));
            if let (Some(Value::Table(own)), Some(Value::Table(earlier))) = (own, earlier) {
                for (name, fingerprint) in earlier {
                    own.entry(name.clone()).or_insert_with(|| fingerprint.clone());
                }
            }
        }
    }
}

/// Writes the settings `ours` into `out`, unless the same settings or a part of them are there already.
///
/// # Errors
/// A folder of something else, a sweep of other settings: the first difference by name.
pub fn claim(out: &Path, there: Option<SettingsFile>, ours: SettingsFile) -> Result<(), Error> {
    let path = out.join(FILE);
    let mut ours = ours;
    match &there {
        Some(there) => {
            check(out, there, &ours)?;
            ours.keep(there);
        }
        None => check_unclaimed(out, &path)?,
    }
    if there.as_ref() == Some(&ours) {
        return Ok(());
    }
    fs::create_dir_all(out).map_err(|error| Error::io(out, "make", error))?;
    Ok(sums::write_summed(&path, format!("{MARK}{}", ours.table).as_bytes())?)
}

/// Checks that `path`, the file with the settings of `out`, may be written: the folder does not exist or is empty,
/// except for a sum or a temporary file that a killed process left.
///
/// # Errors
/// A folder of something else.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use mixdown_experiments::check_unclaimed;
///
/// let path = directory.path().join("sweep.toml");
/// check_unclaimed(directory.path(), &path)?;
/// std::fs::write(directory.path().join("notes.txt"), "mine")?;
/// assert!(check_unclaimed(directory.path(), &path).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_unclaimed(out: &Path, path: &Path) -> Result<(), Error> {
    let own = path.file_name().unwrap_or_default();
    let sum = [own, OsStr::new(sums::SUM_ENDING)].into_iter().collect::<OsString>();
    let is_leftover = |name: &OsStr| {
        let finished = name.to_str().and_then(files::unique_finished_name).map(OsStr::new);
        name == sum || finished.is_some_and(|finished| finished == own || finished == sum)
    };
    let stranger = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| !is_leftover(&entry.file_name()))
    };
    let is_taken =
        out.is_file() || fs::read_dir(out).is_ok_and(|mut entries| entries.any(stranger));
    if is_taken && out.join(&sum).is_file() {
        return Err(Error::data(
            format!("{}: expected the file whose sum is beside it, got no file", path.display()),
            "bring it back from a copy, or name another folder",
        ));
    }
    if is_taken {
        return Err(Error::configuration(
            format!(
                "{}: expected no such folder or an empty one, got something else",
                out.display()
            ),
            Hint::FolderTaken,
        ));
    }
    Ok(())
}

/// Checks that a sweep with the settings `ours` may continue in the folder with the settings `there`.
///
/// # Errors
/// The first difference by name.
pub fn check(out: &Path, there: &SettingsFile, ours: &SettingsFile) -> Result<(), Error> {
    match there.difference(ours) {
        None => Ok(()),
        Some((place, expected, got)) => Err(Error::configuration(
            format!(
                "{}: holds a sweep of other settings: {place}: expected {expected}, got {got}",
                out.display()
            ),
            Hint::OtherSweep,
        )),
    }
}

/// Returns the tables of a list by name.
fn named<'a>(table: &'a Table, key: &str) -> Vec<(&'a str, &'a Table)> {
    let all = table.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let tables = all.iter().filter_map(Value::as_table);
    tables.filter_map(|table| Some((table.get("name")?.as_str()?, table))).collect()
}

fn without_paths(table: &Table) -> Value {
    let kept = table.iter().filter(|(key, _)| !PATHS.contains(&key.as_str()));
    Value::Table(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Returns the first value that differs: its key and both values.
fn difference(
    place: &str,
    ours: Option<&Value>,
    theirs: Option<&Value>,
) -> Option<(String, String, String)> {
    if ours == theirs {
        return None;
    }
    if let (Some(Value::Table(ours)), Some(Value::Table(theirs))) = (ours, theirs) {
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        return keys
            .into_iter()
            .find_map(|key| difference(&format!("{place}.{key}"), ours.get(key), theirs.get(key)));
    }
    let text = |value: Option<&Value>| {
        value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
    };
    Some((place.to_owned(), text(ours), text(theirs)))
}

fn damaged(path: &Path, got: &str) -> Error {
    let path: PathBuf = path.to_owned();
    Error::data(
        format!("{}: expected the settings of a sweep, got {got}", path.display()),
        Hint::DamagedSettings,
    )
}

#[cfg(test)]
mod tests {
    use super::SettingsFile;

    const THERE: &str = "p = ['1%']\n[fingerprints]\npretraining = 'a'\n[fingerprints.domain]\nx = 'b'\n\
                         [fingerprints.model]\n[train]\nepochs = 3\n[[domain]]\nname = 'x'\ncorpus = '/x'\n\
                         [[model]]\nname = 'm'\nlayers = 2\n";

    fn file(text: &str) -> SettingsFile {
        SettingsFile { table: text.parse().unwrap() }
    }

    #[test]
    fn lists_may_grow_and_paths_move() {
        let there = file(THERE);
        for (from, to) in [
            ("['1%']", "['1%', '2%']"),
            ("'/x'", "'/elsewhere'"),
            ("[[model]]", "[[model]]\nname = 'n'\nlayers = 9\n[[model]]"),
            ("x = 'b'", "x = 'b'\ny = 'c'"),
        ] {
            let ours = file(&THERE.replace(from, to));
            assert_eq!(there.difference(&ours), None, "{to}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let there = file(THERE);
        for (from, to, place) in [
            ("epochs = 3", "epochs = 4", "train.epochs"),
            ("layers = 2", "layers = 3", "model m.layers"),
            ("x = 'b'", "x = 'c'", "fingerprint of domain x"),
            ("pretraining = 'a'", "pretraining = 'c'", "pretraining"),
        ] {
            let found = there.difference(&file(&THERE.replace(from, to))).unwrap();
            assert_eq!(found.0, place);
        }
    }

    #[test]
    fn what_earlier_calls_had_is_kept() {
        let mut ours = file(&THERE.replace("'x'", "'y'").replace("x = 'b'", "y = 'c'"));
        ours.keep(&file(THERE));
        let text = ours.table.to_string();
        assert!(text.contains("name = \"x\"") && text.contains("x = \"b\""), "{text}");
        let changed = file(&THERE.replace("x = 'b'", "x = 'd'"));
        assert!(ours.difference(&changed).is_some());
    }
}
