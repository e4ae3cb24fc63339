//! Rotary positions in config.json: top-level fields in older files, `rope_parameters` in newer ones.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::error::Error;
use crate::model::config::{Family, RotaryConfig, RotaryScaling};

/// The default θ.
const THETA: f64 = 10_000.0;
/// The default part of a head that GPT-NeoX rotates.
const NEOX_PART: f64 = 0.25;

/// The fields that may hold the scaling or all parameters of rotary positions.
///
/// The order is that of `transformers`: a `rope_scaling` wins over `rope_parameters`.
const OBJECTS: [&str; 2] = ["rope_scaling", "rope_parameters"];

/// Reads the rotary positions of heads of `head_width` numbers.
pub(super) fn read(
    fields: Fields,
    family: Family,
    head_width: u64,
    positions: u64,
) -> Result<RotaryConfig, Error> {
    let filled = |field: &&str| fields.get(field).as_object().is_some_and(|map| !map.is_empty());
    let field = OBJECTS.into_iter().find(filled).unwrap_or("rope_parameters");
    let within = Fields { value: fields.get(field), path: fields.path };
    check_flat(within, field)?;
    let [theta_field, part_field] = top_level(family);
    let default_part = if family == Family::GptNeoX { NEOX_PART } else { 1.0 };
    let theta = within.number_or("rope_theta", fields.number_or(theta_field, THETA)?)?;
    let part = fields.number_or(part_field, default_part)?;
    let part = within.number_or("partial_rotary_factor", part)?;
    // Some versions of transformers pass over it in these families, others obey it.
    if family != Family::GptNeoX && (part - 1.0).abs() > f64::EPSILON {
        return Err(fields.refuse_as("partial_rotary_factor", "1.0", part));
    }
    let scaling = scaling(within, field, original(fields, within, positions)?, positions)?;
    Ok(RotaryConfig { theta, width: turned(head_width, part), scaling })
}

/// Returns the top-level fields of θ and of the part of a head that is rotated.
fn top_level(family: Family) -> [&'static str; 2] {
    match family {
        Family::GptNeoX => ["rotary_emb_base", "rotary_pct"],
        _ => ["rope_theta", "partial_rotary_factor"],
    }
}

/// Refuses rotary positions that differ from layer to layer: an object for each kind of layer.
fn check_flat(within: Fields, field: &'static str) -> Result<(), Error> {
    let mut values = within.value.as_object().into_iter().flat_map(Map::values);
    if values.any(Value::is_object) {
        let expected = "the same rotary positions in all layers";
        return Err(within.refuse_as(field, expected, within.value));
    }
    Ok(())
}

/// Returns the number of positions of pretraining. The field of the file takes precedence over that of the object of
/// rotary positions, as in `transformers`.
fn original(fields: Fields, within: Fields, positions: u64) -> Result<u64, Error> {
    const FIELD: &str = "original_max_position_embeddings";
    let own = within.count_or(FIELD, positions)?;
    fields.count_or(FIELD, own)
}

fn scaling(
    within: Fields,
    field: &'static str,
    original: u64,
    positions: u64,
) -> Result<RotaryScaling, Error> {
    let kind = within.get("rope_type");
    let kind = if kind.is_null() { within.get("type") } else { kind };
    match kind.as_str().or(kind.is_null().then_some("default")) {
        // Dynamic scaling begins beyond the positions of the file, which no sequence here reaches.
        Some("default" | "dynamic") => return Ok(RotaryScaling::None),
        Some("yarn") => return yarn(within, original, positions),
        Some("linear") => return Ok(RotaryScaling::Linear { factor: within.number("factor")? }),
        Some("llama3") => {
            return Ok(RotaryScaling::Llama3 {
                factor: within.number("factor")?,
                low_frequency_factor: within.number("low_freq_factor")?,
                high_frequency_factor: within.number("high_freq_factor")?,
                original_positions: original,
            });
        }
        _ => {}
    }
    let expected = "a rope_type of \"default\", \"linear\", \"dynamic\", \"llama3\" or \"yarn\" (the supported \
                    ones)";
    Err(within.refuse_as(field, expected, kind))
}

/// Reads YaRN's scaling, with the defaults of `transformers`.
#[expect(clippy::cast_precision_loss, reason = "positions are at most 2^24")]
fn yarn(within: Fields, original: u64, positions: u64) -> Result<RotaryScaling, Error> {
    let filled = |field| within.number_or(field, 0.0).map(|value| (value != 0.0).then_some(value));
    let ratio = positions as f64 / original.max(1) as f64;
    let factor = within.number_or("factor", ratio)?;
    let scale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let usual = match (filled("mscale")?, filled("mscale_all_dim")?) {
        (Some(weight), Some(all)) => scale(weight) / scale(all),
        _ => scale(1.0),
    };
    Ok(RotaryScaling::Yarn {
        factor,
        original_positions: original,
        fast_turns: filled("beta_fast")?.unwrap_or(32.0),
        slow_turns: filled("beta_slow")?.unwrap_or(1.0),
        truncate: within.switch("truncate", true)?,
        attention_factor: within.number_or("attention_factor", usual)?,
    })
}

/// Returns the width of `part` of a head, rounded down as in `transformers`; 0, which is invalid, for an invalid part.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the result lies between 0 and the head's width; what exceeds 2^24 is refused later"
)]
fn turned(head_width: u64, part: f64) -> u64 {
    if part > 0.0 && part <= 1.0 { (head_width as f64 * part) as u64 } else { 0 }
}

/// Returns the fields of a fresh model's config.json. They are the older ones, which all versions read.
pub(super) fn to_json(
    family: Family,
    rotary: &RotaryConfig,
    head_width: u64,
) -> Map<String, Value> {
    let [theta, part] = top_level(family);
    let mut map = Map::new();
    map.insert(theta.to_owned(), rotary.theta.into());
    if family == Family::GptNeoX {
        map.insert(part.to_owned(), part_of(rotary.width, head_width).into());
    }
    map.insert("rope_scaling".to_owned(), scaling_to_json(rotary.scaling));
    map
}

/// Returns the part for which [`turned`] returns `width`.
#[expect(clippy::cast_precision_loss, reason = "both are at most 2^24")]
fn part_of(width: u64, head_width: u64) -> f64 {
    let part = width as f64 / head_width as f64;
    // 1/49 · 49 is less than 1.
    if turned(head_width, part) == width { part } else { part.next_up() }
}

fn scaling_to_json(scaling: RotaryScaling) -> Value {
    match scaling {
        RotaryScaling::None => Value::Null,
        // Versions that know this one alone know no other name of the field.
        RotaryScaling::Linear { factor } => json!({ "type": "linear", "factor": factor }),
        RotaryScaling::Llama3 {
            factor,
            low_frequency_factor,
            high_frequency_factor,
            original_positions,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_frequency_factor,
            "high_freq_factor": high_frequency_factor,
            "original_max_position_embeddings": original_positions,
        }),
        RotaryScaling::Yarn {
            factor,
            original_positions,
            fast_turns,
            slow_turns,
            truncate,
            attention_factor,
        } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original_positions,
            "beta_fast": fast_turns,
            "beta_slow": slow_turns,
            "truncate": truncate,
            "attention_factor": attention_factor,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{part_of, turned};

    #[test]
    fn parts_of_heads_come_back() {
        for head_width in 1..=256 {
            for width in 1..=head_width {
                assert_eq!(turned(head_width, part_of(width, head_width)), width, "{head_width}");
            }
        }
        assert_eq!([turned(64, 0.25), turned(80, 0.25), turned(64, 1.0)], [16, 20, 64]);
        assert_eq!([turned(64, -1.0), turned(64, 1.5), turned(64, f64::NAN)], [0, 0, 0]);
    }
}
