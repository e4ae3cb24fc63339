//! A tokenizer.json split into its parts: vocabulary and merges, which are nearly all of it, are borrowed from the
//! text, read once and never copied into trees; the small rest is canonicalized.
//!
//! Loading GPT-2's 3.5 MB in this way took a third of the time of parsing a `Value`, canonicalizing it whole and
//! printing it again.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};
use tokenizers::ConvertError;
use tokenizers::json::Json;

use crate::error::LibraryError;
use crate::spill::as_u64;

/// The content of a tokenizer.json in its canonical (upgraded) form.
pub(crate) struct TokenizerParts<'a> {
    /// Everything except the vocabulary and the merges of the model, which are empty here.
    pub(crate) rest: Value,
    pub(crate) vocabulary: Tokens<'a>,
    /// The merges in the order of their ranks; `None` if the model has none.
    pub(crate) merges: Option<Vec<Merge<'a>>>,
    /// The reason why the fast library cannot upgrade it: `rest` is then unchanged from the file.
    pub(crate) refused: Option<ConvertError>,
}

/// The two tokens that a merge joins.
pub(crate) type Merge<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The model's tokens.
pub(crate) enum Tokens<'a> {
    /// Token and id, in the order of the file.
    Ids(Vec<(&'a str, u64)>),
    /// Unigram: token and spelling of the score, in the order of ids.
    Scores(Vec<(&'a str, &'a str)>),
    /// The model has no vocabulary of either form; the library reports that.
    None,
}

impl<'a> TokenizerParts<'a> {
    /// Splits a parsed file into its parts.
    ///
    /// # Errors
    /// The vocabulary has an unknown form.
    pub(crate) fn new(file: &'a Json<'_>) -> Result<Self, LibraryError> {
        let model = last(file, "model");
        let vocabulary = model.and_then(|model| last(model, "vocab"));
        let vocabulary = vocabulary.map_or(Ok(Tokens::None), read_vocabulary)?;
        let merges =
            model.and_then(|model| last(model, "merges")).filter(|m| m.as_array().is_some());
        let (merges, odd) = merges.map_or((None, None), |merges| read_merges(merges));
        let mut rest = to_value(file, &|path| match path {
            ["model", "vocab"] => !matches!(vocabulary, Tokens::None),
            ["model", "merges"] => merges.is_some(),
            _ => false,
        })?;
        if let (Some(odd), Some(slot)) = (odd, rest.pointer_mut("/model/merges")) {
            *slot = Value::Array(vec![to_value(odd, &|_| false)?]);
        }
        let mut canonical = rest.clone();
        let refused = tokenizers::canonicalize_value(&mut canonical).err();
        if refused.is_none() {
            rest = canonical;
        }
        Ok(Self { rest, vocabulary, merges, refused })
    }

    /// Returns the highest id, 0 if there is none; one above 32 bits becomes the highest of those.
    pub(crate) fn highest_id(&self) -> u32 {
        let highest = match &self.vocabulary {
            Tokens::Ids(tokens) => tokens.iter().map(|&(_, id)| id).max().unwrap_or(0),
            Tokens::Scores(pieces) => as_u64(pieces.len().saturating_sub(1)),
            Tokens::None => 0,
        };
        u32::try_from(highest).unwrap_or(u32::MAX)
    }

    /// Returns the tokens with their ids in the order of their bytes; for a repeated token, the last one.
    pub(crate) fn sorted_ids(&self) -> Vec<(&str, u64)> {
        let mut sorted: Vec<_> = match &self.vocabulary {
            Tokens::Ids(tokens) => tokens.iter().rev().copied().collect(),
            Tokens::Scores(pieces) => {
                let pieces: Vec<_> = pieces.iter().map(|(token, _)| *token).zip(0..).collect();
                pieces.into_iter().rev().collect()
            }
            Tokens::None => Vec::new(),
        };
        sorted.sort_by_key(|(token, _)| *token);
        sorted.dedup_by_key(|(token, _)| *token);
        sorted
    }

    /// Returns the canonical tokenizer.json that the library reads.
    pub(crate) fn to_json(&self) -> Result<String, LibraryError> {
        let mut out = Vec::with_capacity(64 << 10);
        let model = self.rest.get("model").and_then(Value::as_object);
        out.push(b'{');
        for (key, value) in
            self.rest.as_object().into_iter().flatten().filter(|(key, _)| *key != "model")
        {
            write_field(key, &mut out)?;
            serde_json::to_writer(&mut out, value)?;
            out.push(b',');
        }
        out.extend(b"\"model\":{");
        for (key, value) in model.into_iter().flatten() {
            write_field(key, &mut out)?;
            match (key.as_str(), &self.merges) {
                ("vocab", _) => self.write_vocabulary(value, &mut out)?,
                ("merges", Some(merges)) => write_merges(merges, &mut out)?,
                _ => serde_json::to_writer(&mut out, value)?,
            }
            out.push(b',');
        }
        // An extra field ends both objects, so that a comma follows every other one.
        out.extend(b"\"end\":null}}");
        Ok(String::from_utf8(out)?)
    }

    fn write_vocabulary(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), LibraryError> {
        match &self.vocabulary {
            Tokens::Ids(tokens) => {
                out.push(b'{');
                for (place, (token, id)) in tokens.iter().enumerate() {
                    comma(place, out);
                    write_field(token, out)?;
                    serde_json::to_writer(&mut *out, id)?;
                }
                out.push(b'}');
            }
            Tokens::Scores(pieces) => {
                out.push(b'[');
                for (place, (token, score)) in pieces.iter().enumerate() {
                    comma(place, out);
                    out.push(b'[');
                    serde_json::to_writer(&mut *out, token)?;
                    out.push(b',');
                    // The score keeps its spelling: the library rounds digits in its own way.
                    out.extend(score.as_bytes());
                    out.push(b']');
                }
                out.push(b']');
            }
            Tokens::None => serde_json::to_writer(&mut *out, value)?,
        }
        Ok(())
    }
}

fn comma(place: usize, out: &mut Vec<u8>) {
    if place > 0 {
        out.push(b',');
    }
}

fn write_field(key: &str, out: &mut Vec<u8>) -> Result<(), LibraryError> {
    serde_json::to_writer(&mut *out, key)?;
    out.push(b':');
    Ok(())
}

fn write_merges(merges: &[Merge<'_>], out: &mut Vec<u8>) -> Result<(), LibraryError> {
    out.push(b'[');
    for (place, merge) in merges.iter().enumerate() {
        comma(place, out);
        serde_json::to_writer(&mut *out, merge)?;
    }
    out.push(b']');
    Ok(())
}

/// Returns the value of a key; if it is repeated, the last one counts.
fn last<'j, 'a>(object: &'j Json<'a>, key: &str) -> Option<&'j Json<'a>> {
    object.entries()?.filter(|(name, _)| *name == key).last().map(|(_, value)| value)
}

fn read_vocabulary<'a>(vocabulary: &'a Json<'_>) -> Result<Tokens<'a>, LibraryError> {
    if let Some(entries) = vocabulary.entries() {
        // A number that is not whole becomes an id that is refused.
        let id_of = |id: &Json<'_>| id.number_literal().and_then(|id| id.parse().ok());
        let tokens = entries.map(|(token, id)| (token, id_of(id).unwrap_or(u64::MAX)));
        return Ok(Tokens::Ids(tokens.collect()));
    }
    let Some(pieces) = vocabulary.as_array() else { return Ok(Tokens::None) };
    let scored = |piece: &'a Json<'_>| match piece.as_array()? {
        [token, score] => Some((token.as_str()?, score.number_literal()?)),
        _ => None,
    };
    let pieces: Option<_> = pieces.iter().map(scored).collect();
    pieces.map(Tokens::Scores).ok_or_else(|| {
        "an entry of the model's vocabulary: expected [token, score], got something else".into()
    })
}

/// Returns the merges, and the first one that has neither spelling.
fn read_merges<'j, 'a>(merges: &'j Json<'a>) -> (Option<Vec<Merge<'j>>>, Option<&'j Json<'a>>) {
    let entries = merges.as_array().unwrap_or_default();
    let mut read = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.as_str().is_some_and(|line| line.starts_with("#version")) {
            continue;
        }
        let Some(merge) = read_merge(entry) else { return (Some(read), Some(entry)) };
        read.push(merge);
    }
    (Some(read), None)
}

/// `["a", "b"]` or `"a b"`.
fn read_merge<'j>(entry: &'j Json<'_>) -> Option<Merge<'j>> {
    if let Some(line) = entry.as_str() {
        let (left, right) = line.split_once(' ').filter(|(_, right)| !right.contains(' '))?;
        return Some((left.into(), right.into()));
    }
    match entry.as_array()? {
        [left, right] => Some((left.as_str()?.into(), right.as_str()?.into())),
        _ => None,
    }
}

/// Copies a value to a tree; what `leave_out` selects by its path becomes empty.
fn to_value(json: &Json<'_>, leave_out: &dyn Fn(&[&str]) -> bool) -> Result<Value, LibraryError> {
    fn walk<'j>(
        json: &'j Json<'_>,
        path: &mut Vec<&'j str>,
        leave_out: &dyn Fn(&[&str]) -> bool,
    ) -> Result<Value, LibraryError> {
        let empty = path.len() == 2 && leave_out(path);
        if let Some(fields) = json.entries() {
            let mut object = Map::new();
            for (key, value) in fields.filter(|_| !empty) {
                path.push(key);
                object.insert(key.to_owned(), walk(value, path, leave_out)?);
                path.pop();
            }
            return Ok(Value::Object(object));
        }
        if let Some(items) = json.as_array() {
            path.push("");
            let items = items.iter().filter(|_| !empty);
            let array = items.map(|item| walk(item, path, leave_out)).collect::<Result<_, _>>();
            path.pop();
            return Ok(Value::Array(array?));
        }
        Ok(match (json.as_str(), json.number_literal(), json.as_bool()) {
            (Some(text), ..) => Value::String(text.to_owned()),
            (_, Some(digits), _) => Value::Number(serde_json::from_str::<Number>(digits)?),
            (_, _, Some(flag)) => Value::Bool(flag),
            _ => Value::Null,
        })
    }
    walk(json, &mut Vec::new(), leave_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The results of canonicalizing the whole tree, and of splitting it into parts.
    fn both(text: &str) -> (Result<Value, String>, Result<Value, String>) {
        let whole = serde_json::from_str(text).map_err(|error| error.to_string());
        let whole = whole.and_then(|mut value: Value| {
            tokenizers::canonicalize_value(&mut value).map_err(|error| error.to_string())?;
            Ok(value)
        });
        let json = Json::parse(text).unwrap();
        let apart = TokenizerParts::new(&json).and_then(|file| match file.refused {
            Some(refused) => Err(refused.into()),
            None => file.to_json(),
        });
        let apart = apart.map_err(|error| error.to_string()).map(|text| {
            let mut value: Value = serde_json::from_str(&text).unwrap();
            let object = value.as_object_mut().unwrap();
            object.get_mut("model").unwrap().as_object_mut().unwrap().remove("end");
            value
        });
        (whole, apart)
    }

    #[test]
    fn taken_apart_and_put_together_it_is_what_the_library_makes_of_it() {
        let unigram =
            json!({"vocab": [["<unk>", 0], ["a\"\\", -1.5], ["b", -2.25e-3]], "unk_id": 0});
        for model in [
            json!({"type": "BPE", "vocab": {"a": 0, "b c": 1, "\u{1f600}": 2}, "merges": ["a b", ["b c", "a"]]}),
            json!({"vocab": {}, "merges": [], "continuing_subword_prefix": null}),
            json!({"vocab": {"a": 3}, "merges": ["#version: 0.2", "a a"]}),
            json!({"vocab": {"a": 3}, "merges": ["a a", "a b c"]}),
            json!({"vocab": {"a": 3}, "merges": ["aa", 3]}),
            json!({"vocab": {"a": 3}, "merges": [["a"]]}),
            json!({"vocab": {"a": 3}, "merges": null}),
            json!({"vocab": {"a": 3}, "merges": "a a"}),
            json!({"vocab": {"a": 3}, "continuing_subword_prefix": "##"}),
            json!({"vocab": "vocab.json", "type": "WordLevel"}),
            json!({"type": "WordLevel"}),
            unigram,
        ] {
            for pre_tokenizer in [json!(null), json!({"type": "Metaspace", "replacement": "_"})] {
                let file = json!({"added_tokens": [{"id": 7, "content": "é\n"}], "normalizer": null,
                    "pre_tokenizer": pre_tokenizer, "truncation": {"n": 1.5, "deep": [{"b": true}]},
                    "model": model});
                let (whole, apart) = both(&file.to_string());
                assert_eq!(whole, apart, "{file}");
            }
        }
        for text in
            ["[]", "3", "{}", "{\"model\": 1}", "{\"model\": {}, \"model\": {\"vocab\": {}}}"]
        {
            let (whole, apart) = both(text);
            assert_eq!(whole, apart, "{text}");
        }
    }

    #[test]
    fn the_last_of_two_ids_counts_and_scores_stay_as_they_are_spelled() {
        let text = r#"{"model": {"vocab": {"b": 1, "a": 2, "b": 3, "c": -1}}}"#;
        let json = Json::parse(text).unwrap();
        let file = TokenizerParts::new(&json).unwrap();
        assert_eq!(file.sorted_ids(), [("a", 2), ("b", 3), ("c", u64::MAX)]);
        let text = r#"{"model": {"vocab": [["a", -1.10], ["b", 2E0], ["a", 0]]}}"#;
        let json = Json::parse(text).unwrap();
        let file = TokenizerParts::new(&json).unwrap();
        assert_eq!(file.sorted_ids(), [("a", 2), ("b", 1)]);
        assert!(file.to_json().unwrap().contains(r#"["a",-1.10],["b",2E0],["a",0]"#));
        let odd = Json::parse(r#"{"model": {"vocab": [["a", "b"]]}}"#).unwrap();
        assert!(TokenizerParts::new(&odd).err().unwrap().to_string().contains("[token, score]"));
    }
}
