//! Files that are either absent or whole: the one writer and the one capped read of every crate.
//!
//! A writer fills a file of a unique name beside its target, brings it to the disk and renames it. A reader
//! therefore sees the old file or the whole new one, also after a kill or a power cut; two processes that write
//! the same target never write into each other's file; and no file that somebody else put beside the target is
//! touched. A killed process leaves its temporary file behind: [`finished_name`] recognizes such leftovers, and
//! [`make_ready`] removes those that no living process holds.
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

/// What every temporary name ends with.
const ENDING: &str = ".tmp";
/// Letters and digits that make a temporary name unique.
const UNIQUE_LEN: usize = 16;
/// Bytes of a file name to which a temporary ending can still be added: file systems end at 255.
const MAX_NAME_BYTES: usize = 230;

/// An error of one file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// What was tried: "open", "write", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A folder, device, pipe or socket has the file's name.
    #[error("{}: expected a regular file, got {got}", path.display())]
    NotAFile {
        /// What was tried: "read" or "write".
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What it is: "a folder" or "a device, pipe or socket".
        got: &'static str,
    },
    /// The file is larger than its reader accepts.
    #[error("{}: expected at most {limit_bytes} bytes, got {got_bytes} or more", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is read.
        limit_bytes: u64,
        /// The size as far as it was looked at.
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

    /// The action, the path and a reason as an operating system error, for the errors of other crates.
    ///
    /// What is no operating system error has the kind [`ErrorKind::InvalidData`].
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

/// Writes a whole file unless there is one already: of several processes at once, the first one wins.
///
/// Returns whether this call has written the file.
///
/// # Errors
/// As [`write()`].
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
/// As [`write()`], and what `fill` returns, as [`Error::Io`]; then nothing is left behind.
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

/// Makes the place of a file that is to be written after long work: its folder, if that is missing, and nothing in it
/// of what killed writers of the same file left. What living ones write stays.
///
/// # Errors
/// Those that writing the file would have: [`Error::NotAFile`] when `path` is a folder or a device; [`Error::Io`] when
/// the folder cannot be made or takes no file.
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
        // A loop of links, or a name that is too long: a rename to it would come too late, or replace the link.
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
/// Dropped before that, it is removed. It has the permissions of an ordinary new file.
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
    /// Where `path` is a link to a regular file, that file is the target, as for any other program.
    ///
    /// # Errors
    /// [`Error::NotAFile`] when `path` is a folder, a device or a pipe, which a rename would destroy;
    /// [`Error::Io`] when the operating system refuses.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::create_with_mode(path, 0o666)
    }

    /// Like [`NewFile::create`], for a file that only its owner may read.
    ///
    /// # Errors
    /// As [`NewFile::create`].
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
            // What cannot be looked at is told by the attempt to create a file there.
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
            // tempfile's own opening adds to the system's error a name that nobody knows.
            let file = builder.make_in(folder_of(&target), |temporary| options.open(temporary));
            let file = file.map_err(Error::io("create", path))?;
            if Self::hold(&file) {
                return Ok(Self { file, target });
            }
        }
    }

    /// Locks the file until it is closed, which says to others that its writer lives. Returns whether it is still
    /// there: before it was locked, another process may have taken it for a dead one's.
    fn hold(file: &NamedTempFile) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let identity = |found: Metadata| (found.dev(), found.ino());
            match file.as_file().try_lock() {
                Err(TryLockError::WouldBlock) => false,
                // A file system without locks: nobody takes anything for a dead process's there.
                Err(TryLockError::Error(_)) => true,
                Ok(()) => {
                    let own = file.as_file().metadata().map(identity).ok();
                    own == fs::symlink_metadata(file.path()).map(identity).ok()
                }
            }
        }
        #[cfg(not(unix))]
        {
            let _ = file;
            true
        }
    }

    /// Returns the path that the finished file will have.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Returns the path of the file until it is finished.
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the open file, for operations that [`Write`] does not offer.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Flushes the written bytes to the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<(), Error> {
        self.file().sync_all().map_err(Error::io("flush", &self.target))
    }

    /// Flushes the file to the disk, renames it to its target and flushes the name.
    ///
    /// # Errors
    /// [`Error::Io`]; then the target is as it was before.
    pub fn commit(self) -> Result<(), Error> {
        self.sync()?;
        let folder = folder_of(&self.target).to_owned();
        self.rename()?;
        sync_folder(&folder)
    }

    /// Commits the file as [`NewFile::commit`] does unless the target exists, and returns whether this file became the
    /// target: the first of many processes wins, without a lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit_first(self) -> Result<bool, Error> {
        self.sync()?;
        let Self { file, target } = self;
        match file.persist_noclobber(&target) {
            Ok(_) => sync_folder(folder_of(&target)).map(|()| true),
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            // A file system without links: of two processes at this very moment the later one wins.
            Err(failed) if !target.exists() => {
                Self { file: failed.file, target }.commit().map(|()| true)
            }
            Err(failed) => Err(Error::io("rename the finished file to", &target)(failed.error)),
        }
    }

    /// Gives the file its name and leaves it to the caller when what reaches the disk: scratch files, and many
    /// files that are brought to the disk together ([`NewFile::sync`], [`sync_folder`]).
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
/// [`Error::Io`]; [`Error::NotAFile`] for a folder, and for a pipe, on which a read could wait for ever;
/// [`Error::TooLarge`], before anything is allocated.
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
    // The file may have grown since it was looked at.
    match u64::try_from(bytes.len()) {
        Ok(len) if len <= limit_bytes => Ok(bytes),
        grown => Err(too_large(grown.unwrap_or(u64::MAX))),
    }
}

/// Makes renames in `folder` survive a power cut, where the system can.
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
        // A folder may be written to without being read, and not every file system syncs folders.
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
/// [`Error::Io`], for what has its name and is no folder with the reason why it cannot be followed.
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

/// Makes a folder, which may be there already, inside one that must be there: one that somebody took away is not made
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
/// // Somebody removed the run's folder: it is not made again.
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

/// The folder that holds `path`; a bare name lies in the current one.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
