//! The tokenizer fingerprint: a hash of what determines the ids, not of a file's bytes.

use mixdown_shards::Fingerprint;
use serde_json::{Map, Number, Value};

use crate::tokenizer::parts::{Merge, TokenizerParts, Tokens};

/// The parts of a tokenizer.json that determine which ids a text gets. Left out on purpose: truncation and padding
/// (never applied here), the decoder, and the post-processor, whose prefix the corpus records separately.
const DECIDING: [&str; 4] = ["added_tokens", "model", "normalizer", "pre_tokenizer"];

/// Fields for which `false` differs from null: null leaves BertNormalizer's accents to `lowercase`.
const FALSE_COUNTS: [&str; 1] = ["strip_accents"];

/// Returns the fingerprint of a canonical (upgraded) tokenizer.json, with its own `sorted_ids`. Key order, white space,
/// and fields that are null or false instead of absent make no difference.
pub(crate) fn tokenizer_fingerprint(
    file: &TokenizerParts<'_>,
    sorted_ids: &[(&str, u64)],
) -> Result<Fingerprint, serde_json::Error> {
    let mut bytes = Vec::with_capacity(64 << 10);
    for key in DECIDING {
        write_string(key, &mut bytes);
        match (key, file.rest.get(key)) {
            ("model", Some(Value::Object(model))) => {
                write_model(model, file, sorted_ids, &mut bytes)?;
            }
            (_, Some(value)) if !is_default(key, value) => write(value, &mut bytes),
            _ => bytes.push(b'n'),
        }
    }
    Ok(Fingerprint::of(&bytes))
}

/// Like [`write`], with the vocabulary and the merges that are stored beside the tree.
fn write_model(
    model: &Map<String, Value>,
    file: &TokenizerParts<'_>,
    sorted_ids: &[(&str, u64)],
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    let mut fields: Vec<_> = model.iter().collect();
    fields.sort_by_key(|(key, _)| *key);
    out.push(b'{');
    for (key, value) in fields {
        match (key.as_str(), &file.vocabulary, &file.merges) {
            ("vocab", Tokens::Ids(_), _) => {
                write_string(key, out);
                write_ids(sorted_ids, out);
            }
            ("vocab", Tokens::Scores(pieces), _) if !pieces.is_empty() => {
                write_string(key, out);
                write_scores(pieces, out)?;
            }
            ("merges", _, Some(merges)) if !merges.is_empty() => {
                write_string(key, out);
                write_merges(merges, out);
            }
            _ if !is_default(key, value) => {
                write_string(key, out);
                write(value, out);
            }
            _ => {}
        }
    }
    out.push(b'}');
    Ok(())
}

fn write_ids(sorted_ids: &[(&str, u64)], out: &mut Vec<u8>) {
    out.push(b'{');
    for &(token, id) in sorted_ids {
        write_string(token, out);
        write_number(&id.into(), out);
    }
    out.push(b'}');
}

fn write_scores(pieces: &[(&str, &str)], out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    out.push(b'[');
    for (token, score) in pieces {
        out.push(b'[');
        write_string(token, out);
        write_number(&serde_json::from_str(score)?, out);
        out.push(b']');
    }
    out.push(b']');
    Ok(())
}

fn write_merges(merges: &[Merge<'_>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (left, right) in merges {
        out.push(b'[');
        write_string(left, out);
        write_string(right, out);
        out.push(b']');
    }
    out.push(b']');
}

/// Returns whether older files leave out a value that newer ones write as null, false or empty.
fn is_default(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(false) => !FALSE_COUNTS.contains(&key),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Writes one unambiguous byte string per value, with the keys of objects in the order of their bytes.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(value) => out.extend([b'b', u8::from(*value)]),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| write(item, out));
            out.push(b']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> =
                fields.iter().filter(|(key, value)| !is_default(key, value)).collect();
            fields.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (key, value) in fields {
                write_string(key, out);
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

/// Writes integers as decimal text and all other numbers as their bits, because libraries spell one float in many ways.
fn write_number(number: &Number, out: &mut Vec<u8>) {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => {
            out.push(b'f');
            out.extend(float.to_bits().to_le_bytes());
        }
        None => {
            out.push(b'#');
            write_string(&number.to_string(), out);
        }
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;
    use crate::tokenizer::tests::tiny_json;
    use serde_json::json;
    use tokenizers::json::Json;

    fn fingerprint(value: &Value) -> Fingerprint {
        let text = value.to_string();
        let json = Json::parse(&text).unwrap();
        let file = TokenizerParts::new(&json).unwrap();
        tokenizer_fingerprint(&file, &file.sorted_ids()).unwrap()
    }

    #[test]
    fn only_what_decides_ids_counts() {
        let base = json!({
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]},
            "added_tokens": [{"id": 2, "content": "<|e|>", "special": true, "lstrip": false}],
            "pre_tokenizer": null,
        });
        let mut same = base.clone();
        same["truncation"] = json!({"max_length": 7});
        same["version"] = json!("2.0");
        same["normalizer"] = Value::Null;
        same["model"]["dropout"] = Value::Null;
        same["model"]["fuse_unk"] = json!(false);
        assert_eq!(fingerprint(&base), fingerprint(&same));
        for (path, value) in [
            ("/model/vocab/b", json!(3)),
            ("/model/merges", json!([["b", "a"]])),
            ("/added_tokens/0/special", json!(false)),
            ("/pre_tokenizer", json!({"type": "Whitespace"})),
        ] {
            let mut other = base.clone();
            *other.pointer_mut(path).unwrap() = value;
            assert_ne!(fingerprint(&base), fingerprint(&other), "{path}");
        }
    }

    /// Null strips accents if `lowercase` is set, false never does: the ids of "é" differ.
    #[test]
    fn accents_that_are_kept_are_not_accents_left_to_lowercase() {
        let of = |strip: Value| {
            let bert = json!({"type": "BertNormalizer", "lowercase": true, "strip_accents": strip});
            let nested = json!({"type": "Sequence", "normalizers": [bert.clone()]});
            [bert, nested]
                .map(|normalizer| fingerprint(&json!({"normalizer": normalizer, "model": {}})))
        };
        let all = [of(Value::Null), of(json!(false)), of(json!(true))];
        for (left, right) in [(0, 1), (0, 2), (1, 2)] {
            assert_ne!(all[left][0], all[right][0]);
            assert_ne!(all[left][1], all[right][1]);
        }
    }

    /// Corpora have recorded this value: a change here breaks every one of them.
    #[test]
    fn fingerprints_stay_as_they_are() {
        let added = json!({"id": 3, "content": "</s>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true});
        let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}",
            "prepend_scheme": "always", "split": true});
        let unigram = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab":
            [["<unk>", 0.0], ["\u{2581}a", -1.5], ["b", -2.345_678_901_234_5]]});
        let merged = json!({"type": "BPE", "unk_token": "<unk>", "fuse_unk": true,
            "vocab": {"<unk>": 0, "\u{2581}": 1, "a": 2, "\u{2581}a": 4}, "merges": ["\u{2581} a"]});
        let file = |model: Value| {
            json!({"version": "1.0", "added_tokens": [added], "normalizer": null,
                "pre_tokenizer": metaspace, "post_processor": null, "decoder": null,
                "model": model})
        };
        let of = |file: Value| {
            let file = file.to_string();
            Tokenizer::from_json("tokenizer.json".into(), file).unwrap().fingerprint().to_string()
        };
        let found = [tiny_json(), file(unigram), file(merged)].map(of);
        let expected = [
            "13a354387ec58283a8550dd1048a3dab6cc19a0fb478c4a5be3a11b1881ac463",
            "0218f49d20939aff440e94b8c415008cc1b83522534628d16e0fdda4030e6a57",
            "6091514d87a898368b1c8febd3eb5d2ecfd624ac56ea8713f514e37a0cef6f56",
        ];
        assert_eq!(found, expected, "byte-level BPE, Unigram, Metaspace BPE");
    }
}
