//! A tokenizer read from tokenizer.json, which converts text to ids and back.

pub(crate) mod agreement;
pub(crate) mod canonical;
pub(crate) mod chat_prompt;
pub(crate) mod disputed;
#[cfg(test)]
pub(crate) mod disputed_tests;
pub(crate) mod end_of_text;
pub(crate) mod library;
pub(crate) mod model_folder;
pub(crate) mod model_template;
pub(crate) mod parts;
pub(crate) mod reference;
pub(crate) mod text_of_ids;
pub(crate) mod vocabulary;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;

use mixdown_shards::Fingerprint;
use serde_json::Value;
use tokenizers::json::Json;
use tokenizers::pipeline::{PipelineToken, PipelineTokenizer};

use crate::encode::fast::FastEncoder;
use crate::error::Error;
use crate::prepare::options::{BeginningOfText, SpecialText};
use crate::tokenizer::canonical::tokenizer_fingerprint;
use crate::tokenizer::library::{Library, guarded};
use crate::tokenizer::model_folder::other_form;
use crate::tokenizer::model_folder::{MAX_TOKENIZER_BYTES, read_capped};
use crate::tokenizer::parts::TokenizerParts;
use crate::tokenizer::vocabulary::Vocabulary;

/// Ids from this number on are refused: it is about a hundred times the largest vocabulary in use, and limits what a
/// damaged file can make us allocate.
const MAX_VOCABULARY: u64 = 1 << 24;

/// The beginning of a file that Git LFS has put in place of a large one.
const LFS_POINTER: &str = "version https://git-lfs.github.com/spec/";

/// A Hugging Face tokenizer of any kind that the `tokenizers` crate reads. Threads can share one: encoding takes
/// `&self`.
pub struct Tokenizer {
    path: PathBuf,
    text: String,
    backend: Library,
    vocabulary: Vocabulary,
    /// The tokens that the post-processor puts before a text and after it, or why they are unknown.
    around: Result<[Vec<u32>; 2], String>,
    /// The added tokens, including the special ones.
    added: BTreeMap<String, u32>,
    vocab_size: u64,
    fingerprint: Fingerprint,
}

impl Tokenizer {
    /// Loads a tokenizer.json, from its own path or from its folder; older versions are upgraded in memory.
    ///
    /// # Errors
    /// The file does not exist, is not a regular file, is larger than 256 MiB, is damaged, has an unsupported format,
    /// or has ids above 2²⁴.
    ///
    /// ```
    /// use mixdown_tokenize::Tokenizer;
    ///
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// let same = Tokenizer::load(folder.path())?;
    /// assert_eq!(same.fingerprint(), tokenizer.fingerprint());
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn load(path: &Path) -> Result<Self, Error> {
        let is_folder = path.is_dir();
        let path = if is_folder { path.join("tokenizer.json") } else { path.to_owned() };
        let bad = |source| Error::BadTokenizer { path: path.clone(), source };
        let bytes =
            read_capped(&path, MAX_TOKENIZER_BYTES).map_err(|source| match source.kind() {
                ErrorKind::NotFound => {
                    let folder = path.parent().unwrap_or(Path::new(""));
                    match other_form(folder) {
                        Some(got) if is_folder => Error::OtherForm { path: folder.to_owned(), got },
                        _ => Error::NoTokenizer { path: path.clone() },
                    }
                }
                ErrorKind::InvalidData => bad(source.into()),
                _ => Error::io("read", &path)(source),
            })?;
        let text = String::from_utf8(bytes).map_err(|error| bad(error.into()))?;
        if text.starts_with(LFS_POINTER) {
            let got =
                "it is a Git LFS pointer: run `git lfs pull` in its folder, or download it again";
            return Err(bad(got.into()));
        }
        Self::from_json(path, text)
    }

    pub(crate) fn from_json(path: PathBuf, text: String) -> Result<Self, Error> {
        let without_text = Self::from_text(path, &text)?;
        Ok(Self { text, ..without_text })
    }

    /// Returns the tokenizer without the text itself.
    fn from_text(path: PathBuf, text: &str) -> Result<Self, Error> {
        let bad = |source| Error::BadTokenizer { path: path.clone(), source };
        let json = Json::parse(text).map_err(|error| bad(error.into()))?;
        let file = TokenizerParts::new(&json).map_err(bad)?;
        // This check precedes any allocation for ids.
        let highest = file.highest_id();
        check_highest(&path, highest)?;
        let (backend, hashed) = thread::scope(|scope| {
            // The longest step runs on another thread.
            let new = || guarded(|| Library::new(text, &json, &file)).map_err(bad);
            let library = scope.spawn(new);
            let sorted_ids = file.sorted_ids();
            let fingerprint = tokenizer_fingerprint(&file, &sorted_ids);
            let hashed = fingerprint.map(|hash| (hash, Vocabulary::new(&sorted_ids)));
            let panicked = || bad("the thread that loads it panicked".into());
            (library.join().unwrap_or_else(|_| Err(panicked())), hashed)
        });
        let (fingerprint, vocabulary) = hashed.map_err(|error| bad(error.into()))?;
        let backend = backend?;
        let around = around(file.rest.get("post_processor"));
        let added = backend.added();
        let highest = added.values().fold(highest, |highest, &id| highest.max(id));
        let vocab_size = check_highest(&path, highest)?;
        let text = String::new();
        Ok(Self { path, text, backend, vocabulary, around, added, vocab_size, fingerprint })
    }

    /// Returns the path of the tokenizer.json.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert_eq!(tokenizer.path(), folder.path().join("tokenizer.json"));
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the tokenizer.json as it was loaded.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the highest id plus one.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert_eq!(tokenizer.vocab_size(), 270);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    #[must_use]
    pub fn vocab_size(&self) -> u64 {
        self.vocab_size
    }

    /// Returns the id of a token, spelled as in tokenizer.json.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert_eq!(tokenizer.token_id("<|endoftext|>"), Some(0));
    /// assert_eq!(tokenizer.token_id("no token"), None);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.added.get(token).copied().or_else(|| self.vocabulary.id(token))
    }

    /// Returns the hash of the canonical content: vocabulary, merges, normalizer, pre-tokenizer and added tokens. Equal
    /// fingerprints give equal ids; the files may differ in form.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert_eq!(tokenizer.fingerprint().as_bytes().len(), 32);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns the ids of a text without tokens around it; special tokens spelled in the text are plain text.
    ///
    /// # Errors
    /// The library fails, for example on a text above 4 GiB, or panics, which a damaged tokenizer.json may cause.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// let ids = tokenizer.encode("the cat")?;
    /// assert!(ids.len() < "the cat".len());
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut ids = Vec::new();
        guarded(|| self.encode_onto(text, SpecialText::Plain, &mut ids))
            .map_err(|source| Error::Library { path: self.path.clone(), source })?;
        Ok(PipelineToken::cast_slice(&ids).to_vec())
    }

    /// Returns the text of ids, with special tokens spelled out.
    ///
    /// # Errors
    /// The library fails or panics.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// let ids = tokenizer.encode("the cat")?;
    /// assert_eq!(tokenizer.decode(&ids)?, "the cat");
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        guarded(|| self.backend.decode(ids))
            .map_err(|source| Error::Library { path: self.path.clone(), source })
    }

    /// Returns the id that ends a text: the `eos_token` of tokenizer_config.json or special_tokens_map.json beside it
    /// or of the roles in tokenizer.json; otherwise the `eos_token_id` of generation_config.json or config.json (the
    /// first of a list); otherwise the one token that its post-processor puts after a text; otherwise the first of the
    /// usual names in its vocabulary.
    ///
    /// # Errors
    /// None of these exists (the message lists what was searched); one of the files exists but cannot be read.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert_eq!(tokenizer.end_of_text()?, 0);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn end_of_text(&self) -> Result<u32, Error> {
        end_of_text::find(self, None)
    }

    /// Returns the id that ends a text: `token` (or its decimal id) if one is named, otherwise that of
    /// [`Tokenizer::end_of_text`].
    ///
    /// # Errors
    /// The named token is not in the vocabulary, or none is named and none is found.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert_eq!(tokenizer.end_of_text_named(Some("<|endoftext|>"))?, 0);
    /// assert!(tokenizer.end_of_text_named(Some("</s>")).is_err());
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn end_of_text_named(&self, token: Option<&str>) -> Result<u32, Error> {
        end_of_text::find(self, token)
    }

    /// Returns the id that begins every text, if any: `Auto` is the `bos_token` of tokenizer_config.json if that file
    /// sets `add_bos_token`, none if the file disables it, otherwise what the tokenizer's post-processor puts there.
    ///
    /// # Errors
    /// The given id is outside the vocabulary, or the post-processor puts several tokens there.
    ///
    /// ```
    /// use mixdown_tokenize::BeginningOfText;
    ///
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert_eq!(tokenizer.beginning_of_text(BeginningOfText::Auto)?, None);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn beginning_of_text(&self, choice: BeginningOfText) -> Result<Option<u32>, Error> {
        match choice {
            BeginningOfText::None => Ok(None),
            BeginningOfText::Id(id) if u64::from(id) < self.vocab_size => Ok(Some(id)),
            BeginningOfText::Id(id) => Err(Error::NoSuchToken {
                path: self.path.clone(),
                role: "beginning of text",
                expected: self.vocab_size,
                got: id.to_string(),
            }),
            BeginningOfText::Auto => match end_of_text::configured_beginning(self)? {
                Some(configured) => Ok(configured),
                None => self.processed_beginning(),
            },
        }
    }

    /// Returns the token that the post-processor puts before a text.
    fn processed_beginning(&self) -> Result<Option<u32>, Error> {
        match self.around.as_ref().map(|[prefix, _]| prefix.as_slice()) {
            Ok([]) => Ok(None),
            Ok(&[id]) => Ok(Some(id)),
            Ok(more) => Err(Error::LongPrefix {
                path: self.path.clone(),
                expected: 1,
                got: u64::try_from(more.len()).unwrap_or(u64::MAX),
            }),
            Err(reason) => {
                Err(Error::UnknownPrefix { path: self.path.clone(), reason: reason.clone() })
            }
        }
    }

    /// Returns the one token that the post-processor puts after a text.
    pub(crate) fn suffix(&self) -> Option<u32> {
        match self.around.as_ref().map(|[_, suffix]| suffix.as_slice()) {
            Ok(&[id]) => Some(id),
            _ => None,
        }
    }

    /// Returns the token that the file itself names for a role such as `eos_token`.
    pub(crate) fn role(&self, role: &str) -> Option<&str> {
        self.backend.role(role)
    }

    /// Appends a text's ids.
    pub(crate) fn encode_onto(
        &self,
        text: &str,
        special_text: SpecialText,
        ids: &mut Vec<PipelineToken>,
    ) -> tokenizers::Result<()> {
        self.backend.encode_onto(&self.text, text, special_text, ids)
    }

    /// Returns the word-cached encoder, if there is one for this kind of tokenizer.
    pub(crate) fn fast(&self) -> Option<FastEncoder> {
        self.backend.fast_encoder()
    }

    /// Returns whether the text spells a special token.
    pub(crate) fn spells_special(&self, text: &str) -> bool {
        self.backend.spells_special(text)
    }

    /// Returns the name of the library that encodes, with the reason if it is not the faster one.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert!(tokenizer.encoder().starts_with("tokenizers "));
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    #[must_use]
    pub fn encoder(&self) -> String {
        self.backend.describe()
    }

    /// Returns the fast library's tokenizer, if that library encodes.
    pub(crate) fn pipeline(&self) -> Option<&PipelineTokenizer> {
        self.backend.pipeline()
    }
}

/// Returns the tokens that a post-processor puts before a single text and after it.
fn around(post_processor: Option<&Value>) -> Result<[Vec<u32>; 2], String> {
    let mut canonical = post_processor.cloned().unwrap_or(Value::Null);
    tokenizers::canonicalize_post_processor(&mut canonical).map_err(|error| error.to_string())?;
    let read = tokenizers::post_processor_from_json(&canonical.to_string());
    let single = read.map_err(|error| error.to_string())?.single;
    let ids = |tokens: &[(PipelineToken, u8)]| tokens.iter().map(|(token, _)| token.id()).collect();
    Ok([ids(&single.prefix), ids(&single.suffix)])
}

/// Returns the number of ids, if they are within the limit.
fn check_highest(path: &Path, highest: u32) -> Result<u64, Error> {
    let got = u64::from(highest);
    if got >= MAX_VOCABULARY {
        return Err(Error::VocabularyTooLarge {
            path: path.to_owned(),
            expected: MAX_VOCABULARY,
            got,
        });
    }
    Ok(got + 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;
    use serde_json::json;
    use std::fs;

    /// A byte-level tokenizer over ASCII with a few merges, `<|endoftext|>` and `[X]`.
    pub(crate) fn tiny_json() -> Value {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut vocabulary = serde_json::Map::new();
        for (id, letter) in (0_u32..).zip(alphabet) {
            vocabulary.insert(letter.to_string(), json!(id));
        }
        for (id, token) in (256_u32..).zip(["th", "the", "in", "\u{120}t", "thing"]) {
            vocabulary.insert(token.to_owned(), json!(id));
        }
        json!({
            "version": "1.0",
            "added_tokens": [
                {"id": 261, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
                 "rstrip": false, "normalized": false, "special": true},
                {"id": 262, "content": "[X]", "single_word": false, "lstrip": false,
                 "rstrip": false, "normalized": false, "special": false},
            ],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                              "trim_offsets": true, "use_regex": true},
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": false,
                        "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "vocab": vocabulary,
                      "merges": ["t h", "th e", "i n", "\u{120} t"]},
        })
    }

    pub(crate) fn tiny() -> Tokenizer {
        Tokenizer::from_json("tiny.json".into(), tiny_json().to_string()).unwrap()
    }

    #[test]
    fn text_comes_back_and_special_text_is_plain() {
        let tokenizer = tiny();
        assert_eq!(tokenizer.vocab_size(), 263);
        assert_eq!(tokenizer.token_id("<|endoftext|>"), Some(261));
        assert_eq!(tokenizer.end_of_text().unwrap(), 261);
        for text in ["in the thin\n tea", "é 漢字 😀", "a <|endoftext|> b", ""] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
            assert!(!ids.contains(&261), "{text}: {ids:?}");
        }
        let mut parsed = Vec::new();
        tokenizer.encode_onto("a<|endoftext|>", SpecialText::Parse, &mut parsed).unwrap();
        assert_eq!(PipelineToken::cast_slice(&parsed), [u32::from(b'a'), 261]);
    }

    /// Files that load, but on which the library panics when it is called: words without characters, and a cut of more
    /// characters than a token has.
    #[test]
    fn panics_of_the_library_are_errors() {
        let mut json = tiny_json();
        json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
            {"type": "FixedLength", "length": 0},
            {"type": "Split", "pattern": {"Regex": "[a-c]+"}, "behavior": "Isolated", "invert": false},
            json["pre_tokenizer"].clone(),
        ]});
        json["decoder"] = json!({"type": "Strip", "content": "t", "start": 0, "stop": 9});
        let tokenizer = Tokenizer::from_json("hostile.json".into(), json.to_string()).unwrap();
        let prompt = || chat_prompt::encode_with_special_tokens(&tokenizer, "the");
        let calls: [&dyn Fn() -> Option<Error>; 3] = [
            &|| tokenizer.encode("the").err(),
            &|| tokenizer.decode(&[u32::from(b't')]).err(),
            &|| prompt().err(),
        ];
        for (number, call) in calls.into_iter().enumerate() {
            let error = call().unwrap_or_else(|| panic!("call {number} passed"));
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains("the library panicked"), "call {number}: {source}");
        }
    }

    #[test]
    fn only_special_tokens_count_as_special_text() {
        let tokenizer = tiny();
        assert!(tokenizer.spells_special("x <|endoftext|>"));
        assert!(tokenizer.spells_special("[X][X] é <|endoftext|>"));
        assert!(!tokenizer.spells_special("[X] <|end of text|> <|endoftext|"));
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = Tokenizer::load(folder.path()).err().unwrap();
        assert!(
            error.kind() == ErrorKind::Configuration
                && error.to_string().starts_with("no tokenizer at ")
        );
        let path = folder.path().join("tokenizer.json");
        for text in ["", "{", "{}", "[]", "{\"model\":{\"type\":\"BPE\"}}", "\u{0}"] {
            fs::write(&path, text).unwrap();
            let error = Tokenizer::load(folder.path()).err().unwrap();
            assert!(matches!(error, Error::BadTokenizer { .. }), "{text}: {error}");
        }
        fs::write(&path, format!("{}v1\noid sha256:00\nsize 9\n", super::LFS_POINTER)).unwrap();
        let Error::BadTokenizer { source, .. } = Tokenizer::load(&path).err().unwrap() else {
            panic!()
        };
        assert!(source.to_string().contains("git lfs pull"), "{source}");
        fs::write(&path, b"\xff\xfe").unwrap();
        assert!(matches!(Tokenizer::load(&path).err().unwrap(), Error::BadTokenizer { .. }));
        let mut large = tiny_json();
        large["model"]["vocab"]["a"] = json!(1_u64 << 40);
        fs::write(&path, large.to_string()).unwrap();
        assert!(matches!(Tokenizer::load(&path).err().unwrap(), Error::VocabularyTooLarge { .. }));
    }
}
