//! One reader for plain, zstd and gzip files.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::bytes::chunk::as_u64;
use crate::error::Error;
use crate::json::raw::Raw;
use crate::tables::row_reader::ReadAhead;

/// The compression of a file, detected from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Uncompressed.
    None,
    /// Any number of zstd frames.
    Zstd,
    /// Any number of gzip members, and the trailing zeros that tapes and block copies add.
    Gzip,
}

impl Compression {
    /// Detects the compression from a file's first bytes.
    ///
    /// ```
    /// use mixdown_documents::Compression;
    ///
    /// assert_eq!(Compression::detect(&[0x1f, 0x8b, 8]), Compression::Gzip);
    /// assert_eq!(Compression::detect(b"plain"), Compression::None);
    /// ```
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

/// The size of a decompressed block, and the number of blocks that run ahead: enough to keep both sides busy when
/// either is slow for a moment.
const BLOCK_BYTES: u64 = 256 << 10;
const BLOCKS_AHEAD: usize = 6;

/// The logarithm of the largest accepted zstd window, `--long=31`: it takes up to 2 GiB of memory, and only for a frame
/// that has such a window and as many bytes.
const WINDOW_LOG_MAX: u32 = 31;

/// The read size for compressed bytes where the decoder does not choose it.
const BUFFER_BYTES: usize = 64 << 10;

/// A reader of the decompressed bytes of one input.
pub(crate) struct Decompressed {
    path: PathBuf,
    inner: Box<dyn Read + Send>,
    /// Bytes read from the file so far; for a compressed file, compressed bytes.
    consumed_bytes: Arc<AtomicU64>,
    compression: Compression,
    /// Bytes returned so far.
    offset_bytes: u64,
}

impl Decompressed {
    /// Starts to decompress `raw` from its current position, which is `offset_bytes` of a plain file and must be 0 for
    /// a compressed one.
    pub(crate) fn new(
        path: &Path,
        raw: Raw,
        compression: Compression,
        offset_bytes: u64,
    ) -> Result<Self, Error> {
        let consumed_bytes = Arc::new(AtomicU64::new(offset_bytes));
        let counted = Counted { inner: raw, bytes: Arc::clone(&consumed_bytes) };
        let inner: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(counted),
            Compression::Gzip => {
                Box::new(Members::new(BufReader::with_capacity(BUFFER_BYTES, counted)))
            }
            Compression::Zstd => {
                let failed = |source| Error::io(path, source);
                let mut decoder = zstd::stream::read::Decoder::new(counted).map_err(failed)?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
                Box::new(decoder)
            }
        };
        Ok(Self { path: path.to_owned(), inner, consumed_bytes, compression, offset_bytes })
    }

    /// Moves decompression to a separate thread. A plain file is left as it is, because its bytes need no work.
    pub(crate) fn ahead(mut self) -> Result<Self, Error> {
        if self.compression != Compression::None {
            let ahead =
                BlocksAhead::start(self.inner).map_err(|source| Error::io(&self.path, source))?;
            self.inner = Box::new(ahead);
        }
        Ok(self)
    }

    /// Returns the bytes read from the file so far.
    pub(crate) fn consumed_bytes(&self) -> u64 {
        self.consumed_bytes.load(Ordering::Relaxed)
    }

    /// Appends up to `len` bytes to `buffer`; fewer only at the end of the data.
    pub(crate) fn read_onto(&mut self, buffer: &mut Vec<u8>, len: u64) -> Result<u64, Error> {
        let before = buffer.len();
        let result = (&mut self.inner).take(len).read_to_end(buffer);
        let got = as_u64(buffer.len() - before);
        self.offset_bytes += got;
        result.map_err(|source| self.read_error(source))?;
        Ok(got)
    }

    /// Classifies a failed read as damaged data or a system error.
    fn read_error(&self, source: io::Error) -> Error {
        let (path, compression) = (self.path.clone(), self.compression);
        let offset_bytes = self.offset_bytes;
        let words = source.to_string();
        if compression == Compression::None || source.raw_os_error().is_some() {
            Error::Io { path, source }
        } else if words.contains("requires too much memory") {
            Error::WindowTooLarge { path, offset_bytes, source }
        } else if words.contains("not enough memory") {
            Error::Io { path, source: io::Error::new(io::ErrorKind::OutOfMemory, words) }
        } else if source.kind() == io::ErrorKind::UnexpectedEof {
            Error::Truncated { path, compression, offset_bytes, source }
        } else {
            Error::Corrupt { path, compression, offset_bytes, source }
        }
    }
}

/// A reader of the members of a gzip file, one after another.
struct Members<R> {
    /// The current member; none after the last.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let len = member.read(buffer)?;
            if len > 0 || buffer.is_empty() {
                return Ok(len);
            }
            let reader = self.member.take().map(GzDecoder::into_inner);
            self.member = reader.map(after_zeros).transpose()?.flatten().map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// Skips zeros, as gzip itself does; returns none if nothing follows.
fn after_zeros<R: BufRead>(mut reader: R) -> io::Result<Option<R>> {
    loop {
        let bytes = reader.fill_buf()?;
        let (len, zeros) = (bytes.len(), bytes.iter().take_while(|&&byte| byte == 0).count());
        if len == 0 {
            return Ok(None);
        }
        reader.consume(zeros);
        if zeros < len {
            return Ok(Some(reader));
        }
    }
}

/// A reader that counts its bytes, for progress.
struct Counted {
    inner: Raw,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.bytes.fetch_add(as_u64(len), Ordering::Relaxed);
        Ok(len)
    }
}

/// A reader whose bytes another thread reads ahead.
struct BlocksAhead {
    blocks: ReadAhead<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    position: usize,
    at_end: bool,
}

impl BlocksAhead {
    fn start(mut inner: Box<dyn Read + Send>) -> io::Result<Self> {
        let mut ended = false;
        let mut failure = None;
        let blocks = ReadAhead::start(BLOCKS_AHEAD, move || {
            if let Some(error) = failure.take() {
                return Some(Err(error));
            }
            let mut block = Vec::with_capacity(usize::try_from(BLOCK_BYTES).unwrap_or(0));
            if ended {
                return None;
            }
            // Bytes read before an error are still valid and show where it occurred.
            match (&mut inner).take(BLOCK_BYTES).read_to_end(&mut block) {
                Ok(len) => ended = len == 0,
                Err(error) => {
                    ended = true;
                    if block.is_empty() {
                        return Some(Err(error));
                    }
                    failure = Some(error);
                }
            }
            Some(Ok(block))
        })?;
        Ok(Self { blocks, block: Vec::new(), position: 0, at_end: false })
    }
}

impl Read for BlocksAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.block.len() && !self.at_end {
            // An empty block marks the end; a thread that ends without one has failed.
            let lost = || Err(io::Error::other("the thread that decompresses has ended"));
            self.block = self.blocks.next().unwrap_or_else(lost)?;
            self.position = 0;
            self.at_end = self.block.is_empty();
        }
        let rest = self.block.get(self.position..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        if let (Some(from), Some(to)) = (rest.get(..len), buffer.get_mut(..len)) {
            to.copy_from_slice(from);
        }
        self.position += len;
        Ok(len)
    }
}
