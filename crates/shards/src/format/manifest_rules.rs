//! The rules of docs/format.md for a manifest, applied before writing and after reading.

use std::{collections::BTreeSet, fmt::Display, path::Path};

use serde::Deserialize;

use crate::Error;
use crate::Manifest;
use crate::ShardRecord;
use crate::Split;
use crate::SplitRecord;
use crate::corpus::shard::files_of;
use crate::corpus::token_file::TokenLayout;
use crate::error::quoted;
use crate::files::confined::{NAME_RULE, check_link, is_plain_name};
use crate::format::adopted::check_adopted;
use crate::format::adopted::{check_links_of_path, shard_path};
use crate::format::index::index_bytes;
use crate::format::seal::COMPANIONS;

/// The part of a manifest that every version has.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// Checks the format and version before the other fields, whose shape depends on them.
pub(crate) fn check_version(path: &Path, json: &[u8]) -> Result<(), Error> {
    let head: Head = serde_json::from_slice(json)
        .map_err(|source| Error::ManifestJson { path: path.to_owned(), source })?;
    field(path, "format", quoted(Manifest::FORMAT), quoted(&head.format))?;
    known_version(path, head.version)
}

fn known_version(path: &Path, got: u32) -> Result<(), Error> {
    if (Manifest::VERSION..=Manifest::ADOPTED_VERSION).contains(&got) {
        return Ok(());
    }
    Err(Error::Version { path: path.to_owned(), expected: Manifest::ADOPTED_VERSION, got })
}

/// Checks everything that the manifest alone can show; `path` is for messages.
pub(crate) fn check(manifest: &Manifest, path: &Path) -> Result<(), Error> {
    field(path, "format", quoted(Manifest::FORMAT), quoted(&manifest.format))?;
    known_version(path, manifest.version)?;
    check_vocabulary(manifest, path)?;
    check_pack(manifest, path)?;
    check_adopted(manifest, path)?;
    for split in Split::ALL {
        check_split(manifest, split, path)?;
    }
    let expected = Manifest::data_fingerprint(
        manifest.dtype,
        manifest.tokenizer_fingerprint,
        &manifest.train.shards,
        &manifest.holdout.shards,
    );
    field(path, "fingerprint", expected, manifest.fingerprint)
}

/// Refuses the tokenizer's files and split folders that are links out of the corpus folder. The link of the manifest is
/// checked before it is opened, and likewise those of a shard's files.
pub(crate) fn check_folder_links(folder: &Path) -> Result<(), Error> {
    COMPANIONS.iter().try_for_each(|name| check_link(folder, &folder.join(name)))?;
    Split::ALL.iter().try_for_each(|split| check_link(folder, &folder.join(split.folder())))
}

/// Refuses shard files that are links out of the corpus folder.
pub(crate) fn check_shard_links(manifest: &Manifest, folder: &Path) -> Result<(), Error> {
    for split in Split::ALL {
        for shard in &manifest.split(split).shards {
            for (extension, _) in files_of(shard) {
                check_shard_link(folder, shard, &shard_path(folder, split, shard, extension))?;
            }
        }
    }
    Ok(())
}

/// Refuses one file of a shard that is a link out of the corpus folder.
pub(crate) fn check_shard_link(
    folder: &Path,
    shard: &ShardRecord,
    path: &Path,
) -> Result<(), Error> {
    match shard.adopted {
        None => check_link(folder, path),
        Some(_) => check_links_of_path(folder, path),
    }
}

fn check_vocabulary(manifest: &Manifest, path: &Path) -> Result<(), Error> {
    let (vocab_size, limit) = (manifest.vocab_size, manifest.dtype.max_vocab_size());
    if vocab_size == 0 || vocab_size > limit {
        let expected = format!("1 to {limit} for {}", manifest.dtype);
        return Err(wrong(path, "vocab_size", expected, vocab_size));
    }
    let special = [("end_of_text", Some(manifest.end_of_text))];
    let special = special.into_iter().chain([
        ("beginning_of_text", manifest.beginning_of_text),
        ("pack.padding", manifest.pack.map(|pack| pack.padding)),
    ]);
    for (name, id) in special {
        if let Some(id) = id.filter(|id| u64::from(*id) >= vocab_size) {
            return Err(wrong(path, name, format!("an id below vocab_size {vocab_size}"), id));
        }
    }
    Ok(())
}

/// The longest row: as long as the longest document.
const MAX_ROW_TOKENS: u64 = (1 << 31) - 1;

fn check_pack(manifest: &Manifest, path: &Path) -> Result<(), Error> {
    let Some(pack) = manifest.pack else { return Ok(()) };
    let row_tokens = pack.row_tokens();
    if !(2..=MAX_ROW_TOKENS).contains(&row_tokens) {
        let expected = format!("1 to {}", MAX_ROW_TOKENS - 1);
        return Err(wrong(path, "pack.sequence_length", expected, pack.sequence_length));
    }
    for split in Split::ALL {
        for (n, shard) in manifest.split(split).shards.iter().enumerate() {
            if !shard.tokens.is_multiple_of(row_tokens) {
                let name = format!("{split}.shards[{n}].tokens");
                let expected = format!("whole rows of {row_tokens}");
                return Err(wrong(path, name, expected, shard.tokens));
            }
        }
    }
    Ok(())
}

fn check_split(manifest: &Manifest, split: Split, path: &Path) -> Result<(), Error> {
    let record = manifest.split(split);
    let mut names = BTreeSet::new();
    for (n, shard) in record.shards.iter().enumerate() {
        let place = format!("{split}.shards[{n}]");
        check_shard(manifest, shard, path, &place)?;
        if !names.insert(shard.file.as_str()) {
            let name = format!("{place}.file");
            return Err(wrong(
                path,
                name,
                "a unique name",
                format!("{} again", quoted(&shard.file)),
            ));
        }
    }
    check_sums(record, split, path)?;
    check_masks(record, split, path)
}

fn check_shard(
    manifest: &Manifest,
    shard: &ShardRecord,
    path: &Path,
    place: &str,
) -> Result<(), Error> {
    if !is_plain_name(&shard.file) {
        return Err(wrong(path, format!("{place}.file"), NAME_RULE, quoted(&shard.file)));
    }
    if shard.documents == 0 || index_bytes(shard.documents).is_none() {
        let name = format!("{place}.documents");
        return Err(wrong(path, name, "1 or more (and less than 2^59)", shard.documents));
    }
    if shard.tokens < shard.documents {
        let expected = format!("at least one a document, {}", shard.documents);
        return Err(wrong(path, format!("{place}.tokens"), expected, shard.tokens));
    }
    let id_bytes = manifest.dtype.bytes();
    let header_bytes = shard.adopted.as_ref().map_or(0, |adopted| adopted.header_bytes);
    let layout = TokenLayout { header_bytes, dtype: manifest.dtype, tokens: shard.tokens };
    if layout.file_bytes() != Some(shard.bin_bytes) {
        let header = if header_bytes == 0 { String::new() } else { format!(" and {header_bytes}") };
        let expected = format!("{} tokens of {id_bytes} bytes{header}", shard.tokens);
        return Err(wrong(path, format!("{place}.bin_bytes"), expected, shard.bin_bytes));
    }
    // A line is at least an empty string or null, and its newline.
    let ids_bytes = shard.documents.saturating_mul(3);
    if let Some(ids) = shard.ids.filter(|ids| ids.bytes < ids_bytes) {
        let expected = format!("at least a line a document, {ids_bytes}");
        return Err(wrong(path, format!("{place}.ids.bytes"), expected, ids.bytes));
    }
    Ok(())
}

fn check_sums(record: &SplitRecord, split: Split, path: &Path) -> Result<(), Error> {
    let check_sum = |name: &str, got: u64, of: fn(&ShardRecord) -> u64| {
        let sum = record.shards.iter().map(of).try_fold(0, u64::checked_add);
        if sum == Some(got) {
            return Ok(());
        }
        let sum = sum.map_or_else(|| "one that fits 64 bits".to_owned(), |sum| sum.to_string());
        let expected = format!("the sum over its shards, {sum}");
        Err(wrong(path, format!("{split}.{name}"), expected, got))
    };
    check_sum("documents", record.documents, |shard| shard.documents)?;
    check_sum("tokens", record.tokens, |shard| shard.tokens)?;
    check_sum("text_bytes", record.text_bytes, |shard| shard.text_bytes)
}

/// Checks that a split has masks in all its shards or in none, and that their loss tokens add up.
fn check_masks(record: &SplitRecord, split: Split, path: &Path) -> Result<(), Error> {
    let mut sum = record.loss_tokens.map(|_| 0_u64);
    for (n, shard) in record.shards.iter().enumerate() {
        let got = shard.mask.map(|mask| mask.loss_tokens);
        if got.is_some() != sum.is_some() {
            let expected = if sum.is_some() { "a mask" } else { "no mask" };
            let got = if got.is_some() { "one" } else { "none" };
            let expected = format!("{expected}, as {split}.loss_tokens says");
            return Err(wrong(path, format!("{split}.shards[{n}].mask"), expected, got));
        }
        if let Some(got) = got.filter(|got| *got > shard.tokens) {
            let expected = format!("at most its tokens, {}", shard.tokens);
            let name = format!("{split}.shards[{n}].mask.loss_tokens");
            return Err(wrong(path, name, expected, got));
        }
        // This cannot overflow: each is at most the shard's tokens, whose sum has been checked.
        sum = sum.map(|sum| sum.saturating_add(got.unwrap_or(0)));
    }
    match (sum, record.loss_tokens) {
        (Some(sum), Some(got)) if sum != got => {
            let expected = format!("the sum over its shards, {sum}");
            Err(wrong(path, format!("{split}.loss_tokens"), expected, got))
        }
        _ => Ok(()),
    }
}

fn field<T: PartialEq + Display>(
    path: &Path,
    name: &str,
    expected: T,
    got: T,
) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(wrong(path, name, expected.to_string(), got)) }
}

pub(crate) fn wrong(
    path: &Path,
    field: impl Into<String>,
    expected: impl Into<String>,
    got: impl Display,
) -> Error {
    Error::Manifest {
        path: path.to_owned(),
        field: field.into(),
        expected: expected.into(),
        got: got.to_string(),
    }
}
