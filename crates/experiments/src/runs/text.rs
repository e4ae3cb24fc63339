//! The tokenizer of a model for generation: prompts to ids, and generated ids to text.

use std::path::Path;

use mixdown_documents::TemplateDate;
use mixdown_tokenize::{
    BeginningOfText, ChatOptions, ChatPrompt, ChatTurn, Tokenizer, encode_with_special_tokens,
};
use mixdown_train::{Prompt, TextCodec};

use crate::error::Error;

/// The number of earlier ids that are decoded together with new ones, because the text of a token may depend on those
/// before it.
const CONTEXT: usize = 6;

/// The tokenizer of a model with the id that begins its texts.
pub struct PromptTokenizer {
    tokenizer: Tokenizer,
    beginning: Option<u32>,
}

impl PromptTokenizer {
    /// Loads the tokenizer of a model's folder or of a corpus.
    ///
    /// # Errors
    /// There is no tokenizer, or it puts more than one token before a text.
    ///
    /// ```
    /// # let (folder, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tokenize/tests/doc_tokenizer.in"));
    /// use mixdown_experiments::PromptTokenizer;
    ///
    /// let tokenizer = PromptTokenizer::load(folder.path())?;
    /// let prompt = tokenizer.prompt("the cat")?;
    /// let ids = tokenizer.prompt(" sat")?;
    /// assert_eq!(tokenizer.continuation(&prompt, &ids)?, " sat");
    /// # Ok::<(), mixdown_experiments::Error>(())
    /// ```
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let tokenizer = Tokenizer::load(folder)?;
        let beginning = tokenizer.beginning_of_text(BeginningOfText::Auto)?;
        Ok(Self { tokenizer, beginning })
    }

    /// Encodes a prompt, after the id that begins every text if there is one. An empty prompt becomes the token that
    /// ends a text.
    ///
    /// # Errors
    /// The tokenizer fails; the prompt is empty, and no token ends a text.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.begun(self.tokenizer.encode(text)?)
    }

    /// Encodes a prompt in which the texts of special tokens become those tokens.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn prompt_with_special_tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut ids = encode_with_special_tokens(&self.tokenizer, text)?;
        if self.beginning.is_some() && ids.first().copied() == self.beginning {
            ids.remove(0);
        }
        self.begun(ids)
    }

    /// Puts the id that begins every text before the others; an empty text becomes the token that ends a text.
    fn begun(&self, text: Vec<u32>) -> Result<Vec<u32>, Error> {
        let mut ids: Vec<u32> = self.beginning.into_iter().collect();
        ids.extend(text);
        if ids.is_empty() {
            ids.push(self.tokenizer.end_of_text()?);
        }
        Ok(ids)
    }

    /// Compiles the chat template of the model; `date` is the day that the template may use.
    ///
    /// # Errors
    /// There is no chat template, or its syntax is wrong.
    pub fn chat(&self, date: Option<TemplateDate>) -> Result<ChatPrompt, Error> {
        Ok(ChatPrompt::new(&self.tokenizer, &ChatOptions { template: None, date })?)
    }

    /// Decodes the ids that follow those of a prompt.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn continuation(&self, prompt: &[u32], ids: &[u32]) -> Result<String, Error> {
        let mut growing = StreamedText::new(self, prompt);
        let mut text = String::new();
        for &id in ids {
            text.push_str(&growing.push(id)?);
        }
        text.push_str(&growing.finish()?);
        Ok(text)
    }
}

impl TextCodec for PromptTokenizer {
    fn prompt(&self, prompt: Prompt<'_>) -> Result<Vec<u32>, mixdown_train::Error> {
        match prompt {
            Prompt::Text(text) => {
                Self::prompt(self, text).map_err(|error| foreign("a text with ids", &error))
            }
            Prompt::Chat { system, user } => {
                let turns = chat_turns(system, user);
                let ids = self.chat(None).and_then(|chat| Ok(chat.ids(&turns)?));
                ids.map_err(|error| foreign("a message that the chat template renders", &error))
            }
        }
    }

    fn ends(&self) -> Result<Vec<u32>, mixdown_train::Error> {
        let ends = self.chat(None).and_then(|chat| Ok(chat.ends()?));
        ends.map_err(|error| foreign("a chat template", &error))
    }

    fn continuation(&self, prompt: &[u32], ids: &[u32]) -> Result<String, mixdown_train::Error> {
        Self::continuation(self, prompt, ids).map_err(|error| foreign("ids with a text", &error))
    }
}

/// Returns the turns that begin a conversation: a system message, if there is one, and a message of the user.
///
/// ```
/// assert_eq!(mixdown_experiments::chat_turns(None, "Hello").len(), 1);
/// assert_eq!(mixdown_experiments::chat_turns(Some("Be brief."), "Hello").len(), 2);
/// ```
pub fn chat_turns(system: Option<&str>, user: &str) -> Vec<ChatTurn> {
    let turn = |role: &str, content: &str| ChatTurn { role: role.into(), content: content.into() };
    system.map(|system| turn("system", system)).into_iter().chain([turn("user", user)]).collect()
}

fn foreign(expected: &str, error: &Error) -> mixdown_train::Error {
    mixdown_train::Error::Setting {
        field: "eval.samples.prompts".to_owned(),
        expected: expected.to_owned(),
        got: error.to_string(),
    }
}

/// A text that is decoded one token at a time; a character of several tokens appears with its last token.
pub struct StreamedText<'a> {
    tokenizer: &'a PromptTokenizer,
    ids: Vec<u32>,
    /// The index from which ids are decoded.
    from: usize,
    /// The ids before this index have been returned as text.
    told: usize,
}

impl<'a> StreamedText<'a> {
    /// Begins a text that follows a prompt.
    ///
    /// ```
    /// # let (folder, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tokenize/tests/doc_tokenizer.in"));
    /// use mixdown_experiments::{PromptTokenizer, StreamedText};
    ///
    /// let tokenizer = PromptTokenizer::load(folder.path())?;
    /// let mut text = StreamedText::new(&tokenizer, &[]);
    /// let mut written = String::new();
    /// for id in tokenizer.prompt("é")? {
    ///     written.push_str(&text.push(id)?);
    /// }
    /// written.push_str(&text.finish()?);
    /// assert_eq!(written, "é", "both bytes of the character appear together");
    /// # Ok::<(), mixdown_experiments::Error>(())
    /// ```
    pub fn new(tokenizer: &'a PromptTokenizer, prompt: &[u32]) -> Self {
        let from = prompt.len().saturating_sub(CONTEXT);
        Self { tokenizer, ids: prompt.to_vec(), from, told: prompt.len() }
    }

    /// Adds an id and returns the text that it adds, which is empty while a character is incomplete.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.ids.push(id);
        let fresh = self.fresh()?;
        if fresh.is_empty() || fresh.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.from = self.told.saturating_sub(CONTEXT);
        self.told = self.ids.len();
        Ok(fresh)
    }

    /// Returns the incomplete rest of the text.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn finish(&mut self) -> Result<String, Error> {
        let fresh = self.fresh()?;
        self.told = self.ids.len();
        Ok(fresh)
    }

    /// Returns the text of the ids that have not been returned yet.
    fn fresh(&self) -> Result<String, Error> {
        let before = self.tokenizer.tokenizer.decode(&self.ids[self.from..self.told])?;
        let all = self.tokenizer.tokenizer.decode(&self.ids[self.from..])?;
        Ok(all.get(before.len()..).unwrap_or_default().to_owned())
    }
}
