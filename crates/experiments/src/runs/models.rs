//! Models with the check of their tokenizer, and the default sequence length of a finetuning.

use std::error::Error as StdError;
use std::path::Path;

use mixdown_shards::{Access, Corpus, Fingerprint, Split};
use mixdown_tokenize::Tokenizer;
use mixdown_train::{Model, ModelConfig, RunBase};

use crate::error::Error;

/// The least number of sequences of a held-out part for which the sequence length is shortened.
const HELD_OUT_SEQUENCES: u64 = 32;
/// The shortest and the longest sequence that is chosen for a finetuning.
const SEQUENCE_LENGTHS: [u64; 2] = [128, 1024];

/// Loads the model in `folder`, which accepts only corpora that were made with its tokenizer.json.
///
/// # Errors
/// As [`Model::load`]; a tokenizer.json that cannot be read.
///
/// ```
/// use mixdown_experiments::load_model;
///
/// let error = load_model("no/such/model".as_ref()).map(|_| ()).unwrap_err();
/// assert!(error.to_string().contains("no/such/model"));
/// ```
pub fn load_model(folder: &Path) -> Result<Model, Error> {
    let mut model = Model::load(folder)?;
    model.take_tokenizer(folder, tokenizer_fingerprint)?;
    Ok(model)
}

/// Returns the base of a run for the trainer: the folder that relative paths start from, and the function that computes
/// the fingerprint of a tokenizer.
///
/// ```
/// use mixdown_experiments::run_base;
///
/// let base = run_base("runs".as_ref());
/// assert!((base.tokenizer)("no/such/tokenizer.json".as_ref()).is_err());
/// ```
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

/// Chooses the sequence length for finetuning a model on corpora, of which the first is the target: the length for
/// which its rows are packed, or else the power of two that holds twice its mean document, from 128 to 1,024 and within
/// the model's positions, halved while a held-out part has few sequences.
///
/// # Errors
/// A corpus that cannot be opened.
///
/// ```
/// use mixdown_experiments::finetuning_length;
///
/// # fn example() -> Result<(), mixdown_experiments::Error> {
/// let model = mixdown_experiments::load_model("base/best".as_ref())?;
/// let corpora = ["corpora/math".as_ref(), "corpora/general".as_ref()];
/// let length = finetuning_length(model.config(), &corpora)?;
/// assert!(length >= 128);
/// # Ok(())
/// # }
/// ```
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
