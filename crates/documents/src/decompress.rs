//! Plain, zstd and gzip files behind one reader.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How a file is compressed, told from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Any number of zstd frames.
    Zstd,
    /// Any number of gzip members.
    Gzip,
}

impl Compression {
    /// Tells the compression from a file's first bytes.
    #[must_use]
    pub fn detect(head: &[u8]) -> Self {
        match head {
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0x1f, 0x8b, ..] => Self::Gzip,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        })
    }
}

/// The decompressed bytes of one file.
pub(crate) struct Decompressed {
    inner: Box<dyn Read + Send>,
    /// Bytes taken from the file so far, compressed ones for a compressed file.
    consumed_bytes: Arc<AtomicU64>,
    compression: Compression,
    /// Bytes handed out so far.
    offset_bytes: u64,
}

impl Decompressed {
    /// Starts to decompress `file` from its present position, which is `offset_bytes` of a plain
    /// file and must be 0 of a compressed one.
    pub(crate) fn new(
        path: &Path,
        file: File,
        compression: Compression,
        offset_bytes: u64,
    ) -> Result<Self, Error> {
        let consumed_bytes = Arc::new(AtomicU64::new(offset_bytes));
        let counted = Counted { inner: file, bytes: Arc::clone(&consumed_bytes) };
        let inner: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(counted),
            Compression::Gzip => Box::new(MultiGzDecoder::new(counted)),
            Compression::Zstd => Box::new(
                zstd::stream::read::Decoder::new(counted)
                    .map_err(|source| Error::Io { path: path.to_owned(), source })?,
            ),
        };
        Ok(Self { inner, consumed_bytes, compression, offset_bytes })
    }

    /// Bytes taken from the file so far.
    pub(crate) fn consumed_bytes(&self) -> u64 {
        self.consumed_bytes.load(Ordering::Relaxed)
    }

    /// Reads up to `len` bytes onto the end of `buffer`; fewer only at the end of the data.
    pub(crate) fn read_onto(
        &mut self,
        path: &Path,
        buffer: &mut Vec<u8>,
        len: u64,
    ) -> Result<u64, Error> {
        let before = buffer.len();
        let result = (&mut self.inner).take(len).read_to_end(buffer);
        let got = u64::try_from(buffer.len() - before).unwrap_or(u64::MAX);
        self.offset_bytes += got;
        result.map_err(|source| self.read_error(path, source))?;
        Ok(got)
    }

    /// Sorts a failed read into damage of the data and refusal by the system.
    fn read_error(&self, path: &Path, source: io::Error) -> Error {
        let (path, compression) = (path.to_owned(), self.compression);
        let offset_bytes = self.offset_bytes;
        if compression == Compression::None || source.raw_os_error().is_some() {
            Error::Io { path, source }
        } else if source.kind() == io::ErrorKind::UnexpectedEof {
            Error::Truncated { path, compression, offset_bytes, source }
        } else {
            Error::Corrupt { path, compression, offset_bytes, source }
        }
    }
}

/// Counts what is read through it, for progress.
struct Counted {
    inner: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.bytes.fetch_add(u64::try_from(len).unwrap_or(0), Ordering::Relaxed);
        Ok(len)
    }
}
