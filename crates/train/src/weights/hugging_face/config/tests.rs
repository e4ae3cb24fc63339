//! config.json of every family, read and written back.

use mixdown_base::error_kind::ErrorKind;
use mixdown_shards::Fingerprint;
use serde_json::{Value, json};

use crate::Error;
use crate::model::config::{
    Activation, Family, ModelConfig, Positions, RotaryConfig, RotaryScaling,
};
use crate::weights::hugging_face::test_models::{every, tiny};

fn read(json: &Value) -> Result<ModelConfig, Error> {
    ModelConfig::from_json(json, "c.json".as_ref())
}

/// Without the file as it was, which a fresh model has not.
fn stripped(json: &Value) -> ModelConfig {
    ModelConfig { extra: serde_json::Map::new(), ..read(json).unwrap() }
}

fn rotary(config: &ModelConfig) -> RotaryConfig {
    match &config.positions {
        Positions::Rotary(rotary) => *rotary,
        Positions::Learned => panic!("learned positions"),
    }
}

/// The file of a tiny model with some fields changed; null takes one out.
fn changed(family: Family, fields: Value) -> Value {
    let mut json = tiny(family).to_json();
    for (field, value) in fields.as_object().unwrap() {
        match value {
            Value::String(text) if text == "absent" => {
                drop(json.as_object_mut().unwrap().remove(field))
            }
            value => json[field] = value.clone(),
        }
    }
    json
}

#[test]
fn what_is_written_is_read() {
    for mut config in every() {
        assert_eq!(stripped(&config.to_json()), config);
        config.tokenizer_fingerprint = Some(Fingerprint::of(b"t"));
        (config.bos_token_id, config.eos_token_id) = (None, Some(0));
        if let Positions::Rotary(rotary) = &mut config.positions {
            rotary.scaling = RotaryScaling::Linear { factor: 1.5 };
            rotary.theta = 5e5;
        }
        if matches!(config.family, Family::Gpt2 | Family::GptNeoX) {
            config.activation = Activation::Gelu;
            config.parallel_residual = false;
        }
        assert_eq!(stripped(&config.to_json()), config);
        if let Positions::Rotary(rotary) = &mut config.positions {
            rotary.scaling = RotaryScaling::Llama3 {
                factor: 8.0,
                low_frequency_factor: 1.0,
                high_frequency_factor: 4.0,
                original_positions: 16,
            };
        }
        assert_eq!(stripped(&config.to_json()), config);
        if let Positions::Rotary(rotary) = &mut config.positions {
            rotary.scaling = RotaryScaling::Yarn {
                factor: 8.0,
                original_positions: 16,
                fast_turns: 30.0,
                slow_turns: 2.0,
                truncate: false,
                attention_factor: 1.25,
            };
        }
        if matches!(config.family, Family::Mistral | Family::Qwen2 | Family::Qwen3) {
            config.sliding_window = Some(7);
        }
        assert_eq!(stripped(&config.to_json()), config);
        // Once more, from what was read.
        let again = read(&config.to_json()).unwrap();
        assert_eq!(again.to_json(), config.to_json());
    }
}

#[test]
fn what_was_read_is_kept() {
    let source = changed(
        Family::Llama,
        json!({
            "torch_dtype": "bfloat16",
            "eos_token_id": [7, 8, 9],
            "attention_dropout": 0.25,
            "their_own": {"x": [1]},
        }),
    );
    let mut config = read(&source).unwrap();
    assert_eq!(config.eos_token_id, Some(7));
    let mut expected = source.clone();
    expected["torch_dtype"] = "float32".into();
    assert_eq!(config.to_json(), expected);
    (config.bos_token_id, config.eos_token_id) = (None, Some(9));
    assert_eq!(config.to_json(), expected);
    config.eos_token_id = Some(3);
    config.tokenizer_fingerprint = Some(Fingerprint::of(b"t"));
    expected["eos_token_id"] = json!([7, 8, 9, 3]);
    expected["mixdown_tokenizer_fingerprint"] = json!(Fingerprint::of(b"t"));
    assert_eq!(config.to_json(), expected);

    // One that the file says alone is kept as well; none is no end.
    for (there, ids) in [(json!(7), json!([7, 3])), (json!(3), json!(3)), (json!(null), json!(3))] {
        let mut config = read(&changed(Family::Llama, json!({"eos_token_id": there}))).unwrap();
        config.eos_token_id = Some(3);
        assert_eq!(config.to_json()["eos_token_id"], ids);
    }

    let newer = changed(Family::Qwen3, json!({"torch_dtype": "absent", "dtype": "bfloat16"}));
    let written = read(&newer).unwrap().to_json();
    assert_eq!(written["dtype"], "float32");
    assert!(written.get("torch_dtype").is_none());
    let neither = changed(Family::Qwen3, json!({"torch_dtype": "absent"}));
    assert_eq!(read(&neither).unwrap().to_json()["torch_dtype"], "float32");
    // A family's own ids are said where the model has them, and taken back where it has none.
    let silent = changed(Family::Gpt2, json!({"eos_token_id": "absent", "bos_token_id": "absent"}));
    let mut config = read(&silent).unwrap();
    assert_eq!([config.bos_token_id, config.eos_token_id], [Some(50_256); 2]);
    config.bos_token_id = None;
    assert_eq!(config.to_json()["eos_token_id"], 50_256);
    assert_eq!(read(&config.to_json()).unwrap().bos_token_id, None);
}

#[test]
fn fields_left_out_mean_what_they_mean_to_transformers() {
    let bare = |family: Family, fields: Value| {
        let mut fields = fields;
        fields["model_type"] = family.to_string().into();
        fields["vocab_size"] = 64.into();
        read(&fields).unwrap()
    };
    let sizes = json!({
        "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 32,
    });
    let llama = bare(Family::Llama, sizes.clone());
    assert_eq!([llama.key_value_heads, llama.head_width], [32, 2]);
    assert_eq!(llama.max_position_embeddings, 2048);
    assert_eq!([llama.bos_token_id, llama.eos_token_id], [Some(1), Some(2)]);
    assert!(!llama.tied_embeddings && !llama.query_key_value_bias && !llama.mlp_bias);
    assert!((llama.norm_epsilon - 1e-6).abs() < 1e-12);
    assert!((rotary(&llama).theta - 1e4).abs() < 1e-9);
    let mistral = bare(Family::Mistral, sizes.clone());
    assert_eq!([mistral.key_value_heads, mistral.max_position_embeddings], [8, 131_072]);
    assert_eq!(mistral.sliding_window, Some(4096));
    let qwen2 = bare(Family::Qwen2, sizes.clone());
    assert_eq!([qwen2.max_position_embeddings, qwen2.head_width], [32_768, 2]);
    assert_eq!([qwen2.bos_token_id, qwen2.eos_token_id, qwen2.sliding_window], [None; 3]);
    assert!(qwen2.query_key_value_bias && !qwen2.attention_output_bias);
    let qwen3 = bare(Family::Qwen3, sizes.clone());
    assert_eq!(qwen3.head_width, 128);
    assert!(qwen3.query_key_norm && !qwen3.query_key_value_bias);
    let gpt2 = bare(Family::Gpt2, json!({"n_embd": 64, "n_layer": 1, "n_head": 2}));
    assert_eq!([gpt2.intermediate_size, gpt2.max_position_embeddings], [256, 1024]);
    assert!(gpt2.tied_embeddings && gpt2.activation == Activation::GeluTanh);
    let mut wide = sizes;
    wide["hidden_size"] = 512.into();
    let neox = bare(Family::GptNeoX, wide);
    assert_eq!([rotary(&neox).width, neox.head_width], [4, 16]);
    assert!(neox.parallel_residual && neox.query_key_value_bias && !neox.tied_embeddings);
    assert_eq!(neox.activation, Activation::Gelu);
}

#[test]
fn rotary_positions_are_read_in_both_forms() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 32, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    });
    let expected = RotaryScaling::Llama3 {
        factor: 32.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_positions: 16,
    };
    let old = changed(Family::Llama, json!({"rope_theta": 5e5, "rope_scaling": llama3}));
    let mut parameters = llama3.clone();
    parameters["rope_theta"] = 5e5.into();
    let new = changed(
        Family::Llama,
        json!({"rope_theta": "absent", "rope_scaling": "absent", "rope_parameters": parameters}),
    );
    for json in [old, new] {
        let got = rotary(&read(&json).unwrap());
        assert_eq!(got, RotaryConfig { theta: 5e5, width: 4, scaling: expected });
    }
    let plain = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 3e4}});
    let got = rotary(&read(&changed(Family::Qwen3, plain)).unwrap());
    assert_eq!(got, RotaryConfig { theta: 3e4, width: 4, scaling: RotaryScaling::None });
    let linear = json!({"rope_scaling": {"type": "linear", "factor": 2}});
    let got = rotary(&read(&changed(Family::Mistral, linear)).unwrap());
    assert_eq!(got.scaling, RotaryScaling::Linear { factor: 2.0 });
    let neox = json!({
        "rotary_pct": "absent", "rotary_emb_base": "absent",
        "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 9e3},
    });
    let got = rotary(&read(&changed(Family::GptNeoX, neox)).unwrap());
    assert_eq!(got, RotaryConfig { theta: 9e3, width: 2, scaling: RotaryScaling::None });
    let without = json!({"original_max_position_embeddings": null});
    let mut short = llama3;
    short["original_max_position_embeddings"] = without["original_max_position_embeddings"].clone();
    let got = rotary(&read(&changed(Family::Llama, json!({"rope_scaling": short}))).unwrap());
    assert!(matches!(got.scaling, RotaryScaling::Llama3 { original_positions: 32, .. }));
}

#[test]
fn yarn_and_dynamic_have_the_defaults_of_transformers() {
    let of = |scaling: Value| {
        let got = rotary(&read(&changed(Family::Qwen2, json!({"rope_scaling": scaling}))).unwrap());
        assert_eq!((got.theta, got.width), (10_000.0, 4));
        got.scaling
    };
    assert_eq!(of(json!({"rope_type": "dynamic", "factor": 4.0})), RotaryScaling::None);
    let plain = RotaryScaling::Yarn {
        factor: 4.0,
        original_positions: 8,
        fast_turns: 32.0,
        slow_turns: 1.0,
        truncate: true,
        attention_factor: 0.1 * 4_f64.ln() + 1.0,
    };
    let own = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8});
    assert_eq!(of(own.clone()), plain);
    // The factor left out is that of the positions, which are 32.
    let mut silent = own.clone();
    silent["factor"] = Value::Null;
    assert_eq!(of(silent), plain);
    let weighed = json!({"rope_type": "yarn", "factor": 8, "mscale": 0.7, "mscale_all_dim": 1.2,
        "beta_fast": 4, "beta_slow": 0.5, "truncate": false});
    let RotaryScaling::Yarn { original_positions, fast_turns, slow_turns, truncate, .. } =
        of(weighed.clone())
    else {
        panic!()
    };
    assert_eq!((original_positions, truncate), (32, false));
    assert_eq!((fast_turns, slow_turns), (4.0, 0.5));
    let expected = (0.07 * 8_f64.ln() + 1.0) / (0.12 * 8_f64.ln() + 1.0);
    assert!((of(weighed).attention_factor() - expected).abs() < 1e-12);
    let mut said = own.clone();
    said["attention_factor"] = json!(0.9);
    assert!((of(said).attention_factor() - 0.9).abs() < 1e-12);
    // Of two places the file itself wins.
    let both = json!({"rope_scaling": own, "original_max_position_embeddings": 16});
    let got = rotary(&read(&changed(Family::Llama, both)).unwrap());
    assert!(matches!(got.scaling, RotaryScaling::Yarn { original_positions: 16, .. }));
}

#[test]
fn a_window_is_in_all_layers_or_in_none() {
    let window =
        |family, fields| read(&changed(family, fields)).map(|config| config.sliding_window);
    let on = |first: u64, window: u64| json!({"use_sliding_window": true, "max_window_layers": first, "sliding_window": window});
    assert_eq!(window(Family::Qwen2, on(0, 9)).unwrap(), Some(9));
    assert_eq!(window(Family::Qwen3, on(2, 9)).unwrap(), None);
    assert_eq!(window(Family::Qwen2, on(1, 32)).unwrap(), None);
    let error = window(Family::Qwen2, on(1, 31)).unwrap_err().to_string();
    assert!(
        error.ends_with("a window in all 2 layers, or in none, got 1 layers without"),
        "{error}"
    );
    let types = |on: bool, types: [&str; 2]| json!({"use_sliding_window": on, "sliding_window": 9, "layer_types": types});
    let (full, sliding) = ("full_attention", "sliding_attention");
    assert_eq!(window(Family::Qwen2, types(true, [full, full])).unwrap(), None);
    assert_eq!(window(Family::Qwen2, types(false, [full, full])).unwrap(), None);
    assert_eq!(window(Family::Qwen2, types(true, [sliding, sliding])).unwrap(), Some(9));
    assert!(window(Family::Qwen2, types(true, [full, sliding])).is_err());
    assert!(window(Family::Qwen2, types(false, [sliding, sliding])).is_err());
    assert!(window(Family::Qwen2, types(true, [full, "chunked_attention"])).is_err());
    assert!(window(Family::Qwen2, json!({"layer_types": [full]})).is_err());
    assert_eq!(window(Family::Mistral, json!({"sliding_window": 9})).unwrap(), Some(9));
    assert!(window(Family::Mistral, json!({"sliding_window": 0})).is_err());
    assert_eq!(window(Family::Llama, json!({"sliding_window": 9})).unwrap(), None);
}

/// Refuses each file of a tiny model with one field changed, with the words given.
fn refused(cases: &[(Family, &str, Value, &str)]) {
    for (family, field, value, words) in cases {
        let error = read(&changed(*family, json!({ *field: value }))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn other_models_are_refused_by_name() {
    use Family::{Gpt2, Llama, Qwen3};
    let all = "\"llama\", \"mistral\", \"qwen2\", \"qwen3\", \"gpt2\", \"gpt_neox\" (the supported";
    refused(&[
        (Llama, "model_type", json!("gemma2"), all),
        (Llama, "model_type", json!("gemma2"), "model_type: expected one of "),
        (Llama, "model_type", json!(null), "got null"),
        (
            Gpt2,
            "architectures",
            json!(["GPT2ForQuestionAnswering"]),
            "expected \"GPT2LMHeadModel\"",
        ),
        (Llama, "quantization_config", json!({"bits": 4}), "quantization_config: expected none"),
        (Llama, "hidden_act", json!("gelu"), "hidden_act: expected \"silu\""),
        (Llama, "num_key_value_heads", json!(3), "expected a divisor of 4 heads, got 3"),
        (Llama, "attention_bias", json!(1), "attention_bias: expected true or false, got 1"),
        (Llama, "head_dim", json!(5), "head_dim: expected an even number of turned numbers"),
        (
            Llama,
            "rope_scaling",
            json!({"rope_type": "longrope"}),
            "\"llama3\" or \"yarn\" (the supported ones), got",
        ),
        (
            Llama,
            "rope_scaling",
            json!({"rope_type": "yarn", "factor": 0}),
            "rope_scaling.factor: expected a positive",
        ),
        (
            Llama,
            "rope_scaling",
            json!({"rope_type": "llama3"}),
            "factor: expected a number, got null",
        ),
        (
            Llama,
            "rope_scaling",
            json!({"type": "linear", "factor": -1}),
            "factor: expected a positive",
        ),
        (Llama, "rope_scaling", json!({"rope_type": 3}), "rope_scaling: expected a rope_type"),
        (Qwen3, "rope_parameters", json!({"full_attention": {}}), "the same rotary positions"),
        (
            Llama,
            "partial_rotary_factor",
            json!(0.5),
            "partial_rotary_factor: expected 1.0, got 0.5",
        ),
    ]);
    for json in [json!([]), json!(3), json!({})] {
        assert!(read(&json).is_err());
    }
}

#[test]
fn sizes_and_constants_are_checked() {
    use Family::{Gpt2, GptNeoX, Llama};
    refused(&[
        (Llama, "vocab_size", json!(0), "vocab_size: expected a number from 1"),
        (Llama, "vocab_size", json!(-3), "vocab_size: expected a positive whole number, got -3"),
        (Llama, "num_attention_heads", json!(0), "num_attention_heads: expected a number from 1"),
        (Llama, "num_hidden_layers", json!(4097), "expected a number from 1 to 4096"),
        (GptNeoX, "hidden_size", json!(1 << 24), "a model of at most 17179869184 parameters"),
        (Llama, "rms_norm_eps", json!(0), "rms_norm_eps: expected a positive number, got 0"),
        (Llama, "rope_theta", json!("x"), "rope_theta: expected a number, got \"x\""),
        (Llama, "mixdown_tokenizer_fingerprint", json!("x"), "expected 64 hex digits, got \"x\""),
        (Gpt2, "n_embd", json!(18), "n_embd: expected a multiple of 4 heads, got 18"),
        (Gpt2, "n_layer", json!(0), "n_layer: expected a number from 1"),
        (Gpt2, "layer_norm_epsilon", json!(-1), "layer_norm_epsilon: expected a positive"),
        (
            Gpt2,
            "activation_function",
            json!("relu"),
            "expected \"gelu\", \"gelu_new\", \"gelu_fast\"",
        ),
        (Gpt2, "scale_attn_by_inverse_layer_idx", json!(true), "expected false, got true"),
        (Gpt2, "reorder_and_upcast_attn", json!(true), "expected false, got true"),
        (Gpt2, "add_cross_attention", json!(true), "expected false, got true"),
        (Gpt2, "scale_attn_weights", json!(false), "expected true, got false"),
        (GptNeoX, "rotary_pct", json!(1.5), "rotary_pct: expected an even number"),
        (GptNeoX, "hidden_act", json!("silu"), "hidden_act: expected \"gelu\""),
        (GptNeoX, "hidden_size", json!(18), "hidden_size: expected a multiple of 4 heads, got 18"),
    ]);
    let mut derived = changed(Llama, json!({"head_dim": "absent"}));
    derived["hidden_size"] = 18.into();
    let error = read(&derived).unwrap_err().to_string();
    assert!(error.ends_with("hidden_size: expected a multiple of 4 heads, got 18"), "{error}");
}
