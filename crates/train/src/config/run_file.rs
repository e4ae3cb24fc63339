//! run.toml: the resolved settings of a run, with the fingerprints of everything that it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mixdown_runs::RunFolder;
use mixdown_shards::Fingerprint;
use serde::Serialize;
use toml::{Table, Value};

use crate::config::model_choice::ModelChoice;
use crate::config::run_config::RunConfig;
use crate::error::Error;
use crate::model::place::ModelPlace;
use crate::model::shape::TokenizerFingerprint;

/// Settings of paths and of how files are read; their contents are compared by fingerprint.
const PLACES: [&str; 3] = ["corpus", "init", "access"];

/// The table with the fingerprints of everything that a run reads.
const FINGERPRINTS: &str = "fingerprints";
/// The fingerprints of the model that a run starts from: of its weights, and of its architecture, which older runs do
/// not have.
pub(crate) const OF_BASE: [&str; 2] = ["init", "init architecture"];

/// The settings of one run as its folder records them.
#[derive(Debug)]
pub(crate) struct RunFile {
    text: String,
    table: Table,
}

#[derive(Serialize)]
struct Contents<'a> {
    run_id: &'a str,
    title: &'a str,
    #[serde(flatten)]
    config: &'a RunConfig,
    fingerprints: &'a BTreeMap<String, Fingerprint>,
}

impl RunFile {
    /// Returns `config` with absolute paths and with the fingerprints of its corpora and of its initial model, by name.
    pub(crate) fn new(
        run_id: &str,
        title: &str,
        config: &RunConfig,
        fingerprints: &BTreeMap<String, Fingerprint>,
    ) -> Result<Self, Error> {
        let config = &absolute(config)?;
        let contents = Contents { run_id, title, config, fingerprints };
        let unwritable =
            |error: &dyn std::fmt::Display| Error::setting("run", "settings TOML can hold", error);
        let text = toml::to_string(&contents).map_err(|error| unwritable(&error))?;
        let table = text.parse::<Table>().map_err(|error| unwritable(&error))?;
        Ok(Self { text, table: comparable(table) })
    }

    /// Returns a hash of all settings that change numbers, without sources and stages, which the mixer's state checks,
    /// and without the base model, which [`RunFile::match_settings`] compares: older checkpoints have the same hash.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut table = without_mixing(&self.table);
        if let Some(Value::Table(fingerprints)) = table.get_mut(FINGERPRINTS) {
            fingerprints.retain(|name, _| OF_BASE.iter().all(|of_base| name != *of_base));
        }
        Fingerprint::of(table.to_string().as_bytes())
    }

    /// Returns a hash of all data and of all settings that change results.
    pub(crate) fn whole_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.table.to_string().as_bytes())
    }

    /// Writes run.toml into a new folder.
    pub(crate) fn write(&self, folder: &RunFolder) -> Result<(), Error> {
        Ok(folder.write_run_toml(&self.text)?)
    }

    /// Compares these settings with the run.toml of the folder, if there is one.
    ///
    /// # Errors
    /// A setting differs that must be the same; run.toml is damaged.
    pub(crate) fn match_settings(
        &self,
        folder: &RunFolder,
        changes: AllowedChanges,
    ) -> Result<SettingsMatch, Error> {
        let path = folder.run_toml();
        if !path.exists() {
            return Ok(SettingsMatch::New);
        }
        let there = folder.read_run_toml()?;
        let there = there
            .parse::<Table>()
            .map_err(|error| Error::bad_file(&path, "a TOML file", error.message()))?;
        let mut there = comparable(there);
        add_what_is_newer(&mut there, &self.table);
        let found = match changes {
            AllowedChanges::None => difference(&there, &self.table),
            AllowedChanges::Stages => {
                difference(&without_mixing(&there), &without_mixing(&self.table))
            }
        };
        match found {
            Some((field, expected, got)) => Err(Error::OtherRun { path, field, expected, got }),
            None if there == self.table => Ok(SettingsMatch::Same),
            None => Ok(SettingsMatch::Changed),
        }
    }
}

/// The settings that may differ when a run continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedChanges {
    /// No setting.
    None,
    /// The mixture's stages and sources, from a slot that the run has not reached.
    Stages,
}

/// The result of comparing the run.toml of a folder with the settings of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingsMatch {
    /// The folder has no run.toml.
    New,
    /// The settings are the same.
    Same,
    /// The settings differ only where they may.
    Changed,
}

/// Returns the table without the mixture's sources and stages and without the fingerprints of sources.
fn without_mixing(table: &Table) -> Table {
    let mut table = table.clone();
    if let Some(Value::Table(mixture)) = table.get_mut("mixture") {
        mixture.remove("source");
        mixture.remove("stage");
    }
    if let Some(Value::Table(fingerprints)) = table.get_mut(FINGERPRINTS) {
        fingerprints.retain(|name, _| !name.starts_with("source "));
    }
    table
}

/// Returns the table without names and paths, which change no result.
fn comparable(mut table: Table) -> Table {
    table.remove("run_id");
    table.remove("title");
    without_paths(table)
}

/// Adds the architecture of the current base to an older run.toml, which does not record it.
fn add_what_is_newer(there: &mut Table, here: &Table) {
    let [weights, architecture] = OF_BASE;
    let here = here.get(FINGERPRINTS).and_then(|table| table.get(architecture));
    let there = there.get_mut(FINGERPRINTS).and_then(Value::as_table_mut);
    if let (Some(there), Some(here)) = (there, here)
        && there.contains_key(weights)
        && !there.contains_key(architecture)
    {
        there.insert(architecture.to_owned(), here.clone());
    }
}

fn without_paths(table: Table) -> Table {
    let kept = table
        .into_iter()
        .filter(|(key, value)| !(PLACES.contains(&key.as_str()) && value.is_str()));
    // What lies at a path is compared by its fingerprint, whatever the fingerprint is called.
    let within = |(key, value)| match key == FINGERPRINTS {
        true => (key, value),
        false => (key, without_paths_within(value)),
    };
    kept.map(within).collect()
}

fn without_paths_within(value: Value) -> Value {
    match value {
        Value::Table(table) => Value::Table(without_paths(table)),
        Value::Array(values) => {
            Value::Array(values.into_iter().map(without_paths_within).collect())
        }
        other => other,
    }
}

/// Returns the first setting that differs: its place and both values.
fn difference(there: &Table, here: &Table) -> Option<(String, String, String)> {
    let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    keys.into_iter().find_map(|key| value_difference(key, there.get(key), here.get(key)))
}

fn value_difference(
    place: &str,
    there: Option<&Value>,
    here: Option<&Value>,
) -> Option<(String, String, String)> {
    if there == here {
        return None;
    }
    let below = match (there, here) {
        (Some(Value::Table(there)), Some(Value::Table(here))) => difference(there, here),
        (Some(Value::Array(there)), Some(Value::Array(here))) => (0..there.len().max(here.len()))
            .find_map(|i| value_difference(&(i + 1).to_string(), there.get(i), here.get(i))),
        _ => {
            let text = |value: Option<&Value>| {
                value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
            };
            return Some((place.to_owned(), text(there), text(here)));
        }
    };
    below.map(|(field, expected, got)| (format!("{place}.{field}"), expected, got))
}

/// Returns `config` with its paths, which are relative to `base`, made relative to the working directory, as messages
/// name them. If the model is a run's folder, its best/ is taken.
///
/// # Errors
/// The initial model is not the folder of a model.
pub(crate) fn resolved(config: &RunConfig, base: &Path) -> Result<RunConfig, Error> {
    let mut config = config.clone();
    if let ModelChoice::Init(init) = &mut config.model {
        *init = ModelPlace::find(base, init)?.folder;
    }
    corpora(&mut config).for_each(|path| *path = base.join(&*path));
    Ok(config)
}

/// Returns `config` with absolute paths, so that run.toml means the same in any place.
fn absolute(config: &RunConfig) -> Result<RunConfig, Error> {
    let mut config = config.clone();
    let make = |path: &mut PathBuf| -> Result<(), Error> {
        *path = std::path::absolute(&*path).map_err(Error::io(path, "find the folder of"))?;
        Ok(())
    };
    corpora(&mut config).try_for_each(make)?;
    if let ModelChoice::Init(init) = &mut config.model {
        make(init)?;
    }
    Ok(config)
}

/// Returns the folders of all corpora.
fn corpora(config: &mut RunConfig) -> impl Iterator<Item = &mut PathBuf> {
    let sources = config.mixture.source.iter_mut().map(|source| &mut source.corpus);
    sources.chain(config.eval.corpus.iter_mut().map(|corpus| &mut corpus.corpus))
}

/// The folder to which the paths of a run's description are relative, and the reader of the initial model's tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct RunBase<'a> {
    /// The folder to which relative paths are relative.
    pub folder: &'a Path,
    /// The reader of a tokenizer.json.
    pub tokenizer: TokenizerFingerprint,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{absolute, comparable, difference, resolved};
    use crate::config::run_config::RunConfig;
    use toml::Table;

    #[test]
    fn relative_paths_become_absolute() {
        let text = "[model]\ninit = 'm'\n[mixture]\nsequence_length = 8\nbatch_size = 4\n\
                    [[mixture.source]]\nname = 't'\ncorpus = 'c'\nweight = '1'\n\
                    [train]\nsteps = 1\n[eval]\nevery_steps = 1\nsequences = 1\n\
                    [[eval.corpus]]\nname = 'target'\ncorpus = '/e'\n";
        let place = tempfile::tempdir_in(".").unwrap();
        let base = Path::new(place.path().file_name().unwrap());
        std::fs::create_dir(base.join("m")).unwrap();
        std::fs::write(base.join("m/config.json"), "{}").unwrap();
        let config = resolved(&RunConfig::parse(text).unwrap(), base).unwrap();
        let here = std::env::current_dir().unwrap();
        let text = toml::to_string(&absolute(&config).unwrap()).unwrap();
        for path in
            [here.join(base).join("m"), here.join(base).join("c"), Path::new("/e").to_owned()]
        {
            assert!(text.contains(&format!("= {:?}\n", path)), "{text}");
        }
    }

    #[test]
    fn the_first_difference_is_named_and_paths_do_not_count() {
        let table = |text: &str| comparable(text.parse::<Table>().unwrap());
        let there = "run_id = 'a'\n[model]\ninit = '/x'\n[train]\nsteps = 5\n\
                     [[mixture.source]]\nname = 't'\ncorpus = '/a'\nweight = '1%'\n";
        let same = there.replace("/a", "/b").replace("'a'", "'b'").replace("/x", "/y");
        assert_eq!(difference(&table(there), &table(&same)), None);
        let expect = |text: String, place: &str, expected: &str, got: &str| {
            let found = difference(&table(there), &table(&text)).unwrap();
            assert_eq!(found, (place.to_owned(), expected.to_owned(), got.to_owned()));
        };
        expect(there.replace("1%", "2%"), "mixture.source.1.weight", "\"1%\"", "\"2%\"");
        let with_base = |hash: &str| format!("{there}[fingerprints]\ninit = '{hash}'\n");
        let [one, other] = ["1", "2"].map(|hash| table(&with_base(hash)));
        let named = ("fingerprints.init".to_owned(), "\"1\"".to_owned(), "\"2\"".to_owned());
        assert_eq!(difference(&one, &other), Some(named));
        expect(there.replace("steps = 5", "steps = 6"), "train.steps", "5", "6");
        expect(there.replace("steps = 5", "steps = 5\nclip = 1.0"), "train.clip", "nothing", "1.0");
    }
}
