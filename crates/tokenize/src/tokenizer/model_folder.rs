//! What a model's folder says of its tokenizer beside tokenizer.json.

use std::io;
use std::io::ErrorKind;
use std::path::Path;

use mixdown_base::files;
use serde_json::Value;

use crate::error::Error;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::end_of_text::FILES;

/// A tokenizer of another form, none of which is read here.
const OTHER_FORMS: [&str; 8] = [
    "tokenizer.model",
    "tekken.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "qwen.tiktoken",
    "vocab.json",
    "vocab.txt",
    "vocab.bpe",
];

/// The tokenizer of another form in a folder that has no tokenizer.json.
pub(crate) fn other_form(folder: &Path) -> Option<&'static str> {
    OTHER_FORMS.into_iter().find(|name| folder.join(name).is_file())
}

/// The content of a configuration file, where there is such a file.
///
/// # Errors
/// It is there, but cannot be read: what was cut short may have said something else.
pub(crate) fn config(path: &Path) -> Result<Option<Value>, Error> {
    Ok(read_config(path)?.map(|(_, value)| value))
}

/// Bytes and content of a configuration file.
fn read_config(path: &Path) -> Result<Option<(Vec<u8>, Value)>, Error> {
    let bad = |source| Error::BadTokenizer { path: path.to_owned(), source };
    match read_capped(path, MAX_CONFIG_BYTES) {
        Ok(bytes) => {
            let value = serde_json::from_slice(&bytes).map_err(|error| bad(error.into()))?;
            Ok(Some((bytes, value)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(error.into())),
    }
}

impl Tokenizer {
    /// Returns the names and contents of the files that a corpus keeps of its tokenizer; the last is `tokenizer.json`
    /// as it was loaded.
    ///
    /// # Errors
    /// A file beside it cannot be read or is no JSON: whoever opens the copy would meet it.
    ///
    /// ```
    /// # let (folder, tokenizer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_tokenizer.in"));
    /// assert_eq!(tokenizer.files()?.last().unwrap().0, "tokenizer.json");
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
        let folder = self.path().parent().unwrap_or(Path::new(""));
        let mut files = Vec::new();
        for name in FILES {
            files.extend(read_config(&folder.join(name))?.map(|(bytes, _)| (name, bytes)));
        }
        files.push(("tokenizer.json", self.text().as_bytes().to_vec()));
        Ok(files)
    }
}

/// The token of a role such as `eos_token`: a string, or an object with the string inside.
pub(crate) fn token<'v>(config: &'v Value, role: &str) -> Option<&'v str> {
    let token = config.get(role)?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// The id of a role such as `eos_token_id`: a number, or the first one of a list.
pub(crate) fn token_id(config: &Value, role: &str) -> Option<u32> {
    let id = config.get(role)?;
    let id = id.as_u64().or_else(|| id.get(0)?.as_u64())?;
    u32::try_from(id).ok()
}

/// The largest tokenizer.json that is read: some ten times the largest in use.
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// The largest tokenizer_config.json or special_tokens_map.json that is read.
pub(crate) const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// Reads a regular file of at most `max_bytes`; anything else is [`std::io::ErrorKind::InvalidData`].
pub(crate) fn read_capped(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    files::read_capped(path, max_bytes).map_err(|error| error.into_parts().2)
}
