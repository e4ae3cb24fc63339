//! The weights of a model's folder: one file, or several with an index.

use std::collections::BTreeMap;
use std::mem;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::safetensors_file::SafetensorsFile;
use super::writer;
use super::{Wanted, check_shape, read_all, same_numbers};
use crate::error::Error;
use crate::model::config::ModelConfig;
use crate::model::initial::zeros;
use crate::weights::hugging_face::{
    FileTensor, canonical_name, embedding_name, head_name, is_superfluous,
};
use crate::weights::{INDEX_FILE, WEIGHTS_FILE, read_json, write_json};

/// The bytes of values in one file: a larger model is written as several files, as `transformers` does.
pub(crate) const SHARD_BYTES: u64 = 5_000_000_000;

/// Reads all weights of a folder into a flat buffer of `len` numbers, which `tensors` cover.
///
/// Names are those of the family, including older ones. A folder that lacks a tensor or has an unexpected one is
/// refused with all names, as is a tensor of another shape.
pub(crate) fn read_model(
    folder: &Path,
    config: &ModelConfig,
    tensors: &[FileTensor],
    len: usize,
) -> Result<Vec<f32>, Error> {
    let (path, files) = open(folder)?;
    let mut present = present(&path, &files, config)?;
    take_head_for_embedding(&mut present, config);
    check_vocabulary(&present, config)?;
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for tensor in tensors {
        match present.remove(&tensor.name) {
            Some(Found { file, name }) => {
                found.extend(file.info(&name).map(|info| (tensor.name.as_str(), (file, info))));
            }
            None => missing.push(tensor.name.clone()),
        }
    }
    present.retain(|name, _| !is_superfluous(config, name));
    if !missing.is_empty() || !present.is_empty() {
        let unexpected = present.into_values().map(|found| found.name).collect();
        return Err(Error::Tensors { path, missing, unexpected });
    }
    for (tensor, (file, info)) in
        tensors.iter().filter_map(|one| Some((one, found.get(one.name.as_str())?)))
    {
        check_shape(file, info, tensor)?;
    }
    // A config.json alone may ask for any number of parameters: memory is taken for those that the files have.
    let mut out = zeros(len)?;
    let wanted = split(tensors, &mut out).into_iter().filter_map(|(tensor, out)| {
        let (file, info) = found.remove(tensor.name.as_str())?;
        Some(Wanted { file, info, tensor, out })
    });
    read_all(wanted.collect())?;
    Ok(out)
}

/// Returns whether a folder whose config.json ties the output projection to the embedding holds a different projection.
///
/// If the folder has both, they are read part by part.
pub(crate) fn has_own_head(folder: &Path, config: &ModelConfig) -> Result<bool, Error> {
    if !config.tied_embeddings {
        return Ok(false);
    }
    let (path, files) = open(folder)?;
    let present = present(&path, &files, config)?;
    let [embedding, head] =
        [embedding_name(config.family), head_name(config.family)].map(|name| present.get(name));
    let (Some(embedding), Some(head)) = (embedding, head) else { return Ok(false) };
    let [one, other] = [embedding, head].map(|found| (found.file, found.name.as_str()));
    Ok(!same_numbers(one, other)?)
}

/// A tensor in a file, by its name in the file.
struct Found<'a> {
    file: &'a SafetensorsFile,
    name: String,
}

/// Returns all tensors of the files by the family's names.
fn present<'a>(
    path: &Path,
    files: &'a [SafetensorsFile],
    config: &ModelConfig,
) -> Result<BTreeMap<String, Found<'a>>, Error> {
    let mut present = BTreeMap::new();
    for file in files {
        for name in file.names() {
            let key = canonical_name(config.family, &name).into_owned();
            if let Some(Found { file: other, .. }) =
                present.insert(key, Found { file, name: name.clone() })
            {
                let got = format!(
                    "one in {} and one in {}",
                    other.path().display(),
                    file.path().display()
                );
                return Err(Error::bad_file(path, format!("one tensor {name}"), got));
            }
        }
    }
    Ok(present)
}

/// Of two names of one tensor some writers keep the first in the alphabet: the output projection.
fn take_head_for_embedding(present: &mut BTreeMap<String, Found>, config: &ModelConfig) {
    let name = embedding_name(config.family);
    if config.tied_embeddings
        && !present.contains_key(name)
        && let Some(head) = present.remove(head_name(config.family))
    {
        present.insert(name.to_owned(), head);
    }
}

/// Refuses an embedding whose vocabulary differs from that of config.json, with a specific message.
fn check_vocabulary(present: &BTreeMap<String, Found>, config: &ModelConfig) -> Result<(), Error> {
    let found = present.get(embedding_name(config.family));
    let Some(Found { file, name }) = found else { return Ok(()) };
    let rows = file.info(name).and_then(|info| info.shape.first()).copied();
    match rows.and_then(|rows| u64::try_from(rows).ok()) {
        Some(rows) if rows != config.vocab_size => {
            let expected =
                format!("{name} of {} rows, the vocab_size of config.json", config.vocab_size);
            Err(Error::bad_file(file.path(), expected, format!("{rows} rows")))
        }
        _ => Ok(()),
    }
}

/// Returns each tensor with its part of the flat buffer. The ranges of `tensors` do not overlap.
fn split<'a>(
    tensors: &'a [FileTensor],
    mut out: &'a mut [f32],
) -> Vec<(&'a FileTensor, &'a mut [f32])> {
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| tensor.range.start);
    let mut parts = Vec::with_capacity(sorted.len());
    let mut start = 0;
    for tensor in sorted {
        let (_, rest) = mem::take(&mut out).split_at_mut(tensor.range.start - start);
        let (part, rest) = rest.split_at_mut(tensor.range.len());
        parts.push((tensor, part));
        (out, start) = (rest, tensor.range.end);
    }
    parts
}

/// Returns the weights files of a folder, and the path that errors about all of them name.
fn open(folder: &Path) -> Result<(PathBuf, Vec<SafetensorsFile>), Error> {
    let path = folder.join(WEIGHTS_FILE);
    // transformers looks for this one first, too.
    if path.exists() {
        let file = SafetensorsFile::open(&path)?;
        return Ok((path, vec![file]));
    }
    let path = folder.join(INDEX_FILE);
    if path.exists() {
        let files = open_indexed(folder, &path)?;
        return Ok((path, files));
    }
    let others = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    let got = match others.into_iter().find(|name| folder.join(name).exists()) {
        Some(name) => format!(
            "{name}, which runs code when it is read: save it as safetensors, with the \
             save_pretrained of transformers"
        ),
        None => "none of them".to_owned(),
    };
    let expected = format!("{WEIGHTS_FILE} or {INDEX_FILE}");
    Err(Error::UnsupportedModel { path: folder.to_owned(), field: "weights", expected, got })
}

/// Returns the files of an index, each with its tensors.
fn open_indexed(folder: &Path, index: &Path) -> Result<Vec<SafetensorsFile>, Error> {
    let json = read_json(index)?;
    let Some(map) = json["weight_map"].as_object().filter(|map| !map.is_empty()) else {
        return Err(Error::bad_file(index, "a weight_map of names and files", "none"));
    };
    let mut names = BTreeMap::<&str, Vec<&str>>::new();
    for (tensor, file) in map {
        match file.as_str().filter(|name| is_plain(name)) {
            Some(file) => names.entry(file).or_default().push(tensor),
            None => {
                let expected = format!("the name of a file in this folder for {tensor}");
                return Err(Error::bad_file(index, expected, file));
            }
        }
    }
    let mut files = Vec::with_capacity(names.len());
    for (name, tensors) in names {
        let file = SafetensorsFile::open(&folder.join(name))?;
        if let Some(tensor) = tensors.into_iter().find(|tensor| file.info(tensor).is_none()) {
            let expected = format!("{tensor}, as {INDEX_FILE} says");
            return Err(Error::bad_file(file.path(), expected, "a file without it"));
        }
        files.push(file);
    }
    Ok(files)
}

/// Returns whether a name is that of a file within the folder on every system.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_one = matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none();
    is_one && !name.contains(['/', '\\', ':', '\0'])
}

/// Writes all weights into a folder that has none and that no reader uses yet, and syncs them to the disk: one file, or
/// several files with an index if there are more than `shard_bytes`.
pub(crate) fn write_model(
    folder: &Path,
    tensors: &[FileTensor],
    values: &[f32],
    shard_bytes: u64,
) -> Result<(), Error> {
    let parts: Vec<_> =
        tensors.iter().map(|tensor| (tensor, &values[tensor.range.clone()])).collect();
    let shards = shards(&parts, shard_bytes);
    if shards.len() <= 1 {
        return writer::write(&folder.join(WEIGHTS_FILE), &parts);
    }
    let mut map = BTreeMap::new();
    for (n, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", n + 1, shards.len());
        writer::write(&folder.join(&name), shard)?;
        map.extend(shard.iter().map(|(tensor, _)| (tensor.name.as_str(), name.clone())));
    }
    let total_bytes: u64 = parts.iter().map(bytes).sum();
    let index: Value = json!({ "metadata": { "total_size": total_bytes }, "weight_map": map });
    write_json(&folder.join(INDEX_FILE), &index)
}

/// A tensor with its values.
type EvaluationPart<'a> = (&'a FileTensor, &'a [f32]);

/// Returns the bytes of a tensor in the file.
fn bytes(part: &EvaluationPart) -> u64 {
    u64::try_from(size_of_val(part.1)).unwrap_or(u64::MAX)
}

/// Returns the tensors of each file, in order: as many as fit, at least one.
fn shards<'a, 'b>(
    parts: &'b [EvaluationPart<'a>],
    shard_bytes: u64,
) -> Vec<&'b [EvaluationPart<'a>]> {
    let mut shards = Vec::new();
    let (mut first, mut used_bytes) = (0, 0_u64);
    for (n, part) in parts.iter().enumerate() {
        if n > first && used_bytes.saturating_add(bytes(part)) > shard_bytes {
            shards.push(&parts[first..n]);
            (first, used_bytes) = (n, 0);
        }
        used_bytes = used_bytes.saturating_add(bytes(part));
    }
    shards.push(&parts[first..]);
    shards
}

#[cfg(test)]
mod tests;
