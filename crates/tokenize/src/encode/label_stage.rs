//! The encoding stage of labeled documents.

use mixdown_documents::{BadRecord, Document, LabelFields, Labeler, Labels, RecordFault};
use mixdown_shards::Fingerprint;
use serde_json::json;
use tokenizers::pipeline::PipelineToken;

use crate::encode::fast::check_at_once;
use crate::encode::labels::{LabelEncoder, LabeledIds};
use crate::encode::{EncodedChunk, Encoder, Scratch};
use crate::error::Error;
use crate::prepare::options::{ChatOptions, TooLong};
use crate::spill::as_u64;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::model_template::chat_template;

/// The renderer and encoder of labeled documents. One serves all threads.
pub(crate) struct LabelStage {
    /// The renderer of records during decoding.
    pub(crate) labeler: Labeler,
    encoder: LabelEncoder,
    /// The fingerprint of the template and its settings.
    pub(crate) template: Option<Fingerprint>,
}

/// The result of encoding a labeled document.
pub(crate) enum Labeled {
    /// Its ids and mask.
    Ids(LabeledIds),
    /// No part of it is a target.
    NoTarget,
    /// It cannot be encoded.
    Bad(BadRecord),
}

impl LabelStage {
    /// Makes the stage for records with these fields.
    ///
    /// # Errors
    /// There is no chat template for conversations, or its syntax is wrong; the tokenizer cannot be read.
    pub(crate) fn new(
        fields: &LabelFields,
        chat: &ChatOptions,
        tokenizer: &Tokenizer,
    ) -> Result<Self, Error> {
        let encoder = LabelEncoder::new(tokenizer)?;
        let template = match fields {
            LabelFields::Chat { .. } => {
                Some(chat_template(tokenizer, chat.template.as_deref(), chat.date)?)
            }
            LabelFields::Completion { .. } => None,
        };
        let labeler = Labeler::new(fields.clone(), template.as_ref(), &encoder.special_tokens())?;
        let template = template.map(|template| {
            let mut told = vec![json!(template.text), json!(template.tokens), json!(template.date)];
            told.extend(template.tool_use.map(|own| json!(own.text)));
            let told = json!(told);
            Fingerprint::of(told.to_string().as_bytes())
        });
        Ok(Self { labeler, encoder, template })
    }

    /// Returns the ids of a document with its beginning and end, and its mask.
    ///
    /// # Errors
    /// The library fails; its error.
    pub(crate) fn encode(
        &self,
        document: &Document,
        labels: &Labels,
        beginning_of_text: Option<u32>,
        end_of_text: u32,
    ) -> Result<Labeled, Box<dyn std::error::Error + Send + Sync>> {
        let text = &document.text;
        if LabelEncoder::is_reserved(text) {
            let expected = "none of the noncharacters that stand for special tokens";
            let fault = RecordFault::Chat {
                place: "the text".into(),
                expected,
                got: "three of them".into(),
            };
            return Ok(Labeled::Bad(BadRecord { place: document.place, fault }));
        }
        let mut labeled = self.encoder.encode(text, labels)?;
        if !labeled.has_targets() {
            return Ok(Labeled::NoTarget);
        }
        labeled.begin_with(beginning_of_text);
        labeled.end_with(end_of_text, text, labels);
        Ok(Labeled::Ids(labeled))
    }
}

impl Encoder<'_> {
    /// Replaces ids and mask by those of a labeled document; false if the document is left out.
    pub(crate) fn encode_labeled(
        &self,
        stage: &LabelStage,
        document: &Document,
        labels: &Labels,
        encoded: &mut EncodedChunk,
        scratch: &mut Scratch,
    ) -> Result<bool, Error> {
        let labeled = check_at_once(document.text.len(), self.most_at_once())
            .and_then(|()| stage.encode(document, labels, self.beginning_of_text, self.end_of_text))
            .map_err(|source| self.encode_error(document, source))?;
        match labeled {
            Labeled::Ids(LabeledIds { ids, mask, .. }) => {
                encoded.special_text_documents += u64::from(!labels.plain.is_empty());
                scratch.ids.clear();
                scratch.ids.extend(ids.into_iter().map(PipelineToken::from));
                scratch.mask = mask;
                Ok(true)
            }
            Labeled::NoTarget => {
                encoded.untargeted_documents += 1;
                Ok(false)
            }
            Labeled::Bad(bad) => {
                encoded.bad_records.push(bad);
                Ok(false)
            }
        }
    }

    /// Makes a document fit its row, if there are rows; false if it is left out. In a row its first id is not a target,
    /// because the tokens before it belong to another document.
    pub(crate) fn fits_row(
        &self,
        document: &Document,
        encoded: &mut EncodedChunk,
        scratch: &mut Scratch,
    ) -> Result<bool, Error> {
        let Some(pack) = self.pack else { return Ok(true) };
        let (got, expected) = (as_u64(scratch.ids.len()), pack.row_tokens());
        if got > expected {
            match pack.too_long {
                TooLong::Error => {
                    let (path, offset_bytes) = (self.path_of(document), document.place.offset);
                    return Err(Error::LongerThanRow { path, offset_bytes, expected, got });
                }
                TooLong::Drop => {
                    encoded.too_long_documents += 1;
                    return Ok(false);
                }
                TooLong::Truncate => {
                    encoded.too_long_documents += 1;
                    let len = usize::try_from(expected).unwrap_or(usize::MAX);
                    scratch.ids.truncate(len);
                    scratch.mask.truncate(len);
                }
            }
        }
        if let Some(first) = scratch.mask.first_mut() {
            *first = 0;
        }
        let has_targets = scratch.mask.contains(&1);
        encoded.untargeted_documents += u64::from(!has_targets);
        Ok(has_targets)
    }
}
