//! A document's text with its loss targets marked.

use std::io::IsTerminal;

use mixdown_tokenize::Tokenizer;

use crate::error::Error;

/// How targets are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// Green, for a terminal.
    Colour,
    /// Between ⟦ and ⟧.
    Brackets,
}

impl Marks {
    /// Those that suit standard output.
    pub fn for_stdout() -> Self {
        if std::io::stdout().is_terminal() { Self::Colour } else { Self::Brackets }
    }

    fn around(self, text: &str) -> String {
        match self {
            Self::Colour => format!("\u{1b}[32m{text}\u{1b}[0m"),
            Self::Brackets => format!("\u{27e6}{text}\u{27e7}"),
        }
    }
}

/// The text of ids whose mask has a byte each, 1 for a loss target.
///
/// # Errors
/// The tokenizer fails.
pub fn target_text(
    tokenizer: &Tokenizer,
    ids: &[u32],
    mask: &[u8],
    marks: Marks,
) -> Result<String, Error> {
    let mut text = String::new();
    let mut done = 0;
    for run in mask.chunk_by(|a, b| a == b) {
        let part = tokenizer.decode(ids.get(done..done + run.len()).unwrap_or_default())?;
        text.push_str(&if run.first() == Some(&1) { marks.around(&part) } else { part });
        done += run.len();
    }
    Ok(text)
}
