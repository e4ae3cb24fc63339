//! One part, tokenized and sorted, on its way to the shards.
//!
//! ```text
//! "MIXSPIL1"                                       8 bytes
//! length of the summary in bytes                   u64
//! summary                                          JSON
//! documents and tokens before bucket b, b = 0..=S  (S + 1) × (u64, u64)
//! rows, by bucket and key                          documents × 36 bytes
//! ids of the documents, in the rows' order         tokens × 2 or 4 bytes
//! ```
//! Little endian throughout. The file appears under its name when it is whole.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use mixdown_shards::Dtype;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::work_file::write_aside;

const MAGIC: &[u8; 8] = b"MIXSPIL1";
const ROW_BYTES: u64 = 36;
/// A summary grows by some 20 bytes an input file of its part; a part has bounded bytes of those.
const MAX_SUMMARY_BYTES: u64 = 1 << 30;

/// What is known of a document once it is tokenized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: u128,
    pub(crate) hash: u64,
    pub(crate) text_bytes: u64,
    /// With prefix and end-of-text.
    pub(crate) len_tokens: u32,
}

impl Row {
    fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        let (key, rest) = bytes.split_at_mut(16);
        let (hash, rest) = rest.split_at_mut(8);
        let (text_bytes, len_tokens) = rest.split_at_mut(8);
        key.copy_from_slice(&self.key.to_le_bytes());
        hash.copy_from_slice(&self.hash.to_le_bytes());
        text_bytes.copy_from_slice(&self.text_bytes.to_le_bytes());
        len_tokens.copy_from_slice(&self.len_tokens.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; 36]) -> Self {
        let (key, rest) = bytes.split_at(16);
        let (hash, rest) = rest.split_at(8);
        let (text_bytes, len_tokens) = rest.split_at(8);
        Self {
            key: u128::from_le_bytes(array(key)),
            hash: u64::from_le_bytes(array(hash)),
            text_bytes: u64::from_le_bytes(array(text_bytes)),
            len_tokens: u32::from_le_bytes(array(len_tokens)),
        }
    }
}

/// The first `N` bytes; zeros where there are fewer.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

/// What a part held besides its documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) buckets: u64,
    pub(crate) id_bytes: u64,
    pub(crate) documents: u64,
    pub(crate) tokens: u64,
    /// Bytes on disk that were read for it.
    pub(crate) consumed_bytes: u64,
    pub(crate) bad_records: u64,
    pub(crate) empty_documents: u64,
    pub(crate) special_text_documents: u64,
    /// Input ordinals with the documents that came from each.
    pub(crate) documents_by_input: Vec<(u32, u64)>,
}

/// One document with the bytes of its ids.
pub(crate) struct SpillDocument<'i> {
    pub(crate) row: Row,
    pub(crate) bucket: u64,
    pub(crate) ids: &'i [u8],
}

/// Writes a part's documents, which must be sorted by bucket and key.
pub(crate) fn write_spill(
    path: &Path,
    summary: &Summary,
    documents: &[SpillDocument<'_>],
) -> Result<(), Error> {
    let json =
        serde_json::to_vec(summary).map_err(|source| Error::io("write", path)(source.into()))?;
    write_aside(path, |file| {
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(MAGIC)?;
        out.write_all(&as_u64(json.len()).to_le_bytes())?;
        out.write_all(&json)?;
        for (documents, tokens) in bucket_starts(summary.buckets, documents) {
            out.write_all(&documents.to_le_bytes())?;
            out.write_all(&tokens.to_le_bytes())?;
        }
        for document in documents {
            out.write_all(&document.row.to_bytes())?;
        }
        for document in documents {
            out.write_all(document.ids)?;
        }
        out.flush()
    })
}

/// Documents and tokens before each bucket, and in all.
fn bucket_starts(buckets: u64, documents: &[SpillDocument<'_>]) -> Vec<(u64, u64)> {
    let mut starts = Vec::new();
    let (mut count, mut tokens) = (0, 0);
    let mut rest = documents.iter().peekable();
    for bucket in 0..buckets {
        starts.push((count, tokens));
        while let Some(document) = rest.next_if(|document| document.bucket <= bucket) {
            count += 1;
            tokens += u64::from(document.row.len_tokens);
        }
    }
    starts.push((count, tokens));
    starts
}

/// A spill file open for reading. Its lengths are checked against each other when it is opened.
pub(crate) struct Spill {
    path: PathBuf,
    file: File,
    summary: Summary,
    index_offset: u64,
}

impl Spill {
    /// Opens a whole spill that was made for this many buckets and this dtype.
    pub(crate) fn open(path: &Path, buckets: u64, dtype: Dtype) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("read", path))?.len();
        let mut head = [0; 16];
        file.read_exact(&mut head).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => {
                damaged(path, "a spill file's head", &format!("{len} bytes"))
            }
            _ => Error::io("read", path)(source),
        })?;
        let (magic, summary_len) = head.split_at(8);
        let summary_len = u64::from_le_bytes(array(summary_len));
        if magic != MAGIC || summary_len > MAX_SUMMARY_BYTES.min(len) {
            return Err(damaged(path, "a spill file's head", "something else"));
        }
        let json = read_at(&mut file, path, 16, summary_len)?;
        let summary: Summary = serde_json::from_slice(&json)
            .map_err(|error| damaged(path, "a summary", &error.to_string()))?;
        let index_offset = 16 + summary_len;
        let spill = Self { path: path.to_owned(), file, summary, index_offset };
        spill.check(len, buckets, dtype)?;
        Ok(spill)
    }

    pub(crate) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Documents and tokens before `bucket`; for the number of buckets, those in all.
    pub(crate) fn start(&mut self, bucket: u64) -> Result<(u64, u64), Error> {
        let bytes = read_at(&mut self.file, &self.path, self.index_offset + bucket * 16, 16)?;
        let (documents, tokens) = bytes.split_at(8);
        Ok((u64::from_le_bytes(array(documents)), u64::from_le_bytes(array(tokens))))
    }

    /// The rows of the documents from `first` to before `end`.
    pub(crate) fn rows(&mut self, first: u64, end: u64) -> Result<Vec<Row>, Error> {
        self.check_range(first, end, self.summary.documents)?;
        let offset = self.rows_offset() + first * ROW_BYTES;
        let bytes = read_at(&mut self.file, &self.path, offset, (end - first) * ROW_BYTES)?;
        let (rows, _) = bytes.as_chunks::<36>();
        Ok(rows.iter().map(Row::from_bytes).collect())
    }

    /// The bytes of the ids from token `first` to before token `end`.
    pub(crate) fn ids(&mut self, first: u64, end: u64) -> Result<Vec<u8>, Error> {
        self.check_range(first, end, self.summary.tokens)?;
        let width = self.summary.id_bytes;
        let offset = self.rows_offset() + self.summary.documents * ROW_BYTES + first * width;
        read_at(&mut self.file, &self.path, offset, (end - first) * width)
    }

    fn rows_offset(&self) -> u64 {
        self.index_offset + (self.summary.buckets + 1) * 16
    }

    fn check(&self, len: u64, buckets: u64, dtype: Dtype) -> Result<(), Error> {
        let summary = &self.summary;
        if summary.buckets != buckets || summary.id_bytes != dtype.bytes() {
            let expected = format!("{buckets} buckets of {}-byte ids", dtype.bytes());
            let got = format!("{} of {}", summary.buckets, summary.id_bytes);
            return Err(damaged(&self.path, &expected, &got));
        }
        let expected = summary
            .documents
            .checked_mul(ROW_BYTES)
            .zip(summary.tokens.checked_mul(summary.id_bytes))
            .and_then(|(rows, ids)| rows.checked_add(ids)?.checked_add(self.rows_offset()));
        if expected != Some(len) {
            let expected = expected.map_or("fewer".to_owned(), |len| len.to_string());
            return Err(damaged(&self.path, &format!("{expected} bytes"), &format!("{len}")));
        }
        Ok(())
    }

    fn check_range(&self, first: u64, end: u64, len: u64) -> Result<(), Error> {
        if first <= end && end <= len {
            return Ok(());
        }
        let got = format!("a bucket from {first} to {end}");
        Err(damaged(&self.path, &format!("buckets in order, within {len}"), &got))
    }
}

pub(crate) fn damaged(path: &Path, expected: &str, got: &str) -> Error {
    let path = path.to_owned();
    Error::DamagedWork { path, expected: expected.to_owned(), got: got.to_owned() }
}

/// `len` bytes from `offset`; the caller has checked them against the file's length.
fn read_at(file: &mut File, path: &Path, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
    file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if as_u64(bytes.len()) < len {
        return Err(damaged(path, &format!("{len} bytes at {offset}"), &bytes.len().to_string()));
    }
    Ok(bytes)
}

pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(path: &Path) -> (Summary, Vec<Row>) {
        let rows: Vec<Row> = (0..7_u32)
            .map(|index| Row {
                key: u128::from(index) << 100,
                hash: u64::from(index) * 11,
                text_bytes: 5,
                len_tokens: index + 1,
            })
            .collect();
        let summary =
            Summary { buckets: 4, id_bytes: 2, documents: 7, tokens: 28, ..Summary::default() };
        let ids = [7_u8; 64];
        let documents: Vec<SpillDocument<'_>> = rows
            .iter()
            .zip([0, 0, 1, 1, 1, 3, 3])
            .map(|(&row, bucket)| {
                let len = usize::try_from(row.len_tokens * 2).unwrap();
                SpillDocument { row, bucket, ids: &ids[..len] }
            })
            .collect();
        write_spill(path, &summary, &documents).unwrap();
        (summary, rows)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let (summary, rows) = sample(&path);
        let mut spill = Spill::open(&path, 4, Dtype::U16).unwrap();
        assert_eq!(spill.summary(), &summary);
        let starts: Vec<(u64, u64)> = (0..=4).map(|b| spill.start(b).unwrap()).collect();
        assert_eq!(starts, [(0, 0), (2, 3), (5, 15), (5, 15), (7, 28)]);
        assert_eq!(spill.rows(2, 5).unwrap(), rows[2..5]);
        assert_eq!(spill.ids(3, 15).unwrap(), [7; 24]);
        assert!(spill.rows(5, 8).is_err());
    }

    #[test]
    fn every_truncation_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        sample(&path);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let error = Spill::open(&path, 4, Dtype::U16).err().unwrap();
            assert!(matches!(error, Error::DamagedWork { .. }), "{len} bytes: {error}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(Spill::open(&path, 8, Dtype::U16).is_err());
        assert!(Spill::open(&path, 4, Dtype::I32).is_err());
    }
}
