//! The `[model]` table of a run: a folder to start from, or the sizes of a fresh model.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model_config::ModelConfig;

/// The model a run starts from: a folder, or fresh weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ModelTable", into = "ModelTable")]
pub enum ModelChoice {
    /// A Hugging Face folder, relative to the description's own folder.
    Init(PathBuf),
    /// Fresh weights.
    Fresh(FreshModel),
}

/// Shape and seed of a fresh model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshModel {
    /// Entries of the vocabulary.
    pub vocab_size: u64,
    /// Numbers of one hidden state.
    pub hidden_size: u64,
    /// Numbers between the SwiGLU's two projections.
    pub intermediate_size: u64,
    /// Decoder blocks.
    pub layers: u64,
    /// Attention heads.
    pub heads: u64,
    /// Seed of the weights.
    pub seed: u64,
}

/// The `[model]` table.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ModelTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vocab_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intermediate_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heads: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

impl FreshModel {
    /// The usual width between the SwiGLU's projections: 8/3 of the hidden size, up to the next
    /// multiple of 32.
    pub fn usual_intermediate_size(hidden_size: u64) -> u64 {
        (hidden_size.saturating_mul(8) / 3).next_multiple_of(32)
    }

    /// The full shape, for sequences up to `max_position_embeddings`.
    pub fn config(&self, max_position_embeddings: u64) -> ModelConfig {
        ModelConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.layers,
            heads: self.heads,
            max_position_embeddings,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_token_id: None,
            eos_token_id: None,
            tokenizer_fingerprint: None,
        }
    }
}

impl TryFrom<ModelTable> for ModelChoice {
    type Error = String;

    fn try_from(table: ModelTable) -> Result<Self, String> {
        let sizes = [
            ("vocab_size", table.vocab_size),
            ("hidden_size", table.hidden_size),
            ("layers", table.layers),
            ("heads", table.heads),
        ];
        if let Some(init) = table.init {
            let others = [("intermediate_size", table.intermediate_size), ("seed", table.seed)];
            return match sizes.iter().chain(&others).find(|(_, value)| value.is_some()) {
                None => Ok(Self::Init(init)),
                Some((name, _)) => {
                    Err(format!("expected either init or sizes, got init and {name}"))
                }
            };
        }
        let need = |index: usize| {
            let (name, value) = sizes[index];
            value.ok_or_else(|| {
                format!("missing {name} (or init = \"folder\" to start from a model)")
            })
        };
        let (vocab_size, hidden_size, layers, heads) = (need(0)?, need(1)?, need(2)?, need(3)?);
        let usual = FreshModel::usual_intermediate_size(hidden_size);
        Ok(Self::Fresh(FreshModel {
            vocab_size,
            hidden_size,
            intermediate_size: table.intermediate_size.unwrap_or(usual),
            layers,
            heads,
            seed: table.seed.unwrap_or(0),
        }))
    }
}

impl From<ModelChoice> for ModelTable {
    fn from(choice: ModelChoice) -> Self {
        match choice {
            ModelChoice::Init(init) => Self { init: Some(init), ..Self::default() },
            ModelChoice::Fresh(fresh) => Self {
                init: None,
                vocab_size: Some(fresh.vocab_size),
                hidden_size: Some(fresh.hidden_size),
                intermediate_size: Some(fresh.intermediate_size),
                layers: Some(fresh.layers),
                heads: Some(fresh.heads),
                seed: Some(fresh.seed),
            },
        }
    }
}
