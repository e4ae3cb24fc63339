//! The rules of docs/format.md, section 11, for what a manifest says about adopted files.

use std::{collections::BTreeSet, path::Path};

use crate::AdoptedRecord;
use crate::Dtype;
use crate::Error;
use crate::Fingerprint;
use crate::Manifest;
use crate::ShardRecord;
use crate::Split;
use crate::error::quoted;
use crate::format::adopted::{PATH_RULE, is_plain_path};
use crate::format::block_sums::{BLOCK_BYTES, sums_count};
use crate::format::manifest_rules::wrong;

/// Checks the adopted shards of a manifest, of which version 1 has none.
pub(crate) fn check_adopted(manifest: &Manifest, path: &Path) -> Result<(), Error> {
    let mut token_files = BTreeSet::new();
    for split in Split::ALL {
        for (n, shard) in manifest.split(split).shards.iter().enumerate() {
            let Some(adopted) = &shard.adopted else { continue };
            let place = format!("{split}.shards[{n}].adopted");
            if manifest.version < Manifest::ADOPTED_VERSION {
                let expected = format!("none in version {}", manifest.version);
                return Err(wrong(path, place, expected, "one"));
            }
            check_record(manifest.dtype, shard, adopted, path, &place)?;
            if !token_files.insert(adopted.path.as_str()) {
                let got = format!("{} again", quoted(&adopted.path));
                return Err(wrong(path, format!("{place}.path"), "a file of its own", got));
            }
        }
    }
    Ok(())
}

fn check_record(
    dtype: Dtype,
    shard: &ShardRecord,
    adopted: &AdoptedRecord,
    path: &Path,
    place: &str,
) -> Result<(), Error> {
    for (field, file) in adopted.paths() {
        if !is_plain_path(file) {
            return Err(wrong(path, format!("{place}.{field}"), PATH_RULE, quoted(file)));
        }
    }
    let header_bytes = adopted.header_bytes;
    if header_bytes >= BLOCK_BYTES || !header_bytes.is_multiple_of(dtype.bytes()) {
        let expected = format!("a multiple of {} below {BLOCK_BYTES}", dtype.bytes());
        return Err(wrong(path, format!("{place}.header_bytes"), expected, header_bytes));
    }
    if !adopted.hashes && shard.hashes_root != Fingerprint::of(b"") {
        let name = format!("{place}.hashes");
        return Err(wrong(path, name, "true, or the hashes_root of no bytes", "false"));
    }
    check_sample(shard, adopted, path, place)
}

fn check_sample(
    shard: &ShardRecord,
    adopted: &AdoptedRecord,
    path: &Path,
    place: &str,
) -> Result<(), Error> {
    let Some(sampled) = adopted.sampled_blocks else { return Ok(()) };
    let name = format!("{place}.sampled_blocks");
    let blocks = sums_count(shard.bin_bytes);
    if sampled == 0 || sampled > blocks {
        return Err(wrong(path, name, format!("1 to {blocks}"), sampled));
    }
    if shard.bin_root != shard.sums_root {
        let expected = format!("none, or a bin_root that is sums_root {}", shard.sums_root);
        return Err(wrong(path, name, expected, format!("bin_root {}", shard.bin_root)));
    }
    Ok(())
}
