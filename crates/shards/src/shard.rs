use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{
    Access, Dtype, Error, Manifest, ShardRecord, Split, TokenFile, index::IndexFile,
    manifest_check::file_sizes_bytes, positioned_file::PositionedFile,
};

/// The endings of a shard's files.
pub(crate) const EXTENSIONS: [&str; 4] = ["bin", "idx", "sums", "hashes"];

/// The path of one of a shard's files. Not `with_extension`: a name may hold dots.
pub(crate) fn file_path(split_folder: &Path, file: &str, extension: &str) -> PathBuf {
    split_folder.join(format!("{file}.{extension}"))
}

/// One shard of an opened corpus; its token file is opened when it is first read.
#[derive(Debug)]
pub(crate) struct Shard {
    split_folder: PathBuf,
    record: ShardRecord,
    dtype: Dtype,
    vocab_size: u64,
    access: Access,
    tokens: OnceLock<TokenFile>,
}

impl Shard {
    /// The shards of one split of the corpus in `folder`, none of them opened yet.
    pub(crate) fn of_split(
        folder: &Path,
        manifest: &Manifest,
        split: Split,
        access: Access,
    ) -> Vec<Self> {
        let split_folder = folder.join(split.folder());
        let shard = |record: &ShardRecord| Self {
            split_folder: split_folder.clone(),
            record: record.clone(),
            dtype: manifest.dtype,
            vocab_size: manifest.vocab_size,
            access,
            tokens: OnceLock::new(),
        };
        manifest.split(split).shards.iter().map(shard).collect()
    }

    pub(crate) fn record(&self) -> &ShardRecord {
        &self.record
    }

    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub(crate) fn vocab_size(&self) -> u64 {
        self.vocab_size
    }

    pub(crate) fn path(&self, extension: &str) -> PathBuf {
        file_path(&self.split_folder, &self.record.file, extension)
    }

    /// Each file with its exact size, in the order of [`EXTENSIONS`].
    pub(crate) fn files(&self) -> [(PathBuf, u64); 4] {
        let [bin, idx, sums, hashes] = EXTENSIONS.map(|extension| self.path(extension));
        let [bin_bytes, idx_bytes, sums_bytes, hashes_bytes] = file_sizes_bytes(&self.record);
        [(bin, bin_bytes), (idx, idx_bytes), (sums, sums_bytes), (hashes, hashes_bytes)]
    }

    /// The token file, opened now if this is the first use.
    pub(crate) fn token_file(&self) -> Result<&TokenFile, Error> {
        if let Some(file) = self.tokens.get() {
            return Ok(file);
        }
        let path = self.path("bin");
        let (dtype, tokens) = (self.dtype, self.record.tokens);
        let file = TokenFile::open(&path, dtype, self.vocab_size, tokens, self.access)?;
        // Another thread may have been faster; its file is as good.
        Ok(self.tokens.get_or_init(|| file))
    }

    /// Opens the index; not kept, or a corpus of many shards would run out of file descriptors.
    pub(crate) fn index(&self) -> Result<IndexFile, Error> {
        IndexFile::open(&self.path("idx"), self.dtype, &self.record)
    }

    /// Appends the hashes of all documents.
    pub(crate) fn append_hashes(&self, hashes: &mut Vec<u64>) -> Result<(), Error> {
        let file = PositionedFile::open(&self.path("hashes"))?;
        let bytes = file.read_vec(0, self.record.documents.saturating_mul(8))?;
        hashes.extend(bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        Ok(())
    }
}

/// Checks that `path` is a regular file of exactly `expected_bytes`.
pub(crate) fn check_file(path: &Path, expected_bytes: u64) -> Result<(), Error> {
    let wrong = |got: String| {
        Err(Error::damaged(path, None, format!("a file of {expected_bytes} bytes"), got))
    };
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => wrong("something that is no file".to_owned()),
        Ok(metadata) if metadata.len() != expected_bytes => {
            wrong(format!("{} bytes", metadata.len()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => wrong("no file".to_owned()),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}
