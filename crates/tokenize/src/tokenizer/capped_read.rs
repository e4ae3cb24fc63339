//! Whole files into memory, none of them without a limit.

use std::io::Result;
use std::path::Path;

use mixdown_base::files;

/// The largest tokenizer.json that is read: some ten times the largest in use.
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// The largest tokenizer_config.json or special_tokens_map.json that is read.
pub(crate) const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// Reads a regular file of at most `max_bytes`; anything else is [`std::io::ErrorKind::InvalidData`].
pub(crate) fn read_capped(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    files::read_capped(path, max_bytes).map_err(|error| error.into_parts().2)
}
