//! The search for token files in a folder.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::{
    TokenFormat,
    format::{foreign_content, mask_of_olmo},
};
use crate::Error;

/// The token files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFiles {
    /// The token files, by name; links in their folders are resolved, in the last part they are not.
    pub files: Vec<PathBuf>,
    /// Files that have a token file's ending but are not token files, with the reason: index maps of Megatron, arrays
    /// beside its pairs, weights of models.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

/// Finds the token files of `folder` and its subfolders, except hidden ones: files with an ending of `format` or, if
/// none is given, of any format, without the files that other programs keep beside their token files. The masks of
/// OLMo's files belong to them.
///
/// # Errors
/// A folder cannot be listed, or the beginning of a file cannot be read.
///
/// ```
/// use mixdown_shards::token_files;
///
/// # let folder = tempfile::tempdir().unwrap();
/// std::fs::write(folder.path().join("train.bin"), [1, 0, 2, 0]).unwrap();
/// assert_eq!(token_files(folder.path(), None)?.files, [folder.path().join("train.bin")]);
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn token_files(folder: &Path, format: Option<TokenFormat>) -> Result<TokenFiles, Error> {
    let mut found = Vec::new();
    walk(folder, &mut BTreeSet::new(), &mut found)?;
    let is_wanted = |path: &PathBuf| {
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        endings(format).contains(&extension)
    };
    found.retain(is_wanted);
    let has_pairs = found.iter().any(|path| is_megatron(path));
    let masks: BTreeSet<PathBuf> = found.iter().filter_map(|path| mask_of_olmo(path)).collect();
    let mut files = TokenFiles::default();
    for path in found.into_iter().filter(|path| !masks.contains(path)) {
        let reason = match format {
            Some(TokenFormat::Megatron) if !is_megatron(&path) => Some("no .idx beside it"),
            _ if is_index_map(&path) => Some(INDEX_MAP),
            // The use of the array is unknown: beside Megatron's pairs, the pairs are the tokens.
            None if has_pairs && is_lone_array(&path) => Some("an array beside Megatron's pairs"),
            _ => foreign_content(&path)?,
        };
        match reason {
            Some(reason) => files.left_out.push((path, reason)),
            None => files.files.push(path),
        }
    }
    Ok(files)
}

/// The description of a file with such a name, for messages.
pub(super) const INDEX_MAP: &str = "an index map of Megatron or GPT-NeoX";

/// Returns whether the name is one that Megatron, Megatron-core or GPT-NeoX gives to its maps of documents, samples and
/// their order, which it keeps after training on a data set.
pub(super) fn is_index_map(path: &Path) -> bool {
    const ENDINGS: [&str; 8] = [
        "_doc_idx",
        "_sample_idx",
        "_shuffle_idx",
        "-document_index",
        "-sample_index",
        "-shuffle_index",
        "-dataset_index",
        "-dataset_sample_index",
    ];
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.extension() == Some(OsStr::new("npy"))
        && (stem.contains("_indexmap_") || ENDINGS.iter().any(|ending| stem.ends_with(ending)))
}

fn endings(format: Option<TokenFormat>) -> &'static [&'static str] {
    match format {
        None => &["bin", "npy", "ds"],
        Some(TokenFormat::Megatron | TokenFormat::Llmc) => &["bin"],
        Some(TokenFormat::Raw) => &["bin", "npy"],
        Some(TokenFormat::Olmo | TokenFormat::Npy) => &["npy"],
        Some(TokenFormat::Datatrove) => &["ds"],
    }
}

fn is_megatron(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("bin")) && path.with_extension("idx").is_file()
}

fn is_lone_array(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("npy")) && !path.with_extension("csv.gz").is_file()
}

/// Collects all files that are not hidden, by name; a folder that several links lead to is walked once.
fn walk(
    folder: &Path,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let real = fs::canonicalize(folder).map_err(Error::io("find", folder))?;
    if !seen.insert(real.clone()) {
        return Ok(());
    }
    let list = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(&real)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = list().map_err(Error::io("list", folder))?;
    paths.sort();
    let is_hidden = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
    };
    for path in paths.into_iter().filter(|path| !is_hidden(path)) {
        if path.is_dir() {
            walk(&path, seen, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: impl Iterator<Item = PathBuf>, folder: &Path) -> Vec<String> {
        let real = fs::canonicalize(folder).unwrap();
        paths.map(|path| path.strip_prefix(&real).unwrap().display().to_string()).collect()
    }

    fn folder_of(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [1, 0, 2, 0]).unwrap();
        }
        folder
    }

    #[test]
    fn index_maps_and_arrays_beside_pairs_are_no_token_files() {
        let folder = folder_of(&[
            "a_document.bin",
            "a_document.idx",
            "a_document_train_indexmap_9ns_64sl_1s_doc_idx.npy",
            "a_document_train_indexmap_9ns_64sl_1s_sample_idx.npy",
            "cache/GPTDataset_indices/f00d-GPTDataset-train-shuffle_index.npy",
            "cache/f00d-BlendedDataset-train-dataset_sample_index.npy",
            "weights.npy",
            "other/tokens.npy",
            "other/tokens.csv.gz",
            ".hidden/b.bin",
            "readme.txt",
        ]);
        let found = token_files(folder.path(), None).unwrap();
        assert_eq!(
            names(found.files.into_iter(), folder.path()),
            ["a_document.bin", "other/tokens.npy"]
        );
        assert_eq!(found.left_out.len(), 5);
        for (format, expected) in [
            (TokenFormat::Megatron, vec!["a_document.bin"]),
            (TokenFormat::Npy, vec!["other/tokens.npy", "weights.npy"]),
            (TokenFormat::Datatrove, vec![]),
        ] {
            let found = token_files(folder.path(), Some(format)).unwrap();
            assert_eq!(names(found.files.into_iter(), folder.path()), expected, "{format}");
        }
    }

    #[test]
    fn masks_go_with_their_files_and_weights_are_none() {
        let folder = folder_of(&[
            "train-00000.npy",
            "labels_mask_train-00000.npy",
            "token_ids_part_0000.npy",
            "labels_mask_part_0000.npy",
            "labels_mask_of_nothing.npy",
        ]);
        fs::write(folder.path().join("pytorch_model.bin"), b"PK\x03\x04 and more").unwrap();
        let found = token_files(folder.path(), None).unwrap();
        assert_eq!(
            names(found.files.into_iter(), folder.path()),
            ["labels_mask_of_nothing.npy", "token_ids_part_0000.npy", "train-00000.npy"]
        );
        let left_out: Vec<PathBuf> = found.left_out.into_iter().map(|(path, _)| path).collect();
        assert_eq!(names(left_out.into_iter(), folder.path()), ["pytorch_model.bin"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once() {
        let folder = folder_of(&["a/x.bin"]);
        std::os::unix::fs::symlink("..", folder.path().join("a/up")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        let found = token_files(folder.path(), None).unwrap();
        assert_eq!(names(found.files.into_iter(), folder.path()), ["a/x.bin"]);
    }
}
