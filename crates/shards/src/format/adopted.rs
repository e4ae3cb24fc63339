//! Token files that were there before the corpus (docs/format.md, section 11).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::ShardRecord;
use crate::Split;
use crate::corpus::shard::file_path;
use crate::files::confined::{check_link, is_harmless};

/// Where a shard's files are, if they were there before the corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedRecord {
    /// The token file, below the corpus folder, `/` between parts.
    pub path: String,
    /// Bytes before the first id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub header_bytes: u64,
    /// An index in Megatron's form that was there before; else it is a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idx: Option<String>,
    /// A mask that was there before; else it is a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Whether there is a `.hashes` file.
    pub hashes: bool,
    /// How many blocks have a sum, if not all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_blocks: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The folder for what adopted files lack, in the corpus folder.
pub(crate) const SIDECARS: &str = ".mixdown";

/// The longest path of an adopted file, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// What an adopted path must be, for messages.
pub(crate) const PATH_RULE: &str = "a path below the corpus folder of at most 4096 bytes, its parts \
                                    (1 to 255 bytes, no '\\', ':', control characters or leading \
                                    dot) separated by '/'";

/// Whether `path` cannot lead out of its folder.
pub(crate) fn is_plain_path(path: &str) -> bool {
    const MAX_PART_BYTES: usize = 255;
    path.len() <= MAX_PATH_BYTES && path.split('/').all(|part| is_harmless(part, MAX_PART_BYTES))
}

impl AdoptedRecord {
    /// The paths of files that were there before, with the fields that name them.
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

/// Where the sidecars of a split's adopted shards stand.
pub(crate) fn sidecar_folder(folder: &Path, split: Split) -> PathBuf {
    folder.join(SIDECARS).join(split.folder())
}

/// Refuses a path below `folder` of which any part is a link out of it.
pub(crate) fn check_links_of_path(folder: &Path, path: &Path) -> Result<(), Error> {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let mut so_far = folder.to_owned();
    for part in below.components() {
        so_far.push(part);
        check_link(folder, &so_far)?;
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
