use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{Error, Fingerprint, temporary::temporary_path};

/// A file under a temporary name of its own until [`PendingFile::rename`].
///
/// So a file under its own name is always whole, and two processes that make the same file do each
/// other no harm. Dropped before that, it is removed; a killed process leaves it behind.
#[derive(Debug)]
pub(crate) struct PendingFile {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
    renamed: bool,
}

impl PendingFile {
    /// Creates the temporary file.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        Self::create_as(path, temporary_path(path))
    }

    fn create_as(path: &Path, temporary: PathBuf) -> Result<Self, Error> {
        let file = File::create(&temporary).map_err(Error::io("create", &temporary))?;
        Ok(Self { file, path: path.to_owned(), temporary, renamed: false })
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
    pub(crate) fn rename(mut self) -> Result<(), Error> {
        let renamed = fs::rename(&self.temporary, &self.path);
        self.renamed = renamed.is_ok();
        renamed.map_err(Error::io("rename the finished file to", &self.path))
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.renamed {
            // What cannot be removed now goes with the other leftovers when the corpus is finished.
            let _left_behind = fs::remove_file(&self.temporary);
        }
    }
}

/// A pending file that hashes what it is given and gathers small writes.
#[derive(Debug)]
pub(crate) struct HashedFile {
    pending: PendingFile,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    bytes: u64,
}

/// Large enough for BLAKE3's widest vectors and to make system calls rare.
const BUFFER_BYTES: usize = 64 << 10;

impl HashedFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let pending = PendingFile::create(path)?;
        Ok(Self { pending, hasher: blake3::Hasher::new(), buffer: Vec::new(), bytes: 0 })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Bytes written so far.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.bytes
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_io_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = (folder.path().join("s.bin"), folder.path().join("s.tmp"));
        std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
        let mut file = PendingFile::create_as(&path, temporary).unwrap();
        let error = file.write(b"x").unwrap_err();
        assert!(error.is_io() && !error.is_configuration(), "{error}");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
