//! The stored bytes of an input.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::Error;
use crate::inputs::input_list::InputFile;
use crate::inputs::standard_input;

/// An opened input.
pub(crate) struct Raw {
    reader: Box<dyn Read + Send>,
}

impl Raw {
    /// Opens a file, or standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::open_at(path, 0)
    }

    /// Opens a file at a byte.
    pub(crate) fn open_at(path: &Path, start: u64) -> Result<Self, Error> {
        if is_standard_input(path) {
            let reader = standard_input::open().ok_or_else(|| Error::StandardInput {
                expected: "that it is read once",
                got: "a second reading".to_owned(),
            })?;
            return Ok(Self { reader: Box::new(reader) });
        }
        let mut file = File::open(path).map_err(|source| missing_or_io(path, source))?;
        file.seek(SeekFrom::Start(start)).map_err(|source| Error::io(path, source))?;
        Ok(Self { reader: Box::new(file) })
    }

    /// Returns an input of bytes that were already read.
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Self {
        Self { reader: Box::new(io::Cursor::new(bytes)) }
    }
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// Refuses a file whose length has changed since it was listed.
pub(crate) fn check_unchanged(file: &InputFile) -> Result<(), Error> {
    let path = &file.path;
    if file.is_standard_input() {
        return Ok(());
    }
    let got = fs::metadata(path).map_err(|source| missing_or_io(path, source))?.len();
    if got == file.bytes {
        return Ok(());
    }
    Err(Error::Changed { path: path.clone(), expected: file.bytes, got })
}

/// Refuses a file that was read to its end but had another length than listed.
pub(crate) fn check_length(file: &InputFile, got: u64) -> Result<(), Error> {
    let expected = file.bytes;
    if expected == got || file.is_standard_input() {
        return Ok(());
    }
    Err(Error::Changed { path: file.path.clone(), expected, got })
}

/// Returns whether a path means standard input.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == standard_input::NAME
}

pub(crate) fn missing_or_io(path: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::NotFound {
        Error::Missing { path: path.to_owned() }
    } else {
        Error::io(path, source)
    }
}
