//! The way from files on disk to documents: formats, compressions, order, cutting and every bad input.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

#[cfg(test)]
mod folders;
#[cfg(test)]
mod records;
#[cfg(test)]
mod refusals;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use mixdown_documents::{
    ChunkReader, Compression, Document, DocumentReader, Error, InputFormat, InputList, Place,
    ReadOptions,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn read(paths: &[PathBuf]) -> Result<Vec<Document>, Error> {
    read_with(paths, &ReadOptions::default())
}

fn read_with(paths: &[PathBuf], options: &ReadOptions) -> Result<Vec<Document>, Error> {
    let list = InputList::discover(paths)?;
    DocumentReader::new(&list, options).collect()
}

fn texts(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.text.as_str()).collect()
}

/// Some JSON lines, with blank lines, CRLF and no newline at the end.
fn lines(count: usize) -> (String, Vec<String>) {
    let mut whole = String::new();
    let mut expected = Vec::new();
    for index in 0..count {
        let text = format!("text {index} \u{e9}\n{}", "x".repeat(index * 7 % 91));
        whole.push_str(&serde_json::json!({ "id": index, "text": text }).to_string());
        whole.push_str(["\n", "\r\n", "\n\n"][index % 3]);
        expected.push(text);
    }
    (whole.trim_end().to_owned(), expected)
}

#[test]
fn every_compression_gives_the_same_documents() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, expected) = lines(500);
    let (left, right) = whole.as_bytes().split_at(whole.len() / 3);
    let cases = [
        ("plain.jsonl", whole.as_bytes().to_vec(), Compression::None),
        ("one.jsonl.zst", zstd(whole.as_bytes()), Compression::Zstd),
        ("frames.jsonl.zst", [zstd(left), zstd(right)].concat(), Compression::Zstd),
        ("one.jsonl.gz", gzip(whole.as_bytes()), Compression::Gzip),
        ("members.jsonl.gz", [gzip(left), gzip(right)].concat(), Compression::Gzip),
        ("padded.jsonl.gz", [gzip(whole.as_bytes()), vec![0; 70_000]].concat(), Compression::Gzip),
        ("tape.jsonl.gz", [gzip(left), vec![0; 512], gzip(right)].concat(), Compression::Gzip),
        ("zstd_without_a_name.jsonl", zstd(whole.as_bytes()), Compression::Zstd),
    ];
    let mut places: Option<Vec<Place>> = None;
    for (name, bytes, compression) in cases {
        let path = write(folder.path(), name, &bytes);
        let list = InputList::discover(from_ref(&path)).unwrap();
        assert_eq!(list.files()[0].compression, compression, "{name}");
        assert_eq!(list.files()[0].format, InputFormat::JsonLines, "{name}");
        assert_eq!(list.files()[0].name, name);
        let documents = read(&[path]).unwrap();
        assert_eq!(texts(&documents), expected, "{name}");
        let found: Vec<Place> = documents.iter().map(|document| document.place).collect();
        assert_eq!(places.get_or_insert(found.clone()), &found, "{name}");
        for place in found {
            assert_eq!(whole.as_bytes()[usize::try_from(place.offset).unwrap()], b'{');
        }
    }
}

/// The walk: names are compared as bytes, hidden and binary and empty files are skipped, and whole files are texts.
#[test]
fn folders_are_walked_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    write(&root, "b.txt", "bee".as_bytes());
    write(&root, "a/z.rs", b"zed");
    write(&root, "a/deep/y.md.gz", &gzip(b"why"));
    write(&root, "B.txt", "\u{feff}big".as_bytes());
    write(&root, "c.jsonl", b"{\"text\":\"c1\"}\n{\"text\":\"c2\"}\n");
    write(&root, ".hidden/x.txt", b"no");
    write(&root, ".x.txt", b"no");
    write(&root, "empty.txt", b"");
    write(&root, "empty.gz", &gzip(b""));
    write(&root, "image.png", b"\x89PNG\r\n\x1a\n\0\0\0");
    write(&root, "archive.zip", b"PK\x03\x04");
    let given = write(folder.path(), "first.txt", b"first");
    let list = InputList::discover(&[given.clone(), root.clone()]).unwrap();
    let names: Vec<&str> = list.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["first.txt", "B.txt", "a/deep/y.md.gz", "a/z.rs", "b.txt", "c.jsonl"]);
    assert_eq!(list.skipped_files(), 4);
    let documents = read(&[given, root]).unwrap();
    assert_eq!(texts(&documents), ["first", "big", "why", "zed", "bee", "c1", "c2"]);
    assert_eq!(documents[6].place, Place { input: 5, offset: 14 });
}

/// Cuts anywhere give every record once, in the part in which it starts, for every compression.
#[test]
fn parts_of_any_length_hold_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, _) = lines(60);
    let plain = write(folder.path(), "a.jsonl", whole.as_bytes());
    let packed = write(folder.path(), "b.jsonl.gz", &gzip(whole.as_bytes()));
    for path in [plain, packed] {
        let list = InputList::discover(&[path]).unwrap();
        let options = ReadOptions::default();
        let all: Vec<Document> = DocumentReader::new(&list, &options).map(Result::unwrap).collect();
        for part_bytes in [1, 7, 40, 64, 100, 333, 4096, 1 << 20] {
            let mut found = Vec::new();
            let parts = u64::try_from(whole.len()).unwrap().div_ceil(part_bytes);
            for part in 0..parts {
                let mut reader = ChunkReader::open(&list, 0, part * part_bytes).unwrap();
                while let Some(chunk) = reader.next_before((part + 1) * part_bytes).unwrap() {
                    for record in chunk.records(&options) {
                        let document = record.unwrap();
                        assert_eq!(document.place.offset / part_bytes, part);
                        found.push(document);
                    }
                }
                assert_eq!(reader.is_at_end().unwrap(), reader.offset() >= whole.len() as u64);
            }
            assert_eq!(found, all, "parts of {part_bytes} bytes");
        }
    }
}

/// The file is longer than several chunks, so that lines cross the buffer's ends.
#[test]
fn long_lines_are_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = String::new();
    let mut lengths = Vec::new();
    for len in [3_000_000_usize, 10, 524_288, 0, 600_000, 1] {
        whole.push_str(&serde_json::json!({ "text": "y".repeat(len) }).to_string());
        whole.push('\n');
        lengths.push(len);
    }
    let path = write(folder.path(), "long.jsonl.zst", &zstd(whole.as_bytes()));
    let documents = read(&[path]).unwrap();
    let found: Vec<usize> = documents.iter().map(|document| document.text.len()).collect();
    assert_eq!(found, lengths);
}

/// Every control character, lone surrogates and similar characters survive a line of JSON.
#[test]
fn texts_come_through_escapes() {
    let folder = tempfile::tempdir().unwrap();
    let controls: String = (0..0x20_u8).map(char::from).collect();
    let whole = format!("{controls}\u{7f}\u{80}\u{2028}\u{feff}\"\\/é😀");
    let path = write(
        folder.path(),
        "a.jsonl",
        format!(
            "{}\n{}\n",
            serde_json::json!({ "text": whole }),
            r#"{"text":"a\ud800b\udc00\ud83d\ude00\udbff"}"#
        )
        .as_bytes(),
    );
    let documents = read(&[path]).unwrap();
    assert_eq!(documents[0].text, whole);
    assert_eq!(documents[1].text, "a\u{fffd}b\u{fffd}\u{1f600}\u{fffd}");
}

/// Reading 40 MB on one line takes time in proportion to its length.
#[test]
fn one_huge_line_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = "a line of text\n".repeat(2_700_000);
    let line = serde_json::json!({ "text": text }).to_string();
    for (name, bytes) in
        [("a.jsonl", line.clone().into_bytes()), ("b.jsonl.zst", zstd(line.as_bytes()))]
    {
        let path = write(folder.path(), name, &bytes);
        assert_eq!(read(&[path]).unwrap()[0].text.len(), text.len());
    }
}

/// A file that grows or shrinks between its first chunk and its end is refused.
#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let line = b"{\"text\":\"some words\"}\n";
    for (lines, change) in [(100_000, 1_u64), (100_000, 0), (99_000, 0)] {
        let path = write(folder.path(), "a.jsonl", &line.repeat(100_000));
        let list = InputList::discover(from_ref(&path)).unwrap();
        let options = ReadOptions::default();
        let mut reader = DocumentReader::new(&list, &options);
        assert_eq!(reader.next().unwrap().unwrap().text, "some words");
        let len = lines * u64::try_from(line.len()).unwrap() + change;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(len).unwrap();
        let last = reader.last().unwrap();
        if len == list.total_bytes() {
            assert!(last.is_ok());
        } else {
            let error = last.unwrap_err().to_string();
            let words = format!(
                "changed while it was read: expected {} bytes, got {len}",
                list.total_bytes()
            );
            assert!(error.contains(&words), "{error}");
        }
    }
}

/// The test runs itself with data on standard input.
#[test]
#[expect(clippy::print_stdout, reason = "the called one says what it read")]
fn standard_input_is_read_once() {
    const NAME: &str = "standard_input_is_read_once";
    let path = PathBuf::from("-");
    if std::env::var_os("READ_STANDARD_INPUT").is_some() {
        match InputList::discover(from_ref(&path)) {
            Err(error) => println!("\n<{error}>"),
            Ok(list) => {
                let options = ReadOptions { skip_bad: 1, ..ReadOptions::default() };
                for document in DocumentReader::new(&list, &options) {
                    match document {
                        Ok(document) => println!("\n<{}>", document.text),
                        Err(error) => println!("\n<{error}>"),
                    }
                }
                println!("\n<{}>", ChunkReader::open(&list, 0, 0).err().unwrap());
            }
        }
        return;
    }
    let say = |bytes: &[u8]| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env("READ_STANDARD_INPUT", "1")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = bytes.to_vec();
        let feed = std::thread::spawn(move || {
            // The input is refused before all of it is read, which breaks the pipe.
            let _broken = stdin.write_all(&bytes);
        });
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let lines = output.lines().filter_map(|line| line.strip_prefix('<')?.strip_suffix('>'));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    let again = "standard input: expected that it is read once, got a second reading: write the data to a file and give that";
    let lines = b"{\"text\":\"one\"}\n{}\n{\"text\":\"two\"}\n";
    for bytes in [lines.to_vec(), zstd(lines), gzip(lines)] {
        assert_eq!(say(&bytes), ["one", "two", again]);
    }
    assert_eq!(say(b"plain words"), ["plain words", again]);
    let bad = say(b"{\"text\":\"one\"}\n{}\n[]\n");
    assert!(bad[1].starts_with("-: byte 18: expected a JSON object, got \"[]\""), "{bad:?}");
    for (bytes, got) in
        [(&b""[..], "nothing"), (b"PAR1....", "Parquet data"), (b"%PDF-1.7", "a PDF file")]
    {
        let expected = format!(
            "standard input: expected JSON lines, JSON or UTF-8 text, plain, zstd or gzip, got {got}: write the data to a file and give that"
        );
        assert_eq!(say(bytes), [expected]);
    }
    // The input is longer than the bytes that detect its format.
    let many = b"{\"text\":\"one\"}\n".repeat(100_000);
    assert_eq!(say(&zstd(&many)).len(), 100_001);
}
