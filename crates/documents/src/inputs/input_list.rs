//! The frozen list of input files, from which every document's place follows.

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
    /// Where it is; `-` is standard input.
    pub path: PathBuf,
    /// Its path relative to the folder that was given, `/` between parts; the bare file name of a
    /// file that was given itself.
    pub name: String,
    /// Its length on disk when the list was made; 0 for standard input.
    pub bytes: u64,
    /// How it holds documents.
    pub format: InputFormat,
    /// How it is compressed.
    pub compression: Compression,
    /// The most bytes of a record.
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

    /// Estimates the bytes of text in the file: from the index of a columnar file; four times the length of a
    /// compressed one, the usual ratio of text.
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

/// The input files in their one order: as given, a folder's files in the order of their names.
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

/// Joins the first few of some remarks in one line.
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
    /// Lists the files behind `paths` for default options of reading: all columns of columnar files are read.
    ///
    /// # Errors
    /// As [`InputList::discover_with`], except those of columns.
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

    /// Lists the files behind `paths`.
    ///
    /// A path is a file, a folder, a pattern (`*`, `?`, `[..]`, `{a,b}`, `**`) where nothing bears
    /// that name, `-` for standard input, or `@FILE` for the paths of files and folders in FILE, one
    /// a line (`@-` reads them from standard input).
    ///
    /// A file that is given must exist, hold something and be of a kind that is read; of columnar
    /// files the index is read and the columns are checked, of tables the header, all else when it is
    /// read. A folder is walked recursively in the order of names (bytes). Hidden entries and what the
    /// [`Selection`](crate::Selection) leaves out are passed over; links are followed, each folder
    /// once. What a file is, is told by the same rule as for a file that is given: one that would be
    /// refused there (binary data, a text where a field is asked for), an empty one and a corpus are
    /// left out and kept in [`InputList::left_out`]. A pattern goes by names alone, as a shell does.
    ///
    /// # Errors
    /// No path; a path that does not exist, is neither file nor folder, is given twice, is empty,
    /// of a foreign kind or not what its name promises; a pattern that matches nothing; a folder
    /// without text, or with a file that cannot be read unless such files are left out; a compressed
    /// file whose head is damaged; a columnar file whose index is damaged or that lacks a column that
    /// is read; a refused read; a separator for texts without a text.
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

    /// Returns the files of folders that are not read, with the reasons.
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

    /// Returns the number of files of folders that are not read.
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

/// Where in the file the fault itself is, or else where the record starts.
fn fault_offset(bad: &BadRecord) -> u64 {
    match bad.fault {
        RecordFault::InvalidUtf8 { offset_bytes, .. } => offset_bytes,
        _ => bad.place.offset,
    }
}

/// The line, from 1, of a byte of the decompressed file.
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

/// The last part of a path.
pub(crate) fn own_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
