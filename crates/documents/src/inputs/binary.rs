//! Detection of unsupported binary data by its first bytes.

/// First bytes of a file that identify a kind of data.
const MAGIC: [(&[u8], &str); 28] = [
    (b"PARE", "an encrypted Parquet file"),
    (b"FEA1", "a Feather file of version 1"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a model in GGUF"),
    (b"\xfd7zXZ\0", "xz-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x04\x22\x4d\x18", "lz4-compressed"),
    (b"\x02\x21\x4c\x18", "lz4-compressed"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy-compressed"),
    (b"LZIP", "lzip-compressed"),
    (b"\x1f\x9d", "compressed by compress"),
    (b"%PDF-", "a PDF file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program or library"),
    (b"\xff\xfe\0\0", "text in UTF-32"),
    (b"\0\0\xfe\xff", "text in UTF-32"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
];

/// The position of a tar archive's magic bytes.
const TAR_MARK: std::ops::Range<usize> = 257..262;

/// Returns the kind of data that the first decompressed bytes identify; `None` if they may be text.
pub(crate) fn known_binary(head: &[u8]) -> Option<&'static str> {
    if head.get(TAR_MARK) == Some(b"ustar") {
        return Some("a tar archive");
    }
    // Text may begin with letters that are magic bytes: ORCHARD.
    let is_word = |magic: &[u8]| magic.iter().all(u8::is_ascii_alphanumeric);
    let begins = |magic: &[u8]| head.starts_with(magic) && (!is_word(magic) || is_binary(head));
    let magic = MAGIC.iter().find(|(magic, _)| begins(magic)).map(|&(_, kind)| kind);
    magic.or_else(|| is_utf16(head).then_some("text in UTF-16"))
}

/// Returns whether a head without a byte order mark is UTF-16 of mostly Latin letters.
fn is_utf16(head: &[u8]) -> bool {
    const LOOKED_AT: usize = 64;
    const FEWEST: usize = 4;
    let (pairs, _) = head.get(..LOOKED_AT.min(head.len())).unwrap_or_default().as_chunks::<2>();
    let low = pairs.iter().all(|&[low, high]| low != 0 && high == 0);
    let high = pairs.iter().all(|&[high, low]| high == 0 && low != 0);
    pairs.len() >= FEWEST && (low || high)
}

/// Returns whether a head is neither UTF-8 text nor text in another single-byte encoding: it holds a NUL byte, or
/// invalid UTF-8 and control characters that text does not contain.
pub(crate) fn is_binary(head: &[u8]) -> bool {
    if head.contains(&0) {
        return true;
    }
    let is_utf8 = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The head may end within a character.
        Err(error) => error.error_len().is_none(),
    };
    let control = |byte: &u8| matches!(byte, 0x01..=0x06 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f);
    !is_utf8 && head.iter().any(control)
}

/// Returns whether a head is the pointer that Git LFS leaves in place of a file.
pub(crate) fn is_lfs_pointer(head: &[u8]) -> bool {
    head.starts_with(b"version https://git-lfs.github.com/spec/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_data_has_a_name() {
        let mut tar = vec![0; 512];
        tar[..5].copy_from_slice(b"a.txt");
        tar[257..262].copy_from_slice(b"ustar");
        let utf16: Vec<u8> = "plain words".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16_be: Vec<u8> = "plain words".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let cases: [(&[u8], Option<&str>); 9] = [
            (&tar, Some("a tar archive")),
            (&utf16, Some("text in UTF-16")),
            (&utf16_be, Some("text in UTF-16")),
            (b"\xff\xfea\0", Some("text in UTF-16")),
            (b"\xff\xfe\0\0a\0\0\0", Some("text in UTF-32")),
            (b"PK\x03\x04", Some("a zip archive")),
            (b"plain words", None),
            (b"ORC\n\x02\0", Some("an ORC file")),
            (b"ORCHARDS and BZhs", None),
        ];
        for (head, expected) in cases {
            assert_eq!(known_binary(head), expected, "{head:?}");
        }
    }

    #[test]
    fn text_of_any_encoding_is_not_binary() {
        assert!(!is_binary("schön".as_bytes().split_at(4).0));
        assert!(!is_binary(b"sch\xf6n\r\n\tund \x1b[1mgut\x0c"));
        assert!(!is_binary("a control \u{1} in UTF-8".as_bytes()));
        for head in [&b"a\0b"[..], b"\x80\x02}q\x01.", b"\x00asm", b"\xc3\x28\x7f"] {
            assert!(is_binary(head), "{head:?}");
        }
    }
}
