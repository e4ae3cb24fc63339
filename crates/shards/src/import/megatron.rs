//! Indexes written by Megatron: several sequences per document, empty ones, other dtypes.

use std::path::Path;

use super::{
    document_table::{DocumentTable, TableBuilder},
    format::Found,
};
use crate::Dtype;
use crate::Error;
use crate::files::positioned_file::PositionedFile;
use crate::format::index::{
    DTYPE_OFFSET_BYTES, ENTRIES_OFFSET_BYTES, HEADER_BYTES, LENGTH_BYTES, MAGIC, OFFSET_BYTES,
    SEQUENCES_OFFSET_BYTES, VERSION, VERSION_OFFSET_BYTES,
};

/// Numbers that are read at a time.
const STEP: u64 = 8192;

const HINT: &str = "restore the .idx that was written with the .bin, or move it away and import the \
                    .bin as raw ids (--format raw --dtype …)";

/// Checks magic and version; returns the dtype, if a corpus can have it.
pub(super) fn read_dtype(path: &Path) -> Result<Dtype, Error> {
    let file = PositionedFile::open(path)?;
    let got_bytes = file.len_bytes()?;
    if got_bytes < HEADER_BYTES {
        let expected = format!("a Megatron index of at least {HEADER_BYTES} bytes");
        return Err(Error::import(path, None, expected, format!("{got_bytes} bytes"), HINT));
    }
    let mut magic = [0; MAGIC.len()];
    file.read(0, &mut magic)?;
    if magic != MAGIC {
        let got = format!("\"{}\"", magic.escape_ascii());
        return Err(Error::import(path, Some(0), "the magic \"MMIDIDX\\x00\\x00\"", got, HINT));
    }
    let version = number(&file, VERSION_OFFSET_BYTES)?;
    if version != VERSION {
        let (at, expected) = (Some(VERSION_OFFSET_BYTES), format!("version {VERSION}"));
        return Err(Error::import(path, at, expected, version.to_string(), HINT));
    }
    let mut code = [0];
    file.read(DTYPE_OFFSET_BYTES, &mut code)?;
    let [code] = code;
    match code {
        4 => Ok(Dtype::I32),
        8 => Ok(Dtype::U16),
        _ => {
            let name = match code {
                1 => " (uint8)",
                2 => " (int8)",
                3 => " (int16)",
                5 => " (int64)",
                6 => " (float64)",
                7 => " (float32)",
                _ => "",
            };
            let hint = "tokenize again with 16- or 32-bit ids, as Megatron does by default";
            let at = Some(DTYPE_OFFSET_BYTES);
            Err(Error::import(
                path,
                at,
                "dtype code 4 (int32) or 8 (uint16)",
                format!("{code}{name}"),
                hint,
            ))
        }
    }
}

/// Reads and checks the whole index. An index with one sequence per document is used as it is.
pub(super) fn read(path: &Path, found: &Found) -> Result<DocumentTable, Error> {
    let index = MegatronIndex::open(path, found)?;
    let lengths = index.read_lengths()?;
    index.check_offsets(&lengths)?;
    let mut builder = TableBuilder::new(found);
    let mut is_ours = lengths.iter().all(|length| *length > 0);
    let (mut sequence, mut end) = (0_u64, 0_u64);
    let mut rest = lengths.iter();
    for (entry, start) in index.starts()?.into_iter().enumerate() {
        if start < sequence || start > index.sequences || (entry == 0 && start != 0) {
            let expected = format!("document entry {entry} of {sequence} to {}", index.sequences);
            return Err(index.wrong(index.start_at(entry as u64), expected, start.to_string()));
        }
        is_ours &= start == entry as u64;
        for length in rest.by_ref().take(usize::try_from(start - sequence).unwrap_or(usize::MAX)) {
            end += u64::from(*length);
        }
        if entry > 0 {
            builder.end_at(end)?;
        }
        sequence = start;
    }
    if sequence != index.sequences {
        let at = index.start_at(index.entries.saturating_sub(1));
        let expected = format!("a last document entry of {}, the sequences", index.sequences);
        return Err(index.wrong(at, expected, sequence.to_string()));
    }
    let mut table = builder.finish();
    table.in_place = is_ours.then(|| path.to_owned());
    Ok(table)
}

fn number(file: &PositionedFile, offset_bytes: u64) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    file.read(offset_bytes, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// An index whose size matches the counts in its header.
struct MegatronIndex<'a> {
    file: PositionedFile,
    path: &'a Path,
    found: &'a Found,
    sequences: u64,
    entries: u64,
}

impl<'a> MegatronIndex<'a> {
    fn open(path: &'a Path, found: &'a Found) -> Result<Self, Error> {
        let file = PositionedFile::open(path)?;
        let sequences = number(&file, SEQUENCES_OFFSET_BYTES)?;
        let entries = number(&file, ENTRIES_OFFSET_BYTES)?;
        let got_bytes = file.len_bytes()?;
        let index = Self { file, path, found, sequences, entries };
        let arrays = || {
            let lengths_and_offsets = sequences.checked_mul(LENGTH_BYTES + OFFSET_BYTES)?;
            lengths_and_offsets.checked_add(entries.checked_mul(8)?)?.checked_add(HEADER_BYTES)
        };
        if sequences == 0 || entries < 2 || arrays() != Some(got_bytes) {
            let expected = format!(
                "the size of an index of {sequences} sequences and {entries} document entries"
            );
            let got = format!("{got_bytes} bytes");
            return Err(index.wrong(SEQUENCES_OFFSET_BYTES, expected, got));
        }
        Ok(index)
    }

    fn offsets_at(&self) -> u64 {
        HEADER_BYTES + LENGTH_BYTES * self.sequences
    }

    fn start_at(&self, entry: u64) -> u64 {
        self.offsets_at() + OFFSET_BYTES * self.sequences + 8 * entry
    }

    /// Returns the lengths of all sequences: as many as the file holds, each at least 0.
    fn read_lengths(&self) -> Result<Vec<u32>, Error> {
        let mut lengths = Vec::new();
        let mut bytes = Vec::new();
        for first in (0..self.sequences).step_by(usize::try_from(STEP).unwrap_or(1)) {
            let count = STEP.min(self.sequences - first);
            let at = HEADER_BYTES + LENGTH_BYTES * first;
            self.file.read_into(at, LENGTH_BYTES * count, &mut bytes)?;
            for (n, length) in bytes.as_chunks().0.iter().enumerate() {
                let length = i32::from_le_bytes(*length);
                let at = at + LENGTH_BYTES * n as u64;
                let expected =
                    || format!("a length of sequence {} of at least 0", first + n as u64);
                lengths.push(
                    u32::try_from(length)
                        .map_err(|_| self.wrong(at, expected(), length.to_string()))?,
                );
            }
        }
        Ok(lengths)
    }

    /// Checks that each sequence begins where the previous one ends, and that the last one ends with the token file.
    fn check_offsets(&self, lengths: &[u32]) -> Result<(), Error> {
        let mut expected = 0_u64;
        let mut bytes = Vec::new();
        let chunks = lengths.chunks(usize::try_from(STEP).unwrap_or(usize::MAX));
        for (first, lengths) in (0_u64..).step_by(usize::try_from(STEP).unwrap_or(1)).zip(chunks) {
            let at = self.offsets_at() + OFFSET_BYTES * first;
            self.file.read_into(at, OFFSET_BYTES * lengths.len() as u64, &mut bytes)?;
            for (n, (offset, length)) in (0_u64..).zip(bytes.as_chunks().0.iter().zip(lengths)) {
                let got = i64::from_le_bytes(*offset);
                if u64::try_from(got) != Ok(expected) {
                    let place = at + OFFSET_BYTES * n;
                    let expected = format!("byte offset {expected} of sequence {}", first + n);
                    return Err(self.wrong(place, expected, got.to_string()));
                }
                expected += u64::from(*length) * self.found.dtype.bytes();
            }
        }
        if expected != self.found.file_bytes {
            let expected = format!(
                "sequences of {} bytes, as {} has",
                self.found.file_bytes,
                self.found.path.display()
            );
            let sum: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
            let got = format!("{sum} ids of {} bytes", self.found.dtype.bytes());
            return Err(self.wrong(HEADER_BYTES, expected, got));
        }
        Ok(())
    }

    fn starts(&self) -> Result<Vec<u64>, Error> {
        let bytes = self.file.read_vec(self.start_at(0), 8 * self.entries)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    fn wrong(&self, offset_bytes: u64, expected: String, got: String) -> Error {
        Error::import(self.path, Some(offset_bytes), expected, got, HINT)
    }
}
