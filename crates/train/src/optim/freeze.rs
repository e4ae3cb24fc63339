//! `train.freeze`: tensors that a run does not change, selected by patterns of their names.

use std::ops::Range;

use globset::Glob;

use crate::error::Error;
use crate::model::shape::ModelShape;
use crate::weights::hugging_face::{head_name, tensors};

/// Returns the parts of the flat buffer whose tensors match one of the patterns, in order and without overlap.
///
/// Names are those of model.safetensors; `*` matches any characters, including dots. The output projection of tied
/// embeddings is the embedding.
///
/// # Errors
/// A pattern is invalid or matches nothing; the patterns leave nothing to train.
pub(crate) fn frozen(patterns: &[String], shape: &ModelShape) -> Result<Vec<Range<usize>>, Error> {
    let tensors = tensors(&shape.config, &shape.layout);
    let head = head_name(shape.config.family);
    let tied = shape.config.tied_embeddings;
    let mut is_frozen = vec![false; tensors.len()];
    for pattern in patterns {
        let glob = Glob::new(pattern).map_err(|error| {
            Error::setting("train.freeze", "patterns of names", error.to_string())
        })?;
        let matcher = glob.compile_matcher();
        let mut matched = false;
        for (place, (tensor, is_frozen)) in tensors.iter().zip(&mut is_frozen).enumerate() {
            // The embedding is the first.
            let matches =
                matcher.is_match(&tensor.name) || (tied && place == 0 && matcher.is_match(head));
            *is_frozen |= matches;
            matched |= matches;
        }
        if !matched {
            let names = tensors.iter().map(|tensor| tensor.name.as_str());
            let expected = format!("patterns that match some of {}", candidates(names));
            return Err(Error::setting("train.freeze", expected, format!("{pattern:?}")));
        }
    }
    if is_frozen.iter().all(|frozen| *frozen) {
        let got = format!("{patterns:?}, which match all");
        return Err(Error::setting("train.freeze", "something left to train", got));
    }
    let chosen = tensors.into_iter().zip(is_frozen).filter(|(_, frozen)| *frozen);
    Ok(joined(chosen.map(|(tensor, _)| tensor.range).collect()))
}

/// Sorts the parts and merges neighbors.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// Returns each name once, without the number of its block.
fn candidates<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let parts = name
            .split('.')
            .map(|part| if part.bytes().all(|byte| byte.is_ascii_digit()) { "*" } else { part });
        let name = parts.collect::<Vec<_>>().join(".");
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::frozen;
    use crate::model::config::{Family, ModelConfig};
    use crate::model::shape::ModelShape;
    use crate::weights::hugging_face::tensors;
    use crate::weights::hugging_face::test_models::{every, tiny};

    fn model(config: &ModelConfig) -> ModelShape {
        ModelShape::fresh(config).unwrap()
    }

    fn patterns(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    /// A naive model: a flag a number.
    #[test]
    fn exactly_the_numbers_of_the_named_tensors_are_frozen() {
        for config in every() {
            let model = model(&config);
            for pattern in ["*.0.*", "*norm*", "*.bias", "*q*proj*", "*emb*", "*layers.1.mlp*"] {
                let regex = |name: &str| {
                    let mut rest = name;
                    let mut pieces = pattern.split('*');
                    let mut fits = rest.starts_with(pieces.next().unwrap());
                    for piece in pieces {
                        let Some(place) = rest.find(piece) else {
                            fits = false;
                            break;
                        };
                        rest = &rest[place + piece.len()..];
                    }
                    fits && (pattern.ends_with('*') || name.ends_with(&pattern[1..]))
                };
                let mut expected = vec![false; model.layout.len];
                for tensor in tensors(&config, &model.layout) {
                    if regex(&tensor.name) {
                        expected[tensor.range].fill(true);
                    }
                }
                let mut got = vec![false; model.layout.len];
                match frozen(&patterns(&[pattern]), &model) {
                    Ok(ranges) => {
                        assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
                        ranges.into_iter().for_each(|range| got[range].fill(true));
                    }
                    Err(_) => assert!(!expected.contains(&true), "{pattern} {}", config.family),
                }
                assert_eq!(got, expected, "{pattern} {}", config.family);
            }
        }
    }

    #[test]
    fn a_tied_head_is_the_embedding() {
        let tied = model(&ModelConfig { tied_embeddings: true, ..tiny(Family::Llama) });
        let embedding = frozen(&patterns(&["model.embed_tokens.*"]), &tied).unwrap();
        assert_eq!(embedding, std::slice::from_ref(&tied.layout.embedding));
        assert_eq!(frozen(&patterns(&["lm_head.weight"]), &tied).unwrap(), embedding);
    }

    #[test]
    fn patterns_of_nothing_and_of_all_are_refused() {
        let model = model(&tiny(Family::Llama));
        let error = |names: &[&str]| frozen(&patterns(names), &model).unwrap_err().to_string();
        let text = error(&["model.norm*", "model.layer.*"]);
        assert!(text.contains("match some of model.embed_tokens.weight, model.layers.*.self_attn"));
        assert!(text.ends_with("got \"model.layer.*\""), "{text}");
        assert!(error(&["model.*", "lm_head*"]).contains("something left to train"));
        assert!(error(&["model.["]).contains("train.freeze: expected patterns of names"));
        assert!(frozen(&[], &model).unwrap().is_empty());
    }
}
