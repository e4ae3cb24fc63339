use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::Error;

/// A file read at given offsets, by any number of threads at once.
///
/// Nothing of it is mapped: a file that is truncated under us is an ordinary error.
#[derive(Debug)]
pub struct PositionedFile {
    file: Inner,
    path: PathBuf,
}

#[cfg(unix)]
type Inner = Pread;
#[cfg(not(unix))]
type Inner = Seeking;

impl PositionedFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// The file is missing or may not be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self { file: Inner::new(file), path: path.to_owned() })
    }

    /// The file's size now.
    ///
    /// # Errors
    /// The system does not say.
    pub fn len_bytes(&self) -> Result<u64, Error> {
        self.file.len_bytes().map_err(Error::io("read the size of", &self.path))
    }

    /// Fills `out` from `offset_bytes` on.
    ///
    /// # Errors
    /// The file ends before, or cannot be read.
    pub fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact_at(out, offset_bytes).map_err(|source| {
            if source.kind() != io::ErrorKind::UnexpectedEof {
                return Error::io("read", &self.path)(source);
            }
            let expected = format!("{} more bytes", out.len());
            Error::damaged(&self.path, Some(offset_bytes), expected, "the end of the file")
        })
    }

    /// Reads `len_bytes` from `offset_bytes` on; allocates no more than the file really has.
    pub(crate) fn read_vec(&self, offset_bytes: u64, len_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.read_into(offset_bytes, len_bytes, &mut bytes)?;
        Ok(bytes)
    }

    /// As [`PositionedFile::read_vec`] into a vector that keeps its memory from call to call.
    pub(crate) fn read_into(
        &self,
        offset_bytes: u64,
        len_bytes: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let end = offset_bytes.checked_add(len_bytes);
        let got_bytes = self.len_bytes()?;
        let len =
            usize::try_from(len_bytes).ok().filter(|_| end.is_some_and(|end| end <= got_bytes));
        let Some(len) = len else {
            let expected = format!("{len_bytes} more bytes");
            let got = format!("a file of {got_bytes} bytes");
            return Err(Error::damaged(&self.path, Some(offset_bytes), expected, got));
        };
        bytes.resize(len, 0);
        self.read(offset_bytes, bytes)
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct Pread(File);

#[cfg(unix)]
impl Pread {
    fn new(file: File) -> Self {
        Self(file)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_exact_at(&self, out: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset_bytes)
    }
}

/// For systems without pread: the cursor is shared, so a lock holds seek and read together.
#[cfg(any(not(unix), test))]
#[derive(Debug)]
struct Seeking(std::sync::Mutex<File>);

#[cfg(any(not(unix), test))]
impl Seeking {
    fn new(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.lock().metadata().map(|metadata| metadata.len())
    }

    fn read_exact_at(&self, out: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        use std::io::{Read, Seek};
        let mut file = self.lock();
        file.seek(io::SeekFrom::Start(offset_bytes))?;
        file.read_exact(out)
    }

    /// A poisoned lock is as good: every read seeks first.
    fn lock(&self) -> std::sync::MutexGuard<'_, File> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_read_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = PositionedFile::open(&path).unwrap();
        let seeking = Seeking::new(File::open(&path).unwrap());
        assert_eq!(file.len_bytes().unwrap(), seeking.len_bytes().unwrap());
        for offset in (0..8).rev() {
            let mut ours = [0; 3];
            let mut theirs = [0; 3];
            file.read(offset, &mut ours).map_err(drop).unwrap_or_default();
            seeking.read_exact_at(&mut theirs, offset).unwrap();
            assert_eq!(ours, theirs);
        }
        assert!(seeking.read_exact_at(&mut [0; 3], 8).is_err());
    }

    #[test]
    fn huge_lengths_allocate_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = PositionedFile::open(&path).unwrap();
        for (offset, len) in [(0, u64::MAX), (u64::MAX, u64::MAX), (5, 6), (11, 0)] {
            assert!(matches!(file.read_vec(offset, len), Err(Error::Damaged { .. })));
        }
        assert_eq!(file.read_vec(5, 5).unwrap(), b"56789");
    }
}
