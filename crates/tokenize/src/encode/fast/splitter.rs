//! The split of text into words: bit operations on ASCII blocks, and the library for everything else.

use tokenizers::pipeline::{PreTokenizer, PreTokenizerScratch, Span};
use tokenizers::pre_tokenizers::split::Split;

use super::ascii_words::Pattern;
use super::ascii_words::{BLOCK, CharacterClasses};

/// Bytes that the library splits at a time: few if a block has a single foreign character, more from slice to slice if
/// there are more.
const SMALLEST_SLICE: usize = 128;
const LARGEST_SLICE: usize = 4096;
/// A word is certain if the slice has this many bytes after it: the longest lookahead of a pattern, that for a
/// contraction.
const LOOK_AHEAD: usize = 4;

/// A splitter of texts, which reuses its buffers.
#[derive(Default)]
pub(super) struct Splitter {
    scratch: PreTokenizerScratch,
    spans: Vec<Span>,
}

impl Splitter {
    /// Calls a function with the beginning and end of every word of `text`, in order.
    #[inline(always)]
    pub(super) fn split<P: Pattern>(
        &mut self,
        split: &Split,
        text: &str,
        mut word: impl FnMut(usize, usize),
    ) -> tokenizers::Result<()> {
        let (mut start, mut slice) = (0, SMALLEST_SLICE);
        loop {
            let before = start;
            while let Some(block) = block_at(text, start) {
                let classes = CharacterClasses::of(block);
                let mut starts = P::RULES.word_starts(block, &classes);
                if starts == 0 {
                    break;
                }
                let base = start;
                while starts != 0 {
                    let end = base + starts.trailing_zeros() as usize;
                    starts &= starts - 1;
                    word(start, end);
                    start = end;
                }
            }
            if start == text.len() {
                return Ok(());
            }
            slice = if start > before { SMALLEST_SLICE } else { (slice * 2).min(LARGEST_SLICE) };
            let words = self.split_slice(split, text, start, slice)?;
            let base = start;
            for span in self.spans.get(..words).unwrap_or_default() {
                word(start, base + span.end as usize);
                start = base + span.end as usize;
            }
        }
    }

    /// Splits words with the library, in a slice that grows until it holds a certain word, and returns the number of
    /// certain spans.
    fn split_slice(
        &mut self,
        split: &Split,
        text: &str,
        start: usize,
        mut len: usize,
    ) -> tokenizers::Result<usize> {
        loop {
            let rest = text.get(start..).unwrap_or_default();
            let slice = rest.get(..rest.ceil_char_boundary(len)).unwrap_or(rest);
            self.spans.clear();
            split.pre_tokenize(slice, &mut self.scratch, &mut self.spans)?;
            let whole = slice.len() == rest.len();
            let certain = if whole { self.spans.len() } else { certain_words(slice, &self.spans) };
            if certain > 0 {
                return Ok(certain);
            }
            if whole {
                return Err("a pre-tokenizer left text over".into());
            }
            len = slice.len() * 2;
        }
    }
}

/// Returns how many of a slice's words cannot change with the text after it: those that end well before the slice's
/// end, without the white space that reaches it.
fn certain_words(slice: &str, words: &[Span]) -> usize {
    let white_from = slice.trim_end().len();
    let limit = (slice.len().saturating_sub(LOOK_AHEAD)).min(white_from);
    words.iter().rposition(|word| word.end as usize <= limit).map_or(0, |last| last + 1)
}

#[inline(always)]
fn block_at(text: &str, start: usize) -> Option<&[u8; BLOCK]> {
    text.as_bytes().get(start..start + BLOCK)?.first_chunk()
}
