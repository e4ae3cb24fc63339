use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{Error, Fingerprint};

/// A file under a temporary name (`NAME.tmp`) until [`PendingFile::rename`].
///
/// So a file under its own name is always whole.
#[derive(Debug)]
pub(crate) struct PendingFile {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
}

impl PendingFile {
    /// Opens the temporary file, over what an earlier attempt may have left.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let mut name = OsString::from(path);
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        let file = File::create(&temporary).map_err(Error::io("create", &temporary))?;
        Ok(Self { file, path: path.to_owned(), temporary })
    }

    /// The final path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.temporary))
    }

    /// Brings the content to the disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("flush", &self.temporary))
    }

    /// Gives the file its own name; after [`PendingFile::sync`].
    pub(crate) fn rename(self) -> Result<(), Error> {
        let Self { file, path, temporary } = self;
        drop(file);
        fs::rename(&temporary, &path).map_err(Error::io("rename the finished file to", &path))
    }
}

/// A pending file that hashes what it is given and gathers small writes.
#[derive(Debug)]
pub(crate) struct HashedFile {
    pending: PendingFile,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

/// Large enough for BLAKE3's widest vectors and to make system calls rare.
const BUFFER_BYTES: usize = 64 << 10;

impl HashedFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let pending = PendingFile::create(path)?;
        Ok(Self { pending, hasher: blake3::Hasher::new(), buffer: Vec::new() })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.hasher.update(&self.buffer);
        self.pending.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Brings everything to the disk and gives the file, still to be renamed, with its root.
    pub(crate) fn finish(mut self) -> Result<(PendingFile, Fingerprint), Error> {
        self.flush()?;
        self.pending.sync()?;
        Ok((self.pending, self.hasher.finalize().into()))
    }
}

/// Makes renames in `folder` survive a power cut, where the system can.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        let opened = File::open(folder).map_err(Error::io("open", folder))?;
        opened.sync_all().map_err(Error::io("flush", folder))?;
    }
    Ok(())
}
