//! The evaluation settings of the run that wrote a checkpoint.

use std::path::{Path, PathBuf};

use mixdown_experiments::parse_description;
use mixdown_runs::RunFolder;
use mixdown_shards::{Access, Corpus};
use mixdown_train::{Attention, EvalCorpus, RunConfig};
use toml::{Table, Value};

use crate::error::Error;

/// The settings of a run, so that its checkpoints are measured as the run measured them.
#[derive(Debug)]
pub struct RunSettings {
    /// Its run.toml.
    pub path: PathBuf,
    /// Its settings.
    pub config: RunConfig,
    /// How far attention goes back; none if that depends on a source that no longer exists.
    pub attention: Option<Attention>,
    fingerprints: Table,
}

impl RunSettings {
    /// The settings of the run that wrote `checkpoint`, which is the run's folder, its best/ or one of checkpoints/.
    /// None for any other model folder.
    ///
    /// # Errors
    /// A run.toml that cannot be read.
    pub fn of(checkpoint: &Path) -> Result<Option<Self>, Error> {
        let Some(folder) = RunFolder::of_model(checkpoint) else { return Ok(None) };
        let path = folder.run_toml();
        let text = folder.read_run_toml()?;
        let Ok(table) = text.parse::<Table>() else { return Ok(None) };
        // A description that a user wrote has no fingerprints.
        let Some(Value::Table(fingerprints)) = table.get("fingerprints") else { return Ok(None) };
        let config: RunConfig = parse_description(&path, &text)?;
        let attention = attention(&config);
        Ok(Some(Self { fingerprints: fingerprints.clone(), path, config, attention }))
    }

    /// The evaluation of the run that is of this corpus.
    pub fn evaluation(&self, corpus: &Corpus) -> Option<&EvalCorpus> {
        let own = corpus.fingerprint().to_string();
        let is_own = |eval: &&EvalCorpus| {
            let fingerprint = self.fingerprints.get(&format!("eval {}", eval.name));
            fingerprint.and_then(Value::as_str) == Some(own.as_str())
        };
        self.config.eval.corpus.iter().find(is_own)
    }

    /// How far attention goes back in `corpus`: as in the run if the run measured this corpus or sets it for all
    /// corpora, else the default for this corpus.
    pub fn attention(&self, corpus: &Corpus) -> Attention {
        let usual = Attention::usual([corpus]);
        let is_said = self.config.train.separate_documents.is_some();
        match self.attention {
            Some(attention) if is_said || self.evaluation(corpus).is_some() => attention,
            Some(Attention::Document) => Attention::Document,
            _ => usual,
        }
    }
}

fn attention(config: &RunConfig) -> Option<Attention> {
    if config.train.separate_documents.is_some() {
        return Some(config.train.attention([]));
    }
    let sources = config.mixture.source.iter();
    let corpora: Result<Vec<Corpus>, _> =
        sources.map(|source| Corpus::open_lazily(&source.corpus, Access::Map)).collect();
    corpora.ok().map(|corpora| config.train.attention(&corpora))
}
