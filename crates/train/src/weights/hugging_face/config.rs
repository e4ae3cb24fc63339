//! config.json: the description of a model in its folder.

use std::collections::BTreeMap;
use std::path::Path;

use mixdown_shards::Fingerprint;
use serde_json::Value;

use super::fields::Fields;
use super::{families, json};
use crate::error::Error;
use crate::model::config::{Family, ModelConfig};
use crate::weights::{CONFIG_FILE, read_json};

/// The entry of mixdown in config.json, which other readers ignore.
pub(super) const TOKENIZER_FIELD: &str = "mixdown_tokenizer_fingerprint";

impl ModelConfig {
    /// Reads and checks `folder/config.json`.
    ///
    /// A missing field has the default of `transformers`.
    ///
    /// # Errors
    /// The file is missing or no JSON, a field is missing, or the model is of a kind that is not
    /// supported: the field, what is supported and what the file says are named.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(CONFIG_FILE);
        Self::from_json(&read_json(&path)?, &path)
    }

    fn from_json(value: &Value, path: &Path) -> Result<Self, Error> {
        let fields = Fields { value, path };
        let family = families::family(fields)?;
        families::check_kind(fields, family)?;
        let config = families::read(fields, family)?;
        config.check().map_err(|(field, expected, got)| {
            fields.refuse_as(own_name(family, field), expected, got)
        })?;
        Ok(Self { extra: value.as_object().cloned().unwrap_or_default(), ..config })
    }

    /// Returns a hash of everything that determines the computation of a model besides its weights: the fields of a
    /// fresh config.json, in the order of their names.
    pub(crate) fn architecture_fingerprint(&self) -> Fingerprint {
        let fields: BTreeMap<String, Value> = json::fresh(self).into_iter().collect();
        let text: Vec<String> =
            fields.into_iter().map(|(field, value)| format!("{field}={value}\n")).collect();
        Fingerprint::of(text.concat().as_bytes())
    }

    /// Returns a `config.json` that `transformers` opens.
    ///
    /// For a model that was read it is the original file with three changes: the type of the weights (f32), the ids
    /// that begin and end a text, and the tokenizer. The id that ends a text is added to those in the file, each of
    /// which still ends a text.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = self.extra.clone();
        if map.is_empty() {
            map = json::fresh(self);
        }
        let types: Vec<_> = DTYPES.into_iter().filter(|field| map.contains_key(*field)).collect();
        let types = if types.is_empty() { &DTYPES[..1] } else { &types };
        for field in types {
            map.insert((*field).to_owned(), "float32".into());
        }
        for (field, id) in
            [("bos_token_id", self.bos_token_id), ("eos_token_id", self.eos_token_id)]
        {
            // A field that is left out may mean the family's own id.
            let there = map.get(field).cloned();
            let value = match (there, id) {
                (Some(there), None) => there,
                (Some(there), Some(id)) if says(&there, id) => there,
                (Some(there), Some(id)) if field == "eos_token_id" => with(there, id),
                (_, id) => id.into(),
            };
            map.insert(field.to_owned(), value);
        }
        match self.tokenizer_fingerprint {
            Some(fingerprint) => {
                map.insert(TOKENIZER_FIELD.to_owned(), fingerprint.to_string().into());
            }
            None => drop(map.remove(TOKENIZER_FIELD)),
        }
        Value::Object(map)
    }
}

/// The fields with the type of the weights; all versions of `transformers` read the first one.
const DTYPES: [&str; 2] = ["torch_dtype", "dtype"];

/// Returns whether a token id of config.json is `id`, or a list that contains it.
fn says(value: &Value, id: u64) -> bool {
    let is_it = |value: &Value| value.as_u64() == Some(id);
    is_it(value) || value.as_array().is_some_and(|list| list.iter().any(is_it))
}

/// Returns the ids that end a text, with one more.
fn with(there: Value, id: u64) -> Value {
    match there {
        Value::Null => id.into(),
        Value::Array(mut ids) => {
            ids.push(id.into());
            Value::Array(ids)
        }
        one => Value::Array(vec![one, id.into()]),
    }
}

/// Returns the name in a family's config.json of a field that [`ModelConfig::check`] names.
fn own_name(family: Family, field: &'static str) -> &'static str {
    match (family, field) {
        (Family::Gpt2, "hidden_size") => "n_embd",
        (Family::Gpt2, "intermediate_size") => "n_inner",
        (Family::Gpt2, "num_hidden_layers") => "n_layer",
        (Family::Gpt2, "num_attention_heads") => "n_head",
        (Family::Gpt2, "max_position_embeddings") => "n_positions",
        (Family::Gpt2, "norm_eps") => "layer_norm_epsilon",
        (Family::GptNeoX, "norm_eps") => "layer_norm_eps",
        (Family::GptNeoX, "rope_theta") => "rotary_emb_base",
        (Family::GptNeoX, "head_dim") => "rotary_pct",
        (_, "norm_eps") => "rms_norm_eps",
        _ => field,
    }
}

#[cfg(test)]
mod tests;
