//! The header of NumPy's own array files. (OLMo's files with the same ending have none.)

use std::path::Path;

use crate::Dtype;
use crate::Error;
use crate::error::quoted;
use crate::files::positioned_file::PositionedFile;

const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// The size limit of a header: NumPy pads that of a simple array to 128 bytes.
const MAX_HEADER_BYTES: u64 = 4096;

/// Returns whether a file begins with NumPy's magic.
pub(super) fn begins_like(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// Checks the header; returns its length, the dtype and the number of ids.
pub(super) fn read_header(path: &Path, file: &PositionedFile) -> Result<(u64, Dtype, u64), Error> {
    let hint = "save a one-dimensional array of uint16, uint32 or int32 in C order";
    let wrong = |offset_bytes, expected: &str, got: String| {
        Err(Error::import(path, Some(offset_bytes), expected, got, hint))
    };
    let mut head = [0; 10];
    let file_bytes = file.len_bytes()?;
    if file_bytes < head.len() as u64 {
        return wrong(0, "NumPy's header", format!("a file of {file_bytes} bytes"));
    }
    file.read(0, &mut head)?;
    let [.., major, _, low, high] = head;
    let (text_at, text_bytes) = match major {
        1 => (10, u64::from(u16::from_le_bytes([low, high]))),
        2 | 3 => {
            let mut bytes = [0; 4];
            file.read(8, &mut bytes)?;
            (12, u64::from(u32::from_le_bytes(bytes)))
        }
        _ => return wrong(6, "NumPy's header of version 1, 2 or 3", major.to_string()),
    };
    if text_bytes > MAX_HEADER_BYTES {
        let expected = format!("a header of at most {MAX_HEADER_BYTES} bytes");
        return wrong(8, &expected, text_bytes.to_string());
    }
    let text = file.read_vec(text_at, text_bytes)?;
    let text = String::from_utf8_lossy(&text);
    let header_bytes = text_at + text_bytes;
    let Some((dtype, tokens)) = parse(&text) else {
        return wrong(text_at, "a description of such an array", quoted(text.trim_end()));
    };
    let expected_bytes =
        tokens.checked_mul(dtype.bytes()).and_then(|bytes| bytes.checked_add(header_bytes));
    if tokens == 0 || expected_bytes != Some(file_bytes) {
        let expected = format!("a shape of the ids behind the header, in {file_bytes} bytes");
        return wrong(text_at, &expected, quoted(text.trim_end()));
    }
    Ok((header_bytes, dtype, tokens))
}

/// `{'descr': '<u2', 'fortran_order': False, 'shape': (5,), }`
fn parse(text: &str) -> Option<(Dtype, u64)> {
    let value_of = |key: &str| {
        let rest = text.split_once(&format!("'{key}'"))?.1.trim_start();
        Some(rest.strip_prefix(':')?.trim_start())
    };
    let descr = value_of("descr")?.strip_prefix('\'')?.split('\'').next()?;
    let dtype = match descr {
        "<u2" => Dtype::U16,
        "<u4" | "<i4" => Dtype::I32,
        _ => return None,
    };
    value_of("fortran_order")?.starts_with("False").then_some(())?;
    let shape = value_of("shape")?.strip_prefix('(')?.split(')').next()?;
    let tokens = shape.trim().strip_suffix(',')?.trim().parse().ok()?;
    Some((dtype, tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_of_arrays() {
        let text = "{'descr': '<u2', 'fortran_order': False, 'shape': (5,), }  \n";
        assert_eq!(parse(text), Some((Dtype::U16, 5)));
        assert_eq!(parse(&text.replace("u2", "i4")), Some((Dtype::I32, 5)));
        for (from, to) in [
            ("<u2", ">u2"),
            ("<u2", "<f4"),
            ("False", "True"),
            ("(5,)", "(5, 2)"),
            ("(5,)", "()"),
            ("descr", "x"),
        ] {
            assert_eq!(parse(&text.replace(from, to)), None, "{to}");
        }
        assert_eq!(parse(""), None);
    }
}
