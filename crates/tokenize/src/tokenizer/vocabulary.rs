//! The ids of a tokenizer's tokens by their spelling.

use std::cmp::Ordering;

/// Tokens sorted by their bytes, all in one string: 50,000 separate strings would cost more to make and to free than
/// all lookups together.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    spelled: String,
    /// The end of each token in `spelled` (it starts where the previous one ends), and its id.
    entries: Vec<(usize, u32)>,
}

impl Vocabulary {
    /// Makes the vocabulary of tokens in the order of their bytes, each once ([`TokenizerParts::sorted_ids`]); an id
    /// above 32 bits becomes the highest.
    ///
    /// [`TokenizerParts::sorted_ids`]: crate::tokenizer::parts::TokenizerParts::sorted_ids
    pub(crate) fn new(sorted: &[(&str, u64)]) -> Self {
        let spelled = String::with_capacity(sorted.iter().map(|(token, _)| token.len()).sum());
        let mut new = Self { spelled, entries: Vec::with_capacity(sorted.len()) };
        for &(token, id) in sorted {
            let id = u32::try_from(id).unwrap_or(u32::MAX);
            new.spelled.push_str(token);
            new.entries.push((new.spelled.len(), id));
        }
        new
    }

    /// Returns the id of a token in O(log n).
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = middle.checked_sub(1).and_then(|i| self.entries.get(i)).map_or(0, |e| e.0);
            let &(end, id) = self.entries.get(middle)?;
            match self.spelled.get(start..end)?.cmp(token) {
                Ordering::Equal => return Some(id),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_token_has_its_id_and_nothing_else_has_one() {
        let tokens = ["", "a", "aa", "ab", "b", "ä", "\u{2581}the", "zzz"];
        for count in 0..tokens.len() {
            let known: BTreeMap<&str, u64> = tokens[..count].iter().copied().zip(7..).collect();
            let vocabulary = Vocabulary::new(&known.clone().into_iter().collect::<Vec<_>>());
            for token in tokens.iter().chain(&["A", "aaa", "\u{2581}"]) {
                let expected = known.get(token).map(|&id| u32::try_from(id).unwrap());
                assert_eq!(vocabulary.id(token), expected, "{token:?} of {count}");
            }
        }
    }
}
