//! The header of llm.c's token files: 256 32-bit numbers, of which three are used.

use std::path::Path;

use crate::Dtype;
use crate::Error;
use crate::files::positioned_file::PositionedFile;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: u64 = 1024;
/// Magic and version of files of 16-bit ids.
pub(crate) const U16: (u32, u32) = (20_240_520, 1);
/// Magic and version of files of 32-bit ids.
pub(crate) const U32: (u32, u32) = (20_240_801, 7);
/// Magic of files of multiple-choice questions.
const EVALUATION_MAGIC: u32 = 20_240_522;

/// Returns whether a file begins like one of llm.c's.
pub(super) fn begins_like(head: &[u8]) -> bool {
    let magic = head.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    magic.is_some_and(|magic| [U16.0, U32.0, EVALUATION_MAGIC].contains(&magic))
}

/// Checks the header; returns the dtype and the number of ids.
pub(super) fn read_header(path: &Path, file: &PositionedFile) -> Result<(Dtype, u64), Error> {
    let hint = "fetch or write the file again, or force another --format";
    let wrong = |offset_bytes, expected: String, got: String| {
        Err(Error::import(path, offset_bytes, expected, got, hint))
    };
    let file_bytes = file.len_bytes()?;
    if file_bytes < HEADER_BYTES {
        let expected = format!("llm.c's header of {HEADER_BYTES} bytes");
        return wrong(None, expected, format!("a file of {file_bytes} bytes"));
    }
    let number = |offset_bytes| {
        let mut bytes = [0; 4];
        file.read(offset_bytes, &mut bytes).map(|()| u32::from_le_bytes(bytes))
    };
    let magic = number(0)?;
    let (dtype, version) = match magic {
        magic if magic == U16.0 => (Dtype::U16, U16.1),
        magic if magic == U32.0 => (Dtype::I32, U32.1),
        EVALUATION_MAGIC => {
            let expected = "a token file of llm.c".to_owned();
            return wrong(Some(0), expected, "its file of multiple-choice questions".to_owned());
        }
        _ => {
            let expected = format!("llm.c's magic {} or {}", U16.0, U32.0);
            return wrong(Some(0), expected, magic.to_string());
        }
    };
    let got_version = number(4)?;
    if got_version != version {
        return wrong(
            Some(4),
            format!("version {version} after magic {magic}"),
            got_version.to_string(),
        );
    }
    let tokens = u64::from(number(8)?);
    let expected_bytes = HEADER_BYTES + tokens * dtype.bytes();
    if tokens == 0 || file_bytes != expected_bytes {
        let there_are = (file_bytes - HEADER_BYTES) / dtype.bytes();
        let expected =
            format!("the number of ids behind the header, {there_are} in {file_bytes} bytes");
        return wrong(Some(8), expected, tokens.to_string());
    }
    Ok((dtype, tokens))
}

/// Returns the header of a file of `tokens` ids, fewer than 2³¹.
pub(crate) fn header(dtype: Dtype, tokens: u64) -> Vec<u8> {
    let (magic, version) = match dtype {
        Dtype::U16 => U16,
        Dtype::I32 => U32,
    };
    let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    let mut header: Vec<u8> =
        [magic, version, tokens].into_iter().flat_map(u32::to_le_bytes).collect();
    header.resize(usize::try_from(HEADER_BYTES).unwrap_or(0), 0);
    header
}
