//! The check whether a folder is already the corpus that an import would make of it.

use std::{fs, io, path::Path};

use super::{ImportOptions, format::Found};
use crate::{Access, Corpus, Error, Manifest, ShardRecord, Split};

/// Returns the manifest of an earlier import with the same files and settings; none if there is no manifest.
///
/// # Errors
/// The manifest is another one or has other settings, with the first difference; a file of that corpus has another size
/// now.
pub(super) fn finished(
    folder: &Path,
    found: &[(Split, String, Found)],
    beginning: Option<u32>,
    options: &ImportOptions<'_>,
) -> Result<Option<Manifest>, Error> {
    let path = folder.join(Manifest::FILE);
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let is_adopted = |manifest: &Manifest| manifest.options.get("import").is_some();
    let Some(before) = Manifest::read(folder).ok().filter(is_adopted) else {
        let hint = "move it away to import, or choose another folder for the corpus";
        return Err(Error::request(
            &path,
            "no manifest, or that of an earlier import",
            "another",
            hint,
        ));
    };
    if let Some((setting, expected, got)) = difference(&before, found, beginning, options) {
        return Err(Error::Differs { path, setting, expected, got });
    }
    // The files that the import added may be missing.
    Corpus::open(folder, Access::Read)?;
    Ok(Some(before))
}

/// Returns the first difference between an earlier import and this one: the setting, the earlier value and the current
/// one.
fn difference(
    before: &Manifest,
    found: &[(Split, String, Found)],
    beginning: Option<u32>,
    options: &ImportOptions<'_>,
) -> Option<(String, String, String)> {
    let differs = |setting: &str, before: String, now: String| {
        (before != now).then(|| (setting.to_owned(), before, now))
    };
    let id = |id: Option<u32>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let sums = |share: Option<&str>| share.map_or("of all blocks".to_owned(), str::to_owned);
    let sums_before =
        before.options.pointer("/import/sample_sums").and_then(|share| share.as_str());
    let sums_now = options.sample_sums.map(|share| share.to_string());
    let tokenizer = options.tokenizer_fingerprint.to_string();
    differs("the tokenizer", before.tokenizer_fingerprint.to_string(), tokenizer)
        .or_else(|| {
            differs("vocab_size", before.vocab_size.to_string(), options.vocab_size.to_string())
        })
        .or_else(|| {
            differs("end_of_text", before.end_of_text.to_string(), options.end_of_text.to_string())
        })
        .or_else(|| differs("sums", sums(sums_before), sums(sums_now.as_deref())))
        .or_else(|| {
            Split::ALL.into_iter().find_map(|split| {
                let found = found.iter().filter(|(of, ..)| *of == split);
                let found: Vec<_> = found.map(|(_, name, found)| (name.as_str(), found)).collect();
                difference_of_files(before, split, &found)
            })
        })
        .or_else(|| differs("beginning_of_text", id(before.beginning_of_text), id(beginning)))
}

fn difference_of_files(
    before: &Manifest,
    split: Split,
    found: &[(&str, &Found)],
) -> Option<(String, String, String)> {
    let shards = &before.split(split).shards;
    let then_and_now = |place: usize| (shards.get(place), found.get(place));
    (0..shards.len().max(found.len())).find_map(|place| {
        let then = |shard: &ShardRecord| {
            let adopted = shard.adopted.as_ref();
            let path = adopted.map_or("a shard of its own", |adopted| adopted.path.as_str());
            let header_bytes = adopted.map_or(0, |adopted| adopted.header_bytes);
            let mask = if shard.mask.is_some() { ", with a mask" } else { "" };
            let (bytes, dtype) = (shard.bin_bytes, before.dtype);
            format!("{path} of {bytes} bytes, {dtype} ids from byte {header_bytes} on{mask}")
        };
        let now = |(name, found): &(&str, &Found)| {
            let mask = if found.mask.is_some() { ", with a mask" } else { "" };
            let (bytes, dtype, header_bytes) = (found.file_bytes, found.dtype, found.header_bytes);
            format!("{name} of {bytes} bytes, {dtype} ids from byte {header_bytes} on{mask}")
        };
        let none = || "none".to_owned();
        let (shard, file) = then_and_now(place);
        let (before, now) = (shard.map_or_else(none, then), file.map_or_else(none, now));
        (before != now).then(|| (format!("file {place} of {split} as"), before, now))
    })
}
