//! The tasks of verifying one shard.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::Fingerprint;
use crate::Manifest;
use crate::MaskRecord;
use crate::corpus::shard::{Shard, check_file, files_of};
use crate::corpus::token_file::bad_byte;
use crate::corpus::token_file::bad_id;
use crate::files::positioned_file::PositionedFile;
use crate::format::block_sums::{BLOCK_BYTES, NO_SUM, block_sum, merged_root};
use crate::verify::{Damage, Meter};

/// Blocks per task: 64 MiB, small enough to keep two threads busy to the end.
const TASK_BLOCKS: u64 = 64;

/// One task.
pub(crate) enum FileCheck<'a> {
    /// Some blocks of a token file against their sums, and their ids.
    Blocks { shard: &'a Shard, first_block: u64, sums: Vec<[u8; 32]> },
    /// A whole token file whose sums are damaged, against its root.
    WholeBin { shard: &'a Shard },
    /// The index: hash and every entry.
    Index { shard: &'a Shard },
    /// A file of which only the hash is known, such as the document hashes.
    Opaque { path: PathBuf, root: Fingerprint },
    /// The loss mask: hash, every byte and their sum.
    Mask { shard: &'a Shard, record: MaskRecord },
}

impl FileCheck<'_> {
    /// Returns the bytes of a token file that no sum covers.
    pub(crate) fn unsummed_bytes(&self) -> u64 {
        match self {
            Self::Blocks { shard, first_block, sums } if sampled_blocks(shard).is_some() => {
                let unsummed = (*first_block..).zip(sums).filter(|(_, sum)| **sum == NO_SUM);
                unsummed.map(|(block, _)| block_bytes(shard, block)).sum()
            }
            Self::WholeBin { shard } if sampled_blocks(shard).is_some() => shard.record().bin_bytes,
            _ => 0,
        }
    }
}

fn sampled_blocks(shard: &Shard) -> Option<u64> {
    shard.record().adopted.as_ref().and_then(|adopted| adopted.sampled_blocks)
}

/// Returns the size of one block of the token file.
fn block_bytes(shard: &Shard, block: u64) -> u64 {
    BLOCK_BYTES.min(shard.record().bin_bytes.saturating_sub(block * BLOCK_BYTES))
}

/// Checks the sizes and the sums of a shard, reports faults, and returns the remaining tasks; files of the wrong size
/// are given up.
pub(crate) fn tasks_of<'a>(
    shard: &'a Shard,
    meter: &Meter<'_>,
    damage: &mut Vec<Damage>,
) -> Result<Vec<FileCheck<'a>>, Error> {
    let mut sound = Vec::new();
    for (extension, bytes) in files_of(shard.record()) {
        match check_file(&shard.path(extension), bytes) {
            Ok(()) => sound.push(extension),
            Err(error) => {
                damage.push(Damage::from_error(error)?);
                meter.add(bytes)?;
            }
        }
    }
    let sums = if sound.contains(&"sums") { checked_sums(shard, meter, damage)? } else { None };
    let mut tasks = match sums {
        _ if !sound.contains(&"bin") => Vec::new(),
        Some(sums) => block_tasks(shard, &sums),
        None => vec![FileCheck::WholeBin { shard }],
    };
    tasks.extend(sound.contains(&"idx").then_some(FileCheck::Index { shard }));
    let record = shard.record();
    let ids = record.ids.map(|ids| ("ids", ids.root));
    let sketches = record.sketches.map(|sketches| ("sketches", sketches.root));
    let opaque = [Some(("hashes", record.hashes_root)), ids, sketches];
    for (extension, root) in opaque.into_iter().flatten() {
        let path = shard.path(extension);
        tasks.extend(sound.contains(&extension).then_some(FileCheck::Opaque { path, root }));
    }
    let mask = shard.record().mask.filter(|_| sound.contains(&"mask"));
    tasks.extend(mask.map(|record| FileCheck::Mask { shard, record }));
    Ok(tasks)
}

/// Runs one task; its findings are in the order of offsets.
pub(crate) fn run_task(task: &FileCheck<'_>, meter: &Meter<'_>) -> Result<Vec<Damage>, Error> {
    match task {
        FileCheck::Blocks { shard, first_block, sums } => {
            check_blocks(shard, *first_block, sums, meter)
        }
        FileCheck::WholeBin { shard } => check_whole_bin(shard, meter),
        FileCheck::Index { shard } => check_index(shard, meter),
        FileCheck::Opaque { path, root } => {
            let got = file_root(path, meter)?;
            Ok(root_damage(path, *root, got).into_iter().collect())
        }
        FileCheck::Mask { shard, record } => check_mask(shard, record, meter),
    }
}

/// Returns the entries of `.sums`, if they match the manifest.
fn checked_sums(
    shard: &Shard,
    meter: &Meter<'_>,
    damage: &mut Vec<Damage>,
) -> Result<Option<Vec<[u8; 32]>>, Error> {
    let path = shard.path("sums");
    let file = PositionedFile::open(&path)?;
    let bytes = file.read_vec(0, file.len_bytes()?)?;
    meter.add(bytes.len() as u64)?;
    let record = shard.record();
    if let Some(wrong) = root_damage(&path, record.sums_root, Fingerprint::of(&bytes)) {
        damage.push(wrong);
        return Ok(None);
    }
    let sums = bytes.as_chunks().0.to_vec();
    if let Some(expected) = sampled_blocks(shard) {
        let got = sums.iter().filter(|sum| **sum != NO_SUM).count() as u64;
        if got != expected {
            let (expected, got) = (format!("sums of {expected} blocks"), got.to_string());
            damage.push(Damage { path, offset_bytes: None, expected, got });
        }
        return Ok(Some(sums));
    }
    let got = merged_root(&sums);
    if got != record.bin_root {
        let expected = format!("sums that merge to bin_root {}", record.bin_root);
        let got = got.to_string();
        damage.push(Damage { path, offset_bytes: None, expected, got });
        return Ok(None);
    }
    Ok(Some(sums))
}

fn block_tasks<'a>(shard: &'a Shard, sums: &[[u8; 32]]) -> Vec<FileCheck<'a>> {
    let step = usize::try_from(TASK_BLOCKS).unwrap_or(usize::MAX);
    let firsts = (0_u64..).map(|task| task * TASK_BLOCKS);
    let task = |(first_block, sums): (u64, &[[u8; 32]])| FileCheck::Blocks {
        shard,
        first_block,
        sums: sums.to_vec(),
    };
    firsts.zip(sums.chunks(step)).map(task).collect()
}

fn check_blocks(
    shard: &Shard,
    first_block: u64,
    sums: &[[u8; 32]],
    meter: &Meter<'_>,
) -> Result<Vec<Damage>, Error> {
    let path = shard.path("bin");
    let file = PositionedFile::open(&path)?;
    let bin_bytes = shard.record().bin_bytes;
    let is_sampled = sampled_blocks(shard).is_some();
    let mut damage = Vec::new();
    let mut bytes = Vec::new();
    for (block, sum) in (first_block..).zip(sums) {
        let offset_bytes = block * BLOCK_BYTES;
        file.read_into(offset_bytes, block_bytes(shard, block), &mut bytes)?;
        let is_unsummed = is_sampled && *sum == NO_SUM;
        let got = if is_unsummed { NO_SUM } else { block_sum(&bytes, offset_bytes, bin_bytes) };
        if got == *sum {
            damage.extend(check_ids(shard, &path, offset_bytes, &bytes)?);
        } else {
            let expected = format!("a block with the sum {}", Fingerprint::from_bytes(*sum));
            let got = Fingerprint::from_bytes(got).to_string();
            let (path, offset_bytes) = (path.clone(), Some(offset_bytes));
            damage.push(Damage { path, offset_bytes, expected, got });
        }
        meter.add(bytes.len() as u64)?;
    }
    Ok(damage)
}

fn check_whole_bin(shard: &Shard, meter: &Meter<'_>) -> Result<Vec<Damage>, Error> {
    let path = shard.path("bin");
    let mut damage = Vec::new();
    let got = for_each_block(&path, meter, |offset_bytes, bytes| {
        damage.extend(check_ids(shard, &path, offset_bytes, bytes)?);
        Ok(())
    })?;
    if sampled_blocks(shard).is_none() {
        damage.extend(root_damage(&path, shard.record().bin_root, got));
    }
    Ok(damage)
}

fn check_index(shard: &Shard, meter: &Meter<'_>) -> Result<Vec<Damage>, Error> {
    let path = shard.path("idx");
    let got = file_root(&path, meter)?;
    // A wrong entry is a more helpful finding than a different hash.
    let wrong_entry = shard.index().and_then(|index| index.check()).err();
    let wrong_entry = wrong_entry.map(Damage::from_error).transpose()?;
    Ok(wrong_entry.or(root_damage(&path, shard.record().idx_root, got)).into_iter().collect())
}

fn check_mask(shard: &Shard, record: &MaskRecord, meter: &Meter<'_>) -> Result<Vec<Damage>, Error> {
    let path = shard.path("mask");
    let mut wrong_byte = None;
    let mut loss_tokens = 0_u64;
    let got = for_each_block(&path, meter, |offset_bytes, bytes| {
        loss_tokens += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        wrong_byte = wrong_byte.take().or_else(|| bad_byte(&path, offset_bytes, bytes));
        Ok(())
    })?;
    // A wrong byte is a more helpful finding than a different hash.
    let wrong = wrong_byte.map(Damage::from_error).transpose()?;
    let wrong = wrong.or(root_damage(&path, record.root, got)).or_else(|| {
        let expected = format!("{} bytes of 1", record.loss_tokens);
        let damage = Damage {
            path: path.clone(),
            offset_bytes: None,
            expected,
            got: loss_tokens.to_string(),
        };
        (loss_tokens != record.loss_tokens).then_some(damage)
    });
    Ok(wrong.into_iter().collect())
}

/// Returns the first id of a block that is not below the vocabulary size, if any.
fn check_ids(
    shard: &Shard,
    path: &Path,
    offset_bytes: u64,
    bytes: &[u8],
) -> Result<Option<Damage>, Error> {
    let (dtype, vocab_size) = (shard.dtype(), shard.vocab_size());
    // Only the first block has a header, which is shorter than a block.
    let header_bytes = shard.header_bytes().saturating_sub(offset_bytes);
    let header_len = usize::try_from(header_bytes).unwrap_or(usize::MAX);
    let bytes = bytes.get(header_len..).unwrap_or_default();
    if u64::from(dtype.largest(bytes)) < vocab_size {
        return Ok(None);
    }
    let count = bytes.len() as u64 / dtype.bytes();
    let mut ids = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
    dtype.decode(bytes, &mut ids);
    Damage::from_error(bad_id(path, dtype, vocab_size, offset_bytes + header_bytes, &ids)).map(Some)
}

fn file_root(path: &Path, meter: &Meter<'_>) -> Result<Fingerprint, Error> {
    for_each_block(path, meter, |_, _| Ok(()))
}

/// Reads the file block by block and returns its BLAKE3 hash.
fn for_each_block(
    path: &Path,
    meter: &Meter<'_>,
    mut look: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<Fingerprint, Error> {
    let file = PositionedFile::open(path)?;
    let len_bytes = file.len_bytes()?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    for block in 0..len_bytes.div_ceil(BLOCK_BYTES) {
        let offset_bytes = block * BLOCK_BYTES;
        file.read_into(offset_bytes, BLOCK_BYTES.min(len_bytes - offset_bytes), &mut bytes)?;
        hasher.update(&bytes);
        look(offset_bytes, &bytes)?;
        meter.add(bytes.len() as u64)?;
    }
    Ok(hasher.finalize().into())
}

fn root_damage(path: &Path, expected: Fingerprint, got: Fingerprint) -> Option<Damage> {
    let damage = || Damage {
        path: path.to_owned(),
        offset_bytes: None,
        expected: format!("a file with the hash {expected}, as {} says", Manifest::FILE),
        got: got.to_string(),
    };
    (got != expected).then(damage)
}
