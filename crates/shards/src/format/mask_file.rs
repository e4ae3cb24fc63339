//! The loss mask of a shard: one byte per token.

use std::path::{Path, PathBuf};

use crate::Access;
use crate::Error;
use crate::corpus::token_file::Bytes;

/// One opened `.mask`: a byte a token, 1 for a loss target and 0 for none.
#[derive(Debug)]
pub(crate) struct MaskFile {
    bytes: Bytes,
    path: PathBuf,
}

impl MaskFile {
    /// Opens the file at `path`, which must hold exactly `tokens` bytes.
    pub(crate) fn open(path: &Path, tokens: u64, access: Access) -> Result<Self, Error> {
        let (bytes, got_bytes) = Bytes::open(path, access)?;
        if got_bytes != tokens {
            let expected = format!("a mask of {tokens} bytes");
            return Err(Error::damaged(path, None, expected, format!("{got_bytes} bytes")));
        }
        Ok(Self { bytes, path: path.to_owned() })
    }

    /// Fills `out` from token `start_token` on; the caller keeps the range within the shard.
    pub(crate) fn read(&self, start_token: u64, out: &mut [u8]) -> Result<(), Error> {
        self.bytes.read(&self.path, start_token, out)?;
        match bad_byte(&self.path, start_token, out) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The error for the first byte of a mask, begun at `offset_bytes`, that is neither 0 nor 1.
pub(crate) fn bad_byte(path: &Path, offset_bytes: u64, mask: &[u8]) -> Option<Error> {
    // The largest first: that is one vector operation a block, the search is a branch a byte.
    mask.iter().max().filter(|largest| **largest > 1)?;
    let (at, byte) = (offset_bytes..).zip(mask).find(|(_, byte)| **byte > 1)?;
    Some(Error::damaged(path, Some(at), "a mask byte of 0 or 1", byte.to_string()))
}
