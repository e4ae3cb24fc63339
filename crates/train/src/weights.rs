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
/// The index of a model in several files: it maps tensors to files.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";
/// The file that holds its tokenizer.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

/// The largest JSON file of a model or checkpoint.
pub(crate) const LARGEST_JSON_BYTES: u64 = 16 << 20;
/// The largest file of a tokenizer; that of 128 thousand entries has 17 MB.
pub(crate) const LARGEST_TOKENIZER_BYTES: u64 = 1 << 28;

/// The first bytes of a Git LFS pointer, which replaces a large file.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Refuses a Git LFS pointer, recognized by the `first` bytes of the file at `path`.
pub(crate) fn refuse_pointer(path: &Path, first: &[u8]) -> Result<(), Error> {
    if !first.starts_with(LFS_POINTER) {
        return Ok(());
    }
    let got = "a Git LFS pointer to it: run `git lfs pull` in its folder, or download the folder with `hf download`";
    Err(Error::bad_file(path, "the file itself", got))
}

/// Reads a whole file of at most `limit_bytes`, and refuses a Git LFS pointer.
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

/// Reads a JSON file of a model or checkpoint.
pub(crate) fn read_json(path: &Path) -> Result<Value, Error> {
    parse_json(path, &read_capped(path, LARGEST_JSON_BYTES)?)
}

/// Parses the JSON file at `path`.
pub(crate) fn parse_json(path: &Path, bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::bad_file(path, "JSON", error))
}

/// Writes a whole file and syncs it to the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    Ok(files::write(path, bytes)?)
}

/// Writes a whole JSON file and syncs it to the disk.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::bad_file(path, "values that JSON can hold", error))?;
    bytes.push(b'\n');
    write_synced(path, &bytes)
}

/// Returns a value as the text of a JSON file.
pub(crate) fn json_bytes(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// Syncs the names in a folder to the disk, if the system can.
pub(crate) fn sync_folder(path: &Path) {
    // Not every system can open a folder; the files' own contents are synced already.
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
}

/// Removes a folder with its contents, if it exists.
pub(crate) fn remove_folder(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(path, "remove")(error))
        }
        _ => Ok(()),
    }
}
