//! One shard: its token file, index, hashes and mask.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use mixdown_similarity::Sketch;

use crate::Access;
use crate::Dtype;
use crate::Error;
use crate::Manifest;
use crate::ShardRecord;
use crate::Split;
use crate::TokenFile;
use crate::corpus::token_file::MaskFile;
use crate::corpus::token_file::TokenLayout;
use crate::error::quoted;
use crate::files::positioned_file::PositionedFile;
use crate::format::adopted::shard_path;
use crate::format::block_sums::{SUM_BYTES, sums_count};
use crate::format::index::IndexFile;
use crate::format::index::index_bytes;
use crate::format::manifest_rules::check_shard_link;

/// The size of a sketch in its file.
pub(crate) const SKETCH_BYTES: u64 = Sketch::BYTES as u64;

/// Mask bytes that are counted at a time.
const MASK_STEP: usize = 1 << 16;

/// Returns the endings of a shard's files, each with the file's exact size in bytes.
pub(crate) fn files_of(shard: &ShardRecord) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let hashes = has_hashes(shard).then(|| ("hashes", shard.documents.saturating_mul(8)));
    [
        ("bin", shard.bin_bytes),
        ("idx", index_bytes(shard.documents).unwrap_or(u64::MAX)),
        ("sums", sums_count(shard.bin_bytes) * SUM_BYTES),
    ]
    .into_iter()
    .chain(hashes)
    .chain(shard.mask.map(|_| ("mask", shard.tokens)))
    .chain(shard.ids.map(|ids| ("ids", ids.bytes)))
    .chain(shard.sketches.map(|_| ("sketches", shard.documents.saturating_mul(SKETCH_BYTES))))
}

/// Returns whether the texts' hashes exist: always, except for some adopted files.
pub(crate) fn has_hashes(shard: &ShardRecord) -> bool {
    shard.adopted.as_ref().is_none_or(|adopted| adopted.hashes)
}

/// Returns the path of one of a shard's files. `with_extension` would fail: a name may contain dots.
pub(crate) fn file_path(split_folder: &Path, file: &str, extension: &str) -> PathBuf {
    split_folder.join(format!("{file}.{extension}"))
}

/// One shard of an opened corpus; its token file is opened on first read.
#[derive(Debug)]
pub(crate) struct Shard {
    folder: Arc<Path>,
    split: Split,
    record: ShardRecord,
    dtype: Dtype,
    vocab_size: u64,
    access: Access,
    tokens: OnceLock<TokenFile>,
    mask: OnceLock<MaskFile>,
    index: OnceLock<IndexFile>,
}

impl Shard {
    /// Returns the shards of one split of the corpus in `folder`; none of them is opened yet.
    pub(crate) fn of_split(
        folder: &Path,
        manifest: &Manifest,
        split: Split,
        access: Access,
    ) -> Vec<Self> {
        let folder = Arc::from(folder);
        let shard = |record: &ShardRecord| Self {
            folder: Arc::clone(&folder),
            split,
            record: record.clone(),
            dtype: manifest.dtype,
            vocab_size: manifest.vocab_size,
            access,
            tokens: OnceLock::new(),
            mask: OnceLock::new(),
            index: OnceLock::new(),
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
        shard_path(&self.folder, self.split, &self.record, extension)
    }

    /// Returns the path of a file that is not a link out of the corpus folder.
    fn checked_path(&self, extension: &str) -> Result<PathBuf, Error> {
        let path = self.path(extension);
        check_shard_link(&self.folder, &self.record, &path)?;
        Ok(path)
    }

    /// Returns the bytes before the first id of the token file.
    pub(crate) fn header_bytes(&self) -> u64 {
        self.record.adopted.as_ref().map_or(0, |adopted| adopted.header_bytes)
    }

    /// Returns each file with its exact size in bytes.
    pub(crate) fn files(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        files_of(&self.record).map(|(extension, bytes)| (self.path(extension), bytes))
    }

    /// Returns the token file, opened on first use.
    pub(crate) fn token_file(&self) -> Result<&TokenFile, Error> {
        if let Some(file) = self.tokens.get() {
            return Ok(file);
        }
        let path = self.checked_path("bin")?;
        let (dtype, tokens) = (self.dtype, self.record.tokens);
        let layout = TokenLayout { header_bytes: self.header_bytes(), dtype, tokens };
        let file = TokenFile::open_with(&path, layout, self.vocab_size, self.access)?;
        // Another thread may have opened the file first; either one can be used.
        Ok(self.tokens.get_or_init(|| file))
    }

    /// Fills `out` with the mask from token `start_token` on; without a mask every token is a loss target.
    pub(crate) fn read_mask(&self, start_token: u64, out: &mut [u8]) -> Result<(), Error> {
        if self.record.mask.is_none() {
            out.fill(1);
            return Ok(());
        }
        if let Some(file) = self.mask.get() {
            return file.read(start_token, out);
        }
        let file = MaskFile::open(&self.checked_path("mask")?, self.record.tokens, self.access)?;
        self.mask.get_or_init(|| file).read(start_token, out)
    }

    /// Counts the loss targets in a range of the shard's tokens.
    pub(crate) fn count_loss_tokens(&self, tokens: Range<u64>) -> Result<u64, Error> {
        let mut buffer = vec![0; MASK_STEP];
        let mut sum = 0;
        for start in tokens.clone().step_by(MASK_STEP) {
            let len = usize::try_from(tokens.end - start).unwrap_or(usize::MAX).min(MASK_STEP);
            let part = buffer.get_mut(..len).unwrap_or_default();
            self.read_mask(start, part)?;
            sum += part.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
        Ok(sum)
    }

    /// Returns the index, opened on first use and kept: mapped or read as the tokens are.
    pub(crate) fn kept_index(&self) -> Result<&IndexFile, Error> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = IndexFile::open_with(
            &self.checked_path("idx")?,
            self.dtype,
            &self.record,
            self.access,
        )?;
        Ok(self.index.get_or_init(|| index))
    }

    /// Opens the index without keeping it, or a corpus of many shards would run out of file descriptors.
    pub(crate) fn index(&self) -> Result<IndexFile, Error> {
        IndexFile::open(&self.path("idx"), self.dtype, &self.record)
    }

    /// Returns the own id of a document, if it has one; the lines before it are read.
    pub(crate) fn own_id(&self, document: u64) -> Result<Option<String>, Error> {
        if self.record.ids.is_none() {
            return Ok(None);
        }
        let path = self.path("ids");
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let number = usize::try_from(document).unwrap_or(usize::MAX);
        let line = BufReader::new(file).split(b'\n').nth(number);
        let line = line.transpose().map_err(Error::io("read", &path))?.unwrap_or_default();
        serde_json::from_slice(&line).map_err(|_| Error::Shard {
            expected: format!("a JSON string or null in line {}", document + 1),
            got: quoted(&String::from_utf8_lossy(&line)),
            path,
        })
    }

    /// Appends the hashes of all documents.
    pub(crate) fn append_hashes(&self, hashes: &mut Vec<u64>) -> Result<(), Error> {
        if !has_hashes(&self.record) {
            return Ok(());
        }
        let file = PositionedFile::open(&self.path("hashes"))?;
        let bytes = file.read_vec(0, self.record.documents.saturating_mul(8))?;
        hashes.extend(bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        Ok(())
    }
}

/// Checks that `path` is a regular file of exactly `expected_bytes`.
pub(crate) fn check_file(path: &Path, expected_bytes: u64) -> Result<(), Error> {
    let wrong = |got: String| {
        let expected = format!("a file of {expected_bytes} bytes, as {} says", Manifest::FILE);
        Err(Error::damaged(path, None, expected, got))
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
