//! Everything that labelled documents need beside the tokenizer.

use mixdown_documents::{BadRecord, Document, LabelFields, Labeller, Labels, RecordFault};
use mixdown_shards::Fingerprint;
use serde_json::json;

use crate::error::Error;
use crate::label_options::ChatOptions;
use crate::labels::{LabelEncoder, LabelledIds};
use crate::model_template::chat_template;
use crate::tokenizer::Tokenizer;

/// Renders and encodes labelled documents. One serves all threads.
pub(crate) struct LabelStage {
    /// Renders records while they are decoded.
    pub(crate) labeller: Labeller,
    encoder: LabelEncoder,
    /// Of what the template is and is told.
    pub(crate) template: Option<Fingerprint>,
}

/// What became of a labelled document.
pub(crate) enum Labelled {
    /// Its ids and mask.
    Ids(LabelledIds),
    /// Nothing in it is a target.
    NoTarget,
    /// It cannot be encoded.
    Bad(BadRecord),
}

impl LabelStage {
    /// For records with these fields.
    ///
    /// # Errors
    /// There is no chat template for conversations, or its syntax is wrong; the tokenizer cannot
    /// be read.
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
        let labeller =
            Labeller::new(fields.clone(), template.as_ref(), &encoder.special_tokens())?;
        let template = template.map(|template| {
            let told = json!([template.text, template.tokens, template.date]);
            Fingerprint::of(told.to_string().as_bytes())
        });
        Ok(Self { labeller, encoder, template })
    }

    /// The ids of a document with its beginning and end, and its mask.
    ///
    /// # Errors
    /// The library fails; its words.
    pub(crate) fn encode(
        &self,
        document: &Document,
        labels: &Labels,
        beginning_of_text: Option<u32>,
        end_of_text: u32,
    ) -> Result<Labelled, Box<dyn std::error::Error + Send + Sync>> {
        let text = &document.text;
        if LabelEncoder::is_reserved(text) {
            let expected = "none of the noncharacters that stand for special tokens";
            let fault =
                RecordFault::Chat { place: "the text".into(), expected, got: "three of them".into() };
            return Ok(Labelled::Bad(BadRecord { place: document.place, fault }));
        }
        let mut labelled = self.encoder.encode(text, labels)?;
        if !labelled.has_targets() {
            return Ok(Labelled::NoTarget);
        }
        labelled.begin_with(beginning_of_text);
        labelled.end_with(end_of_text, text, labels);
        Ok(Labelled::Ids(labelled))
    }
}
