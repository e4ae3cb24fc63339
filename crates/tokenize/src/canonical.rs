//! The tokenizer fingerprint: a hash of what decides the ids, not of a file's bytes.

use mixdown_shards::Fingerprint;
use serde_json::Value;

/// The parts of a tokenizer.json that decide which ids a text gets. Left out on purpose:
/// truncation and padding (never applied here), the decoder, and the post-processor, whose
/// prefix the corpus records by itself.
const DECIDING: [&str; 4] = ["added_tokens", "model", "normalizer", "pre_tokenizer"];

/// The fingerprint of a canonical (upgraded) tokenizer.json. Key order, white space, and fields
/// that are null or false rather than absent make no difference.
pub(crate) fn tokenizer_fingerprint(canonical: &Value) -> Fingerprint {
    let mut bytes = Vec::new();
    for key in DECIDING {
        write_string(key, &mut bytes);
        match canonical.get(key) {
            Some(value) if !is_default(value) => write(value, &mut bytes),
            _ => bytes.push(b'n'),
        }
    }
    Fingerprint::of(&bytes)
}

/// Older files leave out what newer ones spell as null, false or empty.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// One unambiguous byte string a value, with the keys of objects in the order of their bytes.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(value) => out.extend([b'b', u8::from(*value)]),
        Value::Number(number) => {
            out.push(b'#');
            write_string(&number.to_string(), out);
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| write(item, out));
            out.push(b']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> =
                fields.iter().filter(|(_, value)| !is_default(value)).collect();
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

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        assert_eq!(tokenizer_fingerprint(&base), tokenizer_fingerprint(&same));
        for (path, value) in [
            ("/model/vocab/b", json!(3)),
            ("/model/merges", json!([["b", "a"]])),
            ("/added_tokens/0/special", json!(false)),
            ("/pre_tokenizer", json!({"type": "Whitespace"})),
        ] {
            let mut other = base.clone();
            *other.pointer_mut(path).unwrap() = value;
            assert_ne!(tokenizer_fingerprint(&base), tokenizer_fingerprint(&other), "{path}");
        }
    }
}
