//! A model's shape, as Hugging Face's `config.json` of a `LlamaForCausalLM` tells it.

use std::path::Path;

use mixdown_shards::Fingerprint;
use serde_json::{Value, json};

use crate::error::Error;
use crate::files::{CONFIG_FILE, read_json};

/// The architecture that is supported, by its Hugging Face names.
const ARCHITECTURE: &str = "LlamaForCausalLM";
const MODEL_TYPE: &str = "llama";

/// Our own entry in config.json; other readers pass over it.
const TOKENIZER_FIELD: &str = "mixdown_tokenizer_fingerprint";

/// No side of a model is larger: products of two sides then fit 64 bits.
const LARGEST_SIDE: u64 = 1 << 24;
/// No model has more decoder blocks: each has tensors with names of their own.
const MOST_LAYERS: u64 = 1 << 12;
/// No model has more trainable numbers: 64 GiB of f32, as many as are read of a weights file.
const MOST_PARAMETERS: u64 = 1 << 34;

/// Shape and constants of a Llama-style decoder with tied embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Entries of the vocabulary.
    pub vocab_size: u64,
    /// Numbers of one hidden state.
    pub hidden_size: u64,
    /// Numbers between the SwiGLU's two projections.
    pub intermediate_size: u64,
    /// Decoder blocks.
    pub layers: u64,
    /// Attention heads; as many for keys and values.
    pub heads: u64,
    /// The longest sequence, in tokens.
    pub max_position_embeddings: u64,
    /// ε of RMSNorm.
    pub rms_norm_eps: f64,
    /// θ of the rotary positions.
    pub rope_theta: f64,
    /// The token that begins a text, where there is one.
    pub bos_token_id: Option<u64>,
    /// The token that ends a text, where there is one.
    pub eos_token_id: Option<u64>,
    /// The tokenizer it was trained with, where that is known: models of ours say it.
    pub tokenizer_fingerprint: Option<Fingerprint>,
}

impl ModelConfig {
    /// Numbers of one head.
    pub fn head_width(&self) -> u64 {
        self.hidden_size / self.heads.max(1)
    }

    /// Trainable numbers, the embedding counted once; [`u64::MAX`] for more.
    pub fn parameters(&self) -> u64 {
        let embedding = self.vocab_size.saturating_mul(self.hidden_size);
        embedding.saturating_add(self.non_embedding_parameters())
    }

    /// Trainable numbers without the embedding; [`u64::MAX`] for more.
    pub fn non_embedding_parameters(&self) -> u64 {
        let [hidden, inner] = [self.hidden_size, self.intermediate_size].map(u128::from);
        let block = hidden.saturating_mul(4 * hidden + 3 * inner + 2);
        let all = block.saturating_mul(self.layers.into()).saturating_add(hidden);
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// Reads and checks `folder/config.json`.
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
        fields.check_kind()?;
        let heads = fields.count("num_attention_heads")?;
        let config = Self {
            vocab_size: fields.count("vocab_size")?,
            hidden_size: fields.count("hidden_size")?,
            intermediate_size: fields.count("intermediate_size")?,
            layers: fields.count("num_hidden_layers")?,
            heads,
            max_position_embeddings: fields.count("max_position_embeddings")?,
            rms_norm_eps: fields.number("rms_norm_eps", 1e-6)?,
            rope_theta: fields.rope_theta()?,
            bos_token_id: fields.token("bos_token_id"),
            eos_token_id: fields.token("eos_token_id"),
            tokenizer_fingerprint: fields.tokenizer_fingerprint()?,
        };
        config
            .check()
            .map_err(|(field, expected, got)| fields.unsupported(field, expected, got))?;
        fields.check_heads(&config)?;
        Ok(config)
    }

    /// What no model can have: the field, what it may be, what it is.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String, String)> {
        let sides = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (field, got) in sides {
            let limit = if field == "num_hidden_layers" { MOST_LAYERS } else { LARGEST_SIDE };
            if !(1..=limit).contains(&got) {
                return Err((field, format!("a number from 1 to {limit}"), got.to_string()));
            }
        }
        if self.parameters() > MOST_PARAMETERS {
            let expected = format!("a model of at most {MOST_PARAMETERS} parameters");
            return Err(("hidden_size", expected, self.parameters().to_string()));
        }
        if !self.hidden_size.is_multiple_of(2 * self.heads) {
            let expected = format!("a multiple of 2 × {} heads", self.heads);
            return Err(("hidden_size", expected, self.hidden_size.to_string()));
        }
        let constants = [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)];
        for (field, got) in constants {
            if !(got.is_finite() && got > 0.0) {
                return Err((field, "a positive number".to_owned(), got.to_string()));
            }
        }
        Ok(())
    }

    /// The `config.json` that `transformers` opens.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "architectures": [ARCHITECTURE],
            "model_type": MODEL_TYPE,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_width(),
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "tie_word_embeddings": true,
            "initializer_range": 0.02,
            "use_cache": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "torch_dtype": "float32",
            TOKENIZER_FIELD: self.tokenizer_fingerprint,
        })
    }
}

/// The fields of a config.json.
struct Fields<'a> {
    value: &'a Value,
    path: &'a Path,
}

impl Fields<'_> {
    fn unsupported(&self, field: &'static str, expected: impl Into<String>, got: String) -> Error {
        Error::UnsupportedModel {
            path: self.path.to_owned(),
            field,
            expected: expected.into(),
            got,
        }
    }

    fn count(&self, field: &'static str) -> Result<u64, Error> {
        self.value[field].as_u64().ok_or_else(|| {
            self.unsupported(field, "a positive whole number", self.value[field].to_string())
        })
    }

    fn number(&self, field: &'static str, default: f64) -> Result<f64, Error> {
        match &self.value[field] {
            Value::Null => Ok(default),
            value => {
                value.as_f64().ok_or_else(|| self.unsupported(field, "a number", value.to_string()))
            }
        }
    }

    /// A token id; of a list of them the first.
    fn token(&self, field: &str) -> Option<u64> {
        let value = &self.value[field];
        value.as_u64().or_else(|| value[0].as_u64())
    }

    fn tokenizer_fingerprint(&self) -> Result<Option<Fingerprint>, Error> {
        let value = &self.value[TOKENIZER_FIELD];
        serde_json::from_value(value.clone())
            .map_err(|_| self.unsupported(TOKENIZER_FIELD, "64 hex digits", value.to_string()))
    }

    /// θ as `rope_theta`, or within `rope_parameters` as newer files have it.
    fn rope_theta(&self) -> Result<f64, Error> {
        for field in ["rope_parameters", "rope_scaling"] {
            let rope = &self.value[field];
            let kind = if rope["rope_type"].is_null() { &rope["type"] } else { &rope["rope_type"] };
            if !kind.is_null() && kind != "default" {
                return Err(self.unsupported(field, "plain rotary positions", kind.to_string()));
            }
        }
        match self.value["rope_parameters"]["rope_theta"].as_f64() {
            Some(theta) => Ok(theta),
            None => self.number("rope_theta", 10_000.0),
        }
    }

    fn check_kind(&self) -> Result<(), Error> {
        let model_type = &self.value["model_type"];
        if model_type != MODEL_TYPE {
            let expected = format!("{MODEL_TYPE:?} (the only supported architecture)");
            return Err(self.unsupported("model_type", expected, model_type.to_string()));
        }
        let architecture = &self.value["architectures"][0];
        if !architecture.is_null() && architecture != ARCHITECTURE {
            let expected = format!("{ARCHITECTURE:?} (the only supported one)");
            return Err(self.unsupported("architectures", expected, architecture.to_string()));
        }
        let fixed = [
            ("hidden_act", json!("silu"), json!("silu")),
            ("attention_bias", json!(false), json!(false)),
            ("mlp_bias", json!(false), json!(false)),
            ("tie_word_embeddings", json!(true), json!(false)),
        ];
        for (field, expected, default) in fixed {
            let got = &self.value[field];
            let got = if got.is_null() { &default } else { got };
            if *got != expected {
                return Err(self.unsupported(field, expected.to_string(), got.to_string()));
            }
        }
        Ok(())
    }

    fn check_heads(&self, config: &ModelConfig) -> Result<(), Error> {
        let same = [("num_key_value_heads", config.heads), ("head_dim", config.head_width())];
        for (field, expected) in same {
            let got = &self.value[field];
            if !got.is_null() && got.as_u64() != Some(expected) {
                let expected = match field {
                    "head_dim" => format!("{expected} (hidden_size / num_attention_heads)"),
                    _ => format!("{expected} (grouped-query attention is not supported)"),
                };
                return Err(self.unsupported(field, expected, got.to_string()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use mixdown_shards::Fingerprint;
    use serde_json::json;

    use super::ModelConfig;

    /// A model of 2 layers and 2 heads.
    pub(crate) fn tiny() -> ModelConfig {
        ModelConfig {
            vocab_size: 40,
            hidden_size: 8,
            intermediate_size: 12,
            layers: 2,
            heads: 2,
            max_position_embeddings: 32,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_token_id: None,
            eos_token_id: Some(0),
            tokenizer_fingerprint: Some(Fingerprint::of(b"t")),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let config = tiny();
        assert_eq!(ModelConfig::from_json(&config.to_json(), "c".as_ref()).unwrap(), config);
        assert_eq!(config.parameters(), 40 * 8 + 2 * (4 * 64 + 3 * 96 + 16) + 8);
    }

    #[test]
    fn other_models_are_refused_by_name() {
        for (field, value, words) in [
            ("model_type", json!("gpt2"), "model_type: expected \"llama\" (the only supported"),
            ("architectures", json!(["GPT2LMHeadModel"]), "expected \"LlamaForCausalLM\""),
            ("num_key_value_heads", json!(1), "grouped-query attention is not supported), got 1"),
            ("head_dim", json!(16), "head_dim: expected 4"),
            ("tie_word_embeddings", json!(false), "tie_word_embeddings: expected true, got false"),
            ("hidden_act", json!("gelu"), "hidden_act: expected \"silu\", got \"gelu\""),
            ("rope_scaling", json!({"rope_type": "llama3"}), "expected plain rotary positions"),
            ("hidden_size", json!(10), "hidden_size: expected a multiple of 2 × 2 heads, got 10"),
            ("vocab_size", json!(0), "vocab_size: expected a number from 1"),
            ("vocab_size", json!(-3), "vocab_size: expected a positive whole number, got -3"),
            (
                "num_hidden_layers",
                json!(4097),
                "num_hidden_layers: expected a number from 1 to 4096",
            ),
            (
                "hidden_size",
                json!(1 << 24),
                "a model of at most 17179869184 parameters, got 2251801776619520",
            ),
        ] {
            let mut json = tiny().to_json();
            json[field] = value;
            let error = ModelConfig::from_json(&json, "c.json".as_ref()).unwrap_err();
            assert!(error.is_configuration());
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn newer_files_keep_theta_elsewhere() {
        let mut json = tiny().to_json();
        json["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5e5});
        let theta = ModelConfig::from_json(&json, "c".as_ref()).unwrap().rope_theta;
        assert!((theta - 5e5).abs() < 1e-9);
    }
}
