//! A record of a tokenizer's training, kept beside it, so that repeating the call has nothing to do.

use std::path::{Path, PathBuf};

use mixdown_documents::{InputFile, InputList};
use mixdown_shards::Fingerprint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::plan::{PlannedInput, difference};
use crate::spill::work_file::read_json;
use crate::tokenizer::Tokenizer;
use crate::train_tokenizer::{END_OF_TEXT, TrainTokenizerReport};

/// A record of the inputs and settings of a tokenizer's training, in a file beside it: repeating the call has nothing
/// to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainingRecord {
    pub(crate) format: String,
    pub(crate) version: u32,
    pub(crate) settings: TrainingSettings,
    pub(crate) documents: u64,
    pub(crate) text_bytes: u64,
    pub(crate) bad_records: u64,
    pub(crate) fingerprint: Fingerprint,
}

/// Everything that determines a tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainingSettings {
    pub(crate) inputs: Vec<PlannedInput>,
    pub(crate) vocab_size: u32,
    pub(crate) text_field: String,
    pub(crate) text_separator: Option<String>,
}

impl TrainingRecord {
    pub(crate) const FORMAT: &str = "mixdown-tokenizer-training";
    pub(crate) const VERSION: u32 = 1;

    /// Returns the record's path: tokenizer.training.json beside tokenizer.json.
    pub(crate) fn path(out: &Path) -> PathBuf {
        out.with_extension("training.json")
    }
}

/// Returns the report of a training, from its record.
pub(crate) fn report(tokenizer: &Tokenizer, record: &TrainingRecord) -> TrainTokenizerReport {
    TrainTokenizerReport {
        vocab_size: tokenizer.vocab_size(),
        documents: record.documents,
        text_bytes: record.text_bytes,
        bad_records: record.bad_records,
        end_of_text: tokenizer.token_id(END_OF_TEXT).unwrap_or_default(),
        fingerprint: record.fingerprint,
        already_done: false,
    }
}

/// Returns the report of an existing tokenizer, if these inputs and settings made it.
pub(crate) fn already_trained(
    out: &Path,
    inputs: &InputList,
    settings: &TrainingSettings,
) -> Result<TrainTokenizerReport, Error> {
    let path = out.to_owned();
    let taken = |got: &str| Error::OutputTaken { path: path.clone(), got: got.to_owned() };
    if out.is_dir() {
        return Err(taken("a folder"));
    }
    let record: Option<Value> = read_json(&TrainingRecord::path(out))?;
    let is_ours =
        |record: &Value| record.get("format").is_some_and(|own| own == TrainingRecord::FORMAT);
    let Some(record) = record.filter(is_ours) else { return Err(taken("a file's data")) };
    if inputs.files().iter().any(InputFile::is_standard_input) {
        // Earlier standard input cannot be compared with the current one.
        return Err(taken("a tokenizer"));
    }
    let now =
        serde_json::to_value(settings).map_err(|error| Error::Training { source: error.into() })?;
    if let Some((field, expected, got)) = difference("", &record["settings"], &now) {
        return Err(Error::TokenizerDiffers { path, field, expected, got });
    }
    let record: TrainingRecord = serde_json::from_value(record)
        .map_err(|_| taken("a tokenizer of another version's training"))?;
    let tokenizer = Tokenizer::load(out)?;
    if tokenizer.fingerprint() != record.fingerprint {
        return Err(taken("a tokenizer that was changed after its training"));
    }
    Ok(TrainTokenizerReport { already_done: true, ..report(&tokenizer, &record) })
}
