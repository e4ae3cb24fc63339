//! The plan of the work, which a restart must find unchanged.

pub(crate) mod holdout;
pub(crate) mod input_unit;
pub(crate) mod order;
pub(crate) mod placement;
pub(crate) mod task;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use mixdown_documents::{Compression, InputFile, InputFormat, InputList, LabelFields, Place};
use mixdown_shards::{Dtype, Fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::plan::order::Order;
use crate::prepare::options::PackOptions;
use crate::prepare::options::SpecialText;
use crate::shards::rows::RowPacker;
use crate::spill::Payload;
use crate::spill::work_file::json_fingerprint;

/// Everything that determines the parts: inputs, tokenizer and the options that affect a part. The holdout is not
/// included, so that parts survive a change of it; the tolerated bad records and the threads do not affect what is
/// written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) format: String,
    pub(crate) version: u32,
    pub(crate) inputs: Vec<PlannedInput>,
    /// The first input that is the holdout, if there are such inputs.
    pub(crate) holdout_from: Option<u32>,
    /// The place before which documents are read.
    pub(crate) end: Option<Place>,
    pub(crate) text_field: String,
    pub(crate) text_separator: Option<String>,
    pub(crate) id_field: Option<String>,
    pub(crate) holdout_by: Option<String>,
    pub(crate) min_chars: u64,
    pub(crate) labels: Option<LabelFields>,
    /// The fingerprint of the chat template and its settings.
    pub(crate) chat_template: Option<Fingerprint>,
    pub(crate) pack: Option<PackOptions>,
    /// The padding id of rows.
    pub(crate) padding: Option<u32>,
    pub(crate) order: Order,
    pub(crate) special_text: SpecialText,
    pub(crate) beginning_of_text: Option<u32>,
    pub(crate) end_of_text: u32,
    pub(crate) tokenizer_fingerprint: Fingerprint,
    pub(crate) vocab_size: u64,
    pub(crate) dtype: Dtype,
    pub(crate) payload: Payload,
    pub(crate) part_bytes: u64,
    /// The folder of the parts, if it is not the output folder.
    pub(crate) work_dir: Option<PathBuf>,
}

/// An input at the time when the list was fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedInput {
    name: String,
    bytes: u64,
    format: InputFormat,
    compression: Compression,
    /// The BLAKE3 hash of the first and the last [`END_BYTES`], which detects another file with the same name and
    /// length without reading all of it.
    ends: Fingerprint,
}

const END_BYTES: u64 = 64 << 10;

impl Plan {
    pub(crate) const FORMAT: &str = "mixdown-prepare-plan";
    pub(crate) const VERSION: u32 = 4;

    pub(crate) fn inputs_of(list: &InputList) -> Result<Vec<PlannedInput>, Error> {
        let planned = |file: &InputFile| {
            Ok(PlannedInput {
                name: file.name.clone(),
                bytes: file.bytes,
                format: file.format,
                compression: file.compression,
                ends: ends_of(file).map_err(Error::io("read", &file.path))?,
            })
        };
        list.files().iter().map(planned).collect()
    }

    /// Returns its hash, which names the folder of the parts.
    ///
    /// # Errors
    /// Those of [`json_fingerprint`].
    pub(crate) fn fingerprint(&self, out: &Path) -> Result<Fingerprint, Error> {
        json_fingerprint(out, self)
    }

    /// Returns the rows into which documents are packed, if any.
    pub(crate) fn rows(&self) -> Option<RowPacker> {
        let (pack, padding) = self.pack.zip(self.padding)?;
        Some(RowPacker { row_tokens: pack.row_tokens(), padding, dtype: self.dtype })
    }

    /// Refuses work that another plan began, and names the first difference.
    pub(crate) fn check_equal(&self, before: &Value, out: &Path) -> Result<(), Error> {
        let now = serde_json::to_value(self)
            .map_err(|source| Error::io("describe the work for", out)(source.into()))?;
        match difference("", before, &now) {
            None => Ok(()),
            Some((field, expected, got)) => {
                Err(Error::PlanDiffers { path: out.to_owned(), field, expected, got })
            }
        }
    }
}

fn ends_of(input: &InputFile) -> io::Result<Fingerprint> {
    if input.is_standard_input() {
        // Standard input is read once, later.
        return Ok(Fingerprint::of(b""));
    }
    let mut file = File::open(&input.path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(END_BYTES).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(input.bytes.saturating_sub(END_BYTES)))?;
    file.take(END_BYTES).read_to_end(&mut bytes)?;
    Ok(Fingerprint::of(&bytes))
}

/// Returns the first place where two values differ, with both values.
pub(crate) fn difference(
    place: &str,
    then: &Value,
    now: &Value,
) -> Option<(String, String, String)> {
    let deeper = |key: &str| match place {
        "" => key.to_owned(),
        place => format!("{place}.{key}"),
    };
    match (then, now) {
        _ if then == now => None,
        (Value::Object(left), Value::Object(right)) => {
            // Settings that are not used are left out.
            let keys = left.keys().chain(right.keys());
            let value = |object: &Map<String, Value>, key: &str| {
                object.get(key).cloned().unwrap_or(Value::Null)
            };
            keys.map(|key| (key, value(left, key), value(right, key)))
                .find_map(|(key, left, right)| difference(&deeper(key), &left, &right))
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right).enumerate().find_map(|(index, (left, right))| {
                difference(&format!("{place}[{index}]"), left, right)
            })
        }
        (Value::Array(left), Value::Array(right)) => Some((
            format!("the number of {place}"),
            left.len().to_string(),
            right.len().to_string(),
        )),
        _ => Some((place.to_owned(), then.to_string(), now.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named() {
        let then = json!({"a": 1, "b": {"c": [1, {"d": "x"}]}, "l": [1]});
        assert_eq!(difference("", &then, &then), None);
        let mut now = then.clone();
        now["b"]["c"][1]["d"] = json!("y");
        let found = difference("", &then, &now).unwrap();
        assert_eq!(found, ("b.c[1].d".into(), "\"x\"".into(), "\"y\"".into()));
        let mut now = then.clone();
        now["k"] = json!(7);
        let found = difference("", &then, &now).unwrap();
        assert_eq!(found, ("k".into(), "null".into(), "7".into()));
        let mut now = then.clone();
        now["l"] = json!([1, 2]);
        let found = difference("", &then, &now).unwrap();
        assert_eq!(found, ("the number of l".into(), "1".into(), "2".into()));
    }
}
