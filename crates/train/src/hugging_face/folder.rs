//! The small files that go with a model when it is saved elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Error;
use crate::files::{LARGEST_JSON_BYTES, LARGEST_TOKENIZER_BYTES, read_capped, write_synced};

/// What `transformers` reads beside config.json and the weights, with the largest size of each.
const NAMES: [(&str, u64); 10] = [
    ("generation_config.json", LARGEST_JSON_BYTES),
    ("tokenizer.json", LARGEST_TOKENIZER_BYTES),
    ("tokenizer_config.json", LARGEST_TOKENIZER_BYTES),
    ("special_tokens_map.json", LARGEST_JSON_BYTES),
    ("added_tokens.json", LARGEST_JSON_BYTES),
    ("chat_template.jinja", LARGEST_JSON_BYTES),
    ("chat_template.json", LARGEST_JSON_BYTES),
    ("vocab.json", LARGEST_TOKENIZER_BYTES),
    ("merges.txt", LARGEST_TOKENIZER_BYTES),
    ("tokenizer.model", LARGEST_TOKENIZER_BYTES),
];

/// The tokenizer's files, the chat template and the generation settings of a model's folder, in
/// memory, byte by byte: the folder may be gone when a checkpoint is written. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Companions {
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl Companions {
    /// Reads those that are in the folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        for (name, limit_bytes) in NAMES {
            let path = folder.join(name);
            if path.is_file() {
                files.insert(name, read_capped(&path, limit_bytes)?);
            }
        }
        Ok(Self { files })
    }

    /// Writes them into a folder that nobody reads yet, synced to the disk.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        self.files.iter().try_for_each(|(name, bytes)| write_synced(&folder.join(name), bytes))
    }

    /// Adds a file, in the place of one of that name.
    pub(crate) fn insert(&mut self, name: &'static str, bytes: Vec<u8>) {
        self.files.insert(name, bytes);
    }

    /// The bytes of the file of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Whether the file of that name is among them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }
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
        for name in ["tokenizer.json", "merges.txt", "model.safetensors", "README.md"] {
            std::fs::write(from.join(name), format!("{name}\r\n\0")).unwrap();
        }
        let companions = Companions::read(&from).unwrap();
        assert!(companions.has("merges.txt") && !companions.has("vocab.json"));
        assert!(!companions.has("README.md"));
        companions.write(&to).unwrap();
        assert_eq!(std::fs::read(to.join("merges.txt")).unwrap(), b"merges.txt\r\n\0");
        assert_eq!(std::fs::read_dir(&to).unwrap().count(), 2);
        assert_eq!(Companions::read(&to).unwrap(), companions);
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
