//! Model folders on disk: safetensors, Hugging Face's names, small files, their sums.

pub(crate) mod hugging_face;
pub(crate) mod sums;
pub(crate) mod weights_file;

use std::fs::{self, File};
use std::path::Path;

use mixdown_base::files;
use serde::Serialize;
use serde_json::Value;

use crate::error::Error;

/// The file that describes a model.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The file that holds its weights.
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";
/// The file that says which of a model's tensors is in which of several files.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";
/// The file that holds its tokenizer.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

/// No JSON file of a model or checkpoint is larger.
pub(crate) const LARGEST_JSON_BYTES: u64 = 16 << 20;
/// No file of a tokenizer is larger; one of 128 thousand words has 17 MB.
pub(crate) const LARGEST_TOKENIZER_BYTES: u64 = 1 << 28;

/// How a file begins that Git LFS has put in the place of a large one.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Refuses a pointer of Git LFS by the `first` bytes of the file at `path`.
pub(crate) fn refuse_pointer(path: &Path, first: &[u8]) -> Result<(), Error> {
    if !first.starts_with(LFS_POINTER) {
        return Ok(());
    }
    let got = "a Git LFS pointer to it: run `git lfs pull` in its folder, or download the folder with `hf download`";
    Err(Error::bad_file(path, "the file itself", got))
}

/// The whole of a file of at most `limit_bytes`. A pointer of Git LFS in its place is refused.
pub(crate) fn read_capped(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let bytes = files::read_capped(path, limit_bytes).map_err(|error| match error {
        files::Error::TooLarge { .. } => {
            Error::bad_file(path, format!("at most {limit_bytes} bytes"), "more")
        }
        other => other.into(),
    })?;
    refuse_pointer(path, &bytes)?;
    Ok(bytes)
}

/// A JSON file of a model or checkpoint.
pub(crate) fn read_json(path: &Path) -> Result<Value, Error> {
    parse_json(path, &read_capped(path, LARGEST_JSON_BYTES)?)
}

/// The contents of the JSON file at `path`.
pub(crate) fn parse_json(path: &Path, bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::bad_file(path, "JSON", error))
}

/// Writes a whole file and brings it to the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    Ok(files::write(path, bytes)?)
}

/// Writes a whole JSON file and brings it to the disk.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::bad_file(path, "values that JSON can hold", error))?;
    bytes.push(b'\n');
    write_synced(path, &bytes)
}

/// A value as the text of a JSON file.
pub(crate) fn json_bytes(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// Brings a folder's list of names to the disk, where the system can.
pub(crate) fn sync_folder(path: &Path) {
    // Not every system can open a folder; the files' own contents are synced already.
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
}

/// Removes a folder and all in it, if it is there.
pub(crate) fn remove_folder(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(path, "remove")(error))
        }
        _ => Ok(()),
    }
}
