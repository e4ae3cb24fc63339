//! Reads at a position, with a limited number of open files.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::Error;

/// The number of files that all corpora of this process keep open at a time, well below the usual limit of 1,024
/// descriptors: a corpus may have thousands of shards. Reopening a file costs a few microseconds.
///
/// The alternative, raising the process' own limit, stops at the limit that the administrator set, and a library should
/// not do it: the program that uses it may rely on its limit.
const MAX_OPEN: usize = 256;

/// The open files, in the order in which they were opened.
static OPEN: Mutex<VecDeque<Weak<FileSlot>>> = Mutex::new(VecDeque::new());

/// A file that any number of threads can read at given offsets at once.
///
/// The file is not mapped: if it is truncated during use, that is an ordinary error. It may be closed between two reads
/// and reopened by its path, so that any number of files can be kept; if another file has taken its path in the
/// meantime, that is an error.
#[derive(Debug)]
pub struct PositionedFile {
    slot: Arc<FileSlot>,
    path: PathBuf,
}

/// A file's descriptor while it is open.
#[derive(Debug)]
struct FileSlot {
    file: Mutex<Option<Arc<Inner>>>,
    identity: FileIdentity,
}

/// The identity of a file, which distinguishes it from another one at its path.
#[cfg(unix)]
type FileIdentity = (u64, u64);
#[cfg(not(unix))]
type FileIdentity = Option<std::time::SystemTime>;

#[cfg(unix)]
type Inner = Pread;
#[cfg(not(unix))]
type Inner = Seeking;

impl PositionedFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// The file is missing or must not be read.
    ///
    /// ```
    /// use mixdown_shards::PositionedFile;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("file");
    /// std::fs::write(&path, b"0123456789").unwrap();
    /// let file = PositionedFile::open(&path)?;
    /// assert_eq!(file.len_bytes()?, 10);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = open_file(path).map_err(Error::io("open", path))?;
        let identity = identity(&file).map_err(Error::io("look at", path))?;
        let file = Mutex::new(Some(Arc::new(Inner::new(file))));
        let slot = Arc::new(FileSlot { file, identity });
        register(&slot);
        Ok(Self { slot, path: path.to_owned() })
    }

    /// Returns the open file, reopened if its descriptor was taken.
    fn file(&self) -> Result<Arc<Inner>, Error> {
        if let Some(file) = &*lock(&self.slot.file) {
            return Ok(Arc::clone(file));
        }
        let file = open_file(&self.path).map_err(Error::io("open", &self.path))?;
        let identity = identity(&file).map_err(Error::io("look at", &self.path))?;
        if identity != self.slot.identity {
            let expected = "the file that was opened before";
            return Err(Error::damaged(&self.path, None, expected, "another one in its place"));
        }
        let file = Arc::new(Inner::new(file));
        *lock(&self.slot.file) = Some(Arc::clone(&file));
        register(&self.slot);
        Ok(file)
    }

    /// Returns the file's current size.
    ///
    /// # Errors
    /// The system does not report it.
    ///
    /// ```
    /// use mixdown_shards::PositionedFile;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("file");
    /// std::fs::write(&path, b"0123456789").unwrap();
    /// let file = PositionedFile::open(&path)?;
    /// assert_eq!(file.len_bytes()?, 10);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn len_bytes(&self) -> Result<u64, Error> {
        self.file()?.len_bytes().map_err(Error::io("read the size of", &self.path))
    }

    /// Fills `out` from `offset_bytes` on.
    ///
    /// # Errors
    /// The file is too short, or cannot be read.
    ///
    /// ```
    /// use mixdown_shards::PositionedFile;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("file");
    /// std::fs::write(&path, b"0123456789").unwrap();
    /// let file = PositionedFile::open(&path)?;
    /// let mut out = [0; 3];
    /// file.read(4, &mut out)?;
    /// assert_eq!(&out, b"456");
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file()?.read_exact_at(out, offset_bytes).map_err(|source| {
            if source.kind() != io::ErrorKind::UnexpectedEof {
                return Error::io("read", &self.path)(source);
            }
            let expected = format!("{} more bytes", out.len());
            Error::damaged(&self.path, Some(offset_bytes), expected, "the end of the file")
        })
    }

    /// Reads `len_bytes` from `offset_bytes` on; allocates no more than the file's real size.
    pub(crate) fn read_vec(&self, offset_bytes: u64, len_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.read_into(offset_bytes, len_bytes, &mut bytes)?;
        Ok(bytes)
    }

    /// Like [`PositionedFile::read_vec`], into a vector that keeps its memory between calls.
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

/// Opens a file; if this process or the system has no descriptor left, half of the open files are closed.
fn open_file(path: &Path) -> io::Result<File> {
    File::open(path).or_else(|error| {
        let open = lock(&OPEN).len();
        let is_out_of_descriptors = matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
        if cfg!(not(unix)) || !is_out_of_descriptors || open == 0 {
            return Err(error);
        }
        close_first(open.div_ceil(2));
        File::open(path)
    })
}

/// "Too many open files": the limits of this process, and of the system.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// Registers an open file, and closes the one that was opened first if there are too many.
fn register(slot: &Arc<FileSlot>) {
    let mut open = lock(&OPEN);
    if open.len() >= MAX_OPEN {
        open.retain(|slot| slot.strong_count() > 0);
    }
    let surplus = (open.len() + 1).saturating_sub(MAX_OPEN);
    open.push_back(Arc::downgrade(slot));
    drop(open);
    close_first(surplus);
}

/// Closes the files that were opened first; a reader that is using one finishes and then closes it.
fn close_first(count: usize) {
    let mut open = lock(&OPEN);
    let count = count.min(open.len());
    let closed: Vec<Weak<FileSlot>> = open.drain(..count).collect();
    drop(open);
    for slot in closed.iter().filter_map(Weak::upgrade) {
        *lock(&slot.file) = None;
    }
}

/// A poisoned lock is still valid: no value is ever half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
fn identity(file: &File) -> io::Result<FileIdentity> {
    use std::os::unix::fs::MetadataExt;
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(file: &File) -> io::Result<FileIdentity> {
    file.metadata().map(|metadata| metadata.created().ok())
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

/// For systems without pread: the cursor is shared, so a lock covers both seek and read.
#[cfg(any(not(unix), test))]
#[derive(Debug)]
struct Seeking(Mutex<File>);

#[cfg(any(not(unix), test))]
impl Seeking {
    fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }

    fn len_bytes(&self) -> io::Result<u64> {
        lock(&self.0).metadata().map(|metadata| metadata.len())
    }

    fn read_exact_at(&self, out: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        use std::io::{Read, Seek};
        // A poisoned lock is still valid: every read seeks first.
        let mut file = lock(&self.0);
        file.seek(io::SeekFrom::Start(offset_bytes))?;
        file.read_exact(out)
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

    #[cfg(unix)]
    #[test]
    fn any_number_of_files_takes_few_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let path = |n: usize| folder.path().join(n.to_string());
        let files: Vec<PositionedFile> = (0..3 * MAX_OPEN)
            .map(|n| {
                std::fs::write(path(n), n.to_le_bytes()).unwrap();
                PositionedFile::open(&path(n)).unwrap()
            })
            .collect();
        for round in 0..3 {
            for n in 0..files.len() {
                let n = (n * 7 + round) % files.len();
                let mut bytes = [0; 8];
                files[n].read(0, &mut bytes).unwrap();
                assert_eq!(usize::from_le_bytes(bytes), n);
            }
        }
        let open = files.iter().filter(|file| lock(&file.slot.file).is_some()).count();
        assert!(open <= MAX_OPEN, "{open} files are open");
        // A closed file is not confused with another one at its path.
        let closed = files.iter().position(|file| lock(&file.slot.file).is_none()).unwrap();
        std::fs::write(path(files.len()), b"another!").unwrap();
        std::fs::rename(path(files.len()), path(closed)).unwrap();
        let message = files[closed].read(0, &mut [0; 8]).unwrap_err().to_string();
        assert!(message.contains("got another one in its place"), "{message}");
    }
}
