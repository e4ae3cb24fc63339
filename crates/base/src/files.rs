//! Files that are either absent or whole: the writer and the size-limited read that every crate uses.
//!
//! A writer fills a file with a unique name beside its target, flushes it to disk and renames it. A reader therefore
//! sees the old file or the whole new one, even after a kill or a power cut. Two processes that write the same target
//! never write into each other's file, and files that somebody else put beside the target are not touched. A killed
//! process leaves its temporary file behind: [`finished_name`] recognizes such leftovers, and [`make_ready`] removes
//! those that no living process holds.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! use mixdown_base::files;
//!
//! let path = folder.path().join("fit.json");
//! files::write(&path, b"{}\n")?;
//! assert_eq!(files::read_capped(&path, 1 << 20)?, b"{}\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

pub use self::leftovers::{
    finished_name, remove_abandoned, remove_abandoned_in, remove_leftovers, unique_finished_name,
};

mod leftovers;

/// The ending of every temporary name.
const ENDING: &str = ".tmp";
/// The number of letters and digits that make a temporary name unique.
const UNIQUE_LEN: usize = 16;
/// The longest file name in bytes to which a temporary ending can still be added: file systems allow 255.
const MAX_NAME_BYTES: usize = 230;

/// An error of one file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The attempted action: "open", "write", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A folder, device, pipe or socket has the file's name.
    #[error("{}: expected a regular file, got {got}", path.display())]
    NotAFile {
        /// The attempted action: "read" or "write".
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the path is: "a folder" or "a device, pipe or socket".
        got: &'static str,
    },
    /// The file is larger than its reader accepts.
    #[error("{}: expected at most {limit_bytes} bytes, got {got_bytes} or more", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that the reader accepts.
        limit_bytes: u64,
        /// The size, as far as it was read.
        got_bytes: u64,
    },
}

impl Error {
    /// Returns the file or folder of the error.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::NotAFile { path, .. } | Self::TooLarge { path, .. } => {
                path
            }
        }
    }

    /// Returns the action, the path and the reason as an operating system error, for the errors of other crates.
    ///
    /// An error that did not come from the operating system has the kind [`ErrorKind::InvalidData`].
    pub fn into_parts(self) -> (&'static str, PathBuf, io::Error) {
        let invalid = |words: String| io::Error::new(ErrorKind::InvalidData, words);
        match self {
            Self::Io { action, path, source } => (action, path, source),
            Self::NotAFile { action, path, got } => {
                (action, path, invalid(format!("expected a regular file, got {got}")))
            }
            Self::TooLarge { path, limit_bytes, got_bytes } => {
                let words =
                    format!("expected at most {limit_bytes} bytes, got {got_bytes} or more");
                ("read", path, invalid(words))
            }
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Writes a whole file: afterwards `path` holds `bytes`, or what it held before.
///
/// # Errors
/// [`Error::Io`] when the operating system refuses; [`Error::NotAFile`] when `path` is a folder or a device.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// let path = folder.path().join("fit.json");
/// files::write(&path, b"old")?;
/// files::write(&path, b"new")?;
/// assert_eq!(std::fs::read(&path)?, b"new");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.commit()
}

/// Writes a whole file unless it already exists: of several processes at once, the first one wins.
///
/// Returns whether this call has written the file.
///
/// # Errors
/// Those of [`write()`].
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// let path = folder.path().join("settings.json");
/// assert!(files::write_first(&path, b"first")?);
/// assert!(!files::write_first(&path, b"second")?);
/// assert_eq!(std::fs::read(&path)?, b"first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_first(path: &Path, bytes: &[u8]) -> Result<bool, Error> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.commit_first()
}

/// Writes a whole file with the bytes that `fill` writes, for content in many pieces or larger than memory.
///
/// # Errors
/// Those of [`write()`], and the error of `fill` as [`Error::Io`]; then nothing is left behind.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// use std::io::Write;
///
/// let path = folder.path().join("rows.csv");
/// files::write_with(&path, |out| (0..3).try_for_each(|row| writeln!(out, "{row}")))?;
/// assert_eq!(std::fs::read(&path)?, b"0\n1\n2\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut io::BufWriter<&mut NewFile>) -> io::Result<()>,
) -> Result<(), Error> {
    let mut file = NewFile::create(path)?;
    let mut buffered = io::BufWriter::with_capacity(1 << 16, &mut file);
    fill(&mut buffered).and_then(|()| buffered.flush()).map_err(Error::io("write", path))?;
    drop(buffered);
    file.commit()
}

/// Prepares the place of a file that will be written after long work: creates its folder if it is missing, and removes
/// temporary files that killed writers of the same file left there. Files that living processes write stay.
///
/// # Errors
/// Those that writing the file would return: [`Error::NotAFile`] when `path` is a folder or a device; [`Error::Io`]
/// when the folder cannot be created or no file can be created in it.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// let path = folder.path().join("fits/math.json");
/// files::make_ready(&path)?;
/// assert!(folder.path().join("fits").is_dir() && !path.exists());
/// // A folder has the name: the command fails before its work, not after it.
/// assert!(files::make_ready(folder.path()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn make_ready(path: &Path) -> Result<(), Error> {
    make_folder(folder_of(path))?;
    match fs::metadata(path) {
        // The path is a loop of links, or its name is too long: a rename to it would fail too late, or replace the
        // link.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io("look at", path)(error));
        }
        _ => {}
    }
    let attempt = NewFile::create(path)?;
    remove_abandoned(attempt.path());
    Ok(())
}

/// A file under a temporary name beside its target until [`NewFile::commit`] or one of its siblings.
///
/// Dropping it earlier removes the file. It has the permissions of an ordinary new file.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// use std::io::Write;
///
/// let path = folder.path().join("report.html");
/// let mut file = files::NewFile::create(&path)?;
/// file.write_all(b"<p>")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"<p>");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NewFile {
    file: NamedTempFile,
    target: PathBuf,
}

impl NewFile {
    /// Creates the temporary file exclusively: an existing file or link is never opened.
    ///
    /// Where `path` is a link to a regular file, that file is the target, as in other programs.
    ///
    /// # Errors
    /// [`Error::NotAFile`] when `path` is a folder, a device or a pipe, which a rename would destroy;
    /// [`Error::Io`] when the operating system refuses.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::create_with_mode(path, 0o666)
    }

    /// Like [`NewFile::create`], for a file that only its owner can read.
    ///
    /// # Errors
    /// Those of [`NewFile::create`].
    pub fn create_private(path: &Path) -> Result<Self, Error> {
        Self::create_with_mode(path, 0o600)
    }

    fn create_with_mode(path: &Path, mode: u32) -> Result<Self, Error> {
        let target = match fs::metadata(path) {
            Ok(found) => {
                check_regular("write", path, &found)?;
                let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
                let real = || path.canonicalize().map_err(Error::io("follow the link", path));
                if is_link { real()? } else { path.to_owned() }
            }
            // If the metadata cannot be read, the attempt to create a file there reports why.
            Err(_) => path.to_owned(),
        };
        let Some(name) = target.file_name() else {
            let source = io::Error::new(ErrorKind::InvalidInput, "the path has no file name");
            return Err(Error::io("create", path)(source));
        };
        let mut prefix = if name.len() <= MAX_NAME_BYTES { name.to_owned() } else { "long".into() };
        prefix.push(".");
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(ENDING).rand_bytes(UNIQUE_LEN);
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        loop {
            // tempfile's own open adds the temporary name, which nobody knows, to the system's error.
            let file = builder.make_in(folder_of(&target), |temporary| options.open(temporary));
            let file = file.map_err(Error::io("create", path))?;
            if Self::hold(&file) {
                return Ok(Self { file, target });
            }
        }
    }

    /// Locks the file until it is closed, which shows other processes that its writer lives. Returns whether it still
    /// exists: before it was locked, another process may have removed it as a leftover.
    fn hold(file: &NamedTempFile) -> bool {
        if cfg!(not(unix)) {
            return true;
        }
        match file.as_file().try_lock() {
            Err(TryLockError::WouldBlock) => false,
            // On a file system without locks, no process removes another one's file as a leftover.
            Err(TryLockError::Error(_)) => true,
            Ok(()) => is_at(file.as_file(), file.path()),
        }
    }

    /// Returns the path of the finished file.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Returns the path of the file while it is unfinished.
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the open file, for operations that [`Write`] does not offer.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Flushes the written bytes to disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<(), Error> {
        self.file().sync_all().map_err(Error::io("flush", &self.target))
    }

    /// Flushes the file to disk, renames it to its target and flushes the folder entry.
    ///
    /// # Errors
    /// [`Error::Io`]; then the target is unchanged.
    pub fn commit(self) -> Result<(), Error> {
        self.sync()?;
        let folder = folder_of(&self.target).to_owned();
        self.rename()?;
        sync_folder(&folder)
    }

    /// Commits the file as [`NewFile::commit`] does unless the target exists, and returns whether this file became the
    /// target: the first of several processes wins, without a lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit_first(self) -> Result<bool, Error> {
        self.sync()?;
        let Self { file, target } = self;
        match file.persist_noclobber(&target) {
            Ok(_) => sync_folder(folder_of(&target)).map(|()| true),
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            // On a file system without links, the later of two processes at this moment wins.
            Err(failed) if !target.exists() => {
                Self { file: failed.file, target }.commit().map(|()| true)
            }
            Err(failed) => Err(Error::io("rename the finished file to", &target)(failed.error)),
        }
    }

    /// Renames the file to its target and leaves flushing to the caller: for scratch files, and for many files that are
    /// flushed together ([`NewFile::sync`], [`sync_folder`]).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rename(self) -> Result<(), Error> {
        let Self { file, target } = self;
        file.persist(&target)
            .map(drop)
            .map_err(|failed| Error::io("rename the finished file to", &target)(failed.error))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Reads a whole file of at most `limit_bytes`.
///
/// # Errors
/// [`Error::Io`]; [`Error::NotAFile`] for a folder, and for a pipe, on which a read could wait forever;
/// [`Error::TooLarge`], before any memory is allocated.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// let path = folder.path().join("config.json");
/// std::fs::write(&path, "{}")?;
/// assert_eq!(files::read_capped(&path, 2)?, b"{}");
/// assert!(files::read_capped(&path, 1).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_capped(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let found = fs::metadata(path).map_err(Error::io("read", path))?;
    check_regular("read", path, &found)?;
    let too_large = |got_bytes| Error::TooLarge { path: path.to_owned(), limit_bytes, got_bytes };
    if found.len() > limit_bytes {
        return Err(too_large(found.len()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    // The file may have grown since its size was read.
    match u64::try_from(bytes.len()) {
        Ok(len) if len <= limit_bytes => Ok(bytes),
        grown => Err(too_large(grown.unwrap_or(u64::MAX))),
    }
}

/// Returns whether the open file or folder is the one at `path`, which another process may have renamed, removed or
/// replaced. On a system that does not tell, returns whether anything is there.
///
/// ```
/// use mixdown_base::files::is_at;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.txt");
/// let file = std::fs::File::create(&path)?;
/// assert!(is_at(&file, &path));
/// std::fs::remove_file(&path)?;
/// assert!(!is_at(&file, &path));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |found: Metadata| (found.dev(), found.ino());
        let own = file.metadata().map(identity);
        own.is_ok_and(|own| path.metadata().map(identity).is_ok_and(|there| there == own))
    }
    #[cfg(not(unix))]
    {
        file.metadata().is_ok() && path.exists()
    }
}

/// Makes renames in `folder` survive a power cut, where the system supports it.
///
/// # Errors
/// [`Error::Io`] when the disk refuses.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// std::fs::rename(folder.path().join("a"), folder.path().join("b")).ok();
/// files::sync_folder(folder.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match File::open(folder).and_then(|opened| opened.sync_all()) {
        // A folder can be writable but not readable, and not every file system syncs folders.
        Err(error) if is_no_disk_fault(error.kind()) => Ok(()),
        synced => synced.map_err(Error::io("flush", folder)),
    }
}

fn is_no_disk_fault(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// Creates a folder and its parents; the folder may exist.
///
/// # Errors
/// [`Error::Io`]; if something else has the folder's name, the error says why it cannot be used.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// let path = folder.path().join("runs/math/1");
/// files::make_folder(&path)?;
/// files::make_folder(&path)?;
/// assert!(path.is_dir());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn make_folder(path: &Path) -> Result<(), Error> {
    let reason = |error: io::Error| match (error.kind(), fs::metadata(path)) {
        (ErrorKind::AlreadyExists, Err(reason)) => reason,
        _ => error,
    };
    fs::create_dir_all(path).map_err(reason).map_err(Error::io("make the folder", path))
}

/// Creates a folder, which may already exist, inside one that must exist: a parent that somebody removed is not created
/// again.
///
/// # Errors
/// [`Error::Io`].
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use mixdown_base::files;
///
/// files::make_subfolder(&folder.path().join("best"))?;
/// // Somebody removed the run's folder: it is not created again.
/// assert!(files::make_subfolder(&folder.path().join("run/best")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn make_subfolder(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(Error::io("make the folder", path)),
    }
}

fn check_regular(action: &'static str, path: &Path, found: &Metadata) -> Result<(), Error> {
    let refused = |got| Err(Error::NotAFile { action, path: path.to_owned(), got });
    match found {
        _ if found.is_file() => Ok(()),
        _ if found.is_dir() => refused("a folder"),
        _ => refused("a device, pipe or socket"),
    }
}

/// The folder that holds `path`; for a bare name, the current folder.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
