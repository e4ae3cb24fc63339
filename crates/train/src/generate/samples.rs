//! Samples: texts that the model generates from prompts at each evaluation.

use std::sync::atomic::AtomicBool;

use mixdown_base::quantity::field;
use mixdown_runs::SampleRecord;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::generate::sampling::Sampling;
use crate::generate::{FinishReason, GenerateOptions, generate_until};
use crate::model::Model;

/// `[eval.samples]`: prompts that the model continues at each evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesConfig {
    /// The texts to continue.
    pub prompts: Vec<String>,
    /// Whether each prompt is a user's message, rendered with the model's chat template.
    #[serde(default, skip_serializing_if = "is_false")]
    pub chat: bool,
    /// The system message before each prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The largest number of new tokens for each prompt.
    #[serde(default = "max_tokens", deserialize_with = "field::tokens")]
    pub max_tokens: u64,
    /// The sampling temperature, which divides the logits; 0 takes the most likely token.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// Tokens are sampled from this many of the most likely ones.
    #[serde(
        default,
        deserialize_with = "field::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub top_k: Option<u64>,
    /// Only the most likely tokens that together have this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The random seed, which is the same at every evaluation.
    #[serde(default, deserialize_with = "field::count")]
    pub seed: u64,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn max_tokens() -> u64 {
    64
}

fn temperature() -> f64 {
    0.8
}

impl SamplesConfig {
    fn sampling(&self) -> Sampling {
        Sampling { temperature: self.temperature, top_k: self.top_k, top_p: self.top_p }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        for (field, got) in
            [("prompts", self.prompts.len() as u64), ("max_tokens", self.max_tokens)]
        {
            if got == 0 {
                return Err(Error::setting(&format!("eval.samples.{field}"), "at least 1", got));
            }
        }
        if let (false, Some(system)) = (self.chat, &self.system) {
            let expected = "chat = true beside it, as texts have no system message";
            return Err(Error::setting("eval.samples.system", expected, format!("{system:?}")));
        }
        self.sampling().check("eval.samples.")
    }
}

/// A prompt that a model continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt<'p> {
    /// A text.
    Text(&'p str),
    /// A user's message, rendered with the model's chat template.
    Chat {
        /// The system message before it.
        system: Option<&'p str>,
        /// What the user says.
        user: &'p str,
    },
}

/// A translation of text into ids and back, which the caller provides: this crate knows ids only.
///
/// ```
/// use mixdown_train::{Error, Prompt, TextCodec};
///
/// /// Each byte of a text is an id.
/// struct Bytes;
///
/// impl TextCodec for Bytes {
///     fn prompt(&self, prompt: Prompt<'_>) -> Result<Vec<u32>, Error> {
///         let (Prompt::Text(text) | Prompt::Chat { user: text, .. }) = prompt;
///         Ok(text.bytes().map(u32::from).collect())
///     }
///
///     fn ends(&self) -> Result<Vec<u32>, Error> {
///         Ok(Vec::new())
///     }
///
///     fn continuation(&self, _prompt: &[u32], ids: &[u32]) -> Result<String, Error> {
///         Ok(ids.iter().filter_map(|&id| char::from_u32(id)).collect())
///     }
/// }
///
/// assert_eq!(Bytes.prompt(Prompt::Text("Hi"))?, [72, 105]);
/// assert_eq!(Bytes.continuation(&[], &[33])?, "!");
/// # Ok::<(), Error>(())
/// ```
pub trait TextCodec: Send {
    /// Returns the ids of a prompt, with the tokens that begin every text.
    ///
    /// # Errors
    /// The text has no ids, or a chat has no template.
    fn prompt(&self, prompt: Prompt<'_>) -> Result<Vec<u32>, Error>;

    /// Returns the ids that end a turn of a chat, beside those that end every text.
    ///
    /// # Errors
    /// There is no chat template.
    fn ends(&self) -> Result<Vec<u32>, Error>;

    /// Returns the text of the `ids` that follow those of a prompt.
    ///
    /// # Errors
    /// An id is not in the vocabulary.
    fn continuation(&self, prompt: &[u32], ids: &[u32]) -> Result<String, Error>;
}

/// The prompts of a run and their codec.
pub(crate) struct Samples {
    config: SamplesConfig,
    prompts: Vec<Vec<u32>>,
    /// The ids that end a turn.
    ends: Vec<u32>,
    codec: Box<dyn TextCodec>,
}

impl Samples {
    /// # Errors
    /// The model cannot continue a prompt.
    pub(crate) fn new(
        config: &SamplesConfig,
        codec: Box<dyn TextCodec>,
        model: &Model,
    ) -> Result<Self, Error> {
        let limit = model.config().max_position_embeddings;
        let mut prompts = Vec::with_capacity(config.prompts.len());
        for text in &config.prompts {
            let system = config.system.as_deref();
            let prompt =
                if config.chat { Prompt::Chat { system, user: text } } else { Prompt::Text(text) };
            let prompt = codec.prompt(prompt)?;
            let got = u64::try_from(prompt.len()).unwrap_or(u64::MAX);
            if got == 0 || got > limit {
                let expected = format!("1 to {limit} tokens (the model's positions) in {text:?}");
                return Err(Error::setting("eval.samples.prompts", expected, got));
            }
            prompts.push(prompt);
        }
        let ends = if config.chat { codec.ends()? } else { Vec::new() };
        Ok(Self { config: config.clone(), prompts, ends, codec })
    }

    /// Returns the model's continuation of each prompt.
    pub(crate) fn records(
        &self,
        model: &mut Model,
        step: u64,
        stop: &AtomicBool,
    ) -> Result<Vec<SampleRecord>, Error> {
        let options = GenerateOptions {
            max_tokens: self.config.max_tokens,
            sampling: self.config.sampling(),
            seed: self.config.seed,
        };
        let ends = &self.ends;
        let all = generate_until(model, &self.prompts, &options, ends, &mut |_, _| {}, stop)?;
        let prompts = self.config.prompts.iter().zip(&self.prompts);
        let records = prompts.zip(all).map(|((text, prompt), generated)| {
            Ok(SampleRecord {
                step,
                prompt: text.clone(),
                text: self.codec.continuation(prompt, &generated.ids)?,
                ids: generated.ids,
                ending: generated.finish_reason.name().to_owned(),
            })
        });
        records.collect()
    }
}

impl FinishReason {
    /// Returns the name in samples.jsonl.
    ///
    /// ```
    /// use mixdown_train::FinishReason;
    ///
    /// assert_eq!(FinishReason::MaxTokens.name(), "max_tokens");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::EndOfText => "end_of_text",
            Self::MaxTokens => "max_tokens",
            Self::ContextFull => "context_full",
        }
    }
}

#[cfg(test)]
#[path = "samples_tests.rs"]
pub(crate) mod tests;
