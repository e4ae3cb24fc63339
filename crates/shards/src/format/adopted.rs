//! Token files that existed before the corpus (docs/format.md, section 11).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Dtype;
use crate::Error;
use crate::Fingerprint;
use crate::Manifest;
use crate::ShardRecord;
use crate::Split;
use crate::corpus::shard::file_path;
use crate::error::quoted;
use crate::files::confined::{check_link, is_harmless};
use crate::format::block_sums::{BLOCK_BYTES, sums_count};
use crate::format::manifest_rules::wrong;

/// The locations of a shard's files that existed before the corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedRecord {
    /// The token file, relative to the corpus folder, with `/` between parts.
    pub path: String,
    /// Bytes before the first id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub header_bytes: u64,
    /// An existing index in Megatron's form; otherwise the index is a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idx: Option<String>,
    /// An existing mask; otherwise the mask is a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Whether there is a `.hashes` file.
    pub hashes: bool,
    /// The number of blocks that have a sum, if not all of them do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_blocks: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The folder, in the corpus folder, for files that adopted ones lack.
pub(crate) const SIDECARS: &str = ".mixdown";

/// The longest path of an adopted file, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// The rule for an adopted path, for messages.
pub(crate) const PATH_RULE: &str = "a path below the corpus folder of at most 4096 bytes, its parts \
                                    (1 to 255 bytes, no '\\', ':', control characters or leading \
                                    dot) separated by '/'";

/// Returns whether `path` cannot lead out of its folder.
pub(crate) fn is_plain_path(path: &str) -> bool {
    const MAX_PART_BYTES: usize = 255;
    path.len() <= MAX_PATH_BYTES && path.split('/').all(|part| is_harmless(part, MAX_PART_BYTES))
}

impl AdoptedRecord {
    /// Returns the paths of the existing files, with the fields that name them.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("path", Some(&self.path)), ("idx", self.idx.as_ref()), ("mask", self.mask.as_ref())]
            .into_iter()
            .filter_map(|(field, path)| path.map(|path| (field, path.as_str())))
    }
}

/// The path of one of a shard's files.
pub(crate) fn shard_path(
    folder: &Path,
    split: Split,
    record: &ShardRecord,
    extension: &str,
) -> PathBuf {
    let Some(adopted) = &record.adopted else {
        return file_path(&folder.join(split.folder()), &record.file, extension);
    };
    let own = match extension {
        "bin" => Some(&adopted.path),
        "idx" => adopted.idx.as_ref(),
        "mask" => adopted.mask.as_ref(),
        _ => None,
    };
    match own {
        Some(path) => folder.join(path),
        None => file_path(&sidecar_folder(folder, split), &record.file, extension),
    }
}

/// Returns the folder of the sidecars of a split's adopted shards.
pub(crate) fn sidecar_folder(folder: &Path, split: Split) -> PathBuf {
    folder.join(SIDECARS).join(split.folder())
}

/// Refuses a path below `folder` if any part of it is a link out of it.
pub(crate) fn check_links_of_path(folder: &Path, path: &Path) -> Result<(), Error> {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let mut so_far = folder.to_owned();
    for part in below.components() {
        so_far.push(part);
        check_link(folder, &so_far)?;
    }
    Ok(())
}

/// Checks the adopted shards of a manifest; version 1 has none.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_are_not_plain() {
        for path in ["train.bin", "a/b/part-0.npy", "ü/x y.ds", &"x".repeat(255)] {
            assert!(is_plain_path(path), "{path}");
        }
        let long = "x/".repeat(2048) + "xx";
        for path in [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "/etc/passwd",
            "a//b",
            "a/",
            "a\\b",
            "C:x",
            "a/.b",
            &long,
            &"x".repeat(256),
        ] {
            assert!(!is_plain_path(path), "{path:?}");
        }
    }
}
