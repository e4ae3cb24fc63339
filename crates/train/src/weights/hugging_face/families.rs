//! The fields of config.json for each family of models, with their defaults.
//!
//! The defaults are those of the configuration classes of `transformers` 5.24.

use serde_json::Value;

use super::fields::Fields;
use super::rotary;
use crate::error::Error;
use crate::model::config::{Activation, Family, ModelConfig, Norm, Positions};

/// All families, in the order in which messages name them.
const FAMILIES: [Family; 6] =
    [Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3, Family::Gpt2, Family::GptNeoX];

/// Returns the family of a file by its `model_type`.
pub(super) fn family(fields: Fields) -> Result<Family, Error> {
    let got = fields.get("model_type");
    match FAMILIES.into_iter().find(|family| got.as_str() == Some(&family.to_string())) {
        Some(family) => Ok(family),
        None => {
            let names = FAMILIES.map(|family| format!("{:?}", family.to_string())).join(", ");
            Err(fields.refuse("model_type", format!("one of {names} (the supported ones)")))
        }
    }
}

/// Returns the class of its models with an output projection.
pub(super) fn architecture(family: Family) -> &'static str {
    match family {
        Family::Llama => "LlamaForCausalLM",
        Family::Mistral => "MistralForCausalLM",
        Family::Qwen2 => "Qwen2ForCausalLM",
        Family::Qwen3 => "Qwen3ForCausalLM",
        Family::Gpt2 => "GPT2LMHeadModel",
        Family::GptNeoX => "GPTNeoXForCausalLM",
    }
}

/// Refuses models of another kind than a plain decoder in floating point.
pub(super) fn check_kind(fields: Fields, family: Family) -> Result<(), Error> {
    let (got, expected) = (&fields.get("architectures")[0], architecture(family));
    if !got.is_null() && got != expected {
        let expected = format!("{expected:?} (the only supported one of {family})");
        return Err(fields.refuse_as("architectures", expected, got));
    }
    if !fields.get("quantization_config").is_null() {
        let expected =
            "none: quantized weights cannot be trained; take the model they were made of";
        return Err(fields.refuse("quantization_config", expected));
    }
    Ok(())
}

/// Reads the fields of a model of the family without checking them.
pub(super) fn read(fields: Fields, family: Family) -> Result<ModelConfig, Error> {
    match family {
        Family::Gpt2 => gpt2(fields),
        Family::GptNeoX => gpt_neox(fields),
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => llama(fields, family),
    }
}

/// Fields that only a Llama-like family has, or that mean different things when left out.
struct Defaults {
    key_value_heads: Option<u64>,
    head_width: Option<u64>,
    positions: u64,
    bos: Option<u64>,
    eos: Option<u64>,
}

fn defaults(family: Family) -> Defaults {
    let qwen = Defaults {
        key_value_heads: Some(32),
        head_width: None,
        positions: 32_768,
        bos: None,
        eos: None,
    };
    let llama = Defaults { positions: 2048, bos: Some(1), eos: Some(2), ..qwen };
    match family {
        Family::Mistral => Defaults { key_value_heads: Some(8), positions: 131_072, ..llama },
        Family::Qwen2 => qwen,
        Family::Qwen3 => Defaults { head_width: Some(128), ..qwen },
        _ => Defaults { key_value_heads: None, ..llama },
    }
}

fn llama(fields: Fields, family: Family) -> Result<ModelConfig, Error> {
    let defaults = defaults(family);
    let activation = fields.get("hidden_act");
    if !activation.is_null() && activation != "silu" {
        return Err(fields.refuse("hidden_act", "\"silu\" (the only supported one)"));
    }
    let (hidden_size, heads) = (fields.count("hidden_size")?, fields.count("num_attention_heads")?);
    // Left out, these have defaults of their own; null, they follow from the other sizes.
    let key_value_heads = match defaults.key_value_heads {
        Some(default) if fields.lacks("num_key_value_heads") => default,
        _ => fields.count_or("num_key_value_heads", heads)?,
    };
    let head_width = match defaults.head_width {
        Some(default) if fields.lacks("head_dim") => default,
        _ if fields.get("head_dim").is_null() => head_width(fields, "hidden_size", heads)?,
        _ => fields.count("head_dim")?,
    };
    let positions = fields.count_or("max_position_embeddings", defaults.positions)?;
    let layers = fields.count("num_hidden_layers")?;
    let has_bias = matches!(family, Family::Llama | Family::Qwen3);
    let attention_bias = has_bias && fields.switch("attention_bias", false)?;
    Ok(ModelConfig {
        family,
        vocab_size: fields.count("vocab_size")?,
        hidden_size,
        intermediate_size: fields.count("intermediate_size")?,
        layers,
        heads,
        key_value_heads,
        head_width,
        max_position_embeddings: positions,
        norm: Norm::Rms,
        norm_epsilon: fields.number_or("rms_norm_eps", 1e-6)?,
        activation: Activation::SwiGlu,
        positions: Positions::Rotary(rotary::read(fields, family, head_width, positions)?),
        query_key_value_bias: attention_bias || family == Family::Qwen2,
        attention_output_bias: attention_bias,
        mlp_bias: family == Family::Llama && fields.switch("mlp_bias", false)?,
        query_key_norm: family == Family::Qwen3,
        parallel_residual: false,
        tied_embeddings: fields.switch("tie_word_embeddings", false)?,
        sliding_window: match family {
            Family::Mistral => window(fields)?,
            Family::Qwen2 | Family::Qwen3 => qwen_window(fields, layers, positions)?,
            _ => None,
        },
        bos_token_id: fields.token("bos_token_id", defaults.bos),
        eos_token_id: fields.token("eos_token_id", defaults.eos),
        tokenizer_fingerprint: fields.tokenizer_fingerprint()?,
        extra: serde_json::Map::new(),
    })
}

/// Returns the width of a head if all heads together are as wide as the hidden state; 0 without heads, which
/// [`ModelConfig::check`] refuses.
fn head_width(fields: Fields, field: &'static str, heads: u64) -> Result<u64, Error> {
    let hidden_size = fields.count(field)?;
    match hidden_size.checked_rem(heads) {
        None => Ok(0),
        Some(0) => Ok(hidden_size / heads),
        Some(_) => Err(fields.refuse(field, format!("a multiple of {heads} heads"))),
    }
}

/// Reads `sliding_window`: null means none, and the default is 4096.
fn window(fields: Fields) -> Result<Option<u64>, Error> {
    if fields.lacks("sliding_window") {
        return Ok(Some(4096));
    }
    match fields.get("sliding_window") {
        Value::Null => Ok(None),
        value => match value.as_u64().filter(|window| *window > 0) {
            Some(window) => Ok(Some(window)),
            None => Err(fields.refuse("sliding_window", "null or a number of tokens from 1 on")),
        },
    }
}

/// Reads the window of a family in which each layer may have it or not; supported are all layers or none.
fn qwen_window(fields: Fields, layers: u64, positions: u64) -> Result<Option<u64>, Error> {
    let window = match fields.switch("use_sliding_window", false)? {
        true => window(fields)?,
        false => None,
    };
    let full = match fields.get("layer_types") {
        // The first layers are those without.
        Value::Null if window.is_some() => fields.count_or("max_window_layers", 28)?.min(layers),
        Value::Null => layers,
        types => full_layers(fields, types, layers)?,
    };
    match window {
        _ if full == layers => Ok(None),
        Some(window) if full == 0 => Ok(Some(window)),
        // So long a window that it is none.
        Some(window) if window >= positions => Ok(None),
        Some(_) => {
            let expected = format!("a window in all {layers} layers, or in none");
            let got = format!("{full} layers without");
            Err(fields.refuse_as("use_sliding_window", expected, got))
        }
        None => {
            let expected = "\"full_attention\" in all layers of a model without a sliding window";
            Err(fields.refuse("layer_types", expected))
        }
    }
}

/// Returns the number of layers that attend to all positions.
fn full_layers(fields: Fields, types: &Value, layers: u64) -> Result<u64, Error> {
    let types = types.as_array().map(Vec::as_slice).unwrap_or_default();
    let known = |kind: &&Value| *kind == "full_attention" || *kind == "sliding_attention";
    let is_whole = u64::try_from(types.len()).is_ok_and(|len| len == layers);
    if !is_whole || !types.iter().all(|kind| known(&kind)) {
        let expected = format!("\"full_attention\" or \"sliding_attention\" for {layers} layers");
        return Err(fields.refuse("layer_types", expected));
    }
    let full = types.iter().filter(|kind| *kind == "full_attention").count();
    u64::try_from(full).map_err(|_| fields.refuse("layer_types", "fewer layers"))
}

fn gpt2(fields: Fields) -> Result<ModelConfig, Error> {
    fields.fixed("scale_attn_weights", true)?;
    fields.fixed("scale_attn_by_inverse_layer_idx", false)?;
    fields.fixed("reorder_and_upcast_attn", false)?;
    fields.fixed("add_cross_attention", false)?;
    let config = gpt(Family::Gpt2, fields, "n_embd", fields.count("n_head")?)?;
    Ok(ModelConfig {
        intermediate_size: fields.count_or("n_inner", config.hidden_size.saturating_mul(4))?,
        layers: fields.count("n_layer")?,
        max_position_embeddings: fields.count_or("n_positions", 1024)?,
        norm_epsilon: fields.number_or("layer_norm_epsilon", 1e-5)?,
        activation: gelu(fields, "activation_function", "gelu_new")?,
        tied_embeddings: fields.switch("tie_word_embeddings", true)?,
        bos_token_id: fields.token("bos_token_id", Some(50_256)),
        eos_token_id: fields.token("eos_token_id", Some(50_256)),
        ..config
    })
}

fn gpt_neox(fields: Fields) -> Result<ModelConfig, Error> {
    let heads = fields.count("num_attention_heads")?;
    let config = gpt(Family::GptNeoX, fields, "hidden_size", heads)?;
    let positions = fields.count_or("max_position_embeddings", 2048)?;
    let rotary = rotary::read(fields, Family::GptNeoX, config.head_width, positions)?;
    let attention_bias = fields.switch("attention_bias", true)?;
    Ok(ModelConfig {
        intermediate_size: fields.count("intermediate_size")?,
        layers: fields.count("num_hidden_layers")?,
        max_position_embeddings: positions,
        norm_epsilon: fields.number_or("layer_norm_eps", 1e-5)?,
        activation: gelu(fields, "hidden_act", "gelu")?,
        positions: Positions::Rotary(rotary),
        query_key_value_bias: attention_bias,
        attention_output_bias: attention_bias,
        parallel_residual: fields.switch("use_parallel_residual", true)?,
        tied_embeddings: fields.switch("tie_word_embeddings", false)?,
        bos_token_id: fields.token("bos_token_id", Some(0)),
        eos_token_id: fields.token("eos_token_id", Some(2)),
        ..config
    })
}

/// Returns the fields that both families share; the caller fills in the rest.
fn gpt(
    family: Family,
    fields: Fields,
    hidden_field: &'static str,
    heads: u64,
) -> Result<ModelConfig, Error> {
    Ok(ModelConfig {
        family,
        vocab_size: fields.count("vocab_size")?,
        hidden_size: fields.count(hidden_field)?,
        intermediate_size: 0,
        layers: 0,
        heads,
        key_value_heads: heads,
        head_width: head_width(fields, hidden_field, heads)?,
        max_position_embeddings: 0,
        norm: Norm::Layer,
        norm_epsilon: 0.0,
        activation: Activation::Gelu,
        positions: Positions::Learned,
        query_key_value_bias: true,
        attention_output_bias: true,
        mlp_bias: true,
        query_key_norm: false,
        parallel_residual: false,
        tied_embeddings: false,
        sliding_window: None,
        bos_token_id: None,
        eos_token_id: None,
        tokenizer_fingerprint: fields.tokenizer_fingerprint()?,
        extra: serde_json::Map::new(),
    })
}

fn gelu(fields: Fields, field: &'static str, default: &'static str) -> Result<Activation, Error> {
    let value = fields.get(field);
    match value.as_str().or(value.is_null().then_some(default)) {
        Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        _ => {
            let expected = "\"gelu\", \"gelu_new\", \"gelu_fast\" or \"gelu_pytorch_tanh\"";
            Err(fields.refuse(field, expected))
        }
    }
}
