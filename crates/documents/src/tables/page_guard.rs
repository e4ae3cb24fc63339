//! A Parquet file whose page headers are checked before the library trusts them.
//!
//! The library allocates and clears as many bytes as a header claims for its page, up to 2 GiB, and as many values as a
//! dictionary's header claims, and decompresses afterwards. No page may become larger than the footer's size of its
//! whole column, and no column larger than its compressed bytes can become.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};

use crate::error::Damage;

/// A page size that is always allowed: writers with wrong counts do no harm.
const HARMLESS_BYTES: u64 = 16 << 20;

/// The position of a column chunk in the file, and the maximum size of its pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    start: u64,
    end: u64,
    page_bytes: u64,
}

impl Bound {
    /// Checks that the chunk lies within the file, so that no page is longer than the file.
    pub(crate) fn new(column: &ColumnChunkMetaData, file_bytes: u64) -> Result<Self, Damage> {
        let dictionary = column.dictionary_page_offset().filter(|&offset| offset > 0);
        let data = u64::try_from(column.data_page_offset())?;
        let start = dictionary.map_or(Ok(data), u64::try_from)?.min(data);
        let stored = u64::try_from(column.compressed_size())?;
        let end = start.saturating_add(stored);
        if end > file_bytes {
            return Err(format!("a column is meant to end at byte {end} of {file_bytes}").into());
        }
        let ratio = match column.compression() {
            Compression::UNCOMPRESSED => 1,
            Compression::SNAPPY | Compression::LZ4 | Compression::LZ4_RAW => 256,
            _ => 40_000,
        };
        let said = u64::try_from(column.uncompressed_size())?.max(HARMLESS_BYTES);
        let page_bytes = stored.saturating_mul(ratio).max(64).min(said);
        Ok(Self { start, end, page_bytes })
    }
}

/// The file, as the library reads it.
pub(crate) struct GuardedFile {
    file: File,
    /// The bounds, in the order of their positions.
    bounds: Vec<Bound>,
}

impl GuardedFile {
    pub(crate) fn new(file: File, mut bounds: Vec<Bound>) -> Self {
        bounds.sort_by_key(|bound| bound.start);
        Self { file, bounds }
    }

    /// Returns the maximum size of the page whose header begins at `start`.
    fn page_bytes(&self, start: u64) -> Option<u64> {
        let after = self.bounds.partition_point(|bound| bound.start <= start);
        let bound = self.bounds.get(after.checked_sub(1)?)?;
        (start < bound.end).then_some(bound.page_bytes)
    }
}

impl Length for GuardedFile {
    fn len(&self) -> u64 {
        Length::len(&self.file)
    }
}

impl ChunkReader for GuardedFile {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let mut reader = self.file.get_read(start)?;
        let expected = self.page_bytes(start);
        let Some(said) = Said::of(reader.fill_buf()?) else { return Ok(reader) };
        let refused = |words: String| Err(ParquetError::External(io::Error::other(words).into()));
        match expected {
            Some(expected) if said.page_bytes > expected => refused(format!(
                "a page that is meant to become {} bytes, at most {expected}",
                said.page_bytes
            )),
            _ if said.dictionary_values > said.page_bytes => refused(format!(
                "a dictionary of {} values in {} bytes",
                said.dictionary_values, said.page_bytes
            )),
            _ => Ok(reader),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.file.get_bytes(start, length)
    }
}

/// The claims of a page header.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    page_bytes: u64,
    /// 0 for data pages. Each value takes at least one byte.
    dictionary_values: u64,
}

impl Said {
    /// Reads as much of Thrift's compact protocol as needed. Returns `None` if the header does not begin with the
    /// page's type and length; the library then handles it.
    fn of(header: &[u8]) -> Option<Self> {
        const DICTIONARY: u64 = 2;
        let (kind, header) = next_integer(header)?;
        let (page_bytes, header) = next_integer(header)?;
        let values = if kind == DICTIONARY { dictionary_values(header) } else { None };
        Some(Self { page_bytes, dictionary_values: values.unwrap_or(0) })
    }
}

/// Returns the first field of the header's seventh field, a structure. Before it are the stored length and possibly a
/// checksum.
fn dictionary_values(header: &[u8]) -> Option<u64> {
    let (_, header) = next_integer(header)?;
    let structure = match header {
        [0x4c, structure @ ..] => structure,
        [0x15, checksum @ ..] => integer(checksum)?.1.strip_prefix(&[0x3c])?,
        _ => return None,
    };
    Some(next_integer(structure)?.0)
}

/// Returns the next field, if it is a 32-bit integer. The library refuses negative ones.
fn next_integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (zigzag, rest) = integer(bytes.strip_prefix(&[0x15])?)?;
    zigzag.is_multiple_of(2).then_some((zigzag / 2, rest))
}

/// Returns a variable-length integer and the bytes after it.
fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (place, &byte) in (0_u32..10).zip(bytes) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if byte < 0x80 {
            return Some((value, bytes.get(usize::try_from(place).ok()? + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_found_in_headers() {
        let said = |page_bytes, dictionary_values| Some(Said { page_bytes, dictionary_values });
        let cases: [(&[u8], Option<Said>); 9] = [
            (&[0x15, 0, 0x15, 0xc8, 1, 0x15, 2], said(100, 0)),
            (&[0x15, 4, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f], said(0x7fff_ffff, 0)),
            (&[0x15, 4, 0x15, 2, 0x15, 2, 0x4c, 0x15, 8, 0], said(1, 4)),
            (&[0x15, 4, 0x15, 2, 0x15, 2, 0x15, 7, 0x3c, 0x15, 8, 0], said(1, 4)),
            (&[0x15, 6, 0x15, 2, 0x15, 2, 0x4c, 0x15, 8, 0], said(1, 0)),
            (&[0x15, 4, 0x15, 3], None),
            (&[0x15, 4, 0x25, 2], None),
            (&[0x15, 0xff], None),
            (&[0x15, 0, 0x15, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], None),
        ];
        for (header, expected) in cases {
            assert_eq!(Said::of(header), expected, "{header:x?}");
        }
    }

    #[test]
    fn a_page_is_held_to_its_column() {
        let bound = |start, end, page_bytes| Bound { start, end, page_bytes };
        let file = tempfile::tempfile().unwrap();
        let guarded = GuardedFile::new(file, vec![bound(50, 60, 2), bound(4, 40, 1)]);
        let found = [3, 4, 39, 40, 50, 59, 60].map(|start| guarded.page_bytes(start));
        assert_eq!(found, [None, Some(1), Some(1), None, Some(2), Some(2), None]);
    }
}
