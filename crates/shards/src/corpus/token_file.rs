#![expect(unsafe_code, reason = "the memory map is the one place of the workspace that needs it")]

use std::{
    fmt,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::Dtype;
use crate::Error;
use crate::TokenInt;
use crate::files::positioned_file::PositionedFile;

/// The way in which token files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Memory map: the fastest once the pages are in memory.
    ///
    /// **Contract**: no process changes or truncates the file while it is open. A finished corpus is never changed in
    /// place. If a file is truncated anyway, the next read beyond its new end kills the process (SIGBUS); if its bytes
    /// are changed, ids may be wrong (each is still checked against the vocabulary). Where that may happen, use
    /// [`Access::Read`].
    #[default]
    Map,
    /// pread into a buffer: a file that is truncated during use is an ordinary error. At most 256 file descriptors are
    /// open at a time, however many shards there are.
    Read,
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Map => "map",
            Self::Read => "read",
        })
    }
}

/// One opened `.bin`: raw little-endian ids, which any number of threads can read at any position.
#[derive(Debug)]
pub struct TokenFile {
    bytes: Bytes,
    path: PathBuf,
    dtype: Dtype,
    vocab_size: u64,
    tokens: u64,
    header_bytes: u64,
    /// Set once the system was advised that reads of the map are random.
    random: OnceLock<()>,
}

/// The position of the ids in a token file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenLayout {
    /// Bytes before the first id.
    pub header_bytes: u64,
    pub dtype: Dtype,
    pub tokens: u64,
}

impl TokenLayout {
    /// Returns the file's size; none if it overflows u64.
    pub(crate) fn file_bytes(self) -> Option<u64> {
        self.tokens.checked_mul(self.dtype.bytes())?.checked_add(self.header_bytes)
    }
}

/// A file's bytes, mapped or read.
#[derive(Debug)]
pub(crate) enum Bytes {
    Map(Mmap),
    Read(PositionedFile),
}

impl Bytes {
    /// Opens the file; also returns its size in bytes.
    pub(crate) fn open(path: &Path, access: Access) -> Result<(Self, u64), Error> {
        match access {
            Access::Map => {
                let map = map(path)?;
                let len_bytes = map.len() as u64;
                Ok((Self::Map(map), len_bytes))
            }
            Access::Read => {
                let file = PositionedFile::open(path)?;
                let len_bytes = file.len_bytes()?;
                Ok((Self::Read(file), len_bytes))
            }
        }
    }
}

impl Bytes {
    /// Fills `out` with the bytes of the file at `path` from `offset_bytes` on.
    pub(crate) fn read(&self, path: &Path, offset_bytes: u64, out: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::Map(map) => {
                let start = usize::try_from(offset_bytes).unwrap_or(usize::MAX);
                let Some(bytes) = map.get(start..start.saturating_add(out.len())) else {
                    let expected = format!("{} more bytes", out.len());
                    let at = Some(offset_bytes);
                    return Err(Error::damaged(path, at, expected, "the end of the file"));
                };
                out.copy_from_slice(bytes);
                Ok(())
            }
            Self::Read(file) => file.read(offset_bytes, out),
        }
    }
}

/// Bytes that [`Access::Read`] reads at a time, on the stack: a sequence of 4,096 ids of 2 bytes.
const READ_BYTES: usize = 8 << 10;

impl TokenFile {
    /// Opens the file at `path`, which must hold exactly `tokens` ids of `dtype` below `vocab_size`. [`Access::Map`]
    /// has a contract.
    ///
    /// # Errors
    /// The file cannot be opened or mapped, or has another size.
    ///
    /// ```
    /// use mixdown_shards::{Access, Dtype, TokenFile};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("tokens.bin");
    /// std::fs::write(&path, [11, 0, 12, 0, 243, 1]).unwrap();
    /// let file = TokenFile::open(&path, Dtype::U16, 500, 3, Access::Read)?;
    /// assert_eq!(file.tokens(), 3);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn open(
        path: &Path,
        dtype: Dtype,
        vocab_size: u64,
        tokens: u64,
        access: Access,
    ) -> Result<Self, Error> {
        Self::open_with(path, TokenLayout { header_bytes: 0, dtype, tokens }, vocab_size, access)
    }

    /// Like [`TokenFile::open`], with bytes before the first id.
    pub(crate) fn open_with(
        path: &Path,
        layout: TokenLayout,
        vocab_size: u64,
        access: Access,
    ) -> Result<Self, Error> {
        let (bytes, got_bytes) = Bytes::open(path, access)?;
        let TokenLayout { header_bytes, dtype, tokens } = layout;
        if layout.file_bytes() != Some(got_bytes) {
            let header = if header_bytes > 0 {
                format!(" after a header of {header_bytes} bytes")
            } else {
                String::new()
            };
            let expected = format!("{tokens} ids of {} bytes{header}", dtype.bytes());
            return Err(Error::damaged(path, None, expected, format!("{got_bytes} bytes")));
        }
        let (path, random) = (path.to_owned(), OnceLock::new());
        Ok(Self { bytes, path, dtype, vocab_size, tokens, header_bytes, random })
    }

    /// Returns the number of ids in the file.
    ///
    /// ```
    /// use mixdown_shards::{Access, Dtype, TokenFile};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("tokens.bin");
    /// std::fs::write(&path, [11, 0, 12, 0, 243, 1]).unwrap();
    /// let file = TokenFile::open(&path, Dtype::U16, 500, 3, Access::Read)?;
    /// assert_eq!(file.tokens(), 3);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Fills `out` with the ids from number `start_token` on.
    ///
    /// # Errors
    /// The range extends past the file's end, an id is not below the vocabulary size (the error gives its byte offset),
    /// the vocabulary does not fit the integer, or the file cannot be read. The content of `out` is then unspecified.
    ///
    /// ```
    /// use mixdown_shards::{Access, Dtype, TokenFile};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("tokens.bin");
    /// std::fs::write(&path, [11, 0, 12, 0, 243, 1]).unwrap();
    /// let file = TokenFile::open(&path, Dtype::U16, 500, 3, Access::Read)?;
    /// let mut ids = [0_u32; 2];
    /// file.read(1, &mut ids)?;
    /// assert_eq!(ids, [12, 499]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn read<T: TokenInt>(&self, start_token: u64, out: &mut [T]) -> Result<(), Error> {
        let end = start_token.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.tokens) {
            return Err(Error::OutOfRange {
                path: self.path.clone(),
                expected: format!("a range within its {} tokens", self.tokens),
                got: format!("{} tokens from token {start_token} on", out.len()),
            });
        }
        let highest = self.vocab_size.min(self.dtype.max_vocab_size()).saturating_sub(1);
        if highest > T::MAX_ID {
            let expected = format!("integers that hold ids up to {highest}");
            let got = format!("integers up to {}", T::MAX_ID);
            return Err(Error::OutOfRange { path: self.path.clone(), expected, got });
        }
        let offset_bytes = self.header_bytes + start_token * self.dtype.bytes();
        match &self.bytes {
            Bytes::Map(map) => self.read_map(map, offset_bytes, out),
            Bytes::Read(file) => self.read_file(file, offset_bytes, out),
        }
    }

    /// Prefetches the ids of a range into the cache while others are copied; any number of them may be out of range.
    pub(crate) fn prefetch(&self, start_token: u64, tokens: u64) {
        let Bytes::Map(map) = &self.bytes else { return };
        for line in
            map.get(self.range(map, start_token, tokens)).unwrap_or_default().chunks(LINE_BYTES)
        {
            fetch(line);
        }
    }

    /// Asks the system to read a range from disk in the background. From the first call on, the system reads requested
    /// pages without their neighbors, up to megabytes of which would delay the requested ones.
    pub(crate) fn will_need(&self, start_token: u64, tokens: u64) {
        let Bytes::Map(map) = &self.bytes else { return };
        let range = self.range(map, start_token, tokens);
        #[cfg(unix)]
        if !range.is_empty() {
            // This is only advice: pages that the system does not prefetch are read later.
            self.random.get_or_init(|| {
                let _ = map.advise(memmap2::Advice::Random);
            });
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
        #[cfg(not(unix))]
        drop(range);
    }

    /// Returns the bytes of a range of ids if the file is mapped and contains all of them.
    pub(crate) fn bytes_of(&self, start_token: u64, tokens: u64) -> Option<&[u8]> {
        let Bytes::Map(map) = &self.bytes else { return None };
        let bytes = map.get(self.range(map, start_token, tokens))?;
        let expected = tokens.checked_mul(self.dtype.bytes());
        (expected == u64::try_from(bytes.len()).ok()).then_some(bytes)
    }

    /// Returns the range of ids in the map, cut at its end.
    fn range(&self, map: &Mmap, start_token: u64, tokens: u64) -> Range<usize> {
        let width = self.dtype.bytes();
        let place = |token: u64| {
            let offset = token.saturating_mul(width).saturating_add(self.header_bytes);
            usize::try_from(offset).unwrap_or(usize::MAX).min(map.len())
        };
        place(start_token)..place(start_token.saturating_add(tokens))
    }

    fn read_map<T: TokenInt>(
        &self,
        map: &Mmap,
        offset_bytes: u64,
        out: &mut [T],
    ) -> Result<(), Error> {
        let bytes = usize::try_from(offset_bytes).ok().and_then(|offset| map.get(offset..));
        self.decode(bytes.unwrap_or_default(), offset_bytes, out)
    }

    fn read_file<T: TokenInt>(
        &self,
        file: &PositionedFile,
        mut offset_bytes: u64,
        out: &mut [T],
    ) -> Result<(), Error> {
        let mut buffer = [0; READ_BYTES];
        for part in out.chunks_mut(READ_BYTES / 4) {
            let len_bytes = part.len() as u64 * self.dtype.bytes();
            let len = usize::try_from(len_bytes).unwrap_or(READ_BYTES);
            let bytes = buffer.get_mut(..len).unwrap_or_default();
            file.read(offset_bytes, bytes)?;
            self.decode(bytes, offset_bytes, part)?;
            offset_bytes += len_bytes;
        }
        Ok(())
    }

    fn decode<T: TokenInt>(
        &self,
        bytes: &[u8],
        offset_bytes: u64,
        out: &mut [T],
    ) -> Result<(), Error> {
        let largest = self.dtype.decode(bytes, out);
        if u64::from(largest) < self.vocab_size {
            return Ok(());
        }
        let mut ids = vec![0_u32; out.len()];
        self.dtype.decode(bytes, &mut ids);
        Err(bad_id(&self.path, self.dtype, self.vocab_size, offset_bytes, &ids))
    }
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Prefetching gives a fifth more tokens per second for rows of 128 tokens, 3 % for 1,024 (medians of three rounds).
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(line: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: prefetching reads nothing and faults nowhere, and every x86-64 processor can.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn fetch(_line: &[u8]) {}

/// Returns the error for the first of `ids`, which begin at `offset_bytes`, that is not below `vocab_size`.
pub(crate) fn bad_id(
    path: &Path,
    dtype: Dtype,
    vocab_size: u64,
    offset_bytes: u64,
    ids: &[u32],
) -> Error {
    let bad = (0_u64..).zip(ids).find(|(_, id)| u64::from(**id) >= vocab_size);
    let (n, id) = bad.unwrap_or((0, &u32::MAX));
    let expected = format!("an id below the vocabulary of {vocab_size}");
    Error::damaged(path, Some(offset_bytes + n * dtype.bytes()), expected, id.to_string())
}

/// Maps the whole file for reading.
fn map(path: &Path) -> Result<Mmap, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    // SAFETY: the map is read-only and private to `TokenFile` and `MaskFile`, which copy out of it and never return a
    // reference. That the file does not change in the meantime is the contract of `Access::Map`, which each caller
    // chooses; `Access::Read` is the twin without it. Benefit: no system call per window; a 2 KiB window costs its copy
    // instead of a pread, which costs several times that.
    unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))
}

/// A window of an opened shard.
#[derive(Clone, Copy, Debug)]
pub struct Window<'c> {
    file: &'c TokenFile,
    start_token: u64,
}

impl<'c> Window<'c> {
    pub(crate) fn new(file: &'c TokenFile, start_token: u64) -> Self {
        Self { file, start_token }
    }

    /// Prefetches `tokens` ids from the window's token `first` on into the processor's cache, if they are mapped.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let window = corpus.window(Split::Train, 1, 3)?.unwrap();
    /// window.prefetch(0, 3);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    #[inline]
    pub fn prefetch(&self, first: u64, tokens: u64) {
        self.file.prefetch(self.start_token.saturating_add(first), tokens);
    }

    /// Asks the system to read the window's first `tokens` ids from the disk in the background, if they are mapped.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let window = corpus.window(Split::Train, 1, 3)?.unwrap();
    /// window.will_need(3);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn will_need(&self, tokens: u64) {
        self.file.will_need(self.start_token, tokens);
    }

    /// Fills `out` with the window's ids from its token `first` on.
    ///
    /// # Errors
    /// Those of [`Corpus::read_tokens`](crate::Corpus::read_tokens).
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let window = corpus.window(Split::Train, 1, 3)?.unwrap();
    /// let mut ids = [0_u32; 2];
    /// window.read(1, &mut ids)?;
    /// assert_eq!(ids, [499, 13]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    #[inline]
    pub fn read<T: TokenInt>(&self, first: u64, out: &mut [T]) -> Result<(), Error> {
        self.file.read(self.start_token.saturating_add(first), out)
    }
}

/// One opened `.mask`: one byte per token, 1 for a loss target and 0 otherwise.
#[derive(Debug)]
pub(crate) struct MaskFile {
    bytes: Bytes,
    path: PathBuf,
}

impl MaskFile {
    /// Opens the file at `path`, which must hold exactly `tokens` bytes.
    pub(crate) fn open(path: &Path, tokens: u64, access: Access) -> Result<Self, Error> {
        let (bytes, got_bytes) = Bytes::open(path, access)?;
        if got_bytes != tokens {
            let expected = format!("a mask of {tokens} bytes");
            return Err(Error::damaged(path, None, expected, format!("{got_bytes} bytes")));
        }
        Ok(Self { bytes, path: path.to_owned() })
    }

    /// Fills `out` from token `start_token` on; the caller must keep the range within the shard.
    pub(crate) fn read(&self, start_token: u64, out: &mut [u8]) -> Result<(), Error> {
        self.bytes.read(&self.path, start_token, out)?;
        match bad_byte(&self.path, start_token, out) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Returns the error for the first byte of a mask, which begins at `offset_bytes`, that is neither 0 nor 1.
pub(crate) fn bad_byte(path: &Path, offset_bytes: u64, mask: &[u8]) -> Option<Error> {
    // The maximum comes first: it takes one vector operation per block, the search takes a branch per byte.
    mask.iter().max().filter(|largest| **largest > 1)?;
    let (at, byte) = (offset_bytes..).zip(mask).find(|(_, byte)| **byte > 1)?;
    Some(Error::damaged(path, Some(at), "a mask byte of 0 or 1", byte.to_string()))
}
