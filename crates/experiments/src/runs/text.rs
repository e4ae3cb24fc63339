//! A model's tokenizer for generation: prompts to ids, and new ids back to text.

use std::path::Path;

use mixdown_documents::TemplateDate;
use mixdown_tokenize::{
    BeginningOfText, ChatOptions, ChatPrompt, ChatTurn, Tokenizer, encode_with_special_tokens,
};
use mixdown_train::{Prompt, TextCodec};

use crate::error::Error;

/// Ids before the new ones that are decoded with them: how a token is spelled may depend on the one before.
const CONTEXT: usize = 6;

/// A model's tokenizer with the id that begins its texts.
pub struct PromptTokenizer {
    tokenizer: Tokenizer,
    beginning: Option<u32>,
}

impl PromptTokenizer {
    /// Loads the tokenizer of a model's folder or of a corpus.
    ///
    /// # Errors
    /// There is no tokenizer, or it puts several tokens before a text.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let tokenizer = Tokenizer::load(folder)?;
        let beginning = tokenizer.beginning_of_text(BeginningOfText::Auto)?;
        Ok(Self { tokenizer, beginning })
    }

    /// Encodes a prompt, with the id that begins every text before it, where there is one. An empty prompt is the token
    /// that ends a text.
    ///
    /// # Errors
    /// The tokenizer fails; the prompt is empty, and no token ends a text.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.begun(self.tokenizer.encode(text)?)
    }

    /// Encodes a prompt in which spellings of special tokens are those tokens.
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

    /// Puts the id that begins every text before the others; of no text what ends the one before.
    fn begun(&self, text: Vec<u32>) -> Result<Vec<u32>, Error> {
        let mut ids: Vec<u32> = self.beginning.into_iter().collect();
        ids.extend(text);
        if ids.is_empty() {
            ids.push(self.tokenizer.end_of_text()?);
        }
        Ok(ids)
    }

    /// Compiles the model's chat template; `date` is the day that it may ask for.
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
        let mut growing = GrowingText::new(self, prompt);
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

/// Makes the turns that begin a conversation: a system message, where there is one, and a user's.
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

/// A text that grows by a token at a time; a character of several tokens comes with its last one.
pub struct GrowingText<'a> {
    tokenizer: &'a PromptTokenizer,
    ids: Vec<u32>,
    /// From here on ids are decoded.
    from: usize,
    /// The ids before this one have been told.
    told: usize,
}

impl<'a> GrowingText<'a> {
    /// Begins a text that follows a prompt.
    pub fn new(tokenizer: &'a PromptTokenizer, prompt: &[u32]) -> Self {
        let from = prompt.len().saturating_sub(CONTEXT);
        Self { tokenizer, ids: prompt.to_vec(), from, told: prompt.len() }
    }

    /// Takes a further id and returns what it adds to the text; empty while a character is not whole.
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

    /// Returns what was not whole.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn finish(&mut self) -> Result<String, Error> {
        let fresh = self.fresh()?;
        self.told = self.ids.len();
        Ok(fresh)
    }

    /// The text of the ids that have not been told.
    fn fresh(&self) -> Result<String, Error> {
        let before = self.tokenizer.tokenizer.decode(&self.ids[self.from..self.told])?;
        let all = self.tokenizer.tokenizer.decode(&self.ids[self.from..])?;
        Ok(all.get(before.len()..).unwrap_or_default().to_owned())
    }
}
