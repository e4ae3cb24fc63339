//! Detection of a file's format from its name, its first bytes and the requested fields.
//!
//! The rule is the same for a given file and for one found in a folder. Only the consequence differs for data that is
//! not read: a given file is refused, one in a folder is left out and listed.

use std::fmt;
use std::path::Path;

use crate::bytes::pieces::Found;
use crate::chat::labeler::LabelFields;
use crate::error::Error;
use crate::inputs::binary::{is_binary, is_lfs_pointer, known_binary};
use crate::inputs::format::{InputFormat, strip_byte_order_mark};
use crate::json::scan::{Beginning, Entry, scan_beginning, unescape};
use crate::reading::document::ReadOptions;
use crate::reading::record::quoted_names;
use crate::tables::pieces::{RowSplitter, cells};

/// The fields that a record must have to be a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextFields {
    names: Vec<String>,
    /// Whether they were requested: then a plain text, which has no fields, is not an input.
    asked: bool,
}

impl TextFields {
    pub(crate) fn of(options: &ReadOptions) -> Self {
        let names = match &options.labels {
            None => vec![options.text_field().to_owned()],
            Some(LabelFields::Chat { messages, .. }) => vec![messages.clone()],
            Some(LabelFields::Completion { prompt, completion }) => {
                vec![prompt.clone(), completion.clone()]
            }
        };
        Self { names, asked: options.text_field.is_some() || options.labels.is_some() }
    }

    /// Returns the first field that is missing: no field has that exact name, or that of its outermost part between
    /// dots.
    fn missing(&self, there: &[String]) -> Option<&String> {
        let leads = |field: &str, name: &String| {
            field
                .strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.names.iter().find(|field| !there.iter().any(|name| leads(field, name)))
    }

    fn first(&self) -> String {
        self.names.first().cloned().unwrap_or_default()
    }
}

/// The detected content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Documents in this format.
    Of(InputFormat),
    /// A table with this header.
    Table {
        /// [`InputFormat::Csv`] or [`InputFormat::Tsv`].
        format: InputFormat,
        /// The separator between cells.
        delimiter: u8,
        /// The cells of its header.
        columns: Vec<String>,
    },
    /// JSON that holds no records, such as a configuration: a text, like source code.
    JsonText,
    /// A file that is not read.
    Refused(Refusal),
    /// More bytes are needed to decide.
    Unclear,
}

/// The reason why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Data of another kind, with its description.
    Foreign(&'static str),
    /// The pointer of Git LFS in place of a file.
    Pointer,
    /// A plain text although a field was requested.
    NoFields(String),
    /// Records without a field, and the fields that they have.
    NoField(String, String),
    /// A table without a column, and the columns that it has.
    NoColumn(String, String),
}

impl Refusal {
    /// Returns the error for a given file.
    pub(crate) fn error(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Foreign(got) => Error::Unsupported { path, got },
            Self::Pointer => Error::LfsPointer { path },
            Self::NoFields(expected) => Error::NoFields { path, expected },
            Self::NoField(expected, got) => Error::NoRecordField { path, expected, got },
            Self::NoColumn(expected, got) => Error::NoColumn { path, expected, got },
        }
    }
}

impl fmt::Display for Refusal {
    /// Writes the reason why a file of a folder is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(kind) => f.write_str(kind),
            Self::Pointer => f.write_str("a Git LFS pointer"),
            Self::NoFields(field) => {
                write!(f, "plain text, without the field \"{}\"", field.escape_debug())
            }
            Self::NoField(field, got) => {
                write!(f, "records without the field \"{}\", they have {got}", field.escape_debug())
            }
            Self::NoColumn(column, got) => {
                write!(f, "a table without the column \"{}\", it has {got}", column.escape_debug())
            }
        }
    }
}

/// The known part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The whole file.
    Whole,
    /// The beginning, and more can be read.
    Head,
    /// The beginning, which has to be enough.
    Most,
}

/// Endings of files that are texts even if they begin like a JSON object.
const TEXT_ENDINGS: &[&str] = &[".txt", ".text", ".md", ".markdown", ".rst", ".yaml", ".yml"];

/// Detects a file's format from the first of its decompressed bytes.
///
/// Parquet and Arrow are detected by their first bytes, whatever the name. `.jsonl` and `.ndjson` are always JSON
/// lines, so that a broken first line is reported as one; `.csv` and `.tsv` are tables. JSON is detected by its
/// content: if the first record has the requested fields, or another one follows it, the file holds JSON lines or
/// records over several lines; a single object without the fields is a text. A trailing `.zst`, `.zstd`, `.gz` or
/// `.gzip` does not count as the name's ending.
pub(crate) fn detect(name: &str, head: &[u8], extent: Extent, fields: &TextFields) -> Kind {
    if let Some(columnar) = InputFormat::columnar(head) {
        return Kind::Of(columnar);
    }
    if is_lfs_pointer(head) {
        return Kind::Refused(Refusal::Pointer);
    }
    if let Some(kind) = known_binary(head) {
        return Kind::Refused(Refusal::Foreign(kind));
    }
    let name = name.to_ascii_lowercase();
    let stem = stem(&name);
    let ends_with = |endings: &[&str]| endings.iter().any(|ending| stem.ends_with(ending));
    if ends_with(&[".jsonl", ".ndjson"]) {
        return Kind::Of(InputFormat::JsonLines);
    }
    let is_json = ends_with(&[".json"]);
    if !is_json && is_binary(head) {
        return Kind::Refused(Refusal::Foreign("binary data"));
    }
    if ends_with(&[".csv"]) {
        return table(head, extent, InputFormat::Csv, b",;\t", fields);
    }
    if ends_with(&[".tsv"]) {
        return table(head, extent, InputFormat::Tsv, b"\t", fields);
    }
    if fields.asked || !ends_with(TEXT_ENDINGS) {
        let json = json(head, extent, fields, is_json);
        if let Some(kind) = json {
            return kind;
        }
    }
    match fields.asked {
        _ if is_binary(head) => Kind::Refused(Refusal::Foreign("binary data")),
        true => Kind::Refused(Refusal::NoFields(fields.first())),
        false => Kind::Of(InputFormat::Text),
    }
}

/// Returns a name without the ending of its compression.
fn stem(name: &str) -> &str {
    let endings = [".zst", ".zstd", ".gz", ".gzip", ".bgz"];
    endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

/// Detects a table, by the first delimiter that gives its header the requested columns.
fn table(
    head: &[u8],
    extent: Extent,
    format: InputFormat,
    delimiters: &[u8],
    fields: &TextFields,
) -> Kind {
    let header = |delimiter: u8| {
        let mut splitter = RowSplitter::of_header(delimiter);
        let row = match splitter.next(head, extent == Extent::Whole) {
            Found::Piece(row) => head.get(row)?,
            Found::More | Found::End => return None,
        };
        let row = std::str::from_utf8(row).ok()?;
        let columns = cells(row, char::from(delimiter)).ok()?;
        Some(columns.into_iter().map(String::from).collect::<Vec<String>>())
    };
    let mut refused = None;
    for &delimiter in delimiters {
        let Some(columns) = header(delimiter) else { continue };
        match fields.names.iter().find(|name| !columns.contains(name)) {
            None => return Kind::Table { format, delimiter, columns },
            Some(missing) if refused.is_none() => {
                refused = Some(Refusal::NoColumn(missing.clone(), quoted_names(&columns)));
            }
            Some(_) => {}
        }
    }
    let no_header = || Refusal::Foreign("a table without a readable header");
    Kind::Refused(refused.unwrap_or_else(no_header))
}

/// Returns the kind of JSON if the head begins like JSON.
fn json(head: &[u8], extent: Extent, fields: &TextFields, is_json: bool) -> Option<Kind> {
    let head = strip_byte_order_mark(head).trim_ascii_start();
    let is_array = match head.first() {
        Some(b'{') => false,
        Some(b'[') => true,
        _ => return None,
    };
    let start = if is_array { 1 } else { 0 };
    let first = head.get(start..).unwrap_or_default().trim_ascii_start();
    let first = match std::str::from_utf8(first) {
        Ok(text) => text,
        // The text ends before the fault, or before a character that the end of the head cuts.
        Err(error) => std::str::from_utf8(first.get(..error.valid_up_to())?).ok()?,
    };
    let mut entries = Vec::new();
    let beginning = scan_beginning(first, &mut entries);
    let names = names(first, &entries);
    let missing = fields.missing(&names);
    let format = || Kind::Of(if is_array { InputFormat::Json } else { lines_or_more(first) });
    let text = || match fields.asked {
        true if is_json || is_array => {
            Kind::Refused(Refusal::NoField(fields.first(), quoted_names(&names)))
        }
        true => Kind::Refused(Refusal::NoFields(fields.first())),
        false => Kind::JsonText,
    };
    match (beginning, missing) {
        (Beginning::NotAnObject, _) if is_array && is_json => Some(text()),
        (Beginning::NotAnObject, _) => None,
        (_, None) => Some(format()),
        (Beginning::Cut, Some(_)) => match extent {
            Extent::Head => Some(Kind::Unclear),
            // A configuration is never several megabytes long.
            Extent::Most => Some(format()),
            Extent::Whole => is_json.then(text),
        },
        (Beginning::Whole(end), Some(missing)) => {
            let rest = first.get(end..).unwrap_or_default().trim_ascii_start();
            let follows = if is_array { rest.starts_with(',') } else { rest.starts_with('{') };
            let is_lines = !is_array && lines_or_more(first) == InputFormat::JsonLines;
            let no_field = || Refusal::NoField(missing.clone(), quoted_names(&names));
            match () {
                () if rest.is_empty() && extent == Extent::Head && !is_array => Some(Kind::Unclear),
                () if follows && is_lines => Some(Kind::Of(InputFormat::JsonLines)),
                () if (follows || is_array) && is_json => Some(Kind::Refused(no_field())),
                () => Some(text()),
            }
        }
    }
}

/// Returns JSON lines if the first object is alone on its line, as far as the bytes show.
fn lines_or_more(first: &str) -> InputFormat {
    let line = first.split('\n').next().unwrap_or(first);
    let is_cut = line.len() == first.len();
    match scan_beginning(line, &mut Vec::new()) {
        Beginning::Whole(end)
            if line.get(end..).is_none_or(|rest| rest.trim_ascii().is_empty()) =>
        {
            InputFormat::JsonLines
        }
        Beginning::Cut if is_cut => InputFormat::JsonLines,
        _ => InputFormat::Json,
    }
}

fn names(text: &str, entries: &[Entry]) -> Vec<String> {
    entries.iter().filter_map(|entry| text.get(entry.key.clone()).map(unescape)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use InputFormat::{Json, JsonLines, Text};

    fn fields(text_field: Option<&str>) -> TextFields {
        let text_field = text_field.map(str::to_owned);
        TextFields::of(&ReadOptions { text_field, ..ReadOptions::default() })
    }

    fn of(name: &str, head: &[u8], text_field: Option<&str>) -> Kind {
        detect(name, head, Extent::Whole, &fields(text_field))
    }

    fn no_field(expected: &str, got: &str) -> Kind {
        Kind::Refused(Refusal::NoField(expected.to_owned(), got.to_owned()))
    }

    #[test]
    fn names_and_first_records_decide() {
        let cases: [(&str, &[u8], InputFormat); 28] = [
            ("a.jsonl", b"{\"text\":1}\n", JsonLines),
            ("a.JSONL.zst", b"{", JsonLines),
            ("a.ndjson.gz", b"nonsense\0", JsonLines),
            ("a.jsonl", b"one\xe9", JsonLines),
            ("a.json", b"  {\"text\": \"x\"} \r\n{}", JsonLines),
            ("a.json", b"\xef\xbb\xbf{\"text\": \"x\"}\n", JsonLines),
            ("a.json", b"{\"text\": \"a line without an end", JsonLines),
            ("a.json.gz", b"{\"a\":1}\n{\"b", JsonLines),
            ("a.json", b"{\"text\":1}\nnot json", JsonLines),
            ("a.json", b"{\n  \"text\": 1\n}\n", Json),
            ("a.json", b"{\"text\": 1}{\"text\": 2}", Json),
            ("a.json", b"[{\"text\":\"\"}]\n", Json),
            ("a.json", b"\xef\xbb\xbf [\n {\n\"id\": 1,\n\"text\":\"", Json),
            ("a.txt", b"{\"text\": \"x\"}\n", Text),
            ("README", b"hello", Text),
            ("README", b"{hello}", Text),
            ("notes", b"[x] done\n[ ] to do", Text),
            ("empty.json", b"{ broken", Text),
            ("a.data", b"{\"text\": \"x\"}\n", JsonLines),
            ("part-00000", b"{ \"text\" : \"x\" }", JsonLines),
            ("a", b"\n{\"text\": \"x\"}", JsonLines),
            ("a.data", b"{\"a\":1}\n{\"a\":2}\n", JsonLines),
            ("a.data", b"{text: x}\n", Text),
            ("a.data.zst", b"{\"text\": \"x\"\n}", Json),
            ("a.md", b"{\"text\": \"x\"}\n", Text),
            ("a.jsonl", b"PAR1\x15", InputFormat::Parquet),
            ("a", b"ARROW1\0\0", InputFormat::ArrowFile),
            ("a.arrow", b"\xff\xff\xff\xff\x08\x01\0\0", InputFormat::ArrowStream),
        ];
        for (name, head, expected) in cases {
            let head_text = String::from_utf8_lossy(head);
            assert_eq!(of(name, head, None), Kind::Of(expected), "{name} {head_text}");
        }
    }

    #[test]
    fn a_field_that_is_asked_for_tells_records_from_texts() {
        let one = b"{\"id\": 0, \"body\": \"x\"}\n";
        assert_eq!(of("0.json", one, None), Kind::JsonText);
        assert_eq!(of("0.json", one, Some("body")), Kind::Of(JsonLines));
        assert_eq!(of("0.txt", one, Some("body")), Kind::Of(JsonLines));
        assert_eq!(of("0.json", one, Some("text")), no_field("text", "\"id\", \"body\""));
        assert_eq!(of("0.json", b"{\"m\":{\"a\":1}}", Some("m.a")), Kind::Of(JsonLines));
        assert_eq!(of("package.json", b"{\n \"name\": 1\n}", None), Kind::JsonText);
        assert_eq!(of("a.json", b"[{\"a\":1},{}]", None), no_field("text", "\"a\""));
        assert_eq!(of("a.json", b"[1,2]", None), Kind::JsonText);
        assert_eq!(of("a.json", b"[]", Some("text")), no_field("text", "none at all"));
        let refused = Kind::Refused(Refusal::NoFields("body".to_owned()));
        for (name, head) in [("a.txt", &b"words"[..]), ("a.rs", b"{\n"), ("a.json", b"12")] {
            assert_eq!(of(name, head, Some("body")), refused, "{name}");
        }
    }

    #[test]
    fn a_head_that_does_not_tell_is_unclear() {
        let long = format!("{{\"version\": 3, \"sources\": \"{}", "x".repeat(1000));
        let kind = |extent| detect("a.map", long.as_bytes(), extent, &fields(None));
        assert_eq!(kind(Extent::Head), Kind::Unclear);
        assert_eq!(kind(Extent::Most), Kind::Of(JsonLines));
        assert_eq!(kind(Extent::Whole), Kind::Of(Text));
        let seen = format!("{{\"id\": 1, \"text\": \"{}", "x".repeat(1000));
        assert_eq!(detect("a", seen.as_bytes(), Extent::Head, &fields(None)), Kind::Of(JsonLines));
    }

    #[test]
    fn tables_have_a_header_with_the_columns() {
        let table = |format, delimiter, columns: [&str; 2]| Kind::Table {
            format,
            delimiter,
            columns: columns.map(str::to_owned).into(),
        };
        let csv = InputFormat::Csv;
        assert_eq!(of("a.csv", b"id,text\n1,2", None), table(csv, b',', ["id", "text"]));
        assert_eq!(of("a.csv.gz", b"\"id\";\"text\"", None), table(csv, b';', ["id", "text"]));
        assert_eq!(
            of("a.tsv", b"x\ttext\r\n", None),
            table(InputFormat::Tsv, b'\t', ["x", "text"])
        );
        let refused = Refusal::NoColumn("text".to_owned(), "\"id\", \"body\"".to_owned());
        assert_eq!(of("a.csv", b"id,body\n1,2", None), Kind::Refused(refused));
        let foreign = |words| Kind::Refused(Refusal::Foreign(words));
        assert_eq!(of("a.csv", b"\"open", None), foreign("a table without a readable header"));
        assert_eq!(of("a.csv", b"id\0", None), foreign("binary data"));
        assert_eq!(of("a.txt", b"a\0b", None), foreign("binary data"));
        assert_eq!(of("a.jsonl", b"PK\x03\x04", None), foreign("a zip archive"));
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
        assert_eq!(of("a.json.gz", pointer, None), Kind::Refused(Refusal::Pointer));
    }
}
