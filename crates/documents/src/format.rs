//! What a file holds, told from its name and its first bytes.

use serde::{Deserialize, Serialize};

/// How a file holds documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputFormat {
    /// One JSON object a line, one document an object.
    JsonLines,
    /// The whole file is one document.
    Text,
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
    /// Tells the format of a file from its name and the head of its decompressed bytes.
    ///
    /// `.jsonl` and `.ndjson` are JSON lines whatever they hold, so that a broken first line is
    /// reported as one. `.json` is JSON lines when its first line is a whole object, and in a
    /// folder, where it may as well be a minified configuration, when a second line begins one as
    /// well; otherwise it is one JSON text and read as such. A trailing `.zst`, `.zstd`, `.gz` or `.gzip` does not
    /// count as the name's ending.
    pub(crate) fn detect(name: &str, head: &[u8], origin: Origin) -> Self {
        let name = name.to_ascii_lowercase();
        let stem = [".zst", ".zstd", ".gz", ".gzip"]
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .unwrap_or(&name);
        let lines = stem.ends_with(".jsonl")
            || stem.ends_with(".ndjson")
            || (stem.ends_with(".json")
                && starts_with_object_line(head)
                && (origin == Origin::Given || has_second_object(head)));
        if lines { Self::JsonLines } else { Self::Text }
    }
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
    const KINDS: [(&[u8], &str); 7] = [
        (b"PAR1", "a Parquet file"),
        (b"ARROW1", "an Arrow file"),
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
        let cases: [(&str, &[u8], InputFormat); 10] = [
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
        ];
        for (name, head, expected) in cases {
            assert_eq!(InputFormat::detect(name, head, Origin::Given), expected, "{name} {head:?}");
        }
        let in_folder: [(&str, &[u8], InputFormat); 6] = [
            ("a.jsonl", b"{\"text\":1}\n", JsonLines),
            ("a.json", b"{\"text\": \"x\"}\r\n{\"text", JsonLines),
            ("a.json.gz", b"\xef\xbb\xbf{\"text\": \"x\"}\n\n{", JsonLines),
            ("package.json", b"{\"name\":\"x\"}\n", Text),
            ("package.json", b"{\"name\":\"a minified file longer than the head", Text),
            ("a.json", b"{\"a\":1}\nnot json", Text),
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
