//! What cannot be read is named with its place.

use std::fs;
use std::path::PathBuf;
use std::slice::from_ref;

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
            .contains("of JSON lines, UTF-8 text, Parquet or Arrow IPC: 0 files")
    );
    assert!(message(&[avro]).contains("is an Avro file, expected JSON lines or UTF-8 text (plain"));
    assert!(message(&[text.clone(), text]).contains("is given twice"));
    assert!(read(&[missing]).unwrap_err().is_configuration());
    assert!(!read(&[empty]).unwrap_err().is_configuration());
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
            assert!(!error.is_configuration() && !error.is_io());
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
