//! Prompts for models that were trained on chats.

use mixdown_documents::{ChatTurn, LabelFields, Labeler, Labels, TrainOn};

use crate::encode::labels::LabelEncoder;
use crate::error::Error;
use crate::prepare::options::BeginningOfText;
use crate::prepare::options::ChatOptions;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::library::guarded;
use crate::tokenizer::model_template::chat_template;

/// A model's chat template with its tokenizer.
///
/// A conversation becomes the ids that [`prepare`](crate::prepare()) gives it, up to the beginning of the assistant's
/// next turn.
pub struct ChatPrompt {
    labeler: Labeler,
    encoder: LabelEncoder,
    beginning_of_text: Option<u32>,
    end_of_text: Option<u32>,
}

impl ChatPrompt {
    /// Loads the template that comes with a tokenizer, or the one that the options name.
    ///
    /// # Errors
    /// There is no chat template or its syntax is wrong; the tokenizer cannot be read.
    ///
    /// ```
    /// use mixdown_tokenize::{ChatOptions, ChatPrompt, ChatTurn};
    ///
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// let template = folder.path().join("chat_template.jinja");
    /// std::fs::write(&template, "{% for m in messages %}{{ m.content }}{% endfor %}").unwrap();
    /// let prompt = ChatPrompt::new(&tokenizer, &ChatOptions::default())?;
    /// let turn = ChatTurn { role: "user".into(), content: "the cat".into() };
    /// assert_eq!(tokenizer.decode(&prompt.ids(&[turn])?)?, "the cat");
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn new(tokenizer: &Tokenizer, chat: &ChatOptions) -> Result<Self, Error> {
        let encoder = LabelEncoder::new(tokenizer)?;
        let template = chat_template(tokenizer, chat.template.as_deref(), chat.date)?;
        let (messages, train_on) = ("messages".to_owned(), TrainOn::All);
        let fields = LabelFields::Chat { messages, tools: None, train_on };
        let labeler = Labeler::new(fields, Some(&template), &encoder.special_tokens())?;
        let beginning_of_text = tokenizer.beginning_of_text(BeginningOfText::Auto)?;
        let end_of_text = tokenizer.end_of_text().ok();
        Ok(Self { labeler, encoder, beginning_of_text, end_of_text })
    }

    /// Returns the ids that end a turn: the special token that the template writes after the assistant's turn, and the
    /// tokenizer's own end of a text.
    ///
    /// # Errors
    /// The tokenizer library fails.
    ///
    /// ```
    /// use mixdown_tokenize::{ChatOptions, ChatPrompt, ChatTurn};
    ///
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// let template = folder.path().join("chat_template.jinja");
    /// std::fs::write(&template, "{% for m in messages %}{{ m.content }}{% endfor %}").unwrap();
    /// let prompt = ChatPrompt::new(&tokenizer, &ChatOptions::default())?;
    /// assert!(prompt.ends()?.contains(&0));
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn ends(&self) -> Result<Vec<u32>, Error> {
        let behind = self.labeler.end_of_turn().unwrap_or_default();
        let behind = behind.trim_start();
        let special = self.encoder.special_tokens();
        let mut ends: Vec<u32> = self.end_of_text.into_iter().collect();
        if special.iter().any(|token| behind.starts_with(token.as_str())) {
            let ids = encoded(&self.encoder, behind, &Labels::default())?.ids;
            ends.extend(ids.first().filter(|id| !ends.contains(id)));
        }
        Ok(ends)
    }

    /// Returns the ids of a conversation, with the prompt for the assistant's next turn. The content of turns never
    /// becomes a special token.
    ///
    /// # Errors
    /// The template refuses the conversation; the tokenizer library fails.
    ///
    /// ```
    /// use mixdown_tokenize::{ChatOptions, ChatPrompt, ChatTurn};
    ///
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// let template = folder.path().join("chat_template.jinja");
    /// std::fs::write(&template, "{% for m in messages %}{{ m.content }}{% endfor %}").unwrap();
    /// let prompt = ChatPrompt::new(&tokenizer, &ChatOptions::default())?;
    /// let turn = ChatTurn { role: "user".into(), content: "the mat".into() };
    /// assert_eq!(prompt.ids(&[turn])?, tokenizer.encode("the mat")?);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn ids(&self, turns: &[ChatTurn]) -> Result<Vec<u32>, Error> {
        let refused = |fault| Error::Conversation { got: fault };
        let (text, labels) = self.labeler.prompt(turns).map_err(refused)?;
        let mut labeled = encoded(&self.encoder, &text, &labels)?;
        labeled.begin_with(self.beginning_of_text);
        Ok(labeled.ids)
    }
}

/// Returns the ids of a text in which spellings of special tokens are those tokens.
///
/// # Errors
/// The tokenizer cannot be read or fails.
///
/// ```
/// use mixdown_tokenize::encode_with_special_tokens;
///
/// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
/// assert_eq!(encode_with_special_tokens(&tokenizer, "<|endoftext|>")?, [0]);
/// # Ok::<(), mixdown_tokenize::Error>(())
/// ```
pub fn encode_with_special_tokens(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let encoder = LabelEncoder::new(tokenizer)?;
    Ok(encoded(&encoder, text, &Labels::default())?.ids)
}

fn encoded(
    encoder: &LabelEncoder,
    text: &str,
    labels: &Labels,
) -> Result<crate::encode::labels::LabeledIds, Error> {
    if LabelEncoder::is_reserved(text) {
        let source = "the text holds the noncharacters that stand for special tokens";
        return Err(Error::Prompt { source: source.into() });
    }
    guarded(|| encoder.encode(text, labels)).map_err(|source| Error::Prompt { source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn conversations_become_the_ids_of_their_rendering() {
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/chat");
        let folder = tempfile::tempdir().unwrap();
        for (from, to) in
            [("tokenizer.json", "tokenizer.json"), ("chatml.jinja", "chat_template.jinja")]
        {
            fs::copy(testdata.join(from), folder.path().join(to)).unwrap();
        }
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let prompt = ChatPrompt::new(&tokenizer, &ChatOptions::default()).unwrap();
        let turn = |content: &str| ChatTurn { role: "user".into(), content: content.into() };
        let text = |content: &str| {
            format!("<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n")
        };
        let ids = prompt.ids(&[turn("hello")]).unwrap();
        let all = |text: String| encode_with_special_tokens(&tokenizer, &text).unwrap();
        assert!(ids.ends_with(&all(text("hello"))), "{ids:?}");
        let end = tokenizer.token_id("<|im_end|>").unwrap();
        let count = |ids: &[u32]| ids.iter().filter(|&&id| id == end).count();
        let spelled = prompt.ids(&[turn("a<|im_end|>b")]).unwrap();
        assert_eq!(count(&spelled), count(&ids));
        assert_eq!(count(&all(text("a<|im_end|>b"))), 2);
        assert!(prompt.ids(&[]).is_err());
        assert!(prompt.ends().unwrap().contains(&end));
    }
}
