//! Unreadable inputs, each reported with its place.

use std::fs;
use std::path::PathBuf;
use std::slice::from_ref;

use mixdown_base::error_kind::ErrorKind;
use mixdown_documents::{Document, DocumentReader, Error, InputList, ReadOptions, RecordPlace};

use crate::{gzip, read, read_with, texts, write, zstd};

fn message(paths: &[PathBuf]) -> String {
    let error = read(paths).unwrap_err();
    error.to_string()
}

#[test]
fn paths_that_hold_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.txt");
    let empty = write(folder.path(), "empty.jsonl", b"");
    let bare = folder.path().join("bare");
    fs::create_dir(&bare).unwrap();
    let avro = write(folder.path(), "a.avro", b"Obj\x01xxxx");
    let text = write(folder.path(), "a.txt", b"a");

    assert_eq!(message(&[]), "no input was given: name at least one file or folder");
    assert_eq!(
        message(from_ref(&missing)),
        format!(
            "input {} does not exist, expected a file or a folder: check the path",
            missing.display()
        )
    );
    assert!(message(from_ref(&empty)).contains("empty.jsonl is empty, expected JSON lines"));
    assert!(
        message(from_ref(&bare))
            .contains("of JSON lines, JSON, CSV, UTF-8 text, Parquet or Arrow IPC: 0 files")
    );
    assert!(
        message(&[avro]).contains("is an Avro file, expected JSON lines, JSON, CSV or UTF-8 text")
    );
    assert!(message(&[text.clone(), text]).contains("is given twice"));
    assert_eq!(read(&[missing]).unwrap_err().kind(), ErrorKind::Configuration);
    assert!(read(&[empty]).unwrap_err().kind() != ErrorKind::Configuration);
}

#[test]
fn bad_lines_are_named_counted_and_tolerated_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = b"{\"text\":\"good\"}\n\nno json\n{\"other\":1}\n{\"text\":2}\n{\"text\":\"\xff\"}\n{\"text\":\"end\"}";
    let plain = write(folder.path(), "bad.jsonl", bytes);
    let packed = write(folder.path(), "bad.jsonl.zst", &zstd(bytes));
    let expected = [
        (0, 3, "line 3, byte 17: expected a JSON object, got \"no json\""),
        (1, 4, "line 4, byte 25: the field \"text\" is missing"),
        (2, 5, "line 5, byte 37: expected a string in \"text\", got a number"),
        (3, 6, "line 6, byte 48: invalid UTF-8 at byte 57 (0xff)"),
    ];
    for path in [plain, packed] {
        for (skip_bad, line, words) in expected {
            let options = ReadOptions { skip_bad, ..ReadOptions::default() };
            let error = read_with(from_ref(&path), &options).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(words), "{text}");
            assert!(text.starts_with(&path.display().to_string()), "{text}");
            let counts = format!("bad records so far {}, tolerated {skip_bad}", skip_bad + 1);
            assert!(text.contains(&counts), "{text}");
            assert_eq!(error.kind(), ErrorKind::Data);
            let found = match error {
                Error::BadRecord { place: RecordPlace::Line { line, .. }, .. } => line,
                _ => 0,
            };
            assert_eq!(found, line);
        }
        let options = ReadOptions { skip_bad: 4, ..ReadOptions::default() };
        let list = InputList::discover(&[path]).unwrap();
        let mut reader = DocumentReader::new(&list, &options);
        let good: Vec<Document> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(texts(&good), ["good", "end"]);
        assert_eq!(reader.bad_records(), 4);
        assert_eq!(reader.consumed_bytes(), list.total_bytes());
    }
}

#[test]
fn a_text_that_is_no_utf8_is_named_with_line_and_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "latin.txt", b"one\ntwo\nthr\xe9e");
    let text = message(&[path]);
    assert!(text.contains("line 3, byte 0: invalid UTF-8 at byte 11 (0xe9)"), "{text}");
}

#[test]
fn damaged_compression_is_told_from_truncation() {
    let folder = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0_u32..200_000)
        .map(|index| b'a' + u8::try_from(index.wrapping_mul(2_654_435_761) >> 27).unwrap() % 26)
        .collect();
    let body = format!("{{\"text\":\"{}\"}}\n", String::from_utf8(noise).unwrap());
    for (name, packed) in
        [("a.jsonl.zst", zstd(body.as_bytes())), ("a.jsonl.gz", gzip(body.as_bytes()))]
    {
        for keep in [packed.len() / 2, packed.len() - 1] {
            let path = write(folder.path(), name, &packed[..keep]);
            let error = read(&[path]).unwrap_err();
            assert!(matches!(error, Error::Truncated { .. }), "{name} {keep}: {error}");
            assert!(error.to_string().contains("data end too early, after "), "{error}");
        }
        let mut damaged = packed.clone();
        let middle = packed.len() / 2;
        for byte in &mut damaged[middle..middle + 64] {
            *byte = !*byte;
        }
        let path = write(folder.path(), name, &damaged);
        let error = read(&[path]).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. } | Error::Truncated { .. }), "{error}");
    }
}

/// A hand-made frame: its window, and a raw block of bytes.
fn frame(window_log: u8, content: &[u8]) -> Vec<u8> {
    let header = (u32::try_from(content.len()).unwrap() << 3 | 1).to_le_bytes();
    let start = [0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3];
    [&start[..], &header[..3], content].concat()
}

#[test]
fn long_windows_are_read_and_longer_ones_named() {
    let folder = tempfile::tempdir().unwrap();
    for window_log in [10, 27, 28, 31] {
        let path = write(folder.path(), "a.jsonl.zst", &frame(window_log, b"{\"text\":\"a\"}\n"));
        assert_eq!(texts(&read(&[path]).unwrap()), ["a"], "{window_log}");
    }
    let path = write(folder.path(), "a.jsonl.zst", &frame(32, b"{\"text\":\"a\"}\n"));
    let error = read(&[path]).unwrap_err();
    assert!(matches!(error, Error::WindowTooLarge { .. }), "{error}");
    assert!(error.to_string().contains("at most 2 GiB (--long=31)"), "{error}");
}

#[test]
fn what_is_no_text_is_refused_by_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = vec![0; 1024];
    tar[..5].copy_from_slice(b"a.txt");
    tar[257..262].copy_from_slice(b"ustar");
    let utf16: Vec<u8> = "plain words".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("data.tar", tar.clone(), "a tar archive"),
        ("data.tar.gz", gzip(&tar), "a tar archive"),
        ("data.jsonl.zst", zstd(&tar), "a tar archive"),
        ("words.txt", utf16, "text in UTF-16"),
        ("words.md", b"a\0b".to_vec(), "binary data"),
        ("model", b"\x80\x02}q\x01.".to_vec(), "binary data"),
    ];
    for (name, bytes, kind) in cases {
        let path = write(folder.path(), name, &bytes);
        let error = read(from_ref(&path)).unwrap_err();
        let words = format!("input {} is {kind}, expected JSON lines", path.display());
        assert!(
            error.to_string().starts_with(&words) && error.kind() == ErrorKind::Configuration,
            "{error}"
        );
    }
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n";
    let path = write(folder.path(), "part.parquet", pointer);
    assert!(message(&[path]).contains("is a Git LFS pointer, expected the data"));
    let corpus = folder.path().join("corpus");
    write(&corpus, "manifest.json", b"{\n  \"format\": \"mixdown-corpus\",\n");
    assert!(message(&[corpus]).contains("corpus is a mixdown corpus, expected"));
}

#[test]
fn a_file_that_changes_under_us_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.jsonl", b"{\"text\":\"a\"}\n");
    let list = InputList::discover(from_ref(&path)).unwrap();
    fs::write(&path, b"{\"text\":\"abc\"}\n").unwrap();
    let options = ReadOptions::default();
    let error = DocumentReader::new(&list, &options).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("expected 13 bytes, got 15"), "{error}");
}
