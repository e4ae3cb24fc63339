//! The settings of a sweep, as a user writes them in SWEEP.toml.

use std::path::{Path, PathBuf};

use mixdown_base::quantity::field;
use mixdown_train::{FreshFamily, Schedule};
use serde::{Deserialize, Deserializer, Serialize};

use super::command::PLACEHOLDER;
use super::names::check_names;
use super::plan::{PlannedRun, runs_of};
use super::train_settings::TrainSettings;
use crate::error::Error;
use crate::runs::configuration::{base_folder, parse_description, read_description};
use crate::runs::injection::Injection;

/// The contents of a SWEEP.toml: what is varied, the domains, the models, and the training of each run.
///
/// The grid (`model` × `domain` × `target_tokens` × `p` × `seeds`) may grow from call to call. Of the other settings
/// only `keep_weights` may change in a sweep's folder. A field that is added later must not be written if it is left
/// out, because the fingerprints of finished runs are computed from this text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepConfig {
    /// The corpus that models are pretrained on, and that forgetting is measured on.
    pub pretraining: PathBuf,
    /// The standard part of the grid that is done instead of the whole grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design: Option<Design>,
    /// The seeds of the order of the data.
    #[serde(default = "defaults::seeds")]
    pub seeds: Vec<u64>,
    /// The shares of pretraining data.
    #[serde(default)]
    pub p: Vec<Injection>,
    /// The numbers of unique target tokens (D).
    #[serde(default, deserialize_with = "token_counts")]
    pub target_tokens: Vec<u64>,
    /// Whether checkpoints and best/ stay when a run is finished.
    #[serde(default)]
    pub keep_weights: bool,
    /// The program that does the finetuning; `{run}` is replaced by the path of its run file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The settings of each finetuning.
    pub train: TrainSettings,
    /// The settings by which fresh models are pretrained.
    #[serde(default)]
    pub pretrain: PretrainSettings,
    /// What each run measures.
    #[serde(default)]
    pub eval: EvalSettings,
    /// The targets.
    pub domain: Vec<DomainSettings>,
    /// The base models.
    pub model: Vec<ModelSettings>,
    /// The single runs beside or instead of the grid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<RunSettings>,
    /// The folder of the description, in which `command` runs.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A standard part of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Design {
    /// Three models × three numbers of target tokens × {0, 1 %}: the smallest grid that determines a law.
    Minimal,
}

/// A domain: the target of finetuning runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainSettings {
    /// The domain's name in the table of runs.
    pub name: String,
    /// The domain's corpus.
    pub corpus: PathBuf,
}

/// A base model: a folder, or the size of a fresh model that the sweep pretrains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// The model's name in ids of runs.
    pub name: String,
    /// The Hugging Face folder of an existing model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// The size of a fresh GPT-2-like model by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The architecture of a fresh model whose sizes follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<FreshFamily>,
    /// The numbers of one hidden state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<u64>,
    /// The numbers between the MLP's two projections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<u64>,
    /// The number of decoder blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<u64>,
    /// The number of attention heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<u64>,
    /// The seed of a fresh model's weights and of its pretraining's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The tokens of pretraining: for a fresh model those of its run, for a folder those of its history, if known.
    #[serde(
        default,
        deserialize_with = "field::optional_tokens",
        skip_serializing_if = "Option::is_none"
    )]
    pub tokens: Option<u64>,
    /// The peak learning rate of the pretraining, if it differs from that of `[pretrain]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

/// A single run outside the grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// The name of the run's base model.
    pub model: String,
    /// The name of the run's domain.
    pub domain: String,
    /// The number of unique target tokens.
    #[serde(deserialize_with = "field::tokens")]
    pub target_tokens: u64,
    /// The share of pretraining data.
    pub p: Injection,
    /// The seed of the order of the data.
    #[serde(default)]
    pub seed: u64,
}

/// The table `[pretrain]`, by which fresh models are pretrained; settings that are left out are those of `[train]` or
/// the defaults below.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainSettings {
    /// The sequences of a batch; without it, those of `[train]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u64>,
    /// The peak learning rate; without it, 1e-3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// The learning-rate schedule after the warm-up; without it, a cosine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The steps in which the learning rate rises; without it, a twentieth of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// The decoupled weight decay; without it, that of `[train]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The number of evaluations during the run; without it, 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<u64>,
    /// The steps between two checkpoints; without it, those of `[train]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
}

/// The table `[eval]`: the held-out sequences, which are the same for every run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSettings {
    /// The number of held-out sequences of each corpus.
    #[serde(default = "defaults::sequences")]
    pub sequences: u64,
    /// The number of evaluations per pass over the target tokens.
    #[serde(default = "defaults::per_epoch")]
    pub per_epoch: u64,
}

impl Default for EvalSettings {
    fn default() -> Self {
        Self { sequences: defaults::sequences(), per_epoch: defaults::per_epoch() }
    }
}

/// Numbers of tokens, each a whole number or a text such as "30k".
fn token_counts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Tokens(#[serde(deserialize_with = "field::tokens")] u64);

    let counts: Vec<Tokens> = Vec::deserialize(deserializer)?;
    Ok(counts.into_iter().map(|tokens| tokens.0).collect())
}

/// The defaults of fields that are left out.
mod defaults {
    pub(super) fn seeds() -> Vec<u64> {
        vec![0]
    }
    pub(super) fn sequences() -> u64 {
        128
    }
    pub(super) fn per_epoch() -> u64 {
        2
    }
}

impl SweepConfig {
    /// Reads the description of a sweep that a user wrote, or that of an earlier sweep. Relative paths start from the
    /// folder of the file.
    ///
    /// # Errors
    /// A missing file, TOML that does not parse, unknown keys, wrong types.
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_description::<Self>(path)?.absolute(base_folder(path))
    }

    /// Reads a description from its text; paths stay as they were given.
    ///
    /// # Errors
    /// As [`read`](Self::read), except for a missing file.
    ///
    /// ```
    /// use mixdown_experiments::SweepConfig;
    ///
    /// let settings = SweepConfig::parse(
    ///     "pretraining = 'corpora/general'
    ///      p = ['0', '1%']
    ///      target_tokens = ['300k']
    ///      train = { sequence_length = 128, batch_size = 16 }
    ///      domain = [{ name = 'math', corpus = 'corpora/math' }]
    ///      model = [{ name = '41M', size = '41M', tokens = '800M' }]",
    /// )?;
    /// assert_eq!(settings.target_tokens, [300_000]);
    /// assert!(SweepConfig::parse("p = ['0']").is_err());
    /// # Ok::<(), mixdown_experiments::Error>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse_description(Path::new("the sweep"), text)
    }

    /// Returns the runs that the settings ask for, in the order in which they are done; no corpus is opened.
    ///
    /// # Errors
    /// A single run of a model or domain that is not in the lists.
    pub fn planned_runs(&self) -> Result<Vec<PlannedRun>, Error> {
        runs_of(self)
    }

    /// Returns the settings with absolute paths; relative ones start from `base`.
    ///
    /// # Errors
    /// A working directory that is gone.
    pub fn absolute(mut self, base: &Path) -> Result<Self, Error> {
        // An empty path is the working folder.
        let base = std::env::current_dir()
            .map_err(|error| Error::io(base, "find the folder of", error))?
            .join(base);
        let domains = self.domain.iter_mut().map(|domain| &mut domain.corpus);
        let models = self.model.iter_mut().filter_map(|model| model.init.as_mut());
        for path in domains.chain(models).chain([&mut self.pretraining]) {
            *path = base.join(&*path);
        }
        self.folder = base;
        Ok(self)
    }

    /// Checks the settings that need no file, and applies `design`.
    ///
    /// # Errors
    /// The first setting that no sweep can have.
    pub fn checked(mut self) -> Result<Self, Error> {
        for (kind, names) in [
            ("domain", self.domain.iter().map(|domain| &domain.name).collect::<Vec<_>>()),
            ("model", self.model.iter().map(|model| &model.name).collect()),
        ] {
            check_names(kind, &names)?;
        }
        self.model.iter().try_for_each(ModelSettings::check)?;
        if self.design == Some(Design::Minimal) {
            self.minimal()?;
        }
        if self.p.is_empty() != self.target_tokens.is_empty() {
            let empty = if self.p.is_empty() { "p" } else { "target_tokens" };
            return Err(setting(empty, "at least one, as the grid has", "none"));
        }
        if self.p.is_empty() && self.run.is_empty() {
            return Err(setting(
                "p and target_tokens",
                "a grid, or single runs as [[run]]",
                "none",
            ));
        }
        if self.command.as_ref().is_some_and(|command| !command.contains(PLACEHOLDER)) {
            return Err(setting("command", "{run} in it, for the run file's path", "none"));
        }
        if self.eval.per_epoch == 0 || self.train.epochs == 0 {
            return Err(setting("eval.per_epoch and train.epochs", "at least 1", 0));
        }
        Ok(self)
    }

    /// Three models, three numbers of target tokens, {0, 1 %}.
    fn minimal(&mut self) -> Result<(), Error> {
        self.model = three("[[model]]", std::mem::take(&mut self.model))?;
        self.target_tokens.sort_unstable();
        self.target_tokens = three("target_tokens", std::mem::take(&mut self.target_tokens))?;
        self.p = vec![Injection::NONE, "1%".parse()?];
        self.seeds.truncate(1);
        self.run.clear();
        Ok(())
    }
}

/// The first, the middle and the last.
fn three<T: Clone>(field: &str, all: Vec<T>) -> Result<Vec<T>, Error> {
    match (all.as_slice(), all.get(all.len() / 2)) {
        ([first, .., last], Some(middle)) if all.len() >= 3 => {
            Ok(vec![first.clone(), middle.clone(), last.clone()])
        }
        _ => Err(setting(field, "at least three for the minimal design", all.len())),
    }
}

impl ModelSettings {
    fn check(&self) -> Result<(), Error> {
        let sizes = [self.hidden_size, self.intermediate_size, self.layers, self.heads];
        let is_sized = self.family.is_some() || sizes.iter().any(Option::is_some);
        let field = format!("model {}", self.name);
        let ways = [self.init.is_some(), self.size.is_some(), is_sized];
        if ways.into_iter().filter(|way| *way).count() != 1 {
            let expected = "one of init, size, or hidden_size, layers and heads";
            return Err(setting(&field, expected, "none or several"));
        }
        if self.init.is_some() {
            let own = self.seed.map(|_| "seed").or(self.learning_rate.map(|_| "learning_rate"));
            return own.map_or(Ok(()), |own| Err(setting(&field, "init without it", own)));
        }
        match self.tokens {
            Some(tokens) if tokens > 0 => Ok(()),
            _ => Err(setting(&field, "tokens of pretraining, such as tokens = 4_000_000", "none")),
        }
    }
}

/// A setting that no sweep can have.
pub fn setting(field: &str, expected: &str, got: impl ToString) -> Error {
    Error::configuration(format!("{field}: expected {expected}, got {}", got.to_string()), "")
}
