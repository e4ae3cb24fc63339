//! Parquet and Arrow IPC, from files that pyarrow wrote (tools/golden/columnar_fixtures.py).
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use mixdown_base::error_kind::ErrorKind;
use mixdown_documents::{
    ChunkReader, Cuts, Document, DocumentReader, Error, InputFormat, InputList, Place, ReadOptions,
};

const FILES: [(&str, InputFormat); 11] = [
    ("none.parquet", InputFormat::Parquet),
    ("snappy.parquet", InputFormat::Parquet),
    ("zstd.parquet", InputFormat::Parquet),
    ("gzip.parquet", InputFormat::Parquet),
    ("lz4.parquet", InputFormat::Parquet),
    ("pages-v2.parquet", InputFormat::Parquet),
    ("strings.arrow", InputFormat::ArrowFile),
    ("large.arrow", InputFormat::ArrowFile),
    ("views.arrow", InputFormat::ArrowFile),
    ("stream.arrows", InputFormat::ArrowStream),
    ("stream-lz4.arrows", InputFormat::ArrowStream),
];

const ROWS: usize = 50;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/documents").join(name)
}

/// The text of a row, as the script makes it.
fn text(row: usize) -> String {
    let letters =
        (0..row * 11 % 90).map(|at| char::from(b'a' + u8::try_from((row * 7 + at) % 26).unwrap()));
    format!("row {row}: {} é😀\n", letters.collect::<String>())
}

fn options(text_field: &str) -> ReadOptions {
    ReadOptions {
        text_field: Some(text_field.to_owned()),
        id_field: Some("id".to_owned()),
        group_field: Some("repo".to_owned()),
        ..ReadOptions::default()
    }
}

fn read(path: &Path, options: &ReadOptions) -> Result<Vec<Document>, Error> {
    let list = InputList::discover_with(&[path.to_owned()], options)?;
    DocumentReader::new(&list, options).collect()
}

fn refusal(path: &Path, options: &ReadOptions) -> Error {
    let error = read(path, options).unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    error
}

#[test]
fn every_format_gives_the_same_documents() {
    let options = options("text");
    let expected: Vec<Document> = (0..ROWS)
        .map(|row| Document {
            text: text(row),
            place: Place { input: 0, offset: u64::try_from(row).unwrap() },
            id: Some((1000 + row).to_string()),
            group: Some(format!("repo-{}", row / 20)),
            labels: None,
        })
        .collect();
    for (name, format) in FILES {
        let list = InputList::discover_with(&[fixture(name)], &options).unwrap();
        assert_eq!(list.files()[0].format, format, "{name}");
        assert!(list.files()[0].text_bytes_estimate() > 2000, "{name}");
        let mut reader = DocumentReader::new(&list, &options);
        let documents: Vec<Document> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(documents, expected, "{name}");
        assert_eq!(reader.consumed_bytes(), list.total_bytes(), "{name}");
        // A list with default options reads all columns and finds the same documents.
        let list = InputList::discover(&[fixture(name)]).unwrap();
        let documents: Vec<Document> =
            DocumentReader::new(&list, &options).map(Result::unwrap).collect();
        assert_eq!(documents, expected, "{name}");
    }
}

#[test]
fn dots_lead_into_structs_and_nulls_are_bad_records() {
    for (name, _) in FILES {
        let mut options = options("meta.text");
        let error = refusal(&fixture(name), &options).to_string();
        let words = ": row 0: expected a string in \"meta.text\", got null; bad records so far 1";
        assert!(error.contains(words), "{error}");
        options.skip_bad = 5;
        let documents = read(&fixture(name), &options).unwrap();
        let nested = |row: &usize| !row.is_multiple_of(10);
        let expected: Vec<String> =
            (0..ROWS).filter(nested).map(|row| format!("nested {row}")).collect();
        let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        assert_eq!(texts, expected, "{name}");
    }
}

/// Cuts and entry points anywhere give every row once.
#[test]
fn parts_of_any_length_hold_every_row_once() {
    let options = options("text");
    for (name, _) in FILES {
        let list = InputList::discover_with(&[fixture(name)], &options).unwrap();
        let all: Vec<Document> = DocumentReader::new(&list, &options).map(Result::unwrap).collect();
        let mut numbers = Vec::new();
        for part_bytes in [1, 100, 900, 5000, 1 << 30] {
            let Cuts::Ranges(ranges) = list.files()[0].cuts(part_bytes) else { unreachable!() };
            numbers.push(ranges.len());
            let mut found = Vec::new();
            for range in ranges {
                let mut reader = ChunkReader::open(&list, 0, range.start).unwrap();
                assert_eq!(reader.offset(), range.start);
                while let Some(chunk) = reader.next_before(range.end).unwrap() {
                    assert!(chunk.len_bytes() > 0);
                    found.extend(chunk.records(&options).map(Result::unwrap));
                }
                assert_eq!(reader.offset(), range.end);
                assert_eq!(reader.is_at_end().unwrap(), range.end == 50);
            }
            assert_eq!(found, all, "{name}, parts of {part_bytes} bytes");
        }
        assert_eq!((numbers[0], numbers[4]), (ROWS, 1), "{name}");
        assert!(numbers.is_sorted_by(|left, right| left >= right), "{name}: {numbers:?}");
    }
}

#[test]
fn columns_that_cannot_be_read_are_named_with_their_type() {
    for (name, format) in FILES {
        let path = fixture(name);
        let error = refusal(&path, &options("body"));
        let words = "expected a column \"body\", got \"id\", \"text\", \"repo\", \"meta.text\", \"meta.n\", \"messages\"";
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let error = refusal(&path, &options("meta.n")).to_string();
        assert!(error.contains("expected text in the column \"meta.n\", got Int32"), "{error}");
        let error = refusal(&path, &options("meta")).to_string();
        assert!(error.contains("expected text in the column \"meta\", got Struct"), "{error}");
        let error = refusal(&path, &options("text.inner")).to_string();
        let text_type = match (format, name) {
            (_, "large.arrow" | "stream-lz4.arrows") => "LargeUtf8",
            (_, "views.arrow") => "Utf8View",
            _ => "Utf8",
        };
        let words = format!("expected a struct in the column \"text\", got {text_type}:");
        assert!(error.contains(&words), "{error}");
        let mut options = options("text");
        options.group_field = Some("messages".to_owned());
        let error = refusal(&path, &options).to_string();
        let words = "expected text or integers in the column \"messages\", got List";
        assert!(error.contains(words), "{error}");
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!("; {}", with_causes(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// A file's content decides its format, whatever its name; a file that does not match its name is refused.
#[test]
fn contents_count_and_not_names() {
    let folder = tempfile::tempdir().unwrap();
    for (name, format) in FILES {
        let path = folder.path().join(format!("{name}.jsonl"));
        fs::copy(fixture(name), &path).unwrap();
        let list = InputList::discover(&[path]).unwrap();
        assert_eq!(list.files()[0].format, format);
    }
    for name in ["a.parquet", "a.arrow", "a.feather"] {
        let path = folder.path().join(name);
        fs::write(&path, "{\"text\":1}").unwrap();
        for given in [path.clone(), folder.path().to_owned()] {
            let error = with_causes(&InputList::discover(&[given]).unwrap_err());
            assert!(error.contains("does not begin as its name says: expected "), "{error}");
            assert!(error.contains(", got \"{\\\"text\\\":\""), "{error}");
        }
        fs::remove_file(path).unwrap();
    }
    let packed = zstd::stream::encode_all(fs::File::open(fixture("none.parquet")).unwrap(), 1);
    let path = folder.path().join("a.parquet.zst");
    fs::write(&path, packed.unwrap()).unwrap();
    let error = InputList::discover(&[path]).unwrap_err().to_string();
    assert!(error.contains("is columnar data, compressed as a whole, expected"), "{error}");
}

/// A truncated file is refused wherever it ends, during listing or reading; a stream that ends between two messages is
/// a shorter stream.
#[test]
fn truncation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = options("text");
    for (name, format) in FILES {
        let whole = fs::read(fixture(name)).unwrap();
        let path = folder.path().join(name);
        let mut shorter = 0;
        for len in (9..whole.len()).step_by(61).chain([whole.len() - 1]) {
            fs::write(&path, &whole[..len]).unwrap();
            match read(&path, &options) {
                Ok(documents) => {
                    assert_eq!(format, InputFormat::ArrowStream, "{name} {len}");
                    assert!(documents.len() <= ROWS, "{name} {len}");
                    shorter += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    let words =
                        format!("{}: damaged in its index, expected {format} data", path.display());
                    assert!(text.starts_with(&words), "{name} {len}: {text}");
                    assert_eq!(error.kind(), ErrorKind::Data);
                }
            }
        }
        assert!(shorter <= 4, "{name}: {shorter}");
    }
}

/// Flipped bits give an error that names the file, or other text, but never a panic that escapes or an allocation of a
/// damaged length.
#[test]
fn damage_is_an_error_or_other_text() {
    let folder = tempfile::tempdir().unwrap();
    let options = ReadOptions { skip_bad: 100, ..options("text") };
    for (name, _) in FILES {
        let whole = fs::read(fixture(name)).unwrap();
        let path = folder.path().join(name);
        let mut errors = 0;
        for at in (0..whole.len()).step_by(67) {
            let mut damaged = whole.clone();
            damaged[at] ^= [0xff, 0x80, 0x40, 0x01][at % 4];
            fs::write(&path, damaged).unwrap();
            if let Err(error) = read(&path, &options) {
                errors += 1;
                let text = error.to_string();
                assert!(text.contains(&path.display().to_string()), "{name} {at}: {text}");
            }
        }
        assert!(errors > 3, "{name}: {errors}");
    }
}

#[test]
fn a_length_that_reaches_beyond_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = options("text");
    for (name, footer_at) in [("none.parquet", 8), ("strings.arrow", 10)] {
        for len in [i32::MAX, i32::MAX - 1, 1 << 20, -1] {
            let mut bytes = fs::read(fixture(name)).unwrap();
            let at = bytes.len() - footer_at;
            bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = refusal(&path, &options).to_string();
            assert!(error.contains("damaged in its index"), "{error}");
        }
    }
    // A stream's metadata and a body are each longer than the file.
    let whole = fs::read(fixture("stream.arrows")).unwrap();
    let path = folder.path().join("stream.arrows");
    for len in [u32::MAX, 1 << 30] {
        let mut bytes = whole.clone();
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        // The head no longer looks like a schema's; only the name can identify it.
        fs::write(&path, bytes).unwrap();
        assert!(read(&path, &options).is_err());
    }
}

#[test]
fn a_columnar_file_that_changes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    fs::copy(fixture("none.parquet"), &path).unwrap();
    let options = options("text");
    let list = InputList::discover_with(std::slice::from_ref(&path), &options).unwrap();
    fs::copy(fixture("zstd.parquet"), &path).unwrap();
    let error = DocumentReader::new(&list, &options).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("changed while it was read: expected "), "{error}");
}
