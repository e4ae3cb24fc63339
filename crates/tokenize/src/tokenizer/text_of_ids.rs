//! The text of ids that another program made.

use xxhash_rust::xxh3::xxh3_64;

use crate::encode::text_hash::text_hash;
use crate::error::Error;
use crate::tokenizer::Tokenizer;

impl Tokenizer {
    /// Returns the size of the ids' text in bytes of UTF-8, and the hash that `prepare` stores for a document with this
    /// text.
    ///
    /// # Errors
    /// The library fails.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// let ids = tokenizer.encode("the cat")?;
    /// assert_eq!(tokenizer.size_and_hash(&ids)?.0, 7);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn size_and_hash(&self, ids: &[u32]) -> Result<(u64, u64), Error> {
        let text = self.decode(ids)?;
        Ok((text.len() as u64, text_hash(&text, &mut Vec::new())))
    }

    /// Appends a hash of each word of the ids' text: runs of letters and digits, in lower case.
    ///
    /// # Errors
    /// The library fails.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// let mut words = Vec::new();
    /// tokenizer.words(&tokenizer.encode("The cat, the mat")?, &mut words)?;
    /// assert_eq!((words.len(), words[0]), (4, words[2]));
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn words(&self, ids: &[u32], words: &mut Vec<u64>) -> Result<(), Error> {
        let text = self.decode(ids)?.to_lowercase();
        let found = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.extend(found.map(|word| xxh3_64(word.as_bytes())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::encode::text_hash::text_hash;
    use crate::tokenizer::tests::tiny;

    #[test]
    fn the_hash_is_that_of_the_text() {
        let tokenizer = tiny();
        for text in ["in the thin\n tea", "é 漢字 😀", ""] {
            let ids = tokenizer.encode(text).unwrap();
            let expected = (text.len() as u64, text_hash(text, &mut Vec::new()));
            assert_eq!(tokenizer.size_and_hash(&ids).unwrap(), expected);
        }
    }

    #[test]
    fn words_are_the_same_however_they_are_set() {
        let tokenizer = tiny();
        let words = |text: &str| {
            let mut words = Vec::new();
            tokenizer.words(&tokenizer.encode(text).unwrap(), &mut words).unwrap();
            words
        };
        assert_eq!(words("The *thin* tea, É2"), words("the\tthin - TEA é2."));
        assert_eq!(words("the thin tea").len(), 3);
        assert_ne!(words("a b"), words("b a"));
        assert!(words(" ,").is_empty());
    }
}
