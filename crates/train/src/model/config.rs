//! A decoder's architecture: the parts of its blocks, and their sizes.
//!
//! One description covers the two kinds of blocks that are supported: Llama-like ones (RMSNorm,
//! rotary positions, SwiGLU) and GPT-like ones (LayerNorm, GELU, biases). [`Family`] names what a
//! Hugging Face folder says it is; hugging_face.rs reads and writes its config.json.

use std::fmt;

use mixdown_shards::Fingerprint;
use serde_json::{Map, Value};

/// The largest size of a model's dimension: products of two sizes then fit 64 bits.
const LARGEST_SIDE: u64 = 1 << 24;
/// The largest number of decoder blocks: each has uniquely named tensors.
const MOST_LAYERS: u64 = 1 << 12;
/// The largest number of parameters: 64 GiB of f32, which is also the limit of a weights file.
const MOST_PARAMETERS: u64 = 1 << 34;

/// The kinds of models whose folders are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `LlamaForCausalLM`: Llama 1 to 3, SmolLM, TinyLlama.
    Llama,
    /// `MistralForCausalLM`.
    Mistral,
    /// `Qwen2ForCausalLM`: Qwen 2 and 2.5.
    Qwen2,
    /// `Qwen3ForCausalLM`.
    Qwen3,
    /// `GPT2LMHeadModel`.
    Gpt2,
    /// `GPTNeoXForCausalLM`: Pythia.
    GptNeoX,
}

/// The normalization of hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// RMSNorm: a weight.
    Rms,
    /// LayerNorm: a weight and a bias.
    Layer,
}

/// The activation between the MLP's projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `silu(gate) · up`, both projected from the hidden state.
    SwiGlu,
    /// GELU by the error function.
    Gelu,
    /// GELU by tanh (`gelu_new`).
    GeluTanh,
}

/// The encoding of positions.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// A trained vector for each position, which is added to the embedding.
    Learned,
    /// Rotary positions: queries and keys are rotated.
    Rotary(RotaryConfig),
}

/// Rotary positions: pairs (i, i + width/2) of a head's first `width` values are rotated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryConfig {
    /// θ: pair i is rotated by position · θ^(−2i/width).
    pub theta: f64,
    /// The even number of values of a head that are rotated; the others stay unchanged.
    pub width: u64,
    /// The scaling of low frequencies.
    pub scaling: RotaryScaling,
}

/// The scaling of rotary frequencies for sequences longer than those of pretraining.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RotaryScaling {
    /// Frequencies are not scaled.
    None,
    /// Every frequency is divided by the factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1: wavelengths above original/low are divided by the factor, those below original/high
    /// stay, those between are interpolated.
    Llama3 {
        /// The factor.
        factor: f64,
        /// `low_freq_factor`.
        low_frequency_factor: f64,
        /// `high_freq_factor`.
        high_frequency_factor: f64,
        /// `original_max_position_embeddings`.
        original_positions: u64,
    },
    /// YaRN (Peng et al., 2023): high frequencies stay, low frequencies are divided by the factor, and those between
    /// are interpolated; the scores of attention are scaled.
    Yarn {
        /// The factor.
        factor: f64,
        /// `original_max_position_embeddings`.
        original_positions: u64,
        /// `beta_fast`: the number of rotations from which a pair stays unchanged.
        fast_turns: f64,
        /// `beta_slow`: the number of rotations up to which a pair is divided by the factor.
        slow_turns: f64,
        /// Whether the boundaries between these pairs are rounded to whole pairs.
        truncate: bool,
        /// The factor of cosines and sines.
        attention_factor: f64,
    },
}

impl RotaryScaling {
    /// Returns the factor of cosines and sines.
    ///
    /// ```
    /// use mixdown_train::RotaryScaling;
    ///
    /// assert!(RotaryScaling::Linear { factor: 2.0 }.attention_factor() == 1.0);
    /// ```
    pub fn attention_factor(&self) -> f64 {
        match self {
            Self::Yarn { attention_factor, .. } => *attention_factor,
            Self::None | Self::Linear { .. } | Self::Llama3 { .. } => 1.0,
        }
    }
}

/// Architecture, sizes and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The model family that its folder names.
    pub family: Family,
    /// The size of the vocabulary.
    pub vocab_size: u64,
    /// The width of the hidden state.
    pub hidden_size: u64,
    /// The width between the MLP's two projections.
    pub intermediate_size: u64,
    /// The number of decoder blocks.
    pub layers: u64,
    /// The number of query heads.
    pub heads: u64,
    /// The number of key and value heads, which divides `heads`.
    pub key_value_heads: u64,
    /// The width of one head.
    pub head_width: u64,
    /// The longest sequence, in tokens.
    pub max_position_embeddings: u64,
    /// The normalization.
    pub norm: Norm,
    /// ε of the normalization.
    pub norm_epsilon: f64,
    /// The activation between the MLP's projections.
    pub activation: Activation,
    /// The encoding of positions.
    pub positions: Positions,
    /// Whether queries, keys and values have a bias.
    pub query_key_value_bias: bool,
    /// Whether the attention's output projection has one.
    pub attention_output_bias: bool,
    /// Whether the MLP's projections have one.
    pub mlp_bias: bool,
    /// Whether each head's queries and keys are normalized (RMSNorm) before they are turned.
    pub query_key_norm: bool,
    /// Whether attention and MLP both read the block's input (`x + attention(x) + mlp(x)`).
    pub parallel_residual: bool,
    /// Whether the output projection is the embedding.
    pub tied_embeddings: bool,
    /// The sliding window: the number of positions that a position attends to, itself included; `None` for all.
    pub sliding_window: Option<u64>,
    /// The token that begins a text, if there is one.
    pub bos_token_id: Option<u64>,
    /// The token that ends a text, if there is one.
    pub eos_token_id: Option<u64>,
    /// The tokenizer that it was trained with, which models of mixdown record.
    pub tokenizer_fingerprint: Option<Fingerprint>,
    /// config.json as it was read, whose other fields are written back; empty for a fresh model.
    pub extra: Map<String, Value>,
}

impl ModelConfig {
    /// Returns the number of query heads that share a key and value head.
    pub fn group(&self) -> u64 {
        self.heads / self.key_value_heads.max(1)
    }

    /// Returns the number of parameters, at most [`u64::MAX`]. Learned positions are included, and an embedding that is
    /// also the output projection is counted once.
    ///
    /// ```
    /// use mixdown_train::FreshModel;
    ///
    /// let config = FreshModel::of_size("tiny", 500, 0).unwrap().config(128);
    /// let embeddings = (500 + 128) * config.hidden_size;
    /// assert_eq!(config.parameters(), config.non_embedding_parameters() + embeddings);
    /// ```
    pub fn parameters(&self) -> u64 {
        let tables = u128::from(self.vocab_size) * if self.tied_embeddings { 1 } else { 2 };
        let learned =
            if self.positions == Positions::Learned { self.max_position_embeddings } else { 0 };
        let embeddings = (tables + u128::from(learned)) * u128::from(self.hidden_size);
        let all = embeddings + u128::from(self.non_embedding_parameters());
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// Returns the number of parameters without embedding, learned positions and output projection, at most
    /// [`u64::MAX`].
    pub fn non_embedding_parameters(&self) -> u64 {
        u64::try_from(self.block_parameters() * u128::from(self.layers) + self.norm_parameters())
            .unwrap_or(u64::MAX)
    }

    fn norm_parameters(&self) -> u128 {
        u128::from(self.hidden_size) * if self.norm == Norm::Layer { 2 } else { 1 }
    }

    fn block_parameters(&self) -> u128 {
        let [hidden, inner] = [self.hidden_size, self.intermediate_size].map(u128::from);
        let width = u128::from(self.head_width);
        let queries = u128::from(self.heads) * width;
        let projected = queries + 2 * u128::from(self.key_value_heads) * width;
        let up = inner * if self.activation == Activation::SwiGlu { 2 } else { 1 };
        let biases = if self.query_key_value_bias { projected } else { 0 }
            + if self.attention_output_bias { hidden } else { 0 }
            + if self.mlp_bias { up + hidden } else { 0 };
        let norms = 2 * self.norm_parameters() + if self.query_key_norm { 2 * width } else { 0 };
        hidden * (projected + queries + up + inner) + biases + norms
    }

    /// Returns the first invalid field of config.json with its valid values and its value.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String, String)> {
        let sides = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.key_value_heads),
            ("head_dim", self.head_width),
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
        if !self.heads.is_multiple_of(self.key_value_heads) {
            let expected = format!("a divisor of {} heads", self.heads);
            return Err(("num_key_value_heads", expected, self.key_value_heads.to_string()));
        }
        self.check_constants()
    }

    fn check_constants(&self) -> Result<(), (&'static str, String, String)> {
        let mut positive = vec![("norm_eps", self.norm_epsilon)];
        if let Positions::Rotary(rotary) = &self.positions {
            positive.push(("rope_theta", rotary.theta));
            let fits = rotary.width > 0
                && rotary.width.is_multiple_of(2)
                && rotary.width <= self.head_width;
            if !fits {
                let expected =
                    format!("an even number of turned numbers a head, at most {}", self.head_width);
                return Err(("head_dim", expected, rotary.width.to_string()));
            }
            match rotary.scaling {
                RotaryScaling::None => {}
                RotaryScaling::Linear { factor } => positive.push(("rope_scaling.factor", factor)),
                RotaryScaling::Yarn {
                    factor, fast_turns, slow_turns, attention_factor, ..
                } => {
                    positive.push(("rope_scaling.factor", factor));
                    positive.push(("rope_scaling.beta_fast", fast_turns));
                    positive.push(("rope_scaling.beta_slow", slow_turns));
                    positive.push(("rope_scaling.attention_factor", attention_factor));
                    // Whose logarithm all is measured by.
                    positive.push(("rope_theta less 1", rotary.theta - 1.0));
                }
                RotaryScaling::Llama3 {
                    factor,
                    low_frequency_factor,
                    high_frequency_factor,
                    ..
                } => {
                    positive.push(("rope_scaling.factor", factor));
                    positive.push(("rope_scaling.low_freq_factor", low_frequency_factor));
                    let range = high_frequency_factor - low_frequency_factor;
                    positive.push(("rope_scaling.high_freq_factor less low_freq_factor", range));
                }
            }
        }
        match positive.into_iter().find(|(_, got)| !(got.is_finite() && *got > 0.0)) {
            None => Ok(()),
            Some((field, got)) => Err((field, "a positive number".to_owned(), got.to_string())),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gpt2 => "gpt2",
            Self::GptNeoX => "gpt_neox",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use mixdown_shards::Fingerprint;
    use serde_json::Map;

    use super::{Activation, Family, ModelConfig, Norm, Positions, RotaryConfig, RotaryScaling};

    /// A Llama of 2 layers and 2 heads.
    pub(crate) fn tiny() -> ModelConfig {
        ModelConfig {
            family: Family::Llama,
            vocab_size: 40,
            hidden_size: 8,
            intermediate_size: 12,
            layers: 2,
            heads: 2,
            key_value_heads: 2,
            head_width: 4,
            max_position_embeddings: 32,
            norm: Norm::Rms,
            norm_epsilon: 1e-6,
            activation: Activation::SwiGlu,
            positions: rotary(4, RotaryScaling::None),
            query_key_value_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            query_key_norm: false,
            parallel_residual: false,
            tied_embeddings: true,
            sliding_window: None,
            bos_token_id: None,
            eos_token_id: Some(0),
            tokenizer_fingerprint: Some(Fingerprint::of(b"t")),
            extra: Map::new(),
        }
    }

    fn rotary(width: u64, scaling: RotaryScaling) -> Positions {
        Positions::Rotary(RotaryConfig { theta: 100.0, width, scaling })
    }

    /// Models that together have every switch on and off.
    pub(crate) fn all_kinds() -> Vec<ModelConfig> {
        let scaling = RotaryScaling::Llama3 {
            factor: 4.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 2.0,
            original_positions: 16,
        };
        let llama = ModelConfig {
            heads: 4,
            key_value_heads: 2,
            head_width: 2,
            positions: rotary(2, scaling),
            tied_embeddings: false,
            ..tiny()
        };
        let mistral = ModelConfig {
            family: Family::Mistral,
            sliding_window: Some(3),
            tied_embeddings: false,
            ..tiny()
        };
        let qwen2 = ModelConfig { family: Family::Qwen2, query_key_value_bias: true, ..tiny() };
        let qwen3 = ModelConfig {
            family: Family::Qwen3,
            heads: 4,
            key_value_heads: 2,
            head_width: 6,
            positions: rotary(6, RotaryScaling::Linear { factor: 2.0 }),
            query_key_norm: true,
            ..tiny()
        };
        let gpt2 = ModelConfig {
            family: Family::Gpt2,
            norm: Norm::Layer,
            activation: Activation::GeluTanh,
            positions: Positions::Learned,
            query_key_value_bias: true,
            attention_output_bias: true,
            mlp_bias: true,
            ..tiny()
        };
        let neox = ModelConfig {
            family: Family::GptNeoX,
            activation: Activation::Gelu,
            positions: rotary(2, RotaryScaling::None),
            parallel_residual: true,
            tied_embeddings: false,
            ..gpt2.clone()
        };
        let yarn = RotaryScaling::Yarn {
            factor: 4.0,
            original_positions: 16,
            fast_turns: 2.0,
            slow_turns: 0.25,
            truncate: false,
            attention_factor: 1.2,
        };
        let stretched = ModelConfig { positions: rotary(4, yarn), ..tiny() };
        vec![tiny(), llama, mistral, qwen2, qwen3, gpt2, neox, stretched]
    }

    #[test]
    fn parameters_are_those_of_the_layout() {
        for config in all_kinds() {
            config.check().unwrap();
            let layout = crate::model::layout::Layout::new(&config).unwrap();
            assert_eq!(
                u64::try_from(layout.len).unwrap(),
                config.parameters(),
                "{}",
                config.family
            );
        }
        assert_eq!(tiny().parameters(), 40 * 8 + 2 * (4 * 64 + 3 * 96 + 16) + 8);
        assert_eq!(tiny().non_embedding_parameters(), tiny().parameters() - 40 * 8);
    }
}
