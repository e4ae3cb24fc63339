//! One opened safetensors file: its header is checked, and its values are read part by part.

use std::path::{Path, PathBuf};

use mixdown_shards::PositionedFile;
use safetensors::tensor::{Metadata, TensorInfo};

use super::writer::LEN_BYTES;
use crate::error::Error;
use crate::weights::{LARGEST_JSON_BYTES, refuse_pointer};

/// A safetensors file whose header fits its length.
#[derive(Debug)]
pub(super) struct SafetensorsFile {
    path: PathBuf,
    file: PositionedFile,
    metadata: Metadata,
    /// The offset of the values.
    start_bytes: u64,
}

impl SafetensorsFile {
    /// Opens the file at `path` and checks that its header describes every byte of it, once.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let refused = |error| refused(path, error);
        let bad = |got: String| Error::bad_file(path, "a safetensors file", got);
        let file = PositionedFile::open(path).map_err(refused)?;
        let got_bytes = file.len_bytes().map_err(refused)?;
        refuse_pointer_in(path, &file, got_bytes)?;
        let mut len_bytes = [0; LEN_BYTES];
        let after_len = got_bytes.checked_sub(8);
        let after_len = after_len.ok_or_else(|| bad(format!("one of {got_bytes} bytes")))?;
        file.read(0, &mut len_bytes).map_err(refused)?;
        let header_bytes = u64::from_le_bytes(len_bytes);
        let limit_bytes = after_len.min(LARGEST_JSON_BYTES);
        let len = usize::try_from(header_bytes).ok().filter(|_| header_bytes <= limit_bytes);
        let Some(len) = len else {
            let expected = format!("a safetensors header of at most {limit_bytes} bytes");
            return Err(Error::bad_file(path, expected, format!("{header_bytes} bytes")));
        };
        let mut header = vec![0; len];
        file.read(8, &mut header).map_err(refused)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| bad(error.to_string()))?;
        let data_bytes = u64::try_from(metadata.data_len()).unwrap_or(u64::MAX);
        if data_bytes != after_len - header_bytes {
            let expected = format!("{data_bytes} bytes of numbers, as the header says");
            let got = format!("{} bytes", after_len - header_bytes);
            return Err(Error::bad_file(path, expected, got));
        }
        Ok(Self { path: path.to_owned(), file, metadata, start_bytes: 8 + header_bytes })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of its tensors in the order of their values.
    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Returns the type, shape and place of a tensor.
    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Fills `bytes` with the values from byte `offset_bytes` on.
    pub(super) fn read(&self, offset_bytes: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let offset_bytes = u64::try_from(offset_bytes).unwrap_or(u64::MAX);
        let place = self.start_bytes.saturating_add(offset_bytes);
        self.file.read(place, bytes).map_err(|error| refused(&self.path, error))
    }
}

/// Refuses a Git LFS pointer.
fn refuse_pointer_in(path: &Path, file: &PositionedFile, len_bytes: u64) -> Result<(), Error> {
    let mut first = [0; 64];
    if len_bytes < 64 {
        return Ok(());
    }
    file.read(0, &mut first).map_err(|error| refused(path, error))?;
    refuse_pointer(path, &first)
}

/// Converts an error of a read: the error of a corpus names a remedy that does not help here.
fn refused(path: &Path, error: mixdown_shards::Error) -> Error {
    match error {
        mixdown_shards::Error::Io { action, source, .. } => Error::io(path, action)(source),
        _ => Error::bad_file(path, "a file that nobody changes", "its end, earlier than before"),
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::SafetensorsFile;

    #[test]
    fn hostile_headers_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("w");
        let tensor = |dtype: &str, shape: &str, end: u64| {
            format!(r#""a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}"#)
        };
        let good = tensor("F32", "[2]", 8);
        let cases = [
            (1 << 40, good.clone(), "header of at most"),
            (u64::MAX, good.clone(), "header of at most"),
            (0, good.clone(), "expected a safetensors file"),
            (0, tensor("F33", "[2]", 8), "expected a safetensors file"),
            (0, tensor("F32", "[3]", 8), "expected a safetensors file"),
            (0, tensor("F32", "[2]", 1 << 50), "expected a safetensors file"),
            (0, tensor("F32", "[18446744073709551615, 4]", 8), "expected a safetensors file"),
            (0, tensor("F32", "[-2]", 8), "expected a safetensors file"),
            (0, tensor("F32", "[3]", 12), "expected 12 bytes of numbers"),
            (0, tensor("F32", "[1]", 4), "expected 4 bytes of numbers"),
            (0, String::new(), "expected 0 bytes of numbers"),
            (0, "\"a\":[".repeat(100_000), "expected a safetensors file"),
        ];
        for (n, (len_bytes, entry, words)) in cases.into_iter().enumerate() {
            let header = format!("{{{entry}}}");
            let is_first_good = n == 2;
            let len_bytes = if len_bytes == 0 { header.len() as u64 } else { len_bytes };
            let mut bytes = [&len_bytes.to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
            std::fs::write(&path, &bytes).unwrap();
            if is_first_good {
                SafetensorsFile::open(&path).unwrap();
                bytes[8] = b'[';
                std::fs::write(&path, &bytes).unwrap();
            }
            let error = SafetensorsFile::open(&path).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind(), ErrorKind::Data);
        }
        // Two tensors of the same numbers, and a gap.
        for offsets in ["[0,8]", "[4,12]", "[12,16]"] {
            let other = format!(r#""b":{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
            let header = format!("{{{good},{other}}}");
            let len_bytes = (header.len() as u64).to_le_bytes();
            std::fs::write(&path, [&len_bytes, header.as_bytes(), &[0; 16]].concat()).unwrap();
            assert!(SafetensorsFile::open(&path).is_err(), "{offsets}");
        }
    }

    #[test]
    fn a_missing_file_is_the_users_fault() {
        assert_eq!(
            SafetensorsFile::open("/nowhere/w".as_ref()).unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}
