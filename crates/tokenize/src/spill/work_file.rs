//! Files of the unfinished work, which are either complete or absent.

use std::io::{self, Write};
use std::path::Path;

use mixdown_base::files::{self, NewFile};
use mixdown_shards::Fingerprint;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::spill::as_u64;
use crate::spill::reader::damaged;
use crate::tokenizer::model_folder::read_capped;

/// The size limit of a JSON file of the unfinished work: a plan of about two million inputs.
const MAX_WORK_FILE_BYTES: u64 = 1 << 30;

/// Writes a value as JSON, completely or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    Ok(files::write(path, &json_of(path, value)?)?)
}

/// Writes a value as JSON unless the file already exists.
pub(crate) fn write_json_first<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut file = NewFile::create(path)?;
    file.write_all(&json_of(path, value)?).map_err(Error::io("write", path))?;
    let _is_first = file.commit_first()?;
    Ok(())
}

/// Returns the hash of a value's JSON, which identifies the work in `folder`.
///
/// # Errors
/// JSON cannot hold the value: without this error it would have the hash of nothing, as any other such value.
pub(crate) fn json_fingerprint<T: Serialize>(
    folder: &Path,
    value: &T,
) -> Result<Fingerprint, Error> {
    let json = serde_json::to_vec(value)
        .map_err(|source| Error::io("describe the work for", folder)(source.into()))?;
    Ok(Fingerprint::of(&json))
}

fn json_of<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::io("write", path)(source.into()))?;
    if as_u64(json.len()) > MAX_WORK_FILE_BYTES {
        return Err(Error::io("write", path)(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(json)
}

/// Reads a value that [`write_json`] wrote, or `None` if the file does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let expected = "a file as this version writes it";
    let bytes = match read_capped(path, MAX_WORK_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(damaged(path, expected, &error.to_string()));
        }
        Err(source) => return Err(Error::io("read", path)(source)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| damaged(path, expected, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_json_cannot_hold_has_no_fingerprint() {
        let of = |value| json_fingerprint(Path::new("out"), &value);
        let pair = |number: u32| std::collections::BTreeMap::from([([number], number)]);
        assert!(of(pair(1)).unwrap_err().to_string().contains("describe the work for"));
        assert_ne!(json_fingerprint(Path::new(""), &1).unwrap(), Fingerprint::of(b""));
    }

    #[test]
    fn the_first_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        for value in [1, 2] {
            write_json_first(&path, &value).unwrap();
            assert_eq!(read_json::<u32>(&path).unwrap(), Some(1));
        }
        write_json(&path, &3).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(3));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
