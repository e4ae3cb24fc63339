//! BLAKE3 sums of the blocks of a token file (`.sums`).

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use crate::Fingerprint;

/// Bytes of a token file that one entry of `.sums` covers: 1 MiB.
///
/// A power of two of BLAKE3's 1 KiB chunks, so every full block is a complete subtree.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;

/// Bytes of one entry of `.sums`.
pub(crate) const SUM_BYTES: u64 = 32;

/// The entry of a block without a sum, in an adopted corpus with sampled sums.
pub(crate) const NO_SUM: ChainingValue = [0; 32];

/// Returns the number of `.sums` entries for a token file of `bin_bytes`, at least one.
pub(crate) fn sums_count(bin_bytes: u64) -> u64 {
    bin_bytes.div_ceil(BLOCK_BYTES).max(1)
}

/// Returns the `.sums` entry for the block at `offset_bytes` (a multiple of [`BLOCK_BYTES`]) of a token file of
/// `bin_bytes`.
///
/// For a file of a single block the entry is the file's root, because the tree has no inner node for a block.
pub(crate) fn block_sum(block: &[u8], offset_bytes: u64, bin_bytes: u64) -> ChainingValue {
    if bin_bytes <= BLOCK_BYTES {
        return *blake3::hash(block).as_bytes();
    }
    Hasher::new().set_input_offset(offset_bytes).update(block).finalize_non_root()
}

/// Returns the root of the whole file, merged from all entries of its `.sums`.
pub(crate) fn merged_root(sums: &[ChainingValue]) -> Fingerprint {
    match sums {
        [] => Fingerprint::of(b""),
        [only] => Fingerprint::from_bytes(*only),
        _ => {
            let (left, right) = split(sums);
            merge_subtrees_root(&merged(left), &merged(right), Mode::Hash).into()
        }
    }
}

fn merged(sums: &[ChainingValue]) -> ChainingValue {
    match sums {
        [only] => *only,
        _ => {
            let (left, right) = split(sums);
            merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
        }
    }
}

/// Splits by BLAKE3's rule: the left part is the largest power of two below the whole.
fn split(sums: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    sums.split_at(sums.len().next_power_of_two() / 2)
}

/// A collector of the sums of a token file whose size is not yet known, block after block.
#[derive(Debug, Default)]
pub(crate) struct BlockSums {
    sums: Vec<ChainingValue>,
    bytes: u64,
    /// Kept because only the end of the file shows whether the first block is the only one.
    first_root: Option<ChainingValue>,
}

impl BlockSums {
    /// Adds the next block: non-empty, and [`BLOCK_BYTES`] long unless it is the last one.
    pub(crate) fn push(&mut self, block: &[u8]) {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(self.bytes).update(block);
        if self.sums.is_empty() {
            self.first_root = Some(*hasher.finalize().as_bytes());
        }
        self.sums.push(hasher.finalize_non_root());
        self.bytes += block.len() as u64;
    }

    /// Returns the entries of `.sums` in order.
    pub(crate) fn finish(mut self) -> Vec<ChainingValue> {
        if let ([only], Some(root)) = (self.sums.as_mut_slice(), self.first_root) {
            *only = root;
        }
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For sizes around every border, the merged sums equal the plain hash of the whole.
    #[test]
    fn merged_root_is_the_ordinary_hash() {
        let block = usize::try_from(BLOCK_BYTES).unwrap();
        let bytes: Vec<u8> =
            (0_u32..6 << 20).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let mut sizes = vec![1, 2, 1023, 1024, 1025, block / 2];
        for blocks in 1..=5 {
            for size in [blocks * block - 1, blocks * block, blocks * block + 1] {
                sizes.extend([size, size + 1024]);
            }
        }
        for size in sizes {
            let bytes = &bytes[..size];
            let mut sums = BlockSums::default();
            bytes.chunks(block).for_each(|block| sums.push(block));
            let sums = sums.finish();
            assert_eq!(sums.len() as u64, sums_count(size as u64), "size {size}");
            assert_eq!(merged_root(&sums), Fingerprint::of(bytes), "size {size}");
            for (n, (part, sum)) in bytes.chunks(block).zip(&sums).enumerate() {
                assert_eq!(block_sum(part, n as u64 * BLOCK_BYTES, size as u64), *sum);
            }
        }
    }
}
