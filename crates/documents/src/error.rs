//! What can go wrong between a path on the command line and a document.

use std::io;
use std::path::{Path, PathBuf};

use mixdown_base::error_kind::ErrorKind;

use crate::bytes::decompress::Compression;
use crate::inputs::format::InputFormat;
use crate::reading::document::{RecordFault, RecordPlace};

/// What a library says of a file's bytes.
pub(crate) type Damage = Box<dyn std::error::Error + Send + Sync>;

/// An input that cannot be listed, opened, decompressed or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No path was given at all.
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
    /// A given folder holds nothing that could be read as text.
    #[error(
        "folder {} holds no text, expected at least one file of JSON lines, JSON, CSV, UTF-8 text, \
         Parquet or Arrow IPC: {skipped_files} files were left out{}: check the path, its ignore rules \
         and patterns, or convert the files first",
        path.display(), in_brackets(reasons)
    )]
    EmptyFolder {
        /// The folder as given.
        path: PathBuf,
        /// Files below it that are not read.
        skipped_files: u64,
        /// The first of them, with the reasons.
        reasons: String,
    },
    /// A file of a given folder cannot be listed.
    #[error(
        "a file of the folder {} cannot be read: correct it, exclude it, or let files that cannot be \
         read be left out",
        path.display()
    )]
    InFolder {
        /// The folder as given.
        path: PathBuf,
        /// What is wrong with the file.
        source: Box<Self>,
    },
    /// A given file is plain text where a field was asked for.
    #[error(
        "input {} is plain text, which has no field \"{}\", expected records with it (JSON lines, JSON, \
         CSV, Parquet, Arrow IPC): leave the file out, or ask for no field to read whole texts",
        path.display(), expected.escape_debug()
    )]
    NoFields {
        /// The file.
        path: PathBuf,
        /// The field that was asked for.
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
        /// The field that was looked for.
        expected: String,
        /// The fields of the first record.
        got: String,
    },
    /// A given file is what Git LFS leaves in place of the data.
    #[error(
        "input {} is a Git LFS pointer, expected the data that it stands for: fetch them \
         (git lfs pull) and repeat the call",
        path.display()
    )]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// Documents of a text are to be parted at nothing.
    #[error("text separator: expected at least one character, got none")]
    EmptySeparator,
    /// A separator was given for texts and no input is one.
    #[error(
        "text separator: expected a plain text among the inputs, got none: leave the separator away, \
         or check the inputs"
    )]
    NothingToSeparate,
    /// The same file is reached twice.
    #[error("input {} is given twice (also as {}): name it once", path.display(), first.display())]
    GivenTwice {
        /// The second path.
        path: PathBuf,
        /// The path under which the file was listed first.
        first: PathBuf,
    },
    /// More files than a document's place can number.
    #[error("{got} input files, at most {expected} can be numbered: join some of them")]
    TooManyFiles {
        /// The limit.
        expected: u64,
        /// Files found.
        got: u64,
    },
    /// A given file holds nothing.
    #[error(
        "input {} is empty, expected JSON lines, JSON, CSV, UTF-8 text, Parquet or Arrow IPC: fetch it \
         again or leave it out",
        path.display()
    )]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A given file is of a kind that is not read.
    #[error(
        "input {} is {got}, expected JSON lines, JSON, CSV or UTF-8 text (plain, zstd or gzip), Parquet or \
         Arrow IPC: convert it first",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What its first bytes say it is.
        got: &'static str,
    },
    /// A pattern matches no file.
    #[error("no file matches {}, expected at least one: check the pattern", path.display())]
    NoMatch {
        /// The pattern as given.
        path: PathBuf,
    },
    /// A pattern cannot be read.
    #[error("the pattern \"{}\" cannot be parsed: correct it", got.escape_debug())]
    Pattern {
        /// The pattern as given.
        got: String,
        /// What is wrong with it.
        source: Damage,
    },
    /// A list of files is no text.
    #[error("the list {} is not UTF-8 text, expected one path a line: save it as UTF-8", path.display())]
    NotAList {
        /// The list.
        path: PathBuf,
    },
    /// Standard input holds what cannot be read from it, or is read a second time.
    #[error(
        "standard input: expected {expected}, got {got}: write the data to a file and give that"
    )]
    StandardInput {
        /// What can be read.
        expected: &'static str,
        /// What there is.
        got: String,
    },
    /// A file is not what its name says.
    #[error(
        "{} does not begin as its name says: expected {expected}, got \"{got}\": fetch the file \
         again or correct its name",
        path.display()
    )]
    WrongMagic {
        /// The file.
        path: PathBuf,
        /// What such a file begins with.
        expected: &'static str,
        /// The first bytes.
        got: String,
    },
    /// A columnar file has no such column.
    #[error(
        "{}: expected a column \"{}\", got {got}: name one of them",
        path.display(), expected.escape_debug()
    )]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column that was looked for.
        expected: String,
        /// The columns there are.
        got: String,
    },
    /// A column holds values of another type.
    #[error(
        "{}: expected {expected} in the column \"{}\", got {got}: name another column or convert it",
        path.display(), field.escape_debug()
    )]
    ColumnType {
        /// The file.
        path: PathBuf,
        /// The column.
        field: String,
        /// What it should hold.
        expected: &'static str,
        /// Its type.
        got: String,
    },
    /// A columnar file does not decode.
    #[error("{}: damaged {place}, expected {format} data: fetch or write the file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What it should hold.
        format: InputFormat,
        /// What the decoder says.
        source: Damage,
    },
    /// A record batch is larger than is held in memory.
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
    /// A record is longer than is held in memory.
    #[error(
        "{}: the record at {place} is longer than expected, at most {expected} bytes, got {got} or \
         more: split it, or allow longer ones (its size takes six times as much memory)",
        path.display()
    )]
    RecordTooLong {
        /// The file.
        path: PathBuf,
        /// Where the record starts: `byte 10` of the decompressed file, or `row 3`.
        place: String,
        /// The limit in bytes.
        expected: u64,
        /// Bytes of the record read so far.
        got: u64,
    },
    /// Conversations are to be read and nothing says how they are rendered.
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
        /// The template's line, where it is known.
        line: Option<u64>,
        /// The engine's words.
        got: String,
    },
    /// More bad records than are tolerated.
    #[error(
        "{}: {place}: {fault}; bad records so far {got}, tolerated \
         {expected}: mend the record or let more of them be skipped (--skip-bad {got})",
        path.display()
    )]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Where the record is.
        place: RecordPlace,
        /// What is wrong with it.
        fault: RecordFault,
        /// Bad records that are tolerated.
        expected: u64,
        /// Bad records up to and with this one.
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
        /// How it is compressed.
        compression: Compression,
        /// Bytes that could be decompressed.
        offset_bytes: u64,
        /// The decoder's own words.
        source: io::Error,
    },
    /// A compressed file does not decompress.
    #[error(
        "{}: damaged after {offset_bytes} decompressed bytes, expected {compression} data: fetch \
         the file again",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// How it is compressed.
        compression: Compression,
        /// Bytes that could be decompressed.
        offset_bytes: u64,
        /// The decoder's own words.
        source: io::Error,
    },
    /// A file's length is not the one it had when the inputs were listed.
    #[error(
        "{} changed while it was read: expected {expected} bytes, got {got}: keep the inputs \
         still and start again",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Bytes when it was listed.
        expected: u64,
        /// Bytes now.
        got: u64,
    },
    /// A zstd frame asks for more memory than a frame may have.
    #[error(
        "{}: a zstd frame has a larger window than expected, at most 2 GiB (--long=31), after \
         {offset_bytes} decompressed bytes: compress the file again with a smaller one",
        path.display()
    )]
    WindowTooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that could be decompressed.
        offset_bytes: u64,
        /// The decoder's own words.
        source: io::Error,
    },
    /// The operating system refused a read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
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
