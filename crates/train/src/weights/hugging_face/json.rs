//! The config.json of a fresh model, which old and new versions of `transformers` open.

use serde_json::{Map, Value, json};

use super::{families, rotary};
use crate::model::config::{Activation, Family, ModelConfig, Positions};

/// Returns all fields except the type of the weights, the ids that begin and end a text, and the tokenizer.
pub(super) fn fresh(config: &ModelConfig) -> Map<String, Value> {
    let of_family = match config.family {
        Family::Gpt2 => gpt2(config),
        Family::GptNeoX => gpt_neox(config),
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => llama(config),
    };
    let mut map = object(json!({
        "architectures": [families::architecture(config.family)],
        "model_type": config.family.to_string(),
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied_embeddings,
        "initializer_range": 0.02,
        "use_cache": true,
    }));
    map.extend(of_family);
    if let Positions::Rotary(rotary) = &config.positions {
        map.extend(rotary::to_json(config.family, rotary, config.head_width));
    }
    map
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn llama(config: &ModelConfig) -> Map<String, Value> {
    let mut map = object(json!({
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.norm_epsilon,
        "attention_dropout": 0.0,
    }));
    let bias = json!({ "attention_bias": config.query_key_value_bias });
    let window = json!({
        "use_sliding_window": config.sliding_window.is_some(),
        "sliding_window": config.sliding_window,
        "max_window_layers": if config.sliding_window.is_some() { 0 } else { config.layers },
    });
    match config.family {
        Family::Mistral => {
            map.insert("sliding_window".to_owned(), config.sliding_window.into());
        }
        Family::Qwen2 => map.extend(object(window)),
        Family::Qwen3 => map.extend(object(bias).into_iter().chain(object(window))),
        _ => {
            map.extend(object(bias));
            map.insert("mlp_bias".to_owned(), config.mlp_bias.into());
        }
    }
    map
}

/// Without dropout: it is not trained with.
fn gpt2(config: &ModelConfig) -> Map<String, Value> {
    object(json!({
        "n_embd": config.hidden_size,
        "n_inner": config.intermediate_size,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_positions": config.max_position_embeddings,
        "n_ctx": config.max_position_embeddings,
        "activation_function": activation(config),
        "layer_norm_epsilon": config.norm_epsilon,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }))
}

fn gpt_neox(config: &ModelConfig) -> Map<String, Value> {
    object(json!({
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "hidden_act": activation(config),
        "max_position_embeddings": config.max_position_embeddings,
        "layer_norm_eps": config.norm_epsilon,
        "attention_bias": config.query_key_value_bias,
        "use_parallel_residual": config.parallel_residual,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
    }))
}

fn activation(config: &ModelConfig) -> &'static str {
    if config.activation == Activation::Gelu { "gelu" } else { "gelu_new" }
}
