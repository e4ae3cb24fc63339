//! What the disks will have to hold, said before the work begins.

use std::fs;
use std::path::{Path, PathBuf};

use mixdown_documents::InputList;

use crate::error::Error;
use crate::plan::Plan;
use crate::plan::unit::text_bytes_estimate;
use crate::prepare::progress::DiskEstimate;

/// Compares a rule of thumb with what is free: a token for 4 bytes of text, 60 bytes of rows, sums
/// and indices for a document of 2 kB, and a tenth for what is not text in the inputs.
///
/// # Errors
/// A disk clearly has not enough room: less than half of the estimate.
pub(crate) fn estimate(
    inputs: &InputList,
    plan: &Plan,
    work: &Path,
    out: &Path,
) -> Result<Option<DiskEstimate>, Error> {
    let text_bytes = text_bytes_estimate(inputs);
    let bytes = text_bytes / 4 * plan.payload.token_bytes() + text_bytes / 32;
    let (work, out) = (existing(work), existing(out));
    let free = |path: &Path| fs4::available_space(path).ok();
    // Where the system does not tell, nothing is said.
    let (Some(work_free_bytes), Some(corpus_free_bytes)) = (free(&work), free(&out)) else {
        return Ok(None);
    };
    let one_disk = is_one_disk(&work, &out);
    let estimate = DiskEstimate {
        work_bytes: bytes,
        work_free_bytes,
        corpus_bytes: bytes,
        corpus_free_bytes,
        one_disk,
    };
    let clearly = |path: PathBuf, needed: u64, got: u64| {
        let expected = needed / 2;
        if expected > got { Err(Error::DiskTooSmall { path, expected, got }) } else { Ok(()) }
    };
    clearly(out, if one_disk { bytes.saturating_mul(2) } else { bytes }, corpus_free_bytes)?;
    clearly(work, bytes, work_free_bytes)?;
    Ok(Some(estimate))
}

/// The folder, or the nearest above it that there is.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(unix)]
fn is_one_disk(left: &Path, right: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(left) == device(right)
}

#[cfg(not(unix))]
fn is_one_disk(_: &Path, _: &Path) -> bool {
    true
}
