//! The files about a tokenizer in a model's folder, beside tokenizer.json.

use std::io;
use std::io::ErrorKind;
use std::path::Path;

use mixdown_base::files;
use serde_json::Value;

use crate::error::Error;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::end_of_text::FILES;

/// Files of other tokenizer formats, none of which is supported.
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

/// Returns the tokenizer file of another format in a folder that has no tokenizer.json.
pub(crate) fn other_form(folder: &Path) -> Option<&'static str> {
    OTHER_FORMS.into_iter().find(|name| folder.join(name).is_file())
}

/// Returns the content of a configuration file, if the file exists.
///
/// # Errors
/// It exists but cannot be read: a truncated file may have had another setting.
pub(crate) fn config(path: &Path) -> Result<Option<Value>, Error> {
    Ok(read_config(path)?.map(|(_, value)| value))
}

/// Returns the bytes and content of a configuration file.
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
    /// A file beside it cannot be read or is not JSON: anyone who opens the copy would have the same error.
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

/// Returns the token of a role such as `eos_token`: a string, or an object with the string inside.
pub(crate) fn token<'v>(config: &'v Value, role: &str) -> Option<&'v str> {
    let token = config.get(role)?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Returns the id of a role such as `eos_token_id`: a number, or the first one of a list.
pub(crate) fn token_id(config: &Value, role: &str) -> Option<u32> {
    let id = config.get(role)?;
    let id = id.as_u64().or_else(|| id.get(0)?.as_u64())?;
    u32::try_from(id).ok()
}

/// The size limit of a tokenizer.json: about ten times the largest in use.
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// The size limit of a tokenizer_config.json or special_tokens_map.json.
pub(crate) const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// Reads a regular file of at most `max_bytes`; anything else is [`std::io::ErrorKind::InvalidData`].
pub(crate) fn read_capped(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    files::read_capped(path, max_bytes).map_err(|error| error.into_parts().2)
}
