//! Errors between an input path and a document.

use std::io;
use std::path::{Path, PathBuf};

use mixdown_base::error_kind::ErrorKind;

use crate::bytes::decompress::Compression;
use crate::inputs::format::InputFormat;
use crate::reading::document::{RecordFault, RecordPlace};

/// A library's error about a file's bytes.
pub(crate) type Damage = Box<dyn std::error::Error + Send + Sync>;

/// An input that cannot be listed, opened, decompressed or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No path was given.
    #[error("no input was given: name at least one file or folder")]
    NoInput,
    /// A given path does not exist.
    #[error("input {} does not exist, expected a file or a folder: check the path", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// A given path is neither a regular file nor a folder.
    #[error("input {} is neither a regular file nor a folder: copy its data into a file and give that", path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
    },
    /// A given folder contains no file that could be read as text.
    #[error(
        "folder {} holds no text, expected at least one file of JSON lines, JSON, CSV, UTF-8 text, \
         Parquet or Arrow IPC: {skipped_files} files were left out{}: check the path, its ignore rules \
         and patterns, or convert the files first",
        path.display(), in_brackets(reasons)
    )]
    EmptyFolder {
        /// The folder as given.
        path: PathBuf,
        /// Files below it that were left out.
        skipped_files: u64,
        /// The first of them, with the reasons.
        reasons: String,
    },
    /// A file in a given folder cannot be listed.
    #[error(
        "a file of the folder {} cannot be read: correct it, exclude it, or let files that cannot be \
         read be left out",
        path.display()
    )]
    InFolder {
        /// The folder as given.
        path: PathBuf,
        /// The error of the file.
        source: Box<Self>,
    },
    /// A given file is plain text although a field was requested.
    #[error(
        "input {} is plain text, which has no field \"{}\", expected records with it (JSON lines, JSON, \
         CSV, Parquet, Arrow IPC): leave the file out, or ask for no field to read whole texts",
        path.display(), expected.escape_debug()
    )]
    NoFields {
        /// The file.
        path: PathBuf,
        /// The requested field.
        expected: String,
    },
    /// The records of a given file lack the field that holds the text.
    #[error(
        "input {}: expected records with the field \"{}\", got {got}: name one of these as the field of \
         the text, or leave the file out",
        path.display(), expected.escape_debug()
    )]
    NoRecordField {
        /// The file.
        path: PathBuf,
        /// The missing field.
        expected: String,
        /// The fields of the first record.
        got: String,
    },
    /// A given file is the pointer that Git LFS leaves in place of the data.
    #[error(
        "input {} is a Git LFS pointer, expected the data that it stands for: fetch them \
         (git lfs pull) and repeat the call",
        path.display()
    )]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// The separator between the documents of a text is empty.
    #[error("text separator: expected at least one character, got none")]
    EmptySeparator,
    /// A separator was given for texts, but no input is a text.
    #[error(
        "text separator: expected a plain text among the inputs, got none: leave the separator away, \
         or check the inputs"
    )]
    NothingToSeparate,
    /// The same file is reached through two inputs.
    #[error("input {} is given twice (also as {}): name it once", path.display(), first.display())]
    GivenTwice {
        /// The second path.
        path: PathBuf,
        /// The path under which the file was listed first.
        first: PathBuf,
    },
    /// There are more files than a document's place can number.
    #[error("{got} input files, at most {expected} can be numbered: join some of them")]
    TooManyFiles {
        /// The limit.
        expected: u64,
        /// Files found.
        got: u64,
    },
    /// A given file is empty.
    #[error(
        "input {} is empty, expected JSON lines, JSON, CSV, UTF-8 text, Parquet or Arrow IPC: fetch it \
         again or leave it out",
        path.display()
    )]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A given file has a format that is not supported.
    #[error(
        "input {} is {got}, expected JSON lines, JSON, CSV or UTF-8 text (plain, zstd or gzip), Parquet or \
         Arrow IPC: convert it first",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The format that its first bytes indicate.
        got: &'static str,
    },
    /// A pattern matches no file.
    #[error("no file matches {}, expected at least one: check the pattern", path.display())]
    NoMatch {
        /// The pattern as given.
        path: PathBuf,
    },
    /// A pattern cannot be parsed.
    #[error("the pattern \"{}\" cannot be parsed: correct it", got.escape_debug())]
    Pattern {
        /// The pattern as given.
        got: String,
        /// The parser's error.
        source: Damage,
    },
    /// A list of files is not text.
    #[error("the list {} is not UTF-8 text, expected one path a line: save it as UTF-8", path.display())]
    NotAList {
        /// The list.
        path: PathBuf,
    },
    /// Standard input holds unsupported data, or is read a second time.
    #[error(
        "standard input: expected {expected}, got {got}: write the data to a file and give that"
    )]
    StandardInput {
        /// The supported data.
        expected: &'static str,
        /// The data that were found.
        got: String,
    },
    /// A file's content does not match its name.
    #[error(
        "{} does not begin as its name says: expected {expected}, got \"{got}\": fetch the file \
         again or correct its name",
        path.display()
    )]
    WrongMagic {
        /// The file.
        path: PathBuf,
        /// The bytes with which such a file begins.
        expected: &'static str,
        /// The first bytes.
        got: String,
    },
    /// A columnar file lacks a column.
    #[error(
        "{}: expected a column \"{}\", got {got}: name one of them",
        path.display(), expected.escape_debug()
    )]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The missing column.
        expected: String,
        /// The existing columns.
        got: String,
    },
    /// A column holds values of an unsupported type.
    #[error(
        "{}: expected {expected} in the column \"{}\", got {got}: name another column or convert it",
        path.display(), field.escape_debug()
    )]
    ColumnType {
        /// The file.
        path: PathBuf,
        /// The column.
        field: String,
        /// The expected type.
        expected: &'static str,
        /// Its type.
        got: String,
    },
    /// A columnar file cannot be decoded.
    #[error("{}: damaged {place}, expected {format} data: fetch or write the file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The place of the damage.
        place: String,
        /// The expected format.
        format: InputFormat,
        /// The decoder's error.
        source: Damage,
    },
    /// A record batch exceeds the memory limit.
    #[error(
        "{}: expected record batches of at most {expected} bytes, got {got}: write it with smaller \
         batches",
        path.display()
    )]
    BatchTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        expected: u64,
        /// Bytes of the largest batch.
        got: u64,
    },
    /// A record exceeds the memory limit.
    #[error(
        "{}: the record at {place} is longer than expected, at most {expected} bytes, got {got} or \
         more: split it, or allow longer ones (its size takes six times as much memory)",
        path.display()
    )]
    RecordTooLong {
        /// The file.
        path: PathBuf,
        /// The start of the record: `byte 10` of the decompressed file, or `row 3`.
        place: String,
        /// The limit in bytes.
        expected: u64,
        /// Bytes of the record read so far.
        got: u64,
    },
    /// Conversations were requested without a chat template to render them.
    #[error(
        "no chat template was given, expected one for conversations (the option chat_template)"
    )]
    NoChatTemplate,
    /// A chat template is not valid Jinja.
    #[error(
        "{}: {}expected a chat template in Jinja, got an error: {got}; correct it or give another \
         (the option chat_template)",
        path.display(), line.map(|line| format!("line {line}: ")).unwrap_or_default()
    )]
    ChatTemplate {
        /// The file that holds the template.
        path: PathBuf,
        /// The template's line, if it is known.
        line: Option<u64>,
        /// The template engine's message.
        got: String,
    },
    /// There are more bad records than allowed.
    #[error(
        "{}: {place}: {fault}; bad records so far {got}, tolerated \
         {expected}: mend the record or tolerate {got} (the option skip_bad)",
        path.display()
    )]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// The place of the record.
        place: RecordPlace,
        /// The fault of the record.
        fault: RecordFault,
        /// The number of bad records allowed.
        expected: u64,
        /// The number of bad records including this one.
        got: u64,
    },
    /// A compressed file ends in the middle of a frame or member.
    #[error(
        "{}: the {compression} data end too early, after {offset_bytes} decompressed bytes: \
         the file is truncated, fetch it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The compression format.
        compression: Compression,
        /// The number of bytes that could be decompressed.
        offset_bytes: u64,
        /// The decoder's error.
        source: io::Error,
    },
    /// A compressed file cannot be decompressed.
    #[error(
        "{}: damaged after {offset_bytes} decompressed bytes, expected {compression} data: fetch \
         the file again",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The compression format.
        compression: Compression,
        /// The number of bytes that could be decompressed.
        offset_bytes: u64,
        /// The decoder's error.
        source: io::Error,
    },
    /// A file's length has changed since the inputs were listed.
    #[error(
        "{} changed while it was read: expected {expected} bytes, got {got}: keep the inputs \
         still and start again",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The length in bytes when it was listed.
        expected: u64,
        /// The current length in bytes.
        got: u64,
    },
    /// A zstd frame requires more memory than allowed.
    #[error(
        "{}: a zstd frame has a larger window than expected, at most 2 GiB (--long=31), after \
         {offset_bytes} decompressed bytes: compress the file again with a smaller one",
        path.display()
    )]
    WindowTooLarge {
        /// The file.
        path: PathBuf,
        /// The number of bytes that could be decompressed.
        offset_bytes: u64,
        /// The decoder's error.
        source: io::Error,
    },
    /// The operating system refused a read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Returns the kind: whether the request, the data or the machine is at fault.
    ///
    /// ```
    /// use mixdown_base::error_kind::ErrorKind;
    /// use mixdown_documents::InputList;
    ///
    /// let error = InputList::discover(&["no/such/file".into()]).unwrap_err();
    /// assert_ne!(error.kind(), ErrorKind::Interrupted);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InFolder { source, .. } => source.kind(),
            Self::NoInput
            | Self::NoFields { .. }
            | Self::NoRecordField { .. }
            | Self::EmptySeparator
            | Self::NothingToSeparate
            | Self::Missing { .. }
            | Self::NotAFile { .. }
            | Self::EmptyFolder { .. }
            | Self::GivenTwice { .. }
            | Self::TooManyFiles { .. }
            | Self::NoChatTemplate
            | Self::ChatTemplate { .. }
            | Self::Unsupported { .. }
            | Self::NoMatch { .. }
            | Self::Pattern { .. }
            | Self::NotAList { .. }
            | Self::StandardInput { .. }
            | Self::NoColumn { .. }
            | Self::ColumnType { .. } => ErrorKind::Configuration,
            Self::Io { .. } => ErrorKind::Other,
            _ => ErrorKind::Data,
        }
    }
}

fn in_brackets(reasons: &str) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({reasons})") }
}
