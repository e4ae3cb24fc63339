//! A file that gets its name only when it is complete, and is hashed while it is written.

use std::{
    io::{self, Write},
    path::Path,
    thread::{self, JoinHandle},
};

use mixdown_base::files::{self, NewFile};

use crate::{Error, Fingerprint};

/// The number of bytes after which written data are flushed to disk in the background: the final flush, which the
/// caller waits for, then has little left to do.
const FLUSH_BYTES: usize = 16 << 20;

/// A file under a unique temporary name until [`name_all`], flushed to disk while it is written.
///
/// Dropping it earlier removes the file; a killed process leaves it behind.
#[derive(Debug)]
pub(crate) struct PendingFile {
    file: NewFile,
    /// Bytes written since the last flush began.
    unflushed: usize,
    flush: Option<JoinHandle<io::Result<()>>>,
}

impl PendingFile {
    /// Creates the temporary file.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self { file: NewFile::create(path)?, unflushed: 0, flush: None })
    }

    /// Returns the final path.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", self.file.path()))?;
        self.unflushed += bytes.len();
        if self.unflushed >= FLUSH_BYTES && self.flush.as_ref().is_none_or(JoinHandle::is_finished)
        {
            self.start_flush()?;
        }
        Ok(())
    }

    fn start_flush(&mut self) -> Result<(), Error> {
        self.join_flush()?;
        let file = self.file.file().try_clone().map_err(Error::io("open", self.path()))?;
        // If no thread can be started, the final flush does everything.
        self.flush = thread::Builder::new().spawn(move || file.sync_data()).ok();
        self.unflushed = 0;
        Ok(())
    }

    /// Waits for the current flush. The system reports a failed write once, to whoever flushes first.
    fn join_flush(&mut self) -> Result<(), Error> {
        let flush = self.flush.take().map(JoinHandle::join);
        flush.map_or(Ok(()), |joined| {
            joined
                .unwrap_or_else(|_| Err(io::Error::other("the flushing thread panicked")))
                .map_err(Error::io("flush", self.path()))
        })
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.join_flush()?;
        Ok(self.file.sync()?)
    }
}

/// Flushes the files of one folder to disk in parallel, and then gives them their final names, one after another.
pub(crate) fn name_all(mut files: Vec<PendingFile>, folder: &Path) -> Result<(), Error> {
    for file in files.iter_mut().filter(|file| file.unflushed > 0) {
        file.start_flush()?;
    }
    files.iter_mut().try_for_each(PendingFile::sync)?;
    files.into_iter().try_for_each(|pending| pending.file.rename())?;
    Ok(files::sync_folder(folder)?)
}

/// A pending file that hashes its content and buffers small writes.
#[derive(Debug)]
pub(crate) struct HashedFile {
    pending: PendingFile,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    bytes: u64,
}

/// The buffer is large enough for BLAKE3's widest vectors and for few system calls.
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

    /// Returns the number of bytes written so far.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.bytes
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.hasher.update(&self.buffer);
        self.pending.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Returns the complete file, which still needs its name ([`name_all`]), and its root.
    pub(crate) fn finish(mut self) -> Result<(PendingFile, Fingerprint), Error> {
        self.flush()?;
        Ok((self.pending, self.hasher.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_flushed_on_the_way_is_there_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.bin");
        let mut file = PendingFile::create(&path).unwrap();
        let block = vec![7; FLUSH_BYTES / 4 + 1];
        (0..9).for_each(|_| file.write(&block).unwrap());
        assert!(file.flush.is_some());
        name_all(vec![file], folder.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), block.repeat(9));
    }
}
