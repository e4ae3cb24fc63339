//! A word-cached encoder for byte-level BPE with one of the common pre-tokenizers.
//!
//! The `tokenizers` library remains the loader, the path for every other tokenizer, and the reference for every id:
//! this encoder only caches the ids that the library's model gave for a word (a pre-token), and finds the words of
//! ASCII text 64 bytes at a time. The library splits other text, and its model encodes a word that is new or too long
//! to cache.
//!
//! Estimate: 4 bytes per word; splitting 1 ns per byte, a lookup 12 ns per word: about 200 MB/s per core, where the
//! library reaches about 95 (docs/design/encoder.md has the measurements). Memory: 17 MiB per thread.

mod ascii_words;
#[cfg(test)]
mod fast_tests;
mod splitter;
mod word_cache;

pub(crate) use ascii_words::within;

use aho_corasick::AhoCorasick;
use tokenizers::SplitDelimiterBehavior;
use tokenizers::pipeline::{
    Model, PipelineModel, PipelineModelScratch, PipelineNormalizer, PipelinePreTokenizer,
    PipelineToken, PipelineTokenizer,
};
use tokenizers::pre_tokenizers::split::Split;
use tokenizers::utils::Grammar;
use unicode_normalization::{IsNormalized, is_nfc_quick};

use crate::tokenizer::agreement::Agreement;
use crate::tokenizer::reference::ReferenceSplit;
use ascii_words::{Cl100k, Gpt2, O200k, Pattern, Qwen};
use splitter::Splitter;
use word_cache::{CachedIds, INLINE_IDS, WordCache, WordPlace};

/// Words that are looked up together: their lines are fetched while other words are found.
const BATCH: usize = 32;
/// The capacity for ids that is kept from text to text, 4 MiB; a longer text allocates more.
const MAX_KEPT_IDS: usize = 1 << 20;

/// The encoder of one tokenizer. Threads share it; each has its own [`FastScratch`].
pub(crate) struct FastEncoder {
    pipeline: PipelineTokenizer,
    /// Whether 0.23 decides on some texts.
    agreement: Agreement,
    pattern: KnownPattern,
    /// Whether the tokenizer normalizes to NFC, which leaves most texts unchanged.
    nfc: bool,
    /// The spellings of all added tokens; the library encodes a text with one of them.
    added: Option<AhoCorasick>,
    /// The same pattern in 0.23's implementation.
    reference: ReferenceSplit,
}

/// The buffers that a thread reuses from text to text.
pub(crate) struct FastScratch {
    splitter: Splitter,
    cache: WordCache,
    model: PipelineModelScratch,
    tokens: Vec<PipelineToken>,
    /// The ids of the current text, with spare capacity.
    ids: Vec<u32>,
    /// The maximum bytes of a word, or of a text without words.
    pub(crate) most_at_once: usize,
}

/// The patterns for which [`ascii_words`] has rules.
#[derive(Debug, Clone, Copy)]
enum KnownPattern {
    Gpt2,
    Cl100k,
    Qwen,
    O200k,
}

impl KnownPattern {
    fn of(grammar: Grammar) -> Option<Self> {
        match grammar {
            Grammar::Gpt2 => Some(Self::Gpt2),
            Grammar::Cl100k { digit_cap: 3 } => Some(Self::Cl100k),
            Grammar::Cl100k { digit_cap: 1 } => Some(Self::Qwen),
            Grammar::O200k => Some(Self::O200k),
            _ => None,
        }
    }
}

impl FastEncoder {
    /// Makes an encoder for this tokenizer, if its kind is supported.
    pub(crate) fn new(pipeline: &PipelineTokenizer, agreement: Agreement) -> Option<Self> {
        let split = split_of(pipeline.get_pre_tokenizer())?;
        let pattern = KnownPattern::of(split.grammar()?)?;
        let PipelineModel::BPE(model) = pipeline.get_model() else { return None };
        let nfc = match pipeline.get_normalizers() {
            [] => false,
            [PipelineNormalizer::NFC(_)] => true,
            _ => return None,
        };
        let spellings = pipeline.get_added_vocabulary().get_vocab();
        let added = match spellings.is_empty() {
            true => None,
            false => Some(AhoCorasick::new(spellings.keys()).ok()?),
        };
        let reference = ReferenceSplit::new(split);
        model.is_byte_level().then(|| Self {
            pipeline: pipeline.clone(),
            agreement,
            pattern,
            nfc,
            added,
            reference,
        })
    }

    /// Makes the buffers of a thread, for words of at most `most_at_once` bytes: the model takes about fifty bytes per
    /// byte of a word.
    pub(crate) fn scratch(&self, most_at_once: usize) -> FastScratch {
        FastScratch {
            splitter: Splitter::default(),
            cache: WordCache::new(),
            model: self.pipeline.get_model().init_scratch(),
            tokens: Vec::new(),
            ids: Vec::new(),
            most_at_once,
        }
    }

    /// Returns whether the text holds the spelling of an added token, special or not.
    pub(crate) fn spells_added(&self, text: &str) -> bool {
        self.added.as_ref().is_some_and(|added| added.is_match(text))
    }

    /// Returns whether 0.23 decides on some texts.
    pub(crate) fn agreement(&self) -> Agreement {
        self.agreement
    }

    /// Returns the ids of a text that spells no added token and has no character on which 0.23 decides, or `None` if
    /// only the library can encode it.
    pub(crate) fn encode<'s>(
        &self,
        text: &str,
        scratch: &'s mut FastScratch,
    ) -> tokenizers::Result<Option<&'s [u32]>> {
        if self.nfc && !text.is_ascii() && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            return Ok(None);
        }
        if text.len() > scratch.most_at_once {
            // This check precedes splitting, which takes twelve bytes per byte of one word.
            let letters = text.as_bytes().split(|byte| !byte.is_ascii_alphabetic());
            check_at_once(letters.map(<[u8]>::len).max().unwrap_or(0), scratch.most_at_once)?;
        }
        let Some(split) = split_of(self.pipeline.get_pre_tokenizer()) else { return Ok(None) };
        scratch.ids.truncate(MAX_KEPT_IDS);
        scratch.ids.shrink_to(MAX_KEPT_IDS);
        let len = match self.pattern {
            KnownPattern::Gpt2 => self.encode_words::<Gpt2>(split, text, scratch),
            KnownPattern::Cl100k => self.encode_words::<Cl100k>(split, text, scratch),
            KnownPattern::Qwen => self.encode_words::<Qwen>(split, text, scratch),
            KnownPattern::O200k => self.encode_words::<O200k>(split, text, scratch),
        }?;
        Ok(scratch.ids.get(..len))
    }

    /// Appends the ids of a text that spells no added token, split into words by 0.23; false if 0.23's normalizer
    /// matters too. So a character on which the libraries' tables differ does not require a second tokenizer.
    pub(crate) fn encode_as_reference(
        &self,
        text: &str,
        scratch: &mut FastScratch,
        ids: &mut Vec<PipelineToken>,
    ) -> tokenizers::Result<bool> {
        if self.nfc {
            return Ok(false);
        }
        let model = self.pipeline.get_model();
        self.reference.for_each_word(text, |word| {
            check_at_once(word.len(), scratch.most_at_once)?;
            scratch.tokens.clear();
            model.tokenize_pipeline(word, &mut scratch.model, &mut scratch.tokens)?;
            ids.extend_from_slice(&scratch.tokens);
            Ok(())
        })?;
        Ok(true)
    }

    /// Writes the ids of all words and returns their number.
    fn encode_words<P: Pattern>(
        &self,
        split: &Split,
        text: &str,
        scratch: &mut FastScratch,
    ) -> tokenizers::Result<usize> {
        let FastScratch { splitter, cache, model, tokens, ids, most_at_once } = scratch;
        let mut words = Words {
            text,
            model_of_words: self.pipeline.get_model(),
            cache,
            model,
            tokens,
            ids,
            most_at_once: *most_at_once,
            len: 0,
            failure: None,
        };
        let mut batch = [WordPlace::default(); BATCH];
        let mut count = 0;
        splitter.split::<P>(split, text, |start, end| {
            batch[count] = words.cache.place(text.as_bytes(), start, end);
            count += 1;
            if count == BATCH {
                words.look_up(&batch);
                count = 0;
            }
        })?;
        words.look_up(&batch[..count]);
        words.failure.map_or(Ok(words.len), Err)
    }
}

/// The words of a text, during the lookup.
struct Words<'s> {
    text: &'s str,
    model_of_words: &'s PipelineModel,
    cache: &'s mut WordCache,
    model: &'s mut PipelineModelScratch,
    tokens: &'s mut Vec<PipelineToken>,
    ids: &'s mut Vec<u32>,
    most_at_once: usize,
    /// The number of ids.
    len: usize,
    failure: Option<tokenizers::Error>,
}

impl Words<'_> {
    /// Writes the ids of the next words.
    fn look_up(&mut self, places: &[WordPlace]) {
        for &place in places {
            let found = self.cache.find(self.text.as_bytes(), place);
            if let (Some(value), Some(to)) =
                (found, self.ids.get_mut(self.len..self.len + INLINE_IDS))
                && value.count() > 0
            {
                to.copy_from_slice(&value.ids());
                self.len += value.count();
            } else {
                self.write_slowly(place, found);
            }
        }
    }

    /// The slow path: no capacity, many ids, or a word that is not cached.
    #[inline(never)]
    fn write_slowly(&mut self, place: WordPlace, found: Option<CachedIds>) {
        let inline = found.map(CachedIds::ids).unwrap_or_default();
        let more = match found {
            Some(value) if value.count() == 0 => self.cache.more_ids(value),
            Some(value) => &inline[..value.count()],
            None => {
                self.tokens.clear();
                let word = self.text.get(place.start..place.end).unwrap_or_default();
                let said = check_at_once(word.len(), self.most_at_once).and_then(|()| {
                    self.model_of_words.tokenize_pipeline(word, self.model, self.tokens)
                });
                self.failure = said.err().or(self.failure.take());
                let ids = PipelineToken::cast_slice(self.tokens);
                self.cache.insert(self.text.as_bytes(), place, ids);
                ids
            }
        };
        let end = self.len + more.len();
        if self.ids.len() < end + INLINE_IDS {
            self.ids.resize((end + INLINE_IDS) * 2, 0);
        }
        if let Some(to) = self.ids.get_mut(self.len..end) {
            to.copy_from_slice(more);
        }
        self.len = end;
    }
}

/// Refuses text for which the model would take too much memory.
pub(crate) fn check_at_once(got: usize, expected: usize) -> tokenizers::Result<()> {
    if got <= expected {
        return Ok(());
    }
    Err(format!(
        "it has {got} bytes that the tokenizer takes at once, expected at most {expected} (an eighth of the longest \
         record, since memory is fifty times as much): split the text, or allow longer records"
    )
    .into())
}

/// Returns the splitting step of a pre-tokenizer that has only one, if it is a known pattern in its usual form.
fn split_of(pre_tokenizer: &PipelinePreTokenizer) -> Option<&Split> {
    let split = match pre_tokenizer {
        PipelinePreTokenizer::Split(split) => split,
        PipelinePreTokenizer::Sequence(sequence) => match sequence.pre_tokenizers() {
            [PipelinePreTokenizer::Split(split)] => split,
            _ => return None,
        },
        _ => return None,
    };
    let usual = split.behavior == SplitDelimiterBehavior::Isolated && !split.invert;
    usual.then_some(split)
}
