//! Files of the unfinished work: whole under their names, or not there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use mixdown_shards::temporary_path;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::capped_read::read_capped;
use crate::error::Error;
use crate::spill::as_u64;
use crate::spill_reader::damaged;

/// Bytes of a JSON file of the unfinished work at most: a plan of some two million inputs.
const MAX_WORK_FILE_BYTES: u64 = 1 << 30;

/// Writes a file beside its name, brings it to the disk and renames it.
pub(crate) fn write_aside(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Error> {
    write_beside(path, write, |aside| fs::rename(aside, path).map_err(Error::io("rename", path)))
}

/// Writes a file beside its name, brings it to the disk and gives it the name unless there is such a
/// file already: of many processes that do so at once the first wins, without a lock.
pub(crate) fn write_first(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Error> {
    write_beside(path, write, |aside| match fs::hard_link(aside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A file system without links: two processes may then both come first, and the later one
        // wins. Both read it again.
        Err(_) if !path.exists() => fs::rename(aside, path).map_err(Error::io("rename", path)),
        Err(_) | Ok(()) => Ok(()),
    })
}

fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    name: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let aside = temporary_path(path);
    let written = File::create(&aside).map_err(Error::io("create", &aside)).and_then(|mut file| {
        write(&mut file).and_then(|()| file.sync_all()).map_err(Error::io("write", &aside))?;
        name(&aside)
    });
    // Renamed, or not needed. What cannot be removed now goes with the other leftovers.
    let _gone_or_left_behind = fs::remove_file(&aside);
    written
}

/// Writes a value as JSON, whole or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let json = json_of(path, value)?;
    write_aside(path, |file| file.write_all(&json))
}

/// Writes a value as JSON unless there is such a file already.
pub(crate) fn write_json_first<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let json = json_of(path, value)?;
    write_first(path, |file| file.write_all(&json))
}

fn json_of<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::io("write", path)(source.into()))?;
    if as_u64(json.len()) > MAX_WORK_FILE_BYTES {
        return Err(Error::io("write", path)(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(json)
}

/// Reads a value that [`write_json`] wrote, or `None` where there is no such file.
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
    use super::*;

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
