//! Errors of a corpus.

use std::{
    io,
    path::{Path, PathBuf},
};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::files;

use crate::ExportFormat;

/// An error of a corpus on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The attempted action: "open", "read", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The folder holds no manifest, so it is not a (finished) corpus.
    #[error(
        "{}: expected a corpus folder with a manifest.json, got none; give the folder that \
         `mixdown prepare` wrote, or run it again until it ends", path.display())]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },
    /// The manifest is not JSON of the right shape.
    #[error("{}: expected the JSON of a corpus manifest, got something else", path.display())]
    ManifestJson {
        /// The manifest.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// The folder was written by another version of the format.
    #[error(
        "{}: expected format version {expected} or an older one, got {got}; use a mixdown that knows it, or \
         prepare the corpus again", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The newest version that this program reads.
        expected: u32,
        /// The version of the folder.
        got: u32,
    },
    /// A field of the manifest contradicts another one or exceeds a limit.
    #[error("{}: {field}: expected {expected}, got {got}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The field, for example `train.shards[2].tokens`.
        field: String,
        /// The required value.
        expected: String,
        /// The actual value.
        got: String,
    },
    /// A file's content contradicts the manifest.
    #[error(
        "{}{}: expected {expected}, got {got}; `mixdown verify` shows the extent of the damage",
        path.display(), at(*offset_bytes))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The position in the file, if the fault is at one place.
        offset_bytes: Option<u64>,
        /// The required content.
        expected: String,
        /// The actual content.
        got: String,
    },
    /// A file of another program cannot be adopted.
    #[error("{}{}: expected {expected}, got {got}; {hint}", path.display(), at(*offset_bytes))]
    Import {
        /// The file.
        path: PathBuf,
        /// The position in the file, if the fault is at one place.
        offset_bytes: Option<u64>,
        /// The required content.
        expected: String,
        /// The actual content.
        got: String,
        /// The fix.
        hint: &'static str,
    },
    /// The requested action is impossible with this path.
    #[error("{}: expected {expected}, got {got}; {hint}", path.display())]
    Request {
        /// The file or folder.
        path: PathBuf,
        /// The required kind of path.
        expected: String,
        /// The actual kind of path.
        got: String,
        /// The fix.
        hint: &'static str,
    },
    /// The ids of a document cannot be decoded.
    #[error("{}: document {document}: its ids cannot be decoded", path.display())]
    Text {
        /// The token file.
        path: PathBuf,
        /// The document's number in the file, counted from 0.
        document: u64,
        /// The tokenizer's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A document cannot be written.
    #[error("{}: document {document}: expected {expected}, got {got}", path.display())]
    Document {
        /// The shard's token file.
        path: PathBuf,
        /// The document's number in the shard, counted from 0.
        document: u64,
        /// The requirement for a document.
        expected: String,
        /// The actual document.
        got: String,
    },
    /// A whole shard cannot be written.
    #[error("{}: expected {expected}, got {got}", path.display())]
    Shard {
        /// The shard's token file.
        path: PathBuf,
        /// The requirement for a shard.
        expected: String,
        /// The actual shard.
        got: String,
    },
    /// Tokens or documents past the end of a split were requested.
    #[error("{}: expected {expected}, got {got}", path.display())]
    OutOfRange {
        /// The split's folder.
        path: PathBuf,
        /// The existing range.
        expected: String,
        /// The requested range.
        got: String,
    },
    /// Another process writes to the folder.
    #[error("{}: another process is writing it: wait until it is done, or choose another folder", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The folder was written earlier with other settings.
    #[error(
        "{}: expected {setting} {expected} as it was written before, got {got}; choose another folder, or remove what \
         is there", path.display())]
    Differs {
        /// The folder or file.
        path: PathBuf,
        /// The first setting that differs.
        setting: String,
        /// The earlier value.
        expected: String,
        /// The current value.
        got: String,
    },
    /// Files of the requested format cannot hold the loss mask of the corpus.
    #[error(
        "{}: expected a corpus of which every token is a loss target, for files of {format} hold no loss mask; got {got}; \
         export to olmo or datatrove, whose files hold it, or insist: whoever trains on the files then trains on \
         these tokens as well", path.display())]
    MaskLost {
        /// The corpus folder.
        path: PathBuf,
        /// The requested format.
        format: ExportFormat,
        /// The number of tokens that are not targets.
        got: String,
    },
    /// A text is not a fingerprint.
    #[error("fingerprint: expected 64 hexadecimal digits, got {got}")]
    Fingerprint {
        /// The text, quoted and shortened if it is long.
        got: String,
    },
    /// The caller stopped the work.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Returns the kind: whether the request, the data, the machine or a stop caused the error.
    ///
    /// ```
    /// use mixdown_base::error_kind::ErrorKind;
    /// use mixdown_shards::{Access, Corpus};
    ///
    /// let error = Corpus::open("no/such/folder".as_ref(), Access::Map).unwrap_err();
    /// assert_ne!(error.kind(), ErrorKind::Interrupted);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoManifest { .. }
            | Self::Request { .. }
            | Self::Busy { .. }
            | Self::Differs { .. }
            | Self::MaskLost { .. } => ErrorKind::Configuration,
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Interrupted => ErrorKind::Interrupted,
            _ => ErrorKind::Data,
        }
    }

    /// Converts an operating system error to an [`Error`]; for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn request(
        path: &Path,
        expected: impl Into<String>,
        got: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        let (expected, got) = (expected.into(), got.into());
        Self::Request { path: path.to_owned(), expected, got, hint }
    }

    pub(crate) fn import(
        path: &Path,
        offset_bytes: Option<u64>,
        expected: impl Into<String>,
        got: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        let (expected, got) = (expected.into(), got.into());
        Self::Import { path: path.to_owned(), offset_bytes, expected, got, hint }
    }

    pub(crate) fn damaged(
        path: &Path,
        offset_bytes: Option<u64>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            offset_bytes,
            expected: expected.into(),
            got: got.into(),
        }
    }
}

impl From<files::Error> for Error {
    fn from(error: files::Error) -> Self {
        let (action, path, source) = error.into_parts();
        Self::Io { action, path, source }
    }
}

/// Returns a text from a file for use in a message: quoted, control characters escaped, cut after 80 characters.
pub(crate) fn quoted(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{:?}… ({} bytes)", text.split_at(end).0, text.len()),
        None => format!("{text:?}"),
    }
}

fn at(offset_bytes: Option<u64>) -> String {
    offset_bytes.map_or_else(String::new, |offset| format!(": byte {offset}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travels<T: Send + Sync + 'static>() {}

    #[test]
    fn crosses_threads() {
        travels::<Error>();
    }

    #[test]
    fn quoted_text_is_short_and_harmless() {
        assert_eq!(quoted("a\u{1b}b"), "\"a\\u{1b}b\"");
        assert_eq!(quoted(&"é".repeat(80)), format!("{:?}", "é".repeat(80)));
        assert_eq!(quoted(&"é".repeat(81)), format!("{:?}… (162 bytes)", "é".repeat(80)));
    }

    #[test]
    fn kinds_part_user_from_disk() {
        let not_found = Error::io("open", Path::new("x"))(io::ErrorKind::NotFound.into());
        assert_eq!(not_found.kind(), ErrorKind::Configuration);
        let full = Error::io("write", Path::new("x"))(io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind(), ErrorKind::Other);
        assert_eq!(Error::Interrupted.kind(), ErrorKind::Interrupted);
    }
}
