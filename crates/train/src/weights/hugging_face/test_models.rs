//! Tiny models of every family for tests.

use serde_json::Map;

use crate::model::config::{
    Activation, Family, ModelConfig, Norm, Positions, RotaryConfig, RotaryScaling,
};
use crate::model::layout::Layout;

/// A model of 2 layers, 4 heads of 4 numbers, and no two sides alike that need not be.
pub(crate) fn tiny(family: Family) -> ModelConfig {
    let is_gpt = matches!(family, Family::Gpt2 | Family::GptNeoX);
    let width = if family == Family::GptNeoX { 2 } else { 4 };
    let rotary = RotaryConfig { theta: 10_000.0, width, scaling: RotaryScaling::None };
    ModelConfig {
        family,
        vocab_size: 40,
        hidden_size: 16,
        intermediate_size: 12,
        layers: 2,
        heads: 4,
        key_value_heads: if is_gpt { 4 } else { 2 },
        head_width: 4,
        max_position_embeddings: 32,
        norm: if is_gpt { Norm::Layer } else { Norm::Rms },
        norm_epsilon: 1e-5,
        activation: if is_gpt { Activation::GeluTanh } else { Activation::SwiGlu },
        positions: match family {
            Family::Gpt2 => Positions::Learned,
            _ => Positions::Rotary(rotary),
        },
        query_key_value_bias: is_gpt || family == Family::Qwen2,
        attention_output_bias: is_gpt,
        mlp_bias: is_gpt,
        query_key_norm: family == Family::Qwen3,
        parallel_residual: family == Family::GptNeoX,
        tied_embeddings: family == Family::Gpt2,
        sliding_window: None,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        tokenizer_fingerprint: None,
        extra: Map::new(),
    }
}

/// Every family with every combination of switches that change its tensors.
pub(crate) fn every() -> Vec<ModelConfig> {
    let families = [
        Family::Llama,
        Family::Mistral,
        Family::Qwen2,
        Family::Qwen3,
        Family::Gpt2,
        Family::GptNeoX,
    ];
    let mut models = Vec::new();
    for family in families {
        let has_attention_bias = matches!(family, Family::Llama | Family::Qwen3 | Family::GptNeoX);
        for switches in 0..16 {
            let [tied, attention_bias, mlp_bias, wide] =
                [1, 2, 4, 8].map(|switch| switches & switch != 0);
            let may_be_wide = !matches!(family, Family::Gpt2 | Family::GptNeoX);
            if (attention_bias && !has_attention_bias)
                || (mlp_bias && family != Family::Llama)
                || (wide && !may_be_wide)
            {
                continue;
            }
            let mut config = tiny(family);
            config.tied_embeddings = tied;
            if has_attention_bias {
                config.query_key_value_bias = attention_bias;
                config.attention_output_bias = attention_bias;
            }
            config.mlp_bias |= mlp_bias;
            if let (true, Positions::Rotary(rotary)) = (wide, &mut config.positions) {
                (config.head_width, rotary.width, config.key_value_heads) = (6, 6, 1);
            }
            models.push(config);
        }
    }
    models
}

/// The layout of a test's model.
pub(crate) fn layout(config: &ModelConfig) -> Layout {
    Layout::new(config).unwrap()
}
