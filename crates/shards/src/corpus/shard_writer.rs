//! The writer of one shard: all its files appear together or not at all.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mixdown_similarity::Sketch;

use crate::Dtype;
use crate::Error;
use crate::FileRecord;
use crate::Fingerprint;
use crate::MaskRecord;
use crate::ShardRecord;
use crate::SketchRecord;
use crate::corpus::shard::file_path;
use crate::error::quoted;
use crate::files::confined::{NAME_RULE, is_plain_name};
use crate::files::pending_file::{HashedFile, PendingFile, name_all};
use crate::format::block_sums::{BLOCK_BYTES, BlockSums, merged_root};
use crate::format::index::write_index;

/// One document in the form that a shard stores.
#[derive(Clone, Copy, Debug)]
pub struct DocumentBytes<'d> {
    /// Its ids with prefix and end-of-text, in the shard's dtype, little endian.
    pub ids: &'d [u8],
    /// The bytes of its text in UTF-8.
    pub text_bytes: u64,
    /// The hash of its text.
    pub hash: u64,
    /// Its loss mask (one byte per id, 1 for a target and 0 otherwise) if the corpus is labeled.
    pub mask: Option<&'d [u8]>,
    /// Its own id as a line of JSON (a string or `null`) without the newline: present for all documents of a shard or
    /// for none.
    pub own_id: Option<&'d [u8]>,
    /// The sketch of its text: present for all documents of a shard or for none.
    pub sketch: Option<Sketch>,
}

/// A writer of one shard, document after document, in one pass.
///
/// The files have unique temporary names ([`mixdown_base::files`]) until [`ShardWriter::finish`]; dropping the writer
/// removes them. Memory: one 1 MiB block, 4 bytes per document and 32 bytes per MiB.
#[derive(Debug)]
pub struct ShardWriter {
    split_folder: PathBuf,
    dtype: Dtype,
    vocab_size: u64,
    file: String,
    bin: PendingFile,
    hashes: HashedFile,
    mask: Option<HashedFile>,
    loss_tokens: u64,
    own_ids: Option<HashedFile>,
    sketches: Option<HashedFile>,
    block: Vec<u8>,
    sums: BlockSums,
    lengths: Vec<i32>,
    tokens: u64,
    text_bytes: u64,
}

impl ShardWriter {
    /// Begins the shard `file` (no folder, no ending: `shard-00000`) in `split_folder`, which is created if it is
    /// missing. Ids must be below `vocab_size`.
    ///
    /// # Errors
    /// The name is not a plain file name, the vocabulary does not fit the dtype, or the disk refuses.
    ///
    /// ```
    /// use mixdown_shards::{Dtype, ShardWriter};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let dtype = Dtype::for_vocab(500);
    /// let mut writer = ShardWriter::create(folder.path(), "shard-00000", dtype, 500)?;
    /// assert_eq!(writer.len_documents(), 0);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn create(
        split_folder: &Path,
        file: &str,
        dtype: Dtype,
        vocab_size: u64,
    ) -> Result<Self, Error> {
        let path = file_path(split_folder, file, "bin");
        if !is_plain_name(file) {
            let got = quoted(file);
            return Err(Error::Shard { path, expected: NAME_RULE.to_owned(), got });
        }
        let limit = dtype.max_vocab_size();
        if vocab_size == 0 || vocab_size > limit {
            let expected = format!("a vocabulary of 1 to {limit} for {dtype}");
            return Err(Error::Shard { path, expected, got: vocab_size.to_string() });
        }
        fs::create_dir_all(split_folder).map_err(Error::io("create", split_folder))?;
        Ok(Self {
            split_folder: split_folder.to_owned(),
            dtype,
            vocab_size,
            file: file.to_owned(),
            bin: PendingFile::create(&path)?,
            hashes: HashedFile::create(&file_path(split_folder, file, "hashes"))?,
            mask: None,
            loss_tokens: 0,
            own_ids: None,
            sketches: None,
            block: Vec::new(),
            sums: BlockSums::default(),
            lengths: Vec::new(),
            tokens: 0,
            text_bytes: 0,
        })
    }

    /// Appends one document: its ids with prefix and end-of-text, the size of its text in bytes of UTF-8, the hash of
    /// its text, and its loss mask (one byte per id, 1 for a target and 0 otherwise) if the corpus is labeled. A
    /// refused document leaves the shard unchanged.
    ///
    /// # Errors
    /// Those of [`ShardWriter::push_bytes`].
    ///
    /// ```
    /// use mixdown_shards::{Dtype, ShardWriter};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let dtype = Dtype::for_vocab(500);
    /// let mut writer = ShardWriter::create(folder.path(), "shard-00000", dtype, 500)?;
    /// writer.push(&[11, 12, 499], 9, 0xfeed, Some(&[0, 1, 1]))?;
    /// // Id 500 is beyond the vocabulary.
    /// assert!(writer.push(&[500], 1, 0xbeef, Some(&[1])).is_err());
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn push(
        &mut self,
        tokens: &[u32],
        text_bytes: u64,
        hash: u64,
        mask: Option<&[u8]>,
    ) -> Result<(), Error> {
        if let Some(id) = tokens.iter().find(|id| u64::from(**id) >= self.vocab_size) {
            return Err(self.beyond_vocabulary(*id));
        }
        let mut ids = Vec::new();
        tokens.iter().for_each(|id| self.dtype.encode(*id, &mut ids));
        let document =
            DocumentBytes { ids: &ids, text_bytes, hash, mask, own_id: None, sketch: None };
        self.push_bytes(&document)
    }

    /// Appends one document that is already encoded. A refused document leaves the shard unchanged.
    ///
    /// # Errors
    /// The document is empty, has more than 2³¹ − 1 ids, an id outside the vocabulary or an incomplete id; its mask has
    /// another length or other bytes; a mask, an own id or a sketch is present but the shard's first document has none,
    /// or the reverse; or the disk refuses, and the shard must be written again.
    ///
    /// ```
    /// use mixdown_shards::{DocumentBytes, Dtype, ShardWriter, Sketch};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let dtype = Dtype::for_vocab(500);
    /// let mut writer = ShardWriter::create(folder.path(), "shard-00000", dtype, 500)?;
    /// let document = DocumentBytes {
    ///     ids: &[11, 0, 243, 1],
    ///     text_bytes: 5,
    ///     hash: 7,
    ///     mask: None,
    ///     own_id: None,
    ///     sketch: Some(Sketch::of_hash(7)),
    /// };
    /// writer.push_bytes(&document)?;
    /// assert_eq!(writer.len_tokens(), 2);
    /// assert!(writer.finish()?.sketches.is_some());
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn push_bytes(&mut self, document: &DocumentBytes<'_>) -> Result<(), Error> {
        let length = self.checked_length(document.ids)?;
        self.check_mask(length, document.mask)?;
        self.check_own_id(document.own_id)?;
        self.check_presence("a sketch", document.sketch.is_some(), self.sketches.is_some())?;
        self.append_ids(document.ids)?;
        self.hashes.write(&document.hash.to_le_bytes())?;
        document.mask.map_or(Ok(()), |mask| self.append_mask(mask))?;
        document.own_id.map_or(Ok(()), |line| self.append_own_id(line))?;
        document.sketch.map_or(Ok(()), |sketch| self.append_sketch(&sketch))?;
        self.lengths.push(length);
        self.tokens += u64::from(length.unsigned_abs());
        self.text_bytes = self.text_bytes.saturating_add(document.text_bytes);
        Ok(())
    }

    /// Returns the number of tokens written so far.
    ///
    /// ```
    /// use mixdown_shards::{Dtype, ShardWriter};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let dtype = Dtype::for_vocab(500);
    /// let mut writer = ShardWriter::create(folder.path(), "shard-00000", dtype, 500)?;
    /// writer.push(&[11, 12], 9, 7, None)?;
    /// assert_eq!(writer.len_tokens(), 2);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn len_tokens(&self) -> u64 {
        self.tokens
    }

    /// Returns the number of documents written so far.
    ///
    /// ```
    /// use mixdown_shards::{Dtype, ShardWriter};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let dtype = Dtype::for_vocab(500);
    /// let mut writer = ShardWriter::create(folder.path(), "shard-00000", dtype, 500)?;
    /// writer.push(&[11, 12], 9, 7, None)?;
    /// assert_eq!(writer.len_documents(), 1);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn len_documents(&self) -> u64 {
        self.lengths.len() as u64
    }

    /// Completes the files, flushes them to disk and gives them their final names.
    ///
    /// # Errors
    /// The shard holds no document, or the disk refuses.
    ///
    /// ```
    /// use mixdown_shards::{Dtype, ShardWriter};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let dtype = Dtype::for_vocab(500);
    /// let mut writer = ShardWriter::create(folder.path(), "shard-00000", dtype, 500)?;
    /// writer.push(&[11, 12], 9, 7, None)?;
    /// let record = writer.finish()?;
    /// assert_eq!((record.documents, record.tokens, record.bin_bytes), (1, 2, 4));
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn finish(mut self) -> Result<ShardRecord, Error> {
        if self.lengths.is_empty() {
            let path = self.bin.path().to_owned();
            let expected = "at least one document in a shard".to_owned();
            return Err(Error::Shard { path, expected, got: "none".to_owned() });
        }
        let documents = self.len_documents();
        self.flush_block()?;
        let sums = std::mem::take(&mut self.sums).finish();
        let bin_root = merged_root(&sums);
        let (sums, sums_root) = self.write_sums(&sums)?;
        let path = file_path(&self.split_folder, &self.file, "idx");
        let (idx, idx_root) = write_index(&path, self.dtype, &self.lengths)?;
        let (hashes, hashes_root) = self.hashes.finish()?;
        let (mask, mask_root) = self.mask.map(HashedFile::finish).transpose()?.unzip();
        let ids_bytes = self.own_ids.as_ref().map_or(0, HashedFile::len_bytes);
        let (own_ids, ids_root) = self.own_ids.map(HashedFile::finish).transpose()?.unzip();
        let (sketches, sketches_root) = self.sketches.map(HashedFile::finish).transpose()?.unzip();
        // The token file is named last: once it has its name, its companions exist.
        let optional = mask.into_iter().chain(own_ids).chain(sketches);
        let files = [sums, hashes, idx].into_iter().chain(optional).chain([self.bin]);
        name_all(files.collect(), &self.split_folder)?;
        Ok(ShardRecord {
            file: self.file,
            documents,
            tokens: self.tokens,
            text_bytes: self.text_bytes,
            bin_bytes: self.tokens * self.dtype.bytes(),
            bin_root,
            idx_root,
            sums_root,
            hashes_root,
            mask: mask_root.map(|root| MaskRecord { root, loss_tokens: self.loss_tokens }),
            adopted: None,
            ids: ids_root.map(|root| FileRecord { bytes: ids_bytes, root }),
            sketches: sketches_root.map(|root| SketchRecord { version: Sketch::VERSION, root }),
        })
    }

    fn checked_length(&self, ids: &[u8]) -> Result<i32, Error> {
        let (bytes, id_bytes) = (ids.len() as u64, self.dtype.bytes());
        if bytes == 0 {
            return Err(self.refused("at least one id".to_owned(), "none".to_owned()));
        }
        if !bytes.is_multiple_of(id_bytes) {
            let expected = format!("ids of {id_bytes} bytes");
            return Err(self.refused(expected, format!("{bytes} bytes")));
        }
        let largest = self.dtype.largest(ids);
        if u64::from(largest) >= self.vocab_size {
            return Err(self.beyond_vocabulary(largest));
        }
        let length = bytes / id_bytes;
        i32::try_from(length).map_err(|_| {
            let expected = format!("at most {} ids", i32::MAX);
            self.refused(expected, format!("{length} ids; split the document"))
        })
    }

    fn check_mask(&self, length: i32, mask: Option<&[u8]>) -> Result<(), Error> {
        let expects_mask =
            if self.lengths.is_empty() { mask } else { self.mask.as_ref().map(|_| &[][..]) };
        let refused =
            |expected: &str, got: &str| Err(self.refused(expected.to_owned(), got.to_owned()));
        match (expects_mask.is_some(), mask) {
            (true, None) => refused("a mask, as the documents before it have", "none"),
            (false, Some(_)) => refused("no mask, as the documents before it", "one"),
            (true, Some(mask)) if u32::try_from(mask.len()) != Ok(length.unsigned_abs()) => {
                let expected = format!("a mask byte for each of {length} ids");
                Err(self.refused(expected, format!("{} bytes", mask.len())))
            }
            (true, Some(mask)) => match mask.iter().find(|byte| **byte > 1) {
                Some(byte) => refused("mask bytes of 0 or 1", &byte.to_string()),
                None => Ok(()),
            },
            (false, None) => Ok(()),
        }
    }

    fn append_mask(&mut self, mask: &[u8]) -> Result<(), Error> {
        let file = match &mut self.mask {
            Some(file) => file,
            None => {
                let path = file_path(&self.split_folder, &self.file, "mask");
                self.mask.insert(HashedFile::create(&path)?)
            }
        };
        self.loss_tokens += mask.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        file.write(mask)
    }

    fn check_own_id(&self, own_id: Option<&[u8]>) -> Result<(), Error> {
        self.check_presence("an own id", own_id.is_some(), self.own_ids.is_some())?;
        if own_id.is_some_and(|line| line.contains(&b'\n')) {
            let got = "a newline in it".to_owned();
            return Err(self.refused("an own id on one line of JSON".to_owned(), got));
        }
        Ok(())
    }

    /// Checks that a document has `what` exactly if the documents before it in the shard do.
    fn check_presence(&self, what: &str, is_present: bool, is_expected: bool) -> Result<(), Error> {
        if is_present == is_expected || self.lengths.is_empty() {
            return Ok(());
        }
        let expected = format!("{what} for every document of a shard or for none");
        let got = if is_present { "the first one" } else { "none" };
        Err(self.refused(expected, got.to_owned()))
    }

    fn append_own_id(&mut self, line: &[u8]) -> Result<(), Error> {
        let file = match &mut self.own_ids {
            Some(file) => file,
            None => {
                let path = file_path(&self.split_folder, &self.file, "ids");
                self.own_ids.insert(HashedFile::create(&path)?)
            }
        };
        file.write(line)?;
        file.write(b"\n")
    }

    fn append_sketch(&mut self, sketch: &Sketch) -> Result<(), Error> {
        let file = match &mut self.sketches {
            Some(file) => file,
            None => {
                let path = file_path(&self.split_folder, &self.file, "sketches");
                self.sketches.insert(HashedFile::create(&path)?)
            }
        };
        file.write(sketch.as_bytes())
    }

    fn beyond_vocabulary(&self, id: u32) -> Error {
        let expected = format!("ids below the vocabulary of {}", self.vocab_size);
        self.refused(expected, id.to_string())
    }

    fn refused(&self, expected: String, got: String) -> Error {
        let (path, document) = (self.bin.path().to_owned(), self.len_documents());
        Error::Document { path, document, expected, got }
    }

    fn append_ids(&mut self, mut ids: &[u8]) -> Result<(), Error> {
        while !ids.is_empty() {
            let room_bytes = BLOCK_BYTES - self.block.len() as u64;
            let room = usize::try_from(room_bytes).unwrap_or(usize::MAX);
            let (now, later) = ids.split_at(room.min(ids.len()));
            self.block.extend_from_slice(now);
            if self.block.len() as u64 == BLOCK_BYTES {
                self.flush_block()?;
            }
            ids = later;
        }
        Ok(())
    }

    fn flush_block(&mut self) -> Result<(), Error> {
        if !self.block.is_empty() {
            self.sums.push(&self.block);
            self.bin.write(&self.block)?;
            self.block.clear();
        }
        Ok(())
    }

    fn write_sums(&self, sums: &[[u8; 32]]) -> Result<(PendingFile, Fingerprint), Error> {
        let mut file = HashedFile::create(&file_path(&self.split_folder, &self.file, "sums"))?;
        file.write(sums.as_flattened())?;
        file.finish()
    }
}
