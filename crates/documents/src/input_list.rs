//! The frozen list of input files, from which every document's place follows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::decompress::{Compression, Decompressed};
use crate::document::BadRecord;
use crate::error::Error;
use crate::folder::files_below;
use crate::format::{InputFormat, Origin, is_text, known_binary};

/// Bytes of a file's head that its format is told from.
const HEAD_BYTES: u64 = 8192;

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path relative to the folder that was given, `/` between parts; the bare file name of a
    /// file that was given itself.
    pub name: String,
    /// Its length on disk when the list was made.
    pub bytes: u64,
    /// How it holds documents.
    pub format: InputFormat,
    /// How it is compressed.
    pub compression: Compression,
}

/// The input files in their one order: as given, a folder's files in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputList {
    files: Vec<InputFile>,
    skipped_files: u64,
}

impl InputList {
    /// Lists the files behind `paths`.
    ///
    /// A file that is given must exist, hold something and be of a kind that is read; its
    /// contents are checked when they are read. A folder is walked recursively in the order of
    /// names (bytes); hidden entries, links to folders, empty files and files whose first
    /// 8 KiB are not UTF-8 text (decompressed where they are compressed) are passed over, so a
    /// folder of sources may hold images. The extension decides nothing but JSON lines or text.
    ///
    /// # Errors
    /// No path; a path that does not exist, is neither file nor folder, is given twice, is empty
    /// or of a foreign kind; a folder without text; a compressed file whose head is damaged; a
    /// refused read.
    pub fn discover(paths: &[PathBuf]) -> Result<Self, Error> {
        if paths.is_empty() {
            return Err(Error::NoInput);
        }
        let mut list = Self { files: Vec::new(), skipped_files: 0 };
        for path in paths {
            let metadata = fs::metadata(path).map_err(|source| missing_or_io(path, source))?;
            if metadata.is_dir() {
                list.add_folder(path)?;
            } else if metadata.is_file() {
                list.add_file(path)?;
            } else {
                return Err(Error::NotAFile { path: path.clone() });
            }
        }
        list.check()?;
        Ok(list)
    }

    /// The files, in order.
    #[must_use]
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// The file of a [`Place`](crate::Place).
    #[must_use]
    pub fn file(&self, input: u32) -> Option<&InputFile> {
        self.files.get(usize::try_from(input).ok()?)
    }

    /// Bytes of all files on disk.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Files of folders that were passed over as empty or not text.
    #[must_use]
    pub fn skipped_files(&self) -> u64 {
        self.skipped_files
    }

    /// The error for a bad record that is one too many: finds its line by reading the file again
    /// up to it, which only a failure pays for.
    #[must_use]
    pub fn bad_record_error(&self, bad: &BadRecord, got: u64, expected: u64) -> Error {
        let Some(file) = self.file(bad.place.input) else { return Error::NoInput };
        match line_at(file, fault_offset(bad)) {
            Ok(line) => Error::BadRecord {
                path: file.path.clone(),
                line,
                offset_bytes: bad.place.offset,
                fault: bad.fault.clone(),
                expected,
                got,
            },
            Err(error) => error,
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let probe = Probe::of(path)?;
        if probe.head.is_empty() {
            return Err(Error::EmptyFile { path: path.to_owned() });
        }
        if let Some(got) = known_binary(&probe.head) {
            return Err(Error::Unsupported { path: path.to_owned(), got });
        }
        self.push(path, name, probe, Origin::Given);
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), Error> {
        let (before, skipped_before) = (self.files.len(), self.skipped_files);
        for (path, name) in files_below(folder)? {
            let probe = Probe::of(&path)?;
            if probe.head.is_empty() || known_binary(&probe.head).is_some() || !is_text(&probe.head)
            {
                self.skipped_files += 1;
            } else {
                self.push(&path, name, probe, Origin::Folder);
            }
        }
        if self.files.len() == before {
            let skipped_files = self.skipped_files - skipped_before;
            return Err(Error::EmptyFolder { path: folder.to_owned(), skipped_files });
        }
        Ok(())
    }

    fn push(&mut self, path: &Path, name: String, probe: Probe, origin: Origin) {
        let format = InputFormat::detect(&name, &probe.head, origin);
        let Probe { bytes, compression, .. } = probe;
        self.files.push(InputFile { path: path.to_owned(), name, bytes, format, compression });
    }

    /// Every file once, and not more than a place can number.
    fn check(&self) -> Result<(), Error> {
        let got = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
        let expected = u64::from(u32::MAX);
        if got > expected {
            return Err(Error::TooManyFiles { expected, got });
        }
        let mut seen = BTreeMap::new();
        for file in &self.files {
            let real =
                fs::canonicalize(&file.path).map_err(|source| missing_or_io(&file.path, source))?;
            if let Some(first) = seen.insert(real, &file.path) {
                return Err(Error::GivenTwice { path: file.path.clone(), first: first.clone() });
            }
        }
        Ok(())
    }
}

/// What a file's first bytes tell.
struct Probe {
    bytes: u64,
    compression: Compression,
    /// The first decompressed bytes.
    head: Vec<u8>,
}

impl Probe {
    fn of(path: &Path) -> Result<Self, Error> {
        let io_error = |source| missing_or_io(path, source);
        let file = File::open(path).map_err(io_error)?;
        let bytes = file.metadata().map_err(io_error)?.len();
        let mut head = Vec::new();
        Decompressed::new(path, file, Compression::None, 0)?
            .read_onto(path, &mut head, HEAD_BYTES)?;
        let compression = Compression::detect(&head);
        if compression != Compression::None {
            head.clear();
            let file = File::open(path).map_err(io_error)?;
            Decompressed::new(path, file, compression, 0)?
                .read_onto(path, &mut head, HEAD_BYTES)?;
        }
        Ok(Self { bytes, compression, head })
    }
}

/// Where in the file the fault itself is, or else where the record starts.
fn fault_offset(bad: &BadRecord) -> u64 {
    match bad.fault {
        crate::document::RecordFault::InvalidUtf8 { offset_bytes, .. } => offset_bytes,
        _ => bad.place.offset,
    }
}

/// The line, from 1, of a byte of the decompressed file.
fn line_at(file: &InputFile, offset_bytes: u64) -> Result<u64, Error> {
    let raw = File::open(&file.path).map_err(|source| missing_or_io(&file.path, source))?;
    let mut reader = Decompressed::new(&file.path, raw, file.compression, 0)?;
    let (mut line, mut left, mut block) = (1_u64, offset_bytes, Vec::new());
    while left > 0 {
        block.clear();
        let got = reader.read_onto(&file.path, &mut block, left.min(1 << 20))?;
        if got == 0 {
            break;
        }
        let newlines = block.iter().filter(|&&byte| byte == b'\n').count();
        line += u64::try_from(newlines).unwrap_or(0);
        left -= got;
    }
    Ok(line)
}

pub(crate) fn missing_or_io(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        Error::Missing { path }
    } else {
        Error::Io { path, source }
    }
}
