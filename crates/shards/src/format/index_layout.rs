//! Megatron's `IndexedDataset` index: where what stands, and its writer.

use std::path::Path;

use crate::Dtype;
use crate::Error;
use crate::Fingerprint;
use crate::files::pending_file::{HashedFile, PendingFile};

/// `MMIDIDX\0\0`, u64 version 1; the dtype code and the counts follow.
pub(crate) const MAGIC: [u8; 9] = *b"MMIDIDX\0\0";
pub(crate) const VERSION: u64 = 1;
pub(crate) const VERSION_OFFSET_BYTES: u64 = 9;
pub(crate) const DTYPE_OFFSET_BYTES: u64 = 17;
pub(crate) const SEQUENCES_OFFSET_BYTES: u64 = 18;
pub(crate) const ENTRIES_OFFSET_BYTES: u64 = 26;
/// Where the lengths begin.
pub(crate) const HEADER_BYTES: u64 = 34;
pub(crate) const LENGTH_BYTES: u64 = 4;
pub(crate) const OFFSET_BYTES: u64 = 8;

/// The size of the index of so many documents; none where it overflows u64.
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
