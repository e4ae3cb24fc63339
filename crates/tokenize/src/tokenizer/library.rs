//! The library that encodes: the fast one (1.0.0-rc.3) if its ids are 0.23's, otherwise 0.23.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::OnceLock;

use mixdown_base::panics;
use serde_json::Value;
use tokenizers::json::Json;
use tokenizers::pipeline::{
    EncodeOptions, Override, PipelinePatternMatcher, PipelineToken, PipelineTokenizer,
};

use crate::encode::fast::FastEncoder;
use crate::error::LibraryError;
use crate::prepare::options::SpecialText;
use crate::tokenizer::agreement::Agreement;
use crate::tokenizer::disputed::holds_disputed;
use crate::tokenizer::parts::TokenizerParts;
use crate::tokenizer::reference::Reference;

/// Runs a call of a tokenizer library, and converts a panic in it to an error: a damaged tokenizer.json may load, and
/// cause a panic only at some text or id. The guard costs some nanoseconds, so it encloses whole texts.
///
/// # Errors
/// `call` fails or panics.
pub(crate) fn guarded<T>(
    call: impl FnOnce() -> Result<T, LibraryError>,
) -> Result<T, LibraryError> {
    panics::caught(call).unwrap_or_else(|_| {
        let got = "the library panicked: the tokenizer.json is damaged, download it again or use another tokenizer";
        Err(got.into())
    })
}

/// The library that encodes.
pub(crate) enum Library {
    /// The fast library.
    Fast {
        pipeline: Box<PipelineTokenizer>,
        agreement: Agreement,
        /// The encoder for texts on which they may differ; made for the first such text.
        reference: Box<OnceLock<Result<Reference, String>>>,
    },
    /// 0.23.
    Reference {
        reference: Box<Reference>,
        /// The reason why the fast one cannot be used.
        reason: String,
    },
}

impl Library {
    /// Returns the library for a tokenizer.json, given as text, parsed and in parts.
    ///
    /// # Errors
    /// Neither library can read it, or its results are random.
    pub(crate) fn new(
        text: &str,
        json: &Json<'_>,
        file: &TokenizerParts<'_>,
    ) -> Result<Self, LibraryError> {
        let dropout = file.rest.pointer("/model/dropout").and_then(Value::as_f64);
        if let Some(dropout) = dropout.filter(|&dropout| dropout > 0.0) {
            return Err(format!(
                "model.dropout is {dropout}, expected null: with it the ids of a text are random"
            )
            .into());
        }
        // 0.23 cannot read version 2.0, so there is no reference to differ from.
        let newer = json.get("version").and_then(Json::as_str) == Some("2.0");
        let agreement = match &file.refused {
            Some(refused) => Err(said(refused)),
            None if newer => Ok(Agreement::Full),
            None => Agreement::on(file),
        };
        let fast = agreement.and_then(|agreement| {
            let canonical = file.to_json().map_err(said)?;
            let pipeline = tokenizers::from_json(&canonical).map_err(said)?;
            let (pipeline, reference) = (Box::new(pipeline), Box::default());
            Ok(Self::Fast { pipeline, agreement, reference })
        });
        fast.or_else(|reason| match Reference::new(text, json) {
            Ok(reference) => Ok(Self::Reference { reference: Box::new(reference), reason }),
            Err(error) => Err(format!("{reason}; tokenizers 0.23: {error}").into()),
        })
    }

    /// Returns which library it is.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Fast { .. } => "tokenizers 1.0.0-rc.3".to_owned(),
            Self::Reference { reason, .. } => {
                format!("tokenizers 0.23 instead of the faster 1.0.0-rc.3, because of {reason}")
            }
        }
    }

    pub(crate) fn pipeline(&self) -> Option<&PipelineTokenizer> {
        match self {
            Self::Fast { pipeline, .. } => Some(pipeline),
            Self::Reference { .. } => None,
        }
    }

    /// Returns the word-cached encoder, if the fast library encodes and has one.
    pub(crate) fn fast_encoder(&self) -> Option<FastEncoder> {
        match self {
            Self::Fast { pipeline, agreement, .. } => FastEncoder::new(pipeline, *agreement),
            Self::Reference { .. } => None,
        }
    }

    /// Appends a text's ids; `file` is the tokenizer.json.
    pub(crate) fn encode_onto(
        &self,
        file: &str,
        text: &str,
        special_text: SpecialText,
        ids: &mut Vec<PipelineToken>,
    ) -> Result<(), LibraryError> {
        match self {
            Self::Reference { reference, .. } => reference.encode_onto(text, special_text, ids),
            Self::Fast { agreement: Agreement::Undisputed, reference, .. }
                if holds_disputed(text) =>
            {
                let made = reference.get_or_init(|| {
                    let json = Json::parse(file).map_err(|error| error.to_string())?;
                    Reference::new(file, &json).map_err(|error| error.to_string())
                });
                made.as_ref().map_err(String::as_str)?.encode_onto(text, special_text, ids)
            }
            Self::Fast { pipeline, .. } => {
                let options = EncodeOptions {
                    add_special_tokens: false,
                    encode_special_tokens: special_text == SpecialText::Plain,
                    padding: Override::Off,
                    truncation: Override::Off,
                };
                pipeline.encode_into(text, &options, ids)
            }
        }
    }

    /// Returns the text of ids, with special tokens spelled out.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, LibraryError> {
        match self {
            Self::Fast { pipeline, .. } => pipeline.decode(ids, false),
            Self::Reference { reference, .. } => reference.decode(ids),
        }
    }

    /// Returns the added tokens, with their ids.
    pub(crate) fn added(&self) -> BTreeMap<String, u32> {
        match self {
            Self::Fast { pipeline, .. } => {
                pipeline.get_added_vocabulary().get_vocab().into_iter().collect()
            }
            Self::Reference { reference, .. } => reference.added(),
        }
    }

    /// Returns the token that the file itself names for a role such as `eos_token`.
    pub(crate) fn role(&self, role: &str) -> Option<&str> {
        self.pipeline()?.get_token_for_role(role)
    }

    /// Returns whether the text spells a special token.
    pub(crate) fn spells_special(&self, text: &str) -> bool {
        let pipeline = match self {
            Self::Fast { pipeline, .. } => pipeline,
            Self::Reference { reference, .. } => return reference.spells_special(text),
        };
        let added = pipeline.get_added_vocabulary();
        // Raw and normalized tokens are kept apart; both are searched in the unchanged text.
        [false, true].into_iter().any(|normalized| {
            let mut from = 0;
            while let Some(((start, end), _)) =
                added.extract_next(text.as_bytes(), from, normalized, false)
            {
                let spelled = text.get(start..end).unwrap_or_default();
                if added.is_special_token(spelled) || added.is_special_token(spelled.trim()) {
                    return true;
                }
                from = end.max(from + 1);
            }
            false
        })
    }
}

/// Returns a reason in the fast library's words.
fn said(error: impl Display) -> String {
    format!("what that one says: {error}")
}
