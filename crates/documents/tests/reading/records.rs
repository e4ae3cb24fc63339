//! Records of every text format: JSON arrays and objects, tables, separated texts.

use std::path::Path;
use std::slice::from_ref;

use mixdown_base::error_kind::ErrorKind;
use mixdown_documents::{
    ChunkReader, Cuts, Document, DocumentReader, InputFormat, InputList, ReadOptions,
};

use crate::{gzip, read, read_with, texts, write, zstd};

fn asked(field: &str) -> ReadOptions {
    ReadOptions { text_field: Some(field.to_owned()), ..ReadOptions::default() }
}

/// The same documents in every form in which people store records.
fn forms(count: usize) -> (Vec<(&'static str, String, InputFormat)>, Vec<String>) {
    let expected: Vec<String> = (0..count)
        .map(|row| format!("row {row}, \"quoted\"\né {}", "x".repeat(row * 7 % 40)))
        .collect();
    let record =
        |row: usize| serde_json::json!({ "id": row, "text": expected[row], "n": [1, {"a": "]"}] });
    let records: Vec<_> = (0..count).map(record).collect();
    let quoted = |row: usize| format!("\"{}\"", expected[row].replace('"', "\"\""));
    let table = |delimiter: &str, end: &str| {
        let rows = (0..count).map(|row| format!("{row}{delimiter}{}{end}", quoted(row)));
        format!("id{delimiter}text{end}{}", rows.collect::<String>())
    };
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap();
    let forms = vec![
        ("array.json", serde_json::to_string(&records).unwrap(), InputFormat::Json),
        ("pretty.json", pretty(&records.clone().into()) + "\n", InputFormat::Json),
        (
            "objects.json",
            records.iter().map(pretty).collect::<Vec<_>>().join("\n"),
            InputFormat::Json,
        ),
        (
            "lines.json",
            records.iter().map(|record| format!("{record}\n")).collect(),
            InputFormat::JsonLines,
        ),
        ("comma.csv", table(",", "\n"), InputFormat::Csv),
        ("semicolon.csv", table(";", "\r\n"), InputFormat::Csv),
        ("tab.tsv", table("\t", "\n"), InputFormat::Tsv),
    ];
    (forms, expected)
}

#[test]
fn every_form_gives_the_same_documents() {
    let folder = tempfile::tempdir().unwrap();
    let (forms, expected) = forms(300);
    for (name, text, format) in forms {
        let packed = [
            ("", text.as_bytes().to_vec()),
            (".gz", gzip(text.as_bytes())),
            (".zst", zstd(text.as_bytes())),
        ];
        for (ending, bytes) in packed {
            let path = write(folder.path(), &format!("{name}{ending}"), &bytes);
            let options = ReadOptions { id_field: Some("id".to_owned()), ..ReadOptions::default() };
            let list = InputList::discover_with(&[path], &options).unwrap();
            assert_eq!(list.files()[0].format, format, "{name}{ending}");
            let mut reader = DocumentReader::new(&list, &options);
            let documents: Vec<Document> = reader.by_ref().map(Result::unwrap).collect();
            assert_eq!(texts(&documents), expected, "{name}{ending}");
            assert_eq!(documents[7].id.as_deref(), Some("7"));
            assert_eq!(reader.consumed_bytes(), list.total_bytes(), "{name}{ending}");
        }
    }
}

/// A file is detected alike in a folder and as a given file, whatever the length of its first line.
#[test]
fn a_folder_reads_what_is_read_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{{\"id\": 1, \"text\": \"{}\"}}\n", "long words ".repeat(20_000));
    write(folder.path(), "a.json.gz", &gzip((long.clone() + "{\"text\": \"short\"}\n").as_bytes()));
    write(folder.path(), "b/part-00000", format!("{{ {}", long.split_at(1).1).as_bytes());
    write(folder.path(), "c.json", b"{\"id\": 2, \"text\": \"one record\"}\n");
    let late = format!("{{\"meta\": \"{}\", \"text\": \"late\"}}", "m".repeat(100_000));
    write(folder.path(), "d.json", late.as_bytes());
    let documents = read(&[folder.path().to_owned()]).unwrap();
    let starts: Vec<&str> = documents.iter().map(|it| &it.text[..it.text.len().min(10)]).collect();
    assert_eq!(starts, ["long words", "short", "long words", "one record", "late"]);
}

/// Files without records are texts, like source code, unless a field is requested.
#[test]
fn a_configuration_is_a_text_and_a_field_makes_it_none() {
    let folder = tempfile::tempdir().unwrap();
    let package = write(folder.path(), "package.json", b"{\n  \"name\": \"x\"\n}\n");
    let map = format!("{{\"version\":3,\"sources\":[\"{}\"]}}", "s".repeat(80_000));
    write(folder.path(), "app.js.map", map.as_bytes());
    write(folder.path(), "main.js", b"main()");
    write(folder.path(), "rows.json", b"[{\"content\": \"row\"}]");
    let list = InputList::discover(&[folder.path().to_owned()]).unwrap();
    let names: Vec<&str> = list.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["app.js.map", "main.js", "package.json"]);
    let read_as_text: Vec<&str> = list.read_as_text().iter().map(|it| it.name.as_str()).collect();
    assert_eq!(read_as_text, ["app.js.map", "package.json"]);
    let left_out = &list.left_out()[0];
    assert_eq!(left_out.name, "rows.json");
    assert_eq!(left_out.reason, "records without the field \"text\", they have \"content\"");
    let list = InputList::discover_with(&[folder.path().to_owned()], &asked("content")).unwrap();
    assert_eq!(list.files().len(), 1);
    assert_eq!(list.skipped_files(), 3);
    let error = InputList::discover_with(&[package], &asked("content")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let words = "expected records with the field \"content\", got \"name\": name one of these";
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_plain_text_has_no_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.txt", b"words");
    for field in ["text", "body"] {
        let error =
            InputList::discover_with(from_ref(&path), &asked(field)).unwrap_err().to_string();
        assert!(
            error.contains(&format!("is plain text, which has no field \"{field}\"")),
            "{error}"
        );
    }
    let error = InputList::discover_with(&[folder.path().to_owned()], &asked("body")).unwrap_err();
    assert!(
        error.to_string().contains("1 files were left out (a.txt (plain text, without"),
        "{error}"
    );
    let table = write(folder.path(), "a.csv", b"id,body\n1,x\n");
    let error = InputList::discover(from_ref(&table)).unwrap_err().to_string();
    assert!(error.contains("expected a column \"text\", got \"id\", \"body\""), "{error}");
    let list = InputList::discover_with(&[table], &asked("body")).unwrap();
    let options = asked("body");
    let documents: Vec<Document> =
        DocumentReader::new(&list, &options).map(Result::unwrap).collect();
    assert_eq!(texts(&documents), ["x"]);
}

#[test]
fn bad_records_are_named_by_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str, usize); 8] = [
        (
            "a.json",
            b"[\n{\"text\":\"a\"},\n{\"other\":1},\n{\"text\":\"b\"}]",
            "line 3, byte 16: the field \"text\" is missing, the record has \"other\"",
            2,
        ),
        (
            "a.json",
            b"[{\"text\":\"a\"},\n7, {\"text\":\"b\"}]",
            "line 2, byte 15: expected a JSON object, got \"7\"",
            2,
        ),
        (
            "a.json",
            b"[{\"text\":\"a\"},\n{\"text\":\"b\"}\n",
            "line 3, byte 28: expected a JSON object, got the end of the file",
            2,
        ),
        (
            "a.json",
            b"{\n\"text\":\"a\"}\n{\n\"text\": \"b\xff\"}\n",
            "invalid UTF-8 at byte 26 (0xff)",
            1,
        ),
        (
            "a.csv",
            b"id,text\n1,a\n2\n3,b\n",
            "line 3, byte 12: expected 2 cells, as the header has, got 1 cells",
            2,
        ),
        (
            "a.csv",
            b"id,text\n1,a\n2,\"x\" y\n3,b\n",
            "line 3, byte 12: expected 2 cells, as the header has, got text after the closing quote of a cell",
            2,
        ),
        ("a.csv", b"id,text\n1,a\n2,\"x\n3,b\n", "got a quoted cell without its closing quote", 1),
        (
            "a.csv",
            b"id,text\n1,a\n2,\xe9\n3,b\n",
            "line 3, byte 12: invalid UTF-8 at byte 14 (0xe9)",
            2,
        ),
    ];
    for (name, bytes, words, good) in cases {
        let path = write(folder.path(), name, bytes);
        let error = read(from_ref(&path)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let options = ReadOptions { skip_bad: 1, ..ReadOptions::default() };
        let documents = read_with(&[path], &options).unwrap();
        assert_eq!(documents.len(), good, "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_separator_parts_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let text = "One.\nIt ends.\n<|end|>\nTwo.\n<|end|>\n\n<|end|>\nThree";
    let path = write(folder.path(), "stories.txt.gz", &gzip(text.as_bytes()));
    let separated = |separator: &str| ReadOptions {
        text_separator: Some(separator.to_owned()),
        id_field: Some("id".to_owned()),
        group_field: Some("repo".to_owned()),
        ..ReadOptions::default()
    };
    let read = |separator: &str| -> Vec<Document> {
        let options = separated(separator);
        let list = InputList::discover_with(from_ref(&path), &options).unwrap();
        DocumentReader::new(&list, &options).map(Result::unwrap).collect()
    };
    let documents = read("<|end|>");
    assert_eq!(texts(&documents), ["One.\nIt ends.", "Two.", "Three"]);
    assert_eq!(documents[1].id.as_deref(), Some("stories.txt.gz:22"));
    assert_eq!(documents[1].group.as_deref(), Some("stories.txt.gz"));
    assert_eq!(texts(&read("\n")).len(), 7);
    let refused = |name: &str, separator: &str| {
        let path = write(folder.path(), name, b"{\"text\":\"x\"}\n");
        InputList::discover_with(&[path], &separated(separator)).unwrap_err().to_string()
    };
    assert!(refused("a.jsonl", "\n").contains("expected a plain text among the inputs, got none"));
    assert!(refused("a.txt", "").contains("expected at least one character"));
}

/// Parts of any length hold every record once; long records get separate chunks.
#[test]
fn parts_of_any_length_hold_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let (forms, _) = forms(40);
    let text = (0..40).map(|row| format!("document {row}\n--\n")).collect();
    let forms = forms.into_iter().map(|(name, text, _)| (name, text, None));
    for (name, text, separator) in forms.chain([("a.txt", text, Some("--"))]) {
        let options =
            ReadOptions { text_separator: separator.map(str::to_owned), ..ReadOptions::default() };
        check_parts(folder.path(), name, &text, &options);
    }
}

fn check_parts(folder: &Path, name: &str, text: &str, options: &ReadOptions) {
    let path = write(folder, name, text.as_bytes());
    let list = InputList::discover_with(&[path], options).unwrap();
    let all: Vec<Document> = DocumentReader::new(&list, options).map(Result::unwrap).collect();
    assert_eq!(all.len(), 40, "{name}");
    if !name.starts_with("lines") {
        assert_eq!(list.files()[0].cuts(1 << 20), Cuts::Whole, "{name}");
        assert_eq!(list.files()[0].cuts(100), Cuts::Stream, "{name}");
    }
    let len = u64::try_from(text.len()).unwrap();
    for part_bytes in [1, 7, 40, 333, 4096, 1 << 20] {
        let mut found = Vec::new();
        for start in (0..len).step_by(usize::try_from(part_bytes).unwrap()) {
            let mut reader = ChunkReader::open(&list, 0, start).unwrap();
            while let Some(chunk) = reader.next_before(start + part_bytes).unwrap() {
                for record in chunk.records(options) {
                    let document = record.unwrap();
                    assert_eq!(document.place.offset / part_bytes, start / part_bytes);
                    found.push(document);
                }
            }
            let is_last = found.len() == all.len();
            assert_eq!(reader.is_at_end().unwrap(), is_last, "{name} {part_bytes} {start}");
        }
        assert_eq!(found, all, "{name}: parts of {part_bytes} bytes");
    }
}

#[test]
fn long_records_are_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let lengths = [700_000_usize, 10, 300_000, 0, 1, 200_000];
    let records: Vec<_> =
        lengths.iter().map(|&len| serde_json::json!({ "text": "y".repeat(len) })).collect();
    let path = write(
        folder.path(),
        "a.json.gz",
        &gzip(serde_json::to_string(&records).unwrap().as_bytes()),
    );
    let found: Vec<usize> = read(&[path]).unwrap().iter().map(|it| it.text.len()).collect();
    assert_eq!(found, lengths);
}
