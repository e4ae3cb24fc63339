//! Hugging Face model folders: config.json, the names and shapes of the tensors, and the small
//! files beside them. weights_file.rs reads and writes the numbers.

mod config;
mod families;
mod fields;
mod json;
mod rotary;
mod tensors;
#[cfg(test)]
pub(crate) mod test_models;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(crate) use tensors::{
    Arrangement, FileTensor, canonical_name, embedding_name, head_name, is_superfluous, tensors,
};

use crate::error::Error;
use crate::weights::{LARGEST_JSON_BYTES, LARGEST_TOKENIZER_BYTES, read_capped, write_synced};

/// The files that `transformers`, vLLM or llama.cpp's converter read beside config.json and the weights, with the
/// largest size of each.
const NAMES: [(&str, u64); 17] = [
    ("generation_config.json", LARGEST_JSON_BYTES),
    ("tokenizer.json", LARGEST_TOKENIZER_BYTES),
    ("tokenizer_config.json", LARGEST_TOKENIZER_BYTES),
    ("special_tokens_map.json", LARGEST_JSON_BYTES),
    ("added_tokens.json", LARGEST_JSON_BYTES),
    ("chat_template.jinja", LARGEST_JSON_BYTES),
    ("chat_template.json", LARGEST_JSON_BYTES),
    ("vocab.json", LARGEST_TOKENIZER_BYTES),
    ("vocab.txt", LARGEST_TOKENIZER_BYTES),
    ("merges.txt", LARGEST_TOKENIZER_BYTES),
    ("tokenizer.model", LARGEST_TOKENIZER_BYTES),
    ("spiece.model", LARGEST_TOKENIZER_BYTES),
    ("sentencepiece.bpe.model", LARGEST_TOKENIZER_BYTES),
    ("tekken.json", LARGEST_TOKENIZER_BYTES),
    ("processor_config.json", LARGEST_JSON_BYTES),
    ("preprocessor_config.json", LARGEST_JSON_BYTES),
    ("video_preprocessor_config.json", LARGEST_JSON_BYTES),
];
/// The beginnings of names of further files: versions of a tokenizer, and the license of a model.
const BEGINNINGS: [&str; 5] = ["tokenizer.model.", "LICENSE", "LICENCE", "NOTICE", "USE_POLICY"];
/// The endings of their names: chat templates, and the classes that config.json and tokenizer_config.json name under
/// `auto_map`.
const ENDS: [&str; 3] = [".jinja", ".py", ".tiktoken"];
/// The folders whose files are kept: further chat templates, and a model's custom generation code.
const FOLDERS: [&str; 2] = ["additional_chat_templates", "custom_generate"];

/// The tokenizer's files, the chat templates, the generation settings and the license of a model's folder, in memory,
/// because the folder may be gone when a checkpoint is written. The default is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Companions {
    /// The contents by name; names of files in a subfolder have a `/`.
    files: BTreeMap<String, Vec<u8>>,
}

/// Returns the largest size of a file that is kept; `None` for a file that is not.
fn limit_bytes(name: &str) -> Option<u64> {
    let named = NAMES.iter().find(|(other, _)| *other == name).map(|(_, limit)| *limit);
    let fits = BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || ENDS.iter().any(|end| name.ends_with(end) && name.len() > end.len());
    named.or(fits.then_some(LARGEST_JSON_BYTES))
}

/// Returns whether a file of that name, with `/` between its parts, is kept.
pub(crate) fn is_companion(name: &str) -> bool {
    match name.split_once('/') {
        Some((folder, _)) => FOLDERS.contains(&folder),
        None => !name.starts_with('.') && limit_bytes(name).is_some(),
    }
}

impl Companions {
    /// Reads the files of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        read_files(folder, "", &limit_bytes, &mut files)?;
        for within in FOLDERS.map(|name| (folder.join(name), name)) {
            if within.0.is_dir() {
                let limit = |_: &str| Some(LARGEST_JSON_BYTES);
                read_files(&within.0, &format!("{}/", within.1), &limit, &mut files)?;
            }
        }
        Ok(Self { files })
    }

    /// Writes the files into a folder that no reader uses yet, and syncs them to the disk.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            if let (true, Some(parent)) = (name.contains('/'), path.parent()) {
                fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
            }
            write_synced(&path, bytes)?;
        }
        Ok(())
    }

    /// Adds a file, or replaces the one with that name.
    pub(crate) fn insert(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(name.to_owned(), bytes);
    }

    /// Returns the bytes of the file with that name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Returns whether there is a file with that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }
}

/// Adds the regular files of a folder that have a limit, under names that begin with `before`.
fn read_files(
    folder: &Path,
    before: &str,
    limit_bytes: &dyn Fn(&str) -> Option<u64>,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let entry = entry.map_err(Error::io(folder, "list"))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let hidden = name.starts_with('.');
        if let Some(limit_bytes) = limit_bytes(&name).filter(|_| !hidden && entry.path().is_file())
        {
            files.insert(format!("{before}{name}"), read_capped(&entry.path(), limit_bytes)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Companions, NAMES};

    #[test]
    fn what_is_there_goes_along_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        assert_eq!(Companions::read(&from).unwrap(), Companions::default());
        let others = [
            "model.safetensors",
            "README.md",
            "state.json",
            ".py",
            ".LICENSE",
            "adapter_config.json",
        ];
        for name in ["tokenizer.json", "merges.txt"].into_iter().chain(others) {
            std::fs::write(from.join(name), format!("{name}\r\n\0")).unwrap();
        }
        let companions = Companions::read(&from).unwrap();
        assert!(companions.has("merges.txt") && !companions.has("vocab.json"));
        assert!(others.iter().all(|name| !companions.has(name)));
        companions.write(&to).unwrap();
        assert_eq!(std::fs::read(to.join("merges.txt")).unwrap(), b"merges.txt\r\n\0");
        assert_eq!(std::fs::read_dir(&to).unwrap().count(), 2);
        assert_eq!(Companions::read(&to).unwrap(), companions);
    }

    #[test]
    fn templates_processors_terms_and_classes_go_along() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        let names = [
            "additional_chat_templates/rag.jinja",
            "additional_chat_templates/tool_use.jinja",
            "chat_template.jinja",
            "custom_generate/generate.py",
            "preprocessor_config.json",
            "processor_config.json",
            "tokenization_own.py",
            "tokenizer.model.v3",
            "LICENSE.txt",
            "USE_POLICY.md",
        ];
        for name in names {
            let path = from.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        std::fs::create_dir_all(from.join("other")).unwrap();
        std::fs::write(from.join("other/template.jinja"), "x").unwrap();
        std::fs::create_dir_all(&to).unwrap();
        Companions::read(&from).unwrap().write(&to).unwrap();
        for name in names {
            assert_eq!(std::fs::read_to_string(to.join(name)).unwrap(), name);
        }
        assert!(!to.join("other").exists());
    }

    #[test]
    fn sizes_are_capped() {
        let place = tempfile::tempdir().unwrap();
        // Those of tokenizers would be 256 MiB each.
        for (name, limit_bytes) in NAMES.into_iter().filter(|(_, limit)| *limit < 1 << 28) {
            let path = place.path().join(name);
            std::fs::File::create(&path).unwrap().set_len(limit_bytes + 1).unwrap();
            let error = Companions::read(place.path()).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("{name}: expected at most {limit_bytes} bytes, got more"))
            );
            std::fs::remove_file(&path).unwrap();
        }
    }
}
