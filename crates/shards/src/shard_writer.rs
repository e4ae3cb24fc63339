use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Dtype, Error, Fingerprint, MaskRecord, ShardRecord,
    block_sums::{BLOCK_BYTES, BlockSums, merged_root},
    confined::{NAME_RULE, is_plain_name},
    error::quoted,
    index_layout::write_index,
    pending_file::{HashedFile, PendingFile, sync_folder},
    shard::file_path,
};

/// Writes one shard, document after document, in one pass.
///
/// Its files stand under temporary names (`….tmp`) until [`ShardWriter::finish`]; dropping
/// the writer leaves those behind, and the next attempt overwrites them. Memory: one 1 MiB block,
/// 4 bytes a document and 32 bytes a MiB.
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
    block: Vec<u8>,
    sums: BlockSums,
    lengths: Vec<i32>,
    tokens: u64,
    text_bytes: u64,
}

impl ShardWriter {
    /// Begins the shard `file` (no folder, no ending: `shard-00000`) in `split_folder`, which is
    /// made if need be. Ids must be below `vocab_size`.
    ///
    /// # Errors
    /// The name is not plain, the vocabulary does not fit the dtype, or the disk refuses.
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
            block: Vec::new(),
            sums: BlockSums::default(),
            lengths: Vec::new(),
            tokens: 0,
            text_bytes: 0,
        })
    }

    /// Appends one document: its ids with prefix and end-of-text, the bytes of its text in UTF-8,
    /// the hash of its text, and its loss mask (a byte an id, 1 for a target and 0 for none) where
    /// the corpus is labelled. A refused document leaves the shard as it was.
    ///
    /// # Errors
    /// The document is empty, has more than 2³¹ − 1 ids or an id outside the vocabulary; its mask
    /// has another length or other bytes, or there is one although the shard's first document has
    /// none, or the reverse; or the disk refuses, and the shard must be begun again.
    pub fn push(
        &mut self,
        tokens: &[u32],
        text_bytes: u64,
        hash: u64,
        mask: Option<&[u8]>,
    ) -> Result<(), Error> {
        let length = self.checked_length(tokens)?;
        self.check_mask(tokens, mask)?;
        self.append_ids(tokens)?;
        self.hashes.write(&hash.to_le_bytes())?;
        mask.map_or(Ok(()), |mask| self.append_mask(mask))?;
        self.lengths.push(length);
        self.tokens += tokens.len() as u64;
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        Ok(())
    }

    /// Tokens written so far.
    pub fn len_tokens(&self) -> u64 {
        self.tokens
    }

    /// Documents written so far.
    pub fn len_documents(&self) -> u64 {
        self.lengths.len() as u64
    }

    /// Completes the files, brings them to the disk and gives them their names.
    ///
    /// # Errors
    /// The shard holds no document, or the disk refuses.
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
        self.bin.sync()?;
        // The token file last: under its own name it has its companions.
        for file in [sums, hashes, idx].into_iter().chain(mask).chain([self.bin]) {
            file.rename()?;
        }
        sync_folder(&self.split_folder)?;
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
        })
    }

    fn checked_length(&self, tokens: &[u32]) -> Result<i32, Error> {
        if tokens.is_empty() {
            return Err(self.refused("at least one id".to_owned(), "none".to_owned()));
        }
        if let Some(id) = tokens.iter().find(|id| u64::from(**id) >= self.vocab_size) {
            let expected = format!("ids below the vocabulary of {}", self.vocab_size);
            return Err(self.refused(expected, id.to_string()));
        }
        i32::try_from(tokens.len()).map_err(|_| {
            let expected = format!("at most {} ids", i32::MAX);
            self.refused(expected, format!("{} ids; split the document", tokens.len()))
        })
    }

    fn check_mask(&self, tokens: &[u32], mask: Option<&[u8]>) -> Result<(), Error> {
        let expects_mask =
            if self.lengths.is_empty() { mask } else { self.mask.as_ref().map(|_| &[][..]) };
        let refused =
            |expected: &str, got: &str| Err(self.refused(expected.to_owned(), got.to_owned()));
        match (expects_mask.is_some(), mask) {
            (true, None) => refused("a mask, as the documents before it have", "none"),
            (false, Some(_)) => refused("no mask, as the documents before it", "one"),
            (true, Some(mask)) if mask.len() != tokens.len() => {
                let expected = format!("a mask byte for each of {} ids", tokens.len());
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

    fn refused(&self, expected: String, got: String) -> Error {
        let (path, document) = (self.bin.path().to_owned(), self.len_documents());
        Error::Document { path, document, expected, got }
    }

    fn append_ids(&mut self, mut tokens: &[u32]) -> Result<(), Error> {
        while !tokens.is_empty() {
            let room_bytes = BLOCK_BYTES - self.block.len() as u64;
            let room = usize::try_from(room_bytes / self.dtype.bytes()).unwrap_or(usize::MAX);
            let (now, later) = tokens.split_at(room.min(tokens.len()));
            now.iter().for_each(|id| self.dtype.encode(*id, &mut self.block));
            if self.block.len() as u64 == BLOCK_BYTES {
                self.flush_block()?;
            }
            tokens = later;
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
