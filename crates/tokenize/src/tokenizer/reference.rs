//! tokenizers 0.23, whose ids are the reference: it encodes what the faster library encodes wrongly or cannot read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use tokenizers::json::Json;
use tokenizers::pipeline::PipelineToken;
use tokenizers_023::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers_023::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior,
    Tokenizer,
};

use crate::error::LibraryError;
use crate::prepare::options::SpecialText;

/// A tokenizer of 0.23 as its Python package runs it: with the same regex engine, and with the same rounding of scores.
pub(crate) struct Reference {
    plain: Tokenizer,
    /// There, special tokens in the text are a setting of the whole tokenizer: this is a second one, made on first use.
    parse: OnceLock<Tokenizer>,
}

impl Reference {
    /// # Errors
    /// 0.23 cannot read it.
    pub(crate) fn new(text: &str, file: &Json<'_>) -> Result<Self, LibraryError> {
        let unigram = file.get("model").is_some_and(|model| model.type_tag() == Some("Unigram"));
        let mut plain: Tokenizer =
            if unigram { rounded(file).parse()? } else { text.parse::<Tokenizer>()? };
        plain.with_truncation(None)?;
        plain.with_padding(None);
        plain.set_encode_special_tokens(true);
        Ok(Self { plain, parse: OnceLock::new() })
    }

    /// Returns the tokenizer itself, with special tokens as plain text, and without a post-processor, which may trim
    /// white space from the bytes that an id covers.
    pub(crate) fn into_untrimmed(self) -> Tokenizer {
        let mut plain = self.plain;
        plain.with_post_processor(None::<tokenizers_023::PostProcessorWrapper>);
        plain
    }

    fn of(&self, special_text: SpecialText) -> &Tokenizer {
        match special_text {
            SpecialText::Plain => &self.plain,
            SpecialText::Parse => self.parse.get_or_init(|| {
                let mut parse = self.plain.clone();
                parse.set_encode_special_tokens(false);
                parse
            }),
        }
    }

    /// Appends a text's ids.
    pub(crate) fn encode_onto(
        &self,
        text: &str,
        special_text: SpecialText,
        ids: &mut Vec<PipelineToken>,
    ) -> Result<(), LibraryError> {
        let encoding = self.of(special_text).encode_fast(text, false)?;
        ids.extend(encoding.get_ids().iter().copied().map(PipelineToken::from));
        Ok(())
    }

    /// Returns the text of ids, with special tokens spelled out.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, LibraryError> {
        self.plain.decode(ids, false)
    }

    /// Returns the added tokens, with their ids.
    pub(crate) fn added(&self) -> BTreeMap<String, u32> {
        let added = self.plain.get_added_vocabulary().get_vocab();
        added.iter().map(|(token, &id)| (token.clone(), id)).collect()
    }

    /// Returns whether the text spells a special token.
    pub(crate) fn spells_special(&self, text: &str) -> bool {
        let added = self.plain.get_added_vocabulary();
        let mut special = added.get_added_tokens_decoder().values().filter(|token| token.special);
        special.any(|token| text.contains(&token.content))
    }
}

/// A pre-tokenizer's pattern as 0.23 runs it, compiled for the first text.
pub(crate) struct ReferenceSplit {
    pattern: String,
    split: OnceLock<Result<Split, String>>,
}

impl ReferenceSplit {
    pub(crate) fn new(split: &tokenizers::pre_tokenizers::split::Split) -> Self {
        use tokenizers::pre_tokenizers::split::SplitPattern;
        let (SplitPattern::Regex(pattern) | SplitPattern::String(pattern)) = &split.pattern;
        Self { pattern: pattern.clone(), split: OnceLock::new() }
    }

    /// Calls a function with the words of a text in order.
    pub(crate) fn for_each_word(
        &self,
        text: &str,
        mut show: impl FnMut(&str) -> Result<(), LibraryError>,
    ) -> Result<(), LibraryError> {
        let split = self.split.get_or_init(|| {
            let pattern = SplitPattern::Regex(self.pattern.clone());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| error.to_string())
        });
        let mut words = PreTokenizedString::from(text);
        split.as_ref().map_err(String::as_str)?.pre_tokenize(&mut words)?;
        let splits = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().try_for_each(|(word, _, _)| show(word))
    }
}

/// Returns the file with every fraction as the Python package reads it. Its JSON reader is sometimes off by one bit,
/// ours (serde_json with float_roundtrip) is not, and one bit in a score can change ids.
fn rounded(file: &Json<'_>) -> String {
    let mut out = String::new();
    write(file, &mut out);
    out
}

fn write(json: &Json<'_>, out: &mut String) {
    if let Some(fields) = json.entries() {
        out.push('{');
        for (place, (key, value)) in fields.enumerate() {
            out.push_str(if place > 0 { "," } else { "" });
            write_string(key, out);
            out.push(':');
            write(value, out);
        }
        out.push('}');
    } else if let Some(items) = json.as_array() {
        out.push('[');
        for (place, item) in items.iter().enumerate() {
            out.push_str(if place > 0 { "," } else { "" });
            write(item, out);
        }
        out.push(']');
    } else if let Some(digits) = json.number_literal() {
        let fraction = json.as_f64().filter(|_| digits.contains(['.', 'e', 'E']));
        // Debug prints the shortest digits that read back as the same number, and writing to a string cannot fail.
        let _ = match fraction {
            Some(number) => write!(out, "{number:?}"),
            None => write!(out, "{digits}"),
        };
    } else if let Some(text) = json.as_str() {
        write_string(text, out);
    } else {
        out.push_str(match json.as_bool() {
            Some(true) => "true",
            Some(false) => "false",
            None => "null",
        });
    }
}

fn write_string(text: &str, out: &mut String) {
    // A string is always valid JSON.
    out.push_str(&serde_json::Value::from(text).to_string());
}
