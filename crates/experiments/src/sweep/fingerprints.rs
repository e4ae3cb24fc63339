//! The fingerprints of a sweep's inputs and of its runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use mixdown_shards::{Access, Corpus, Fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::settings::{ModelSettings, SweepConfig};
use crate::error::Error;
use crate::runs::injection::Injection;

/// Fingerprints of corpora and given model folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprints {
    /// The pretraining corpus.
    pub pretraining: Fingerprint,
    /// The targets, by domain.
    pub domain: BTreeMap<String, Fingerprint>,
    /// The given base models, by name.
    pub model: BTreeMap<String, Fingerprint>,
}

impl Fingerprints {
    /// Computes the fingerprints of all that `settings` names. A model's folder that is gone keeps the fingerprint in
    /// `known`, because its finished runs no longer need it.
    ///
    /// # Errors
    /// Corpora or folders that cannot be read.
    pub fn new(settings: &SweepConfig, known: Option<&Self>) -> Result<Self, Error> {
        let corpus = |path: &Path| -> Result<Fingerprint, Error> {
            Ok(Corpus::open_lazily(path, Access::Map)?.fingerprint())
        };
        let mut domain = BTreeMap::new();
        for settings in &settings.domain {
            domain.insert(settings.name.clone(), corpus(&settings.corpus)?);
        }
        let mut model = BTreeMap::new();
        for settings in &settings.model {
            let Some(folder) = &settings.init else { continue };
            let known = known.and_then(|known| known.model.get(&settings.name)).copied();
            let fingerprint = match known.filter(|_| !folder.exists()) {
                Some(known) => known,
                None => folder_fingerprint(folder)?,
            };
            model.insert(settings.name.clone(), fingerprint);
        }
        Ok(Self { pretraining: corpus(&settings.pretraining)?, domain, model })
    }

    /// Returns the fingerprint of a domain's corpus.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn domain(&self, name: &str) -> Result<Fingerprint, Error> {
        let fingerprint = self.domain.get(name).copied();
        fingerprint.ok_or_else(|| Error::configuration(format!("no domain is called {name}"), ""))
    }
}

/// Returns a hash of the names and contents of a model folder's description and weights.
fn folder_fingerprint(folder: &Path) -> Result<Fingerprint, Error> {
    let io = |error| Error::io(folder, "list the model folder", error);
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name == "config.json" || name.ends_with(".safetensors") {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut hashes = Vec::new();
    for name in names {
        let path = folder.join(&name);
        hashes.extend_from_slice(Fingerprint::of(name.as_bytes()).as_bytes());
        hash_file(&path, &mut hashes).map_err(|error| Error::io(&path, "read", error))?;
    }
    Ok(Fingerprint::of(&hashes))
}

/// Adds the hash of each of a file's parts.
fn hash_file(path: &Path, hashes: &mut Vec<u8>) -> std::io::Result<()> {
    const PART_BYTES: u64 = 16 << 20;
    let mut file = File::open(path)?;
    let mut part = Vec::new();
    loop {
        part.clear();
        if Read::by_ref(&mut file).take(PART_BYTES).read_to_end(&mut part)? == 0 {
            return Ok(());
        }
        hashes.extend_from_slice(Fingerprint::of(&part).as_bytes());
    }
}

/// Returns the fingerprint of a base model: that of its bytes, or of all that its pretraining depends on.
///
/// # Errors
/// Only settings that JSON cannot represent.
pub fn base_fingerprint(
    settings: &SweepConfig,
    fingerprints: &Fingerprints,
    model: &ModelSettings,
) -> Result<Fingerprint, Error> {
    if let Some(fingerprint) = fingerprints.model.get(&model.name) {
        return Ok(*fingerprint);
    }
    let nameless = ModelSettings { name: String::new(), ..model.clone() };
    Ok(of_json(&json!({
        "pretraining": fingerprints.pretraining,
        "model": to_json(&nameless)?,
        "train": to_json(&settings.train)?,
        "pretrain": to_json(&settings.pretrain)?,
        "eval": to_json(&settings.eval)?,
    })))
}

/// Returns the fingerprint of a run: that of the data and all settings that change its numbers.
///
/// # Errors
/// Only settings that JSON cannot represent.
pub fn run_fingerprint(
    settings: &SweepConfig,
    fingerprints: &Fingerprints,
    base: Fingerprint,
    domain: Fingerprint,
    (target_tokens, inject, seed): (u64, Injection, u64),
) -> Result<Fingerprint, Error> {
    Ok(of_json(&json!({
        "base": base,
        "pretraining": fingerprints.pretraining,
        "domain": domain,
        "train": to_json(&settings.train)?,
        "eval": to_json(&settings.eval)?,
        "command": settings.command,
        "target_tokens": target_tokens,
        "p": inject,
        "seed": seed,
    })))
}

fn to_json(value: &impl Serialize) -> Result<serde_json::Value, Error> {
    serde_json::to_value(value).map_err(|error| {
        Error::configuration(format!("settings that JSON cannot hold: {error}"), "")
    })
}

/// A hash of the text, whose keys are sorted.
fn of_json(value: &serde_json::Value) -> Fingerprint {
    Fingerprint::of(value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mixdown_shards::Fingerprint;

    use super::{Fingerprints, base_fingerprint, run_fingerprint};
    use crate::sweep::settings::SweepConfig;

    const SWEEP: &str = "pretraining = 'g'\np = ['0', '1%']\ntarget_tokens = [30_000]\n\
                         [[domain]]\nname = 'd'\ncorpus = 'c'\n\
                         [[model]]\nname = 'm'\nhidden_size = 64\nlayers = 2\nheads = 2\ntokens = 4_000_000\n\
                         [train]\nsequence_length = 128\nbatch_size = 16\n";

    fn fingerprint(text: &str, p: &str) -> String {
        let settings: SweepConfig = toml::from_str(text).unwrap();
        let of = |name: &str| Fingerprint::of(name.as_bytes());
        let all = Fingerprints {
            pretraining: of("general"),
            domain: BTreeMap::from([("d".to_owned(), of("target"))]),
            model: BTreeMap::new(),
        };
        let base = base_fingerprint(&settings, &all, &settings.model[0]).unwrap();
        let point = (30_000, p.parse().unwrap(), 0);
        run_fingerprint(&settings, &all, base, of("target"), point).unwrap().to_string()
    }

    /// Rows that are on disks stay those of their runs: a setting that is added later must not change this.
    #[test]
    fn a_run_has_one_fingerprint_for_ever() {
        assert_eq!(
            fingerprint(SWEEP, "1%"),
            "01e29af3a56f1654d563078bcb371712316a6feb5aaf41c564135495dc428197"
        );
    }

    #[test]
    fn what_changes_numbers_changes_it() {
        let own = fingerprint(SWEEP, "1%");
        assert_ne!(own, fingerprint(SWEEP, "2%"));
        for (from, to) in [
            ("batch_size = 16", "batch_size = 8"),
            ("batch_size = 16", "batch_size = 16\n[train.lora]\nrank = 4"),
            ("batch_size = 16", "batch_size = 16\nema = 0.9"),
            ("layers = 2", "layers = 3"),
            ("[train]", "[eval]\nsequences = 64\n[train]"),
            ("[train]", "[pretrain]\nlearning_rate = 1e-4\n[train]"),
        ] {
            assert_ne!(own, fingerprint(&SWEEP.replace(from, to), "1%"), "{to}");
        }
        for (from, to) in [
            ("name = 'm'", "name = 'other'"),
            ("p = ['0', '1%']", "p = ['1%']\nkeep_weights = true"),
            ("corpus = 'c'", "corpus = 'elsewhere'"),
        ] {
            assert_eq!(own, fingerprint(&SWEEP.replace(from, to), "1%"), "{to}");
        }
    }
}
