//! Models as commands name them: found, checked against their own tokenizer, and finetuned with fitting defaults.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use mixdown_shards::{Access, Corpus, Fingerprint, Split};
use mixdown_tokenize::Tokenizer;
use mixdown_train::{Model, ModelConfig, ModelPlace, RunBase};

use crate::error::Error;
use crate::terminal::progress::say;

/// Sequences that a held-out part has at least, where a shorter sequence can help it.
const HELD_OUT_SEQUENCES: u64 = 32;
/// The shortest and the longest sequence that is chosen for a finetuning.
const SEQUENCE_LENGTHS: [u64; 2] = [128, 1024];

/// The model's folder at `path`, taken from `base` where it is relative; says so where it is best/ of a run that was
/// named.
///
/// # Errors
/// As [`ModelPlace::find`].
pub fn model_folder(base: &Path, path: &Path) -> Result<PathBuf, Error> {
    let place = ModelPlace::find(base, path)?;
    if place.is_best_of_run {
        say(&format!("{} is a run's folder: its best/ is taken", path.display()));
    }
    Ok(place.folder)
}

/// Loads the model at `path`, which takes corpora of its own tokenizer.json alone; also gives the model's folder.
///
/// # Errors
/// As [`Model::load`]; a tokenizer.json that cannot be read.
pub fn load_model(path: &Path) -> Result<(PathBuf, Model), Error> {
    let folder = model_folder(Path::new(""), path)?;
    let mut model = Model::load(&folder)?;
    model.take_tokenizer(&folder, tokenizer_fingerprint)?;
    Ok((folder, model))
}

/// What a run's description needs whose relative paths count from `folder`.
pub fn run_base(folder: &Path) -> RunBase<'_> {
    RunBase { folder, tokenizer: tokenizer_fingerprint }
}

fn tokenizer_fingerprint(path: &Path) -> Result<Fingerprint, String> {
    match Tokenizer::load(path) {
        Ok(tokenizer) => Ok(tokenizer.fingerprint()),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            Err(text)
        }
    }
}

/// Tokens a sequence in finetuning a model on corpora, of which the first is learned from: the length that its rows are
/// packed for, or else the power of two that holds twice its mean document, from 128 to 1,024 and within the model's
/// positions, shortened while a held-out part has few sequences.
///
/// # Errors
/// A corpus that cannot be opened.
pub fn finetuning_length(model: &ModelConfig, corpora: &[&Path]) -> Result<u64, Error> {
    let corpora = corpora.iter().map(|path| Corpus::open(path, Access::Map));
    let corpora = corpora.collect::<Result<Vec<_>, _>>()?;
    let [shortest, longest] = SEQUENCE_LENGTHS;
    let positions = model.max_position_embeddings;
    let Some(learned) = corpora.first() else { return Ok(shortest.min(positions)) };
    if let Some(pack) = learned.manifest().pack {
        return Ok(pack.sequence_length);
    }
    let documents = learned.documents(Split::Train).max(1);
    let twice = learned.tokens(Split::Train).saturating_mul(2) / documents;
    let mut length = twice.min(longest).next_power_of_two().clamp(shortest, longest).min(positions);
    let held_out = corpora.iter().map(|corpus| corpus.tokens(Split::Holdout)).min().unwrap_or(0);
    while length > shortest && held_out / length < HELD_OUT_SEQUENCES {
        length /= 2;
    }
    Ok(length)
}
