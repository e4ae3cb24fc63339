//! The conversion of a labeled text to ids and their loss mask.
//!
//! Special tokens count as such in the template's own text and are plain text in content; the loss targets depend on
//! which id covers which bytes. Both need more than the fast encoder provides, so labeled documents go through
//! tokenizers 0.23, whose ids are the reference for every other path.
//!
//! The template's special tokens are replaced by a stand-in that no text contains, the whole is encoded with special
//! tokens as plain text, and the stand-in's ids are changed back: so the library gets one text, as it does without
//! labels, and content can never become a special token.

use std::ops::Range;

use mixdown_documents::Labels;
use tokenizers::json::Json;
use tokenizers_023::AddedToken;

use crate::error::{Error, LibraryError};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::reference::Reference;

/// The stand-in for a special token of the template: noncharacters, which valid text does not contain.
const STAND_IN: &str = "\u{fdd0}\u{fdef}\u{fdd1}";

/// The encoder of labeled documents. One serves all threads.
pub(crate) struct LabelEncoder {
    reference: tokenizers_023::Tokenizer,
    stand_in: u32,
    special: Vec<SpecialToken>,
}

/// A special token with the rules by which its tokenizer finds it.
#[derive(Debug, Clone)]
struct SpecialToken {
    content: String,
    id: u32,
    lstrip: bool,
    rstrip: bool,
}

/// Ids with their loss mask, one byte per id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabeledIds {
    pub(crate) ids: Vec<u32>,
    pub(crate) mask: Vec<u8>,
    /// The bytes of the text that each id covers.
    offsets: Vec<Range<usize>>,
}

impl LabelEncoder {
    /// Makes an encoder for the documents of `tokenizer`.
    ///
    /// # Errors
    /// 0.23 cannot read the tokenizer.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Self, Error> {
        let bad = |source| Error::BadTokenizer { path: tokenizer.path().to_owned(), source };
        let file = Json::parse(tokenizer.text()).map_err(|error| bad(error.into()))?;
        let mut reference = Reference::new(tokenizer.text(), &file).map_err(bad)?.into_untrimmed();
        let special = special_tokens(&reference);
        let stand_in = AddedToken::from(STAND_IN, false).normalized(false);
        reference.add_tokens([stand_in]).map_err(bad)?;
        let stand_in = reference.token_to_id(STAND_IN).unwrap_or(u32::MAX);
        Ok(Self { reference, stand_in, special })
    }

    /// Returns the spellings of the special tokens.
    pub(crate) fn special_tokens(&self) -> Vec<String> {
        self.special.iter().map(|token| token.content.clone()).collect()
    }

    /// Returns whether the text contains the stand-in for special tokens, and so cannot be encoded.
    pub(crate) fn is_reserved(text: &str) -> bool {
        text.contains(STAND_IN)
    }

    /// Returns the ids of a text without tokens around it, and which of them are loss targets: those that overlap a
    /// target, and those between two such ids of one target.
    ///
    /// # Errors
    /// The library fails.
    pub(crate) fn encode(&self, text: &str, labels: &Labels) -> Result<LabeledIds, LibraryError> {
        let special = self.special_ranges(text, &labels.plain);
        let mut altered = String::with_capacity(text.len());
        let mut done = 0;
        for (range, _) in &special {
            altered.push_str(text.get(done..range.start).unwrap_or_default());
            altered.push_str(STAND_IN);
            done = range.end;
        }
        altered.push_str(text.get(done..).unwrap_or_default());
        let encoding = self.reference.encode(altered, false)?;
        let mut labeled = LabeledIds::default();
        let (mut special, mut place) = (special.into_iter(), Shift::default());
        for (&id, &(start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            let (id, range) = match (id == self.stand_in).then(|| special.next()).flatten() {
                Some((range, id)) => {
                    place = Shift { from: end, to: range.end };
                    (id, range)
                }
                None => (id, place.of(start)..place.of(end)),
            };
            labeled.ids.push(id);
            labeled.offsets.push(range);
        }
        labeled.mask = vec![0; labeled.ids.len()];
        labels.targets.iter().for_each(|target| labeled.mark(target));
        Ok(labeled)
    }

    /// Returns the special tokens that the text spells outside of content, in order: leftmost first, and the longest of
    /// those; with the white space that a token absorbs.
    fn special_ranges(&self, text: &str, plain: &[usize]) -> Vec<(Range<usize>, u32)> {
        let mut found: Vec<(Range<usize>, &SpecialToken)> = Vec::new();
        for token in &self.special {
            let matches = text.match_indices(&token.content);
            found.extend(
                matches.map(|(start, token_text)| (start..start + token_text.len(), token)),
            );
        }
        let in_content = |range: &Range<usize>| {
            let after = plain.partition_point(|cut| *cut <= range.start);
            plain.get(after).is_some_and(|cut| *cut < range.end)
        };
        found.retain(|(range, _)| !in_content(range));
        found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut special: Vec<(Range<usize>, u32)> = Vec::new();
        let mut done = 0;
        for (range, token) in found {
            if range.start < done {
                continue;
            }
            let before = text.get(done..range.start).unwrap_or_default();
            let after = text.get(range.end..).unwrap_or_default();
            let start = if token.lstrip { done + before.trim_end().len() } else { range.start };
            let taken = if token.rstrip { after.len() - after.trim_start().len() } else { 0 };
            done = range.end + taken;
            special.push((start..done, token.id));
        }
        special
    }
}

/// A mapping from positions in the altered text to those in the text: the same shift since the last token.
#[derive(Debug, Clone, Copy, Default)]
struct Shift {
    from: usize,
    to: usize,
}

impl Shift {
    fn of(self, place: usize) -> usize {
        self.to + place.saturating_sub(self.from)
    }
}

impl LabeledIds {
    fn mark(&mut self, target: &Range<usize>) {
        let overlaps = |range: &Range<usize>| range.start < target.end && target.start < range.end;
        let first = self.offsets.iter().position(overlaps);
        let last = self.offsets.iter().rposition(overlaps);
        if let Some((first, last)) = first.zip(last) {
            self.mask.iter_mut().take(last + 1).skip(first).for_each(|byte| *byte = 1);
        }
    }

    /// Returns whether any id is a target.
    pub(crate) fn has_targets(&self) -> bool {
        self.mask.contains(&1)
    }

    /// Puts `beginning` before the ids, not as a target, unless they already begin with it.
    pub(crate) fn begin_with(&mut self, beginning: Option<u32>) {
        let Some(id) = beginning.filter(|id| self.ids.first() != Some(id)) else { return };
        self.ids.insert(0, id);
        self.mask.insert(0, 0);
        self.offsets.insert(0, 0..0);
    }

    /// Puts `end` after the ids unless they already end with it, followed by at most white space. It is a target if the
    /// end of the text is one.
    pub(crate) fn end_with(&mut self, end: u32, text: &str, labels: &Labels) {
        let rest = |from: usize| text.get(from..).unwrap_or_default().trim();
        let last = self.ids.iter().rposition(|id| *id == end);
        let closed = last.and_then(|last| self.offsets.get(last));
        if closed.is_some_and(|range| rest(range.end).is_empty()) {
            return;
        }
        let target = labels.targets.last().is_some_and(|target| rest(target.end).is_empty());
        self.ids.push(end);
        self.mask.push(u8::from(target));
        self.offsets.push(text.len()..text.len());
    }
}

fn special_tokens(reference: &tokenizers_023::Tokenizer) -> Vec<SpecialToken> {
    let mut special: Vec<SpecialToken> = reference
        .get_added_vocabulary()
        .get_added_tokens_decoder()
        .iter()
        .filter(|(_, token)| token.special && !token.content.is_empty())
        .map(|(&id, token)| SpecialToken {
            content: token.content.clone(),
            id,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
        })
        .collect();
    special.sort_by_key(|token| token.id);
    special
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::{tiny, tiny_json};
    use serde_json::json;

    /// The tiny tokenizer with a second special token, which absorbs the white space around it.
    fn encoder() -> LabelEncoder {
        let mut json = tiny_json();
        json["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": 263, "content": "<w>", "single_word": false, "lstrip": true, "rstrip": true,
            "normalized": false, "special": true,
        }));
        let tokenizer = Tokenizer::from_json("tiny.json".into(), json.to_string()).unwrap();
        LabelEncoder::new(&tokenizer).unwrap()
    }

    fn labels(targets: &[(usize, usize)], plain: &[usize]) -> Labels {
        let targets = targets.iter().map(|&(start, end)| start..end).collect();
        Labels { targets, plain: plain.to_vec() }
    }

    #[test]
    fn special_tokens_count_outside_of_content_alone() {
        let text = "in<|endoftext|>the<|endoftext|>";
        let of = |plain: &[usize]| encoder().encode(text, &labels(&[], plain)).unwrap().ids;
        assert_eq!(of(&[]), [258, 261, 257, 261]);
        let plain = tiny().encode("<|endoftext|>").unwrap();
        assert_eq!(of(&[3]), [&[258][..], &plain, &[257, 261]].concat());
        assert_eq!(of(&[3, 19]), tiny().encode(text).unwrap());
        // At its borders, a mark has no effect on a token.
        assert_eq!(of(&[2, 15]), [258, 261, 257, 261]);
        assert_eq!(encoder().encode("a <w> [X]", &labels(&[], &[])).unwrap().ids, [97, 263, 262]);
    }

    #[test]
    fn ids_are_those_of_the_main_path() {
        for text in ["in the thing\n", "é 漢字 😀 [X]<|endoftext", " the <|endoftext|>\u{fdd0}", ""]
        {
            let all: Vec<usize> = (0..text.len()).collect();
            let ids = encoder().encode(text, &labels(&[], &all)).unwrap().ids;
            assert_eq!(ids, tiny().encode(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn targets_are_the_ids_that_overlap_them() {
        let text = "in the<|endoftext|>é in";
        let mask = |from, to| encoder().encode(text, &labels(&[(from, to)], &[])).unwrap().mask;
        // in, Ġ, the, <|endoftext|>, é's two bytes, Ġ, in
        assert_eq!(encoder().encode(text, &labels(&[], &[])).unwrap().ids.len(), 8);
        assert_eq!(mask(0, 2), [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(mask(1, 3), [1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(mask(4, 7), [0, 0, 1, 1, 0, 0, 0, 0]);
        assert_eq!(mask(10, 21), [0, 0, 0, 1, 1, 1, 0, 0]);
        assert_eq!(mask(19, 20), [0, 0, 0, 0, 1, 1, 0, 0]);
        assert_eq!(mask(22, 24), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(mask(24, 24), [0; 8]);
    }

    #[test]
    fn beginning_and_end_are_not_doubled() {
        let run = |text: &str, targets: &[(usize, usize)]| {
            let labels = labels(targets, &[]);
            let mut labeled = encoder().encode(text, &labels).unwrap();
            labeled.begin_with(Some(263));
            labeled.end_with(261, text, &labels);
            (labeled.ids, labeled.mask)
        };
        assert_eq!(run("in", &[]), (vec![263, 258, 261], vec![0, 0, 0]));
        assert_eq!(run("<w>in", &[(3, 5)]), (vec![263, 258, 261], vec![0, 1, 1]));
        assert_eq!(run("in<|endoftext|>", &[]), (vec![263, 258, 261], vec![0, 0, 0]));
        let newline = encoder().encode("\n", &labels(&[], &[])).unwrap().ids[0];
        let closed = (vec![263, 258, 261, newline], vec![0, 0, 1, 1]);
        assert_eq!(run("in<|endoftext|>\n", &[(2, 16)]), closed);
        let open = (vec![263, 261, 258, newline, 261], vec![0, 0, 1, 0, 1]);
        assert_eq!(run("<|endoftext|>in\n", &[(13, 15)]), open);
    }
}
