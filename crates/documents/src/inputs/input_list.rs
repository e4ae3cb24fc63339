//! The fixed list of input files, which determines every document's place.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::bytes::decompress::{Compression, Decompressed};
use crate::error::Error;
use crate::inputs::discovery::Discovery;
use crate::inputs::format::InputFormat;
use crate::inputs::layout::Layout;
use crate::json::raw::{Raw, is_standard_input};
use crate::reading::document::{BadRecord, ReadOptions, RecordFault, RecordPlace};
use crate::reading::wanted::Wanted;

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Its path; `-` is standard input.
    pub path: PathBuf,
    /// Its path relative to the given folder, with `/` between parts; the bare file name if the file itself was given.
    pub name: String,
    /// Its length on disk when the list was made; 0 for standard input.
    pub bytes: u64,
    /// Its format.
    pub format: InputFormat,
    /// Its compression.
    pub compression: Compression,
    /// The maximum size of a record in bytes.
    pub(crate) max_record_bytes: u64,
    pub(crate) layout: Layout,
}

impl InputFile {
    /// Returns whether it is standard input, which is read once and has no length.
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert!(!inputs.files()[0].is_standard_input());
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn is_standard_input(&self) -> bool {
        is_standard_input(&self.path)
    }

    /// Estimates the bytes of text in the file: from the index of a columnar file; for a compressed file as four times
    /// its length, the usual ratio for text.
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert_eq!(inputs.files()[0].text_bytes_estimate(), 32);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn text_bytes_estimate(&self) -> u64 {
        match (&self.layout, self.compression) {
            (Layout::Stream | Layout::Pieces(_), Compression::None) => self.bytes,
            (Layout::Stream | Layout::Pieces(_), _) => self.bytes.saturating_mul(4),
            (layout, _) => layout.text_bytes(),
        }
    }
}

/// The input files in a fixed order: as given, a folder's files in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputList {
    files: Vec<InputFile>,
    left_out: Vec<Remark>,
    read_as_text: Vec<Remark>,
    wanted: Vec<Wanted>,
}

/// A file and a remark about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// Its name: the path relative to the folder that was given.
    pub name: String,
    /// The remark.
    pub reason: String,
}

/// Joins the first few remarks into one line.
///
/// ```
/// use mixdown_documents::{Remark, summary};
///
/// let remark = Remark { name: "a.png".into(), reason: "binary data".into() };
/// assert_eq!(summary(&[remark]), "a.png (binary data)");
/// ```
#[must_use]
pub fn summary(remarks: &[Remark]) -> String {
    const NAMED_AT_MOST: usize = 5;
    let named = remarks.iter().take(NAMED_AT_MOST);
    let mut said: Vec<_> = named
        .map(|Remark { name, reason }| format!("{} ({reason})", name.escape_debug()))
        .collect();
    if remarks.len() > NAMED_AT_MOST {
        said.push(format!("and {} more", remarks.len() - NAMED_AT_MOST));
    }
    said.join(", ")
}

impl InputList {
    /// Lists the files for `paths` with default reading options: all columns of columnar files are read.
    ///
    /// # Errors
    /// Those of [`InputList::discover_with`], except those of columns.
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert_eq!(inputs.files()[0].name, "a.jsonl");
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn discover(paths: &[PathBuf]) -> Result<Self, Error> {
        Self::list(paths, &ReadOptions::default(), Vec::new())
    }

    /// Lists the files for `paths`.
    ///
    /// A path is a file, a folder, a pattern (`*`, `?`, `[..]`, `{a,b}`, `**`) if nothing has that exact name, `-` for
    /// standard input, or `@FILE` for a list of files and folders in FILE, one per line (`@-` reads the list from
    /// standard input).
    ///
    /// A given file must exist, be non-empty and have a supported format. Listing reads the index of a columnar file
    /// and checks its columns, and reads the header of a table; everything else is checked during reading. A folder is
    /// walked recursively in the order of names (bytes). Hidden entries and what the [`Selection`](crate::Selection)
    /// excludes are skipped; links are followed, each folder once. The format of each file is detected as for a given
    /// file. A file that would be refused there (binary data, a text where a field is requested), an empty file and a
    /// corpus are left out and recorded in [`InputList::left_out`]. A pattern matches names only, as in a shell.
    ///
    /// # Errors
    /// No path was given; a path does not exist, is neither file nor folder, is given twice, is empty, has an
    /// unsupported format or not the one that its name claims; a pattern matches nothing; a folder has no text, or a
    /// file that cannot be read unless such files are left out; a compressed file's head is damaged; a columnar file's
    /// index is damaged or lacks a requested column; the system refuses a read; a separator for texts was given without
    /// a text.
    ///
    /// ```
    /// use mixdown_documents::{InputList, ReadOptions};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// std::fs::write(folder.path().join("a.jsonl"), "{\"body\": \"one\"}\n").unwrap();
    /// std::fs::write(folder.path().join("b.bin"), [0, 1, 2, 3]).unwrap();
    /// let options = ReadOptions { text_field: Some("body".into()), ..ReadOptions::default() };
    /// let inputs = InputList::discover_with(&[folder.path().into()], &options)?;
    /// assert_eq!((inputs.files().len(), inputs.left_out().len()), (1, 1));
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    pub fn discover_with(paths: &[PathBuf], options: &ReadOptions) -> Result<Self, Error> {
        Self::list(paths, options, options.wanted())
    }

    fn list(paths: &[PathBuf], options: &ReadOptions, wanted: Vec<Wanted>) -> Result<Self, Error> {
        let mut discovery = Discovery::new(options, wanted)?;
        discovery.add_all(paths)?;
        let Discovery { files, left_out, read_as_text, wanted, .. } = discovery;
        Ok(Self { files, left_out, read_as_text, wanted })
    }

    /// Returns the files in order.
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert_eq!(inputs.files().len(), 1);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// Returns the file of a [`Place`](crate::Place).
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert!(inputs.file(0).is_some() && inputs.file(1).is_none());
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn file(&self, input: u32) -> Option<&InputFile> {
        self.files.get(usize::try_from(input).ok()?)
    }

    /// Returns the size of all files on disk in bytes.
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert_eq!(inputs.total_bytes(), 32);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Returns the files in folders that are not read, with the reasons.
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert!(inputs.left_out().is_empty());
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn left_out(&self) -> &[Remark] {
        &self.left_out
    }

    /// Returns the JSON files that are read as whole texts because they hold no records with the text field.
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert!(inputs.read_as_text().is_empty());
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn read_as_text(&self) -> &[Remark] {
        &self.read_as_text
    }

    /// Returns the number of files in folders that are not read.
    ///
    /// ```
    /// use mixdown_documents::InputList;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert_eq!(inputs.skipped_files(), 0);
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn skipped_files(&self) -> u64 {
        u64::try_from(self.left_out.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// Returns the error for the bad record that exceeds the limit. It finds the line by reading the file again up to
    /// the record, so only a failure pays for line numbers.
    ///
    /// ```
    /// use mixdown_documents::{ChunkReader, InputList, ReadOptions};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// let chunk = ChunkReader::open(&inputs, 0, 0)?.next_before(u64::MAX)?.unwrap();
    /// let options = ReadOptions::default();
    /// let bad = chunk.records(&options).find_map(Result::err).unwrap();
    /// assert!(inputs.bad_record_error(&bad, 1, 0).to_string().contains("line 2"));
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn bad_record_error(&self, bad: &BadRecord, got: u64, expected: u64) -> Error {
        let Some(file) = self.file(bad.place.input) else { return Error::NoInput };
        match place_of(file, bad) {
            Ok(place) => Error::BadRecord {
                path: file.path.clone(),
                place,
                fault: bad.fault.clone(),
                expected,
                got,
            },
            Err(error) => error,
        }
    }
}

fn place_of(file: &InputFile, bad: &BadRecord) -> Result<RecordPlace, Error> {
    let offset_bytes = bad.place.offset;
    if file.format.is_columnar() {
        return Ok(RecordPlace::Row(offset_bytes));
    }
    if file.is_standard_input() {
        return Ok(RecordPlace::Byte(offset_bytes));
    }
    Ok(RecordPlace::Line { line: line_at(file, fault_offset(bad))?, offset_bytes })
}

/// Returns the position of the fault in the file, or else the start of the record.
fn fault_offset(bad: &BadRecord) -> u64 {
    match bad.fault {
        RecordFault::InvalidUtf8 { offset_bytes, .. } => offset_bytes,
        _ => bad.place.offset,
    }
}

/// Returns the line, counted from 1, of a byte of the decompressed file.
fn line_at(file: &InputFile, offset_bytes: u64) -> Result<u64, Error> {
    let raw = Raw::open(&file.path)?;
    let mut reader = Decompressed::new(&file.path, raw, file.compression, 0)?;
    let (mut line, mut left, mut block) = (1_u64, offset_bytes, Vec::new());
    while left > 0 {
        block.clear();
        let got = reader.read_onto(&mut block, left.min(1 << 20))?;
        if got == 0 {
            break;
        }
        let newlines = memchr::memchr_iter(b'\n', &block).count();
        line += u64::try_from(newlines).unwrap_or(0);
        left -= got;
    }
    Ok(line)
}

/// Returns the last part of a path.
pub(crate) fn own_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
