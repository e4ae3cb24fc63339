//! What a file holds, told from its name and its first bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chunk::as_u64;
use crate::json_scan::scan_object;

/// Bytes of a file's head that its format is told from.
pub(crate) const HEAD_BYTES: u64 = 64 << 10;

/// How a file holds documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputFormat {
    /// One JSON object a line, one document an object.
    JsonLines,
    /// The whole file is one document.
    Text,
    /// A Parquet file, one document a row.
    Parquet,
    /// An Arrow IPC file, one document a row.
    ArrowFile,
    /// An Arrow IPC stream in a file, one document a row.
    ArrowStream,
}

impl fmt::Display for InputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonLines => "JSON lines",
            Self::Text => "text",
            Self::Parquet => "Parquet",
            Self::ArrowFile => "Arrow IPC file",
            Self::ArrowStream => "Arrow IPC stream",
        })
    }
}

/// How a file came into the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its path was given.
    Given,
    /// It was found in a folder that was given.
    Folder,
}

impl InputFormat {
    /// Tells the format of a file from the head of its decompressed bytes and its name.
    ///
    /// Parquet and Arrow are told from their first bytes, whatever the name. `.jsonl` and `.ndjson`
    /// are JSON lines whatever else they hold, so that a broken first line is reported as one.
    /// `.json` is JSON lines when its first line is a whole object, and in a folder, where it may as
    /// well be a minified configuration, when a second line begins one as well; otherwise it is one
    /// JSON text and read as such. A name that says nothing is judged in the same way. A trailing
    /// `.zst`, `.zstd`, `.gz` or `.gzip` does not count as the name's ending.
    pub(crate) fn detect(name: &str, head: &[u8], origin: Origin) -> Self {
        if let Some(columnar) = Self::columnar(head) {
            return columnar;
        }
        let name = name.to_ascii_lowercase();
        let stem = stem(&name);
        let ends_with = |endings: &[&str]| endings.iter().any(|ending| stem.ends_with(ending));
        let by_content =
            starts_with_object_line(head) && (origin == Origin::Given || has_second_object(head));
        let lines = ends_with(&[".jsonl", ".ndjson"])
            || (by_content && ends_with(&[".json"]))
            || (by_content && first_line_is_json(head) && !ends_with(TEXT_ENDINGS));
        if lines { Self::JsonLines } else { Self::Text }
    }

    /// Whether documents are rows.
    #[must_use]
    pub fn is_columnar(self) -> bool {
        matches!(self, Self::Parquet | Self::ArrowFile | Self::ArrowStream)
    }

    fn columnar(head: &[u8]) -> Option<Self> {
        match head {
            [b'P', b'A', b'R', b'1', ..] => Some(Self::Parquet),
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Some(Self::ArrowFile),
            // A mark, and a schema of less than 16 MiB that begins on a multiple of 8.
            [0xff, 0xff, 0xff, 0xff, low, _, _, 0, ..] if low % 8 == 0 => Some(Self::ArrowStream),
            _ => None,
        }
    }

    /// What a name promises that only its first bytes can keep.
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

/// Endings of files that are texts even if their first line is a JSON object.
const TEXT_ENDINGS: &[&str] = &[".txt", ".text", ".md", ".markdown", ".rst", ".yaml", ".yml"];

/// A name without the ending of its compression.
fn stem(name: &str) -> &str {
    let endings = [".zst", ".zstd", ".gz", ".gzip"];
    endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

/// Whether the head's first line parses as an object, or at least begins one where the head ends
/// before it.
fn first_line_is_json(head: &[u8]) -> bool {
    let head = strip_byte_order_mark(head).trim_ascii_start();
    let Some(end) = memchr::memchr(b'\n', head) else {
        return str::from_utf8(head).is_ok_and(|head| scan_object(head, &mut Vec::new()).is_some())
            || (head.starts_with(b"{\"") && as_u64(head.len()) > HEAD_BYTES / 2);
    };
    let line = head.get(..end).unwrap_or(head);
    str::from_utf8(line).is_ok_and(|line| scan_object(line, &mut Vec::new()).is_some())
}

/// Whether the head's first line is an object from brace to brace, as far as the head reaches.
fn starts_with_object_line(head: &[u8]) -> bool {
    let head = strip_byte_order_mark(head).trim_ascii_start();
    let (line, whole) = match head.iter().position(|&byte| byte == b'\n') {
        Some(end) => (head.get(..end).unwrap_or(head), true),
        None => (head, false),
    };
    line.starts_with(b"{") && (!whole || line.trim_ascii_end().ends_with(b"}"))
}

/// Whether a line after the head's first begins an object.
fn has_second_object(head: &[u8]) -> bool {
    let head = strip_byte_order_mark(head).trim_ascii_start();
    let mut lines = head.splitn(2, |&byte| byte == b'\n').skip(1);
    lines.next().is_some_and(|rest| rest.trim_ascii_start().starts_with(b"{"))
}

/// The bytes without a leading UTF-8 byte order mark, which is no part of the text.
pub(crate) fn strip_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The kind of a binary file that people try to give, by its first bytes.
pub(crate) fn known_binary(head: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 9] = [
        (b"PARE", "an encrypted Parquet file"),
        (b"FEA1", "a Feather file of version 1"),
        (b"Obj\x01", "an Avro file"),
        (b"ORC", "an ORC file"),
        (b"\xfd7zXZ\0", "xz-compressed"),
        (b"BZh", "bzip2-compressed"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x04\x22\x4d\x18", "lz4-compressed"),
        (b"%PDF-", "a PDF file"),
    ];
    KINDS.iter().find(|(magic, _)| head.starts_with(magic)).map(|&(_, kind)| kind)
}

/// Whether a file's head reads as UTF-8 text: no NUL byte and no invalid sequence, a sequence cut
/// by the head's end apart.
pub(crate) fn is_text(head: &[u8]) -> bool {
    if head.contains(&0) {
        return false;
    }
    match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_first_lines_decide() {
        use InputFormat::{JsonLines, Text};
        let cases: [(&str, &[u8], InputFormat); 18] = [
            ("a.jsonl", b"{\"text\":1}\n", JsonLines),
            ("a.JSONL.zst", b"{", JsonLines),
            ("a.ndjson.gz", b"nonsense", JsonLines),
            ("a.json", b"  {\"text\": \"x\"} \r\n{}", JsonLines),
            ("a.json", b"\xef\xbb\xbf{\"text\": \"x\"}\n", JsonLines),
            ("a.json", b"{\"text\": \"a head without an end", JsonLines),
            ("a.json", b"{\n  \"text\": 1\n}\n", Text),
            ("a.json", b"[{}]\n", Text),
            ("a.txt", b"{\"text\": \"x\"}\n", Text),
            ("README", b"hello", Text),
            ("a.data", b"{\"text\": \"x\"}\n", JsonLines),
            ("a", b"\n{\"text\": \"x\"}", JsonLines),
            ("a.data", b"{text: x}\n", Text),
            ("a.data.zst", b"{\"text\": \"x\"\n}", Text),
            ("a.md", b"{\"text\": \"x\"}\n", Text),
            ("a.jsonl", b"PAR1\x15", InputFormat::Parquet),
            ("a", b"ARROW1\0\0", InputFormat::ArrowFile),
            ("a.arrow", b"\xff\xff\xff\xff\x08\x01\0\0", InputFormat::ArrowStream),
        ];
        for (name, head, expected) in cases {
            assert_eq!(InputFormat::detect(name, head, Origin::Given), expected, "{name} {head:?}");
        }
        let in_folder: [(&str, &[u8], InputFormat); 8] = [
            ("a.jsonl", b"{\"text\":1}\n", JsonLines),
            ("a.json", b"{\"text\": \"x\"}\r\n{\"text", JsonLines),
            ("a.json.gz", b"\xef\xbb\xbf{\"text\": \"x\"}\n\n{", JsonLines),
            ("package.json", b"{\"name\":\"x\"}\n", Text),
            ("package.json", b"{\"name\":\"a minified file longer than the head", Text),
            ("a.json", b"{\"a\":1}\nnot json", Text),
            ("a.data", b"{\"a\":1}\n{\"a\"", JsonLines),
            ("a.map", b"{\"a\":1}\n", Text),
        ];
        for (name, head, expected) in in_folder {
            assert_eq!(
                InputFormat::detect(name, head, Origin::Folder),
                expected,
                "{name} {head:?}"
            );
        }
    }

    #[test]
    fn a_cut_sequence_is_text_and_a_nul_is_not() {
        assert!(is_text("schön".as_bytes().split_at(4).0));
        assert!(!is_text(b"a\0b"));
        assert!(!is_text(b"a\xff\xfeb"));
    }
}
