//! File formats, detected from names and first bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The bytes of a file's head from which its format is detected.
pub(crate) const HEAD_BYTES: u64 = 64 << 10;

/// The format of a file of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputFormat {
    /// One JSON object per line, one document per object.
    JsonLines,
    /// An array of JSON objects, or consecutive objects over any number of lines; one document per object.
    Json,
    /// A table with a header, cells between commas, semicolons or tabs; one document per row.
    Csv,
    /// A table with a header, cells between tabs; one document per row.
    Tsv,
    /// One document per file, or per part between separators.
    Text,
    /// A Parquet file, one document per row.
    Parquet,
    /// An Arrow IPC file, one document per row.
    ArrowFile,
    /// An Arrow IPC stream in a file, one document per row.
    ArrowStream,
}

impl fmt::Display for InputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonLines => "JSON lines",
            Self::Json => "JSON",
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Text => "text",
            Self::Parquet => "Parquet",
            Self::ArrowFile => "Arrow IPC file",
            Self::ArrowStream => "Arrow IPC stream",
        })
    }
}

impl InputFormat {
    /// Returns whether documents are rows of columns.
    ///
    /// ```
    /// use mixdown_documents::InputFormat;
    ///
    /// assert!(InputFormat::Parquet.is_columnar() && !InputFormat::Text.is_columnar());
    /// ```
    #[must_use]
    pub fn is_columnar(self) -> bool {
        matches!(self, Self::Parquet | Self::ArrowFile | Self::ArrowStream)
    }

    /// Returns the columnar format that a file's first bytes identify.
    pub(crate) fn columnar(head: &[u8]) -> Option<Self> {
        match head {
            [b'P', b'A', b'R', b'1', ..] => Some(Self::Parquet),
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Some(Self::ArrowFile),
            // The continuation marker, and a schema of less than 16 MiB whose length is a multiple of 8.
            [0xff, 0xff, 0xff, 0xff, low, _, _, 0, ..] if low % 8 == 0 => Some(Self::ArrowStream),
            _ => None,
        }
    }

    /// Returns the format that a name claims and the first bytes must confirm.
    pub(crate) fn promised(name: &str) -> Option<&'static str> {
        let name = name.to_ascii_lowercase();
        let arrow = "Arrow IPC data (ARROW1, or a stream's ffffffff)";
        let promises = [
            (".parquet", "Parquet data (PAR1)"),
            (".pq", "Parquet data (PAR1)"),
            (".arrow", arrow),
            (".arrows", arrow),
            (".feather", arrow),
            (".ipc", arrow),
        ];
        promises.iter().find(|(ending, _)| name.ends_with(ending)).map(|&(_, promise)| promise)
    }
}

/// Returns the bytes without a leading UTF-8 byte order mark, which is not part of the text.
pub(crate) fn strip_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
