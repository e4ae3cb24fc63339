//! Megatron's index of a shard: the beginning of each document.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use crate::Access;
use crate::Dtype;
use crate::Error;
use crate::Fingerprint;
use crate::ShardRecord;
use crate::corpus::token_file::Bytes;
use crate::files::pending_file::{HashedFile, PendingFile};

/// `MMIDIDX\0\0`, u64 version 1; the dtype code and the counts follow.
pub(crate) const MAGIC: [u8; 9] = *b"MMIDIDX\0\0";
pub(crate) const VERSION: u64 = 1;
pub(crate) const VERSION_OFFSET_BYTES: u64 = 9;
pub(crate) const DTYPE_OFFSET_BYTES: u64 = 17;
pub(crate) const SEQUENCES_OFFSET_BYTES: u64 = 18;
pub(crate) const ENTRIES_OFFSET_BYTES: u64 = 26;
/// The position of the lengths.
pub(crate) const HEADER_BYTES: u64 = 34;
pub(crate) const LENGTH_BYTES: u64 = 4;
pub(crate) const OFFSET_BYTES: u64 = 8;

/// Documents decoded at a time when all are read: 40 to 160 KiB of buffers.
const STEP_DOCUMENTS: u64 = 8192;

/// An opened `.idx` whose header and size agree with the shard's record.
///
/// It is read with pread for rare lookups and for reading front to back; it is mapped for batches.
#[derive(Debug)]
pub(crate) struct IndexFile {
    file: Bytes,
    path: PathBuf,
    dtype: Dtype,
    documents: u64,
    tokens: u64,
}

impl IndexFile {
    /// Opens the index of the shard that `record` describes, for reading with pread.
    pub(crate) fn open(path: &Path, dtype: Dtype, record: &ShardRecord) -> Result<Self, Error> {
        Self::open_with(path, dtype, record, Access::Read)
    }

    /// Like [`IndexFile::open`], read according to `access`.
    pub(crate) fn open_with(
        path: &Path,
        dtype: Dtype,
        record: &ShardRecord,
        access: Access,
    ) -> Result<Self, Error> {
        let (documents, tokens) = (record.documents, record.tokens);
        let (file, got_bytes) = Bytes::open(path, access)?;
        let index = Self { file, path: path.to_owned(), dtype, documents, tokens };
        index.check_header(got_bytes)?;
        Ok(index)
    }

    fn check_header(&self, got_bytes: u64) -> Result<(), Error> {
        // The magic is checked first: for a file of another kind, an error about its size would mislead.
        let mut magic = [0; MAGIC.len()];
        if got_bytes < HEADER_BYTES {
            let expected = format!("an index of at least {HEADER_BYTES} bytes");
            return Err(self.damaged(None, expected, format!("{got_bytes} bytes")));
        }
        self.read(0, &mut magic)?;
        if magic != MAGIC {
            let got = format!("{:?}", magic.escape_ascii().to_string());
            return Err(self.damaged(Some(0), "the magic \"MMIDIDX\\x00\\x00\"".to_owned(), got));
        }
        let mut code = [0];
        self.read(DTYPE_OFFSET_BYTES, &mut code)?;
        self.check_number(VERSION_OFFSET_BYTES, "version", VERSION)?;
        if code != [self.dtype.megatron_code()] {
            let expected = format!("dtype code {} ({})", self.dtype.megatron_code(), self.dtype);
            return Err(self.damaged(Some(DTYPE_OFFSET_BYTES), expected, format!("{code:?}")));
        }
        self.check_number(SEQUENCES_OFFSET_BYTES, "sequence count", self.documents)?;
        self.check_number(ENTRIES_OFFSET_BYTES, "document entry count", self.documents + 1)?;
        if index_bytes(self.documents) != Some(got_bytes) {
            let expected = format!("the index of {} documents, 42 + 20 bytes each", self.documents);
            return Err(self.damaged(None, expected, format!("{got_bytes} bytes")));
        }
        Ok(())
    }

    fn check_number(&self, offset_bytes: u64, name: &str, expected: u64) -> Result<(), Error> {
        let mut bytes = [0; 8];
        self.read(offset_bytes, &mut bytes)?;
        let got = u64::from_le_bytes(bytes);
        if got == expected {
            return Ok(());
        }
        Err(self.damaged(Some(offset_bytes), format!("{name} {expected}"), got.to_string()))
    }

    /// Returns the first token and the length, both in ids, of one document; both lie inside the token file.
    pub(crate) fn document(&self, document: u64) -> Result<(u64, u32), Error> {
        let mut length = [0; 4];
        let mut offset = [0; 8];
        let offset_at = self.offset_at(document);
        self.read(self.length_at(document), &mut length)?;
        self.read(offset_at, &mut offset)?;
        let length = self.checked_length(document, i32::from_le_bytes(length))?;
        let offset_bytes = i64::from_le_bytes(offset);
        let start =
            u64::try_from(offset_bytes).ok().filter(|bytes| bytes % self.dtype.bytes() == 0);
        let start = start.map(|bytes| bytes / self.dtype.bytes());
        match start {
            Some(start) if start <= self.tokens && u64::from(length) <= self.tokens - start => {
                Ok((start, length))
            }
            _ => {
                let expected = format!(
                    "the byte offset of document {document} of {length} ids within {} ids of {} bytes",
                    self.tokens,
                    self.dtype.bytes()
                );
                Err(self.damaged(Some(offset_at), expected, offset_bytes.to_string()))
            }
        }
    }

    /// Appends the lengths of all documents in ids: each ≥ 1, and their sum is the shard's number of tokens.
    pub(crate) fn append_lengths(&self, lengths: &mut Vec<u32>) -> Result<(), Error> {
        let mut sum = 0;
        for first in self.steps() {
            for (document, length) in (first..).zip(self.read_lengths(first)?) {
                let length = self.checked_length(document, length)?;
                sum += u64::from(length);
                lengths.push(length);
            }
        }
        self.check_sum(sum)
    }

    /// Checks every entry: lengths, byte offsets and document starts.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut start = 0;
        for first in self.steps() {
            start = self.check_step(first, start)?;
        }
        self.check_sum(start)?;
        for first in self.steps() {
            self.check_starts(first, self.step_len(first))?;
        }
        self.check_starts(self.documents, 1)
    }

    /// Checks the lengths and offsets of a step whose first document begins at `start` ids, and returns where the next
    /// step begins.
    fn check_step(&self, first: u64, mut start: u64) -> Result<u64, Error> {
        let offsets = self.read_numbers(self.offset_at(first), self.step_len(first))?;
        for ((document, length), got) in (first..).zip(self.read_lengths(first)?).zip(offsets) {
            let length = self.checked_length(document, length)?;
            let expected = start * self.dtype.bytes();
            if got != expected {
                let expected = format!("byte offset {expected} of document {document}");
                return Err(self.damaged(
                    Some(self.offset_at(document)),
                    expected,
                    got.to_string(),
                ));
            }
            start += u64::from(length);
            if start > self.tokens {
                return self.check_sum(start).map(|()| start);
            }
        }
        Ok(start)
    }

    fn check_starts(&self, first: u64, count: u64) -> Result<(), Error> {
        let starts_at = HEADER_BYTES + (LENGTH_BYTES + OFFSET_BYTES) * self.documents;
        let got = self.read_numbers(starts_at + 8 * first, count)?;
        for (expected, got) in (first..).zip(got) {
            if got != expected {
                let at = Some(starts_at + 8 * expected);
                return Err(self.damaged(
                    at,
                    format!("document start {expected}"),
                    got.to_string(),
                ));
            }
        }
        Ok(())
    }

    fn steps(&self) -> impl Iterator<Item = u64> + use<> {
        let documents = self.documents;
        (0..documents.div_ceil(STEP_DOCUMENTS)).map(|step| step * STEP_DOCUMENTS)
    }

    fn step_len(&self, first: u64) -> u64 {
        STEP_DOCUMENTS.min(self.documents - first)
    }

    fn read_lengths(&self, first: u64) -> Result<Vec<i32>, Error> {
        let bytes = self.read_vec(self.length_at(first), LENGTH_BYTES * self.step_len(first))?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect())
    }

    /// Reads `count` 8-byte numbers at `offset_bytes`; a negative one is above every expected number.
    fn read_numbers(&self, offset_bytes: u64, count: u64) -> Result<Vec<u64>, Error> {
        let bytes = self.read_vec(offset_bytes, 8 * count)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    fn checked_length(&self, document: u64, length: i32) -> Result<u32, Error> {
        u32::try_from(length).ok().filter(|length| *length > 0).ok_or_else(|| {
            let expected = format!("a length of document {document} of at least 1");
            self.damaged(Some(self.length_at(document)), expected, length.to_string())
        })
    }

    fn check_sum(&self, got: u64) -> Result<(), Error> {
        if got == self.tokens {
            return Ok(());
        }
        let expected = format!("document lengths that add up to {} ids", self.tokens);
        Err(self.damaged(Some(HEADER_BYTES), expected, format!("{got} or more")))
    }

    /// Calls `found` with every token in a range of the shard at which a document begins.
    pub(crate) fn each_start(
        &self,
        tokens: Range<u64>,
        mut found: impl FnMut(u64),
    ) -> Result<(), Error> {
        // The first document that begins at or after the start of the range.
        let (mut document, mut end) = (0, self.documents);
        while document < end {
            let middle = document + (end - document) / 2;
            if self.document(middle)?.0 < tokens.start {
                document = middle + 1;
            } else {
                end = middle;
            }
        }
        while document < self.documents {
            let (start, _) = self.document(document)?;
            if start >= tokens.end {
                break;
            }
            found(start);
            document += 1;
        }
        Ok(())
    }

    fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file.read(&self.path, offset_bytes, out)
    }

    fn read_vec(&self, offset_bytes: u64, len_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(len_bytes).unwrap_or(usize::MAX)];
        self.read(offset_bytes, &mut bytes)?;
        Ok(bytes)
    }

    fn length_at(&self, document: u64) -> u64 {
        HEADER_BYTES + LENGTH_BYTES * document
    }

    fn offset_at(&self, document: u64) -> u64 {
        HEADER_BYTES + LENGTH_BYTES * self.documents + OFFSET_BYTES * document
    }

    fn damaged(&self, offset_bytes: Option<u64>, expected: String, got: String) -> Error {
        Error::damaged(&self.path, offset_bytes, expected, got)
    }
}

/// Returns the size of the index of `documents` documents in bytes; `None` if it overflows u64.
pub(crate) fn index_bytes(documents: u64) -> Option<u64> {
    documents.checked_mul(20)?.checked_add(HEADER_BYTES + 8)
}

/// Writes the index of documents with these lengths (≥ 1, in ids).
pub(crate) fn write_index(
    path: &Path,
    dtype: Dtype,
    lengths: &[i32],
) -> Result<(PendingFile, Fingerprint), Error> {
    let documents = lengths.len() as u64;
    let mut file = HashedFile::create(path)?;
    file.write(&MAGIC)?;
    file.write(&VERSION.to_le_bytes())?;
    file.write(&[dtype.megatron_code()])?;
    file.write(&documents.to_le_bytes())?;
    file.write(&(documents + 1).to_le_bytes())?;
    for length in lengths {
        file.write(&length.to_le_bytes())?;
    }
    let mut offset_bytes = 0_i64;
    for length in lengths {
        file.write(&offset_bytes.to_le_bytes())?;
        offset_bytes += i64::from(*length) * id_bytes(dtype);
    }
    for start in 0..=documents {
        file.write(&start.to_le_bytes())?;
    }
    file.finish()
}

fn id_bytes(dtype: Dtype) -> i64 {
    match dtype {
        Dtype::U16 => 2,
        Dtype::I32 => 4,
    }
}
