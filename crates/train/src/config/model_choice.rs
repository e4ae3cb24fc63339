//! The `[model]` table of a run: a folder to start from, or the sizes of a fresh model.

use std::path::PathBuf;

use mixdown_base::quantity::field;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::model::config::{
    Activation, Family, ModelConfig, Norm, Positions, RotaryConfig, RotaryScaling,
};

/// The model a run starts from: a folder, or fresh weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ModelTable", into = "ModelTable")]
pub enum ModelChoice {
    /// A Hugging Face folder, relative to the folder of the description.
    Init(PathBuf),
    /// Fresh weights.
    Fresh(FreshModel),
}

/// The architectures of fresh models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FreshFamily {
    /// A Llama-like model: RMSNorm, rotary positions, SwiGLU, tied embeddings.
    #[default]
    Llama,
    /// A GPT-2-like model: LayerNorm, learned positions, GELU, tied embeddings.
    Gpt2,
}

/// Shape and seed of a fresh model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshModel {
    /// The architecture.
    pub family: FreshFamily,
    /// The size of the vocabulary.
    pub vocab_size: u64,
    /// The width of the hidden state.
    pub hidden_size: u64,
    /// The width between the MLP's two projections.
    pub intermediate_size: u64,
    /// The number of decoder blocks.
    pub layers: u64,
    /// The number of attention heads.
    pub heads: u64,
    /// The random seed of the weights.
    pub seed: u64,
}

/// Named sizes: blocks, width and heads of GPT-2-like models.
///
/// The scaling laws for forgetting were measured on models of 41M to 1.27B parameters (Bethune et al., ICML 2025); with
/// a vocabulary of 32,000 and 1,024 positions, these sizes are within 2 % of those models.
const SIZES: [(&str, [u64; 3]); 7] = [
    ("tiny", [2, 64, 2]),
    ("small", [4, 256, 4]),
    ("41M", [8, 512, 8]),
    ("109M", [12, 768, 12]),
    ("334M", [24, 1024, 16]),
    ("665M", [26, 1408, 22]),
    ("1.27B", [24, 2048, 32]),
];

/// The `[model]` table.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ModelTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<FreshFamily>,
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    vocab_size: Option<u64>,
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    hidden_size: Option<u64>,
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    intermediate_size: Option<u64>,
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    layers: Option<u64>,
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    heads: Option<u64>,
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    seed: Option<u64>,
}

impl FreshFamily {
    /// Returns the usual width between the MLP's projections: four times the hidden size. For SwiGLU, which has three
    /// matrices, it is 8/3 of the hidden size, rounded up to a multiple of 32.
    ///
    /// ```
    /// use mixdown_train::FreshFamily;
    ///
    /// assert_eq!(FreshFamily::Gpt2.usual_intermediate_size(64), 256);
    /// assert_eq!(FreshFamily::Llama.usual_intermediate_size(64), 192);
    /// ```
    pub fn usual_intermediate_size(self, hidden_size: u64) -> u64 {
        match self {
            Self::Gpt2 => hidden_size.saturating_mul(4),
            Self::Llama => (hidden_size.saturating_mul(8) / 3).next_multiple_of(32),
        }
    }
}

impl FreshModel {
    /// Returns a GPT-2-like model of a size by its name; `None` for any other name.
    ///
    /// ```
    /// use mixdown_train::FreshModel;
    ///
    /// let model = FreshModel::of_size("41M", 32_000, 0).unwrap();
    /// assert_eq!((model.layers, model.hidden_size), (8, 512));
    /// assert!(model.config(1_024).parameters().abs_diff(41_000_000) < 2_000_000);
    /// assert_eq!(FreshModel::of_size("2B", 32_000, 0), None);
    /// ```
    pub fn of_size(name: &str, vocab_size: u64, seed: u64) -> Option<Self> {
        let (_, [layers, hidden_size, heads]) =
            SIZES.into_iter().find(|(size, _)| *size == name)?;
        let family = FreshFamily::Gpt2;
        let intermediate_size = family.usual_intermediate_size(hidden_size);
        Some(Self { family, vocab_size, hidden_size, intermediate_size, layers, heads, seed })
    }

    /// Returns the names of the sizes.
    pub fn sizes() -> impl Iterator<Item = &'static str> {
        SIZES.into_iter().map(|(name, _)| name)
    }

    /// Returns the full configuration, for sequences of up to `max_position_embeddings` tokens.
    pub fn config(&self, max_position_embeddings: u64) -> ModelConfig {
        let head_width = self.hidden_size / self.heads.max(1);
        let is_llama = self.family == FreshFamily::Llama;
        let rotary =
            RotaryConfig { theta: 10_000.0, width: head_width, scaling: RotaryScaling::None };
        ModelConfig {
            family: if is_llama { Family::Llama } else { Family::Gpt2 },
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.layers,
            heads: self.heads,
            key_value_heads: self.heads,
            head_width,
            max_position_embeddings,
            norm: if is_llama { Norm::Rms } else { Norm::Layer },
            norm_epsilon: if is_llama { 1e-6 } else { 1e-5 },
            activation: if is_llama { Activation::SwiGlu } else { Activation::GeluTanh },
            positions: if is_llama { Positions::Rotary(rotary) } else { Positions::Learned },
            query_key_value_bias: !is_llama,
            attention_output_bias: !is_llama,
            mlp_bias: !is_llama,
            query_key_norm: false,
            parallel_residual: false,
            tied_embeddings: true,
            sliding_window: None,
            bos_token_id: None,
            eos_token_id: None,
            tokenizer_fingerprint: None,
            extra: Map::new(),
        }
    }
}

impl TryFrom<ModelTable> for ModelChoice {
    type Error = String;

    fn try_from(table: ModelTable) -> Result<Self, String> {
        let family = table.family.map(|_| 0);
        let sizes = [
            ("family", family),
            ("hidden_size", table.hidden_size),
            ("intermediate_size", table.intermediate_size),
            ("layers", table.layers),
            ("heads", table.heads),
        ];
        let given = |names: &[(&'static str, Option<u64>)]| {
            names.iter().find(|(_, value)| value.is_some()).map(|(name, _)| *name)
        };
        if let Some(init) = table.init {
            let own = [("vocab_size", table.vocab_size), ("seed", table.seed)];
            let size = table.size.as_ref().map(|_| "size");
            return match given(&sizes).or_else(|| given(&own)).or(size) {
                None => Ok(Self::Init(init)),
                Some(name) => Err(format!("expected either init or sizes, got init and {name}")),
            };
        }
        let need = |name: &str, value: Option<u64>| {
            let or = "(or init = \"folder\" to start from a model)";
            value.ok_or_else(|| format!("missing {name} {or}"))
        };
        let vocab_size = need("vocab_size", table.vocab_size)?;
        let seed = table.seed.unwrap_or(0);
        if let Some(size) = table.size {
            if let Some(name) = given(&sizes) {
                return Err(format!("expected either size or sizes, got size and {name}"));
            }
            let names = FreshModel::sizes().collect::<Vec<_>>().join(", ");
            return FreshModel::of_size(&size, vocab_size, seed)
                .map(Self::Fresh)
                .ok_or_else(|| format!("size: expected one of {names}, got {size}"));
        }
        let family = table.family.unwrap_or_default();
        let hidden_size = need("hidden_size", table.hidden_size)?;
        let usual = family.usual_intermediate_size(hidden_size);
        Ok(Self::Fresh(FreshModel {
            family,
            vocab_size,
            hidden_size,
            intermediate_size: table.intermediate_size.unwrap_or(usual),
            layers: need("layers", table.layers)?,
            heads: need("heads", table.heads)?,
            seed,
        }))
    }
}

impl From<ModelChoice> for ModelTable {
    fn from(choice: ModelChoice) -> Self {
        match choice {
            ModelChoice::Init(init) => Self { init: Some(init), ..Self::default() },
            ModelChoice::Fresh(fresh) => Self {
                init: None,
                size: None,
                family: Some(fresh.family),
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

#[cfg(test)]
mod tests {
    use super::{FreshFamily, FreshModel, ModelChoice};

    fn parse(text: &str) -> Result<ModelChoice, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn named_sizes_have_about_as_many_parameters_as_they_say() {
        for (name, millions) in
            [("41M", 41.0), ("109M", 109.0), ("334M", 334.0), ("665M", 665.0), ("1.27B", 1270.0)]
        {
            let choice = parse(&format!("size = {name:?}\nvocab_size = 32000")).unwrap();
            let ModelChoice::Fresh(fresh) = choice else { panic!() };
            let config = fresh.config(1024);
            config.check().unwrap();
            let ratio = config.parameters() as f64 / 1e6 / millions;
            assert!((0.98..1.03).contains(&ratio), "{name}: {ratio}");
        }
        for name in FreshModel::sizes() {
            FreshModel::of_size(name, 300, 0).unwrap().config(64).check().unwrap();
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        let fresh =
            parse("family = 'gpt2'\nvocab_size = 9\nhidden_size = 8\nlayers = 1\nheads = 2");
        let ModelChoice::Fresh(fresh) = fresh.unwrap() else { panic!() };
        assert_eq!((fresh.family, fresh.intermediate_size), (FreshFamily::Gpt2, 32));
        for (text, words) in [
            ("size = '42M'\nvocab_size = 9", "one of tiny, small, 41M, 109M, 334M, 665M, 1.27B"),
            ("size = '41M'", "missing vocab_size"),
            ("size = '41M'\nvocab_size = 9\nlayers = 3", "got size and layers"),
            ("init = 'm'\nsize = '41M'", "got init and size"),
            ("init = 'm'\nfamily = 'llama'", "got init and family"),
            ("vocab_size = 9\nhidden_size = 8\nheads = 2", "missing layers (or init"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
