//! An opened corpus: its manifest and the shards of both splits.

pub(crate) mod document_runs;
pub(crate) mod gather_limit;
pub(crate) mod shard;
pub(crate) mod shard_writer;
pub(crate) mod sketches;
pub(crate) mod token_file;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use crate::Access;
use crate::Error;
use crate::Fingerprint;
use crate::Manifest;
use crate::ShardRecord;
use crate::Split;
use crate::TokenInt;
use crate::corpus::shard::{Shard, check_file, has_hashes};
use crate::corpus::token_file::Window;
use crate::format::manifest_rules::check_shard_links;
use crate::format::seal;

/// An opened corpus folder: any number of threads can read it, and shards are opened on first use.
#[derive(Debug)]
pub struct Corpus {
    folder: PathBuf,
    manifest: Manifest,
    train: Stream,
    holdout: Stream,
}

/// The shards of one split, with the token and document numbers at which each begins.
#[derive(Debug)]
struct Stream {
    shards: Vec<Shard>,
    token_starts: Vec<u64>,
    document_starts: Vec<u64>,
}

impl Corpus {
    /// Opens the corpus in `folder`: reads and checks the manifest and all files' sizes, but opens no shard. Cost: one
    /// small file and eight file lookups per shard.
    ///
    /// # Errors
    /// The errors of [`Manifest::read`]; a shard's file is missing or has another size.
    ///
    /// ```
    /// use mixdown_shards::{Access, Corpus, Split};
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let corpus = Corpus::open(folder.path(), Access::Map)?;
    /// assert_eq!(corpus.documents(Split::Train), 2);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn open(folder: &Path, access: Access) -> Result<Self, Error> {
        let corpus = Self::open_lazily(folder, access)?;
        corpus.check_files()?;
        Ok(corpus)
    }

    /// Opens the corpus as [`Corpus::open`] does, but checks a shard's files only when they are first read.
    ///
    /// # Errors
    /// The errors of [`Manifest::read`], except those of links.
    ///
    /// ```
    /// use mixdown_shards::{Access, Corpus, Split};
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let corpus = Corpus::open_lazily(folder.path(), Access::Read)?;
    /// assert_eq!(corpus.tokens(Split::Train), 5);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn open_lazily(folder: &Path, access: Access) -> Result<Self, Error> {
        let manifest = Manifest::read_alone(folder)?;
        let [train, holdout] =
            Split::ALL.map(|split| Stream::new(Shard::of_split(folder, &manifest, split, access)));
        Ok(Self { folder: folder.to_owned(), manifest, train, holdout })
    }

    /// Checks that every file of the manifest exists, has its size and is not a link out of the folder.
    ///
    /// # Errors
    /// The first file that fails a check.
    ///
    /// ```
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// corpus.check_files()?;
    /// std::fs::remove_file(folder.path().join("train/shard-00000.bin")).unwrap();
    /// assert!(corpus.check_files().is_err());
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn check_files(&self) -> Result<(), Error> {
        check_shard_links(&self.manifest, &self.folder)?;
        for shard in self.train.shards.iter().chain(&self.holdout.shards) {
            for (path, bytes) in shard.files() {
                check_file(&path, bytes)?;
            }
        }
        Ok(())
    }

    /// Returns the folder as given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the checked manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the number of tokens of a split.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.tokens(Split::Train), 5);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn tokens(&self, split: Split) -> u64 {
        self.manifest.split(split).tokens
    }

    /// Returns the number of documents of a split.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.documents(Split::Train), 2);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn documents(&self, split: Split) -> u64 {
        self.manifest.split(split).documents
    }

    /// Returns the size of the split's text in bytes of UTF-8, before tokenizing.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.text_bytes(Split::Train), 18);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn text_bytes(&self, split: Split) -> u64 {
        self.manifest.split(split).text_bytes
    }

    /// Returns whether the split has a loss mask; without one every token is a loss target.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert!(!corpus.is_labelled(Split::Train));
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn is_labelled(&self, split: Split) -> bool {
        self.manifest.split(split).loss_tokens.is_some()
    }

    /// Returns the number of tokens of a split that are loss targets.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.loss_tokens(Split::Train), 5);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn loss_tokens(&self, split: Split) -> u64 {
        self.manifest.split(split).loss_tokens.unwrap_or_else(|| self.tokens(split))
    }

    /// Fills `out` with the ids of the split's stream (its shards one after another) from number `start_token` on.
    /// Cost: O(log shards) and the copy.
    ///
    /// # Errors
    /// The range extends past the stream's end, an id is not below the vocabulary size (the error gives shard and byte
    /// offset), the vocabulary does not fit the integer, or a shard cannot be opened or read. The content of `out` is
    /// then unspecified.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let mut ids = [0_u32; 3];
    /// corpus.read_tokens(Split::Train, 1, &mut ids)?;
    /// assert_eq!(ids, [12, 499, 13]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn read_tokens<T: TokenInt>(
        &self,
        split: Split,
        start_token: u64,
        out: &mut [T],
    ) -> Result<(), Error> {
        self.read_stream(split, start_token, out, |shard, start, part| {
            shard.token_file()?.read(start, part)
        })
    }

    /// Returns a range of the split's stream that lies in one shard, to be prefetched first and read later; `None` if
    /// it crosses shards or extends past the stream's end. Opens the shard if it is not open yet.
    ///
    /// # Errors
    /// The shard cannot be opened.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let window = corpus.window(Split::Train, 1, 3)?.unwrap();
    /// window.prefetch(0, 3);
    /// let mut ids = [0_i32; 3];
    /// window.read(0, &mut ids)?;
    /// assert_eq!(ids, [12, 499, 13]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn window(
        &self,
        split: Split,
        start_token: u64,
        tokens: u64,
    ) -> Result<Option<Window<'_>>, Error> {
        let (shards, start_token) = self.stream(split).shards_from(start_token);
        let Some(shard) = shards.first() else { return Ok(None) };
        let within =
            start_token.checked_add(tokens).is_some_and(|end| end <= shard.record().tokens);
        within.then(|| Ok(Window::new(shard.token_file()?, start_token))).transpose()
    }

    /// Fills `out` with the loss mask of the split's stream from token `start_token` on: 1 where
    /// the token is a loss target, 0 where it is not. Without labels every token is a target.
    ///
    /// # Errors
    /// The range extends past the stream's end, a byte is neither 0 nor 1, or a mask cannot be opened or read. The
    /// content of `out` is then unspecified.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let mut mask = [0; 2];
    /// corpus.read_mask(Split::Train, 0, &mut mask)?;
    /// // The corpus has no labels.
    /// assert_eq!(mask, [1, 1]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn read_mask(&self, split: Split, start_token: u64, out: &mut [u8]) -> Result<(), Error> {
        self.read_stream(split, start_token, out, Shard::read_mask)
    }

    /// Counts the loss targets in a range of the split's stream. The masks of shards that lie completely in the range
    /// are not read: the manifest has their sums.
    ///
    /// # Errors
    /// Those of [`Corpus::read_mask`].
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.count_loss_tokens(Split::Train, 1..4)?, 3);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn count_loss_tokens(&self, split: Split, tokens: Range<u64>) -> Result<u64, Error> {
        let stream = self.stream(split);
        let mut sum = 0;
        for (shard, &start) in stream.shards.iter().zip(&stream.token_starts) {
            let end = start + shard.record().tokens;
            let own = tokens.start.max(start)..tokens.end.min(end);
            if own.is_empty() {
                continue;
            }
            sum += match shard.record().mask {
                None => own.end - own.start,
                Some(mask) if own == (start..end) => mask.loss_tokens,
                Some(_) => shard.count_loss_tokens(own.start - start..own.end - start)?,
            };
        }
        Ok(sum)
    }

    /// Calls `found` with every token in a range of the split's stream at which a document begins, in order. Cost:
    /// O(log documents + documents found).
    ///
    /// # Errors
    /// An index is damaged or cannot be opened or read.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let mut starts = Vec::new();
    /// corpus.each_document_start(Split::Train, 0..5, |token| starts.push(token))?;
    /// assert_eq!(starts, [0, 3]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn each_document_start(
        &self,
        split: Split,
        tokens: Range<u64>,
        mut found: impl FnMut(u64),
    ) -> Result<(), Error> {
        let (mut shards, mut within) = self.stream(split).shards_from(tokens.start);
        let mut base = tokens.start - within;
        while let (Some((shard, later)), true) = (shards.split_first(), base < tokens.end) {
            let end = (tokens.end - base).min(shard.record().tokens);
            let index = shard.kept_index()?;
            index.each_start(within..end, |token| found(base + token))?;
            base += shard.record().tokens;
            (shards, within) = (later, 0);
        }
        Ok(())
    }

    fn read_stream<T>(
        &self,
        split: Split,
        start_token: u64,
        mut out: &mut [T],
        read: impl Fn(&Shard, u64, &mut [T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let end = start_token.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.tokens(split)) {
            let got = format!("{} tokens from token {start_token} on", out.len());
            return Err(self.out_of_range(split, "tokens", self.tokens(split), got));
        }
        let (mut shards, mut start) = self.stream(split).shards_from(start_token);
        while let (Some((shard, later)), false) = (shards.split_first(), out.is_empty()) {
            let left = shard.record().tokens - start;
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
            let (part, rest) = out.split_at_mut(now);
            read(shard, start, part)?;
            (shards, start, out) = (later, 0, rest);
        }
        Ok(())
    }

    /// Returns the tokens of one document in the split's stream; `index` counts through the whole split. They lie in
    /// one shard.
    ///
    /// # Errors
    /// There is no such document; the index is damaged or cannot be read.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.document_range(Split::Train, 1)?, 3..5);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn document_range(&self, split: Split, index: u64) -> Result<Range<u64>, Error> {
        let (shard, within, shard_start) = self.shard_of_document(split, index)?;
        let (start, length) = shard.kept_index()?.document(within)?;
        let start = shard_start + start;
        Ok(start..start + u64::from(length))
    }

    /// Returns the ids of one document; `index` counts through the whole split.
    ///
    /// # Errors
    /// There is no such document; index or ids are damaged; a file cannot be read.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.document(Split::Train, 1)?, [13, 499]);
    /// assert!(corpus.document(Split::Train, 2).is_err());
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn document(&self, split: Split, index: u64) -> Result<Vec<u32>, Error> {
        let range = self.document_range(split, index)?;
        let mut ids = vec![0_u32; len_of(&range)];
        self.read_tokens(split, range.start, &mut ids)?;
        Ok(ids)
    }

    /// Returns the loss mask of one document, as [`Corpus::read_mask`] does.
    ///
    /// # Errors
    /// There is no such document; index or mask are damaged; a file cannot be read.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.document_mask(Split::Train, 1)?, [1, 1]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn document_mask(&self, split: Split, index: u64) -> Result<Vec<u8>, Error> {
        let range = self.document_range(split, index)?;
        let mut mask = vec![0; len_of(&range)];
        self.read_mask(split, range.start, &mut mask)?;
        Ok(mask)
    }

    /// Returns the id that one document had in its input; `None` if it had none or the corpus keeps no such ids.
    ///
    /// # Errors
    /// There is no such document; the ids are damaged or cannot be read.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.document_own_id(Split::Train, 1)?, None);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn document_own_id(&self, split: Split, index: u64) -> Result<Option<String>, Error> {
        let (shard, index, _) = self.shard_of_document(split, index)?;
        shard.own_id(index)
    }

    /// Returns a document's shard, its number there, and the shard's first token in the stream.
    fn shard_of_document(&self, split: Split, index: u64) -> Result<(&Shard, u64, u64), Error> {
        let documents = self.documents(split);
        self.stream(split).shard_of_document(index, documents).ok_or_else(|| {
            self.out_of_range(split, "documents", documents, format!("document {index}"))
        })
    }

    /// Returns the lengths in ids of all documents of a split, in order.
    ///
    /// # Errors
    /// An index is damaged or cannot be read.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.document_lengths(Split::Train)?, [3, 2]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn document_lengths(&self, split: Split) -> Result<Vec<u32>, Error> {
        let mut lengths = Vec::new();
        for shard in &self.stream(split).shards {
            shard.index()?.append_lengths(&mut lengths)?;
        }
        Ok(lengths)
    }

    /// Returns whether the split has the hashes of its texts: always, except for some adopted files.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert!(corpus.has_document_hashes(Split::Train));
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn has_document_hashes(&self, split: Split) -> bool {
        self.manifest.split(split).shards.iter().all(has_hashes)
    }

    /// Returns the hashes of the texts of all documents of a split, in order, without those of shards that have no
    /// hashes.
    ///
    /// # Errors
    /// A `.hashes` file cannot be read.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.document_hashes(Split::Train)?, [1, 2]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn document_hashes(&self, split: Split) -> Result<Vec<u64>, Error> {
        let mut hashes = Vec::new();
        for shard in self.shards(split) {
            shard.append_hashes(&mut hashes)?;
        }
        Ok(hashes)
    }

    /// Returns the data fingerprint.
    ///
    /// ```
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.fingerprint(), corpus.manifest().fingerprint);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn fingerprint(&self) -> Fingerprint {
        self.manifest.fingerprint
    }

    /// Returns the fingerprint of the tokenizer that made the ids.
    ///
    /// ```
    /// use mixdown_shards::Fingerprint;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.tokenizer_fingerprint(), Fingerprint::of(b"tokenizer"));
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn tokenizer_fingerprint(&self) -> Fingerprint {
        self.manifest.tokenizer_fingerprint
    }

    /// Returns the path of the corpus' tokenizer, `tokenizer.json` in its folder.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.folder.join("tokenizer.json")
    }

    /// Returns the bytes of a file of the corpus' tokenizer (`tokenizer.json`, `tokenizer_config.json` or
    /// `special_tokens_map.json`), checked against the manifest's seal; `None` if the corpus has no such file.
    ///
    /// # Errors
    /// The file is not JSON, changed since the corpus was finished, or cannot be read.
    ///
    /// ```
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert_eq!(corpus.tokenizer_file("tokenizer.json")?, None);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn tokenizer_file(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        seal::sound_companion(&self.folder, name)
    }

    /// Returns the paths of a split's token files, in order.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let paths: Vec<_> = corpus.token_paths(Split::Train).collect();
    /// assert_eq!(paths, [folder.path().join("train/shard-00000.bin")]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn token_paths(&self, split: Split) -> impl Iterator<Item = PathBuf> {
        self.stream(split).shards.iter().map(|shard| shard.path("bin"))
    }

    pub(crate) fn shards(&self, split: Split) -> &[Shard] {
        &self.stream(split).shards
    }

    fn stream(&self, split: Split) -> &Stream {
        match split {
            Split::Train => &self.train,
            Split::Holdout => &self.holdout,
        }
    }

    fn out_of_range(&self, split: Split, what: &str, there_are: u64, got: String) -> Error {
        let expected = format!("a range within its {there_are} {what}");
        Error::OutOfRange { path: self.folder.join(split.folder()), expected, got }
    }
}

impl Stream {
    fn new(shards: Vec<Shard>) -> Self {
        let token_starts = starts(&shards, |record| record.tokens);
        let document_starts = starts(&shards, |record| record.documents);
        Self { shards, token_starts, document_starts }
    }

    /// Returns the shards from the one with token `start_token` on, and that token's number in it.
    fn shards_from(&self, start_token: u64) -> (&[Shard], u64) {
        let (shard, start) = locate(&self.token_starts, start_token);
        (self.shards.get(shard..).unwrap_or_default(), start)
    }

    fn shard_of_document(&self, index: u64, documents: u64) -> Option<(&Shard, u64, u64)> {
        let (shard, index_in_shard) = locate(&self.document_starts, index);
        let start_token = *self.token_starts.get(shard)?;
        (index < documents).then_some((self.shards.get(shard)?, index_in_shard, start_token))
    }
}

/// Returns the running sums without the last one; the manifest's check has shown that they fit.
fn starts(shards: &[Shard], count: fn(&ShardRecord) -> u64) -> Vec<u64> {
    let next = |sum: &mut u64, shard: &Shard| {
        let start = *sum;
        *sum = sum.saturating_add(count(shard.record()));
        Some(start)
    };
    shards.iter().scan(0, next).collect()
}

/// Returns the part that contains `position`, and the offset in that part.
fn locate(starts: &[u64], position: u64) -> (usize, u64) {
    let part = starts.partition_point(|start| *start <= position).saturating_sub(1);
    (part, position - starts.get(part).copied().unwrap_or(0))
}

/// Returns a document's length in ids, which the index has checked against the token file's size.
fn len_of(document: &Range<u64>) -> usize {
    usize::try_from(document.end - document.start).unwrap_or(usize::MAX)
}
