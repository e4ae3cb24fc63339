//! The sketches of a split's texts, read block by block.

use std::ops::Range;

use mixdown_similarity::Sketch;

use crate::Corpus;
use crate::Error;
use crate::Split;
use crate::corpus::shard::{SKETCH_BYTES, Shard};
use crate::files::positioned_file::PositionedFile;

/// Sketches that are read at a time: 1 MiB.
const BLOCK_SKETCHES: usize = 8192;

/// Some sketches of one shard.
#[derive(Clone, Debug)]
pub(crate) struct SketchBlock<'c> {
    shard: &'c Shard,
    /// The number of the shard's first document in the split.
    shard_start: u64,
    /// The documents' numbers in the shard.
    documents: Range<u64>,
}

impl SketchBlock<'_> {
    /// Returns the number of documents.
    pub(crate) fn len(&self) -> u64 {
        self.documents.end - self.documents.start
    }

    /// Returns the first document's number in the split.
    pub(crate) fn first_document(&self) -> u64 {
        self.shard_start + self.documents.start
    }

    /// Reads the sketches.
    pub(crate) fn read(&self) -> Result<Vec<Sketch>, Error> {
        let file = PositionedFile::open(&self.shard.path("sketches"))?;
        let start = self.documents.start * SKETCH_BYTES;
        let bytes = file.read_vec(start, self.len() * SKETCH_BYTES)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| Sketch::from_bytes(*bytes)).collect())
    }
}

impl Corpus {
    /// Returns whether all documents of a split have sketches that this version can compare.
    ///
    /// ```
    /// use mixdown_shards::Split;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert!(corpus.has_sketches(Split::Train));
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn has_sketches(&self, split: Split) -> bool {
        let version = |shard: &Shard| shard.record().sketches.map(|sketches| sketches.version);
        self.shards(split).iter().all(|shard| version(shard) == Some(Sketch::VERSION))
    }

    /// Returns the sketches of all documents of a split, in order, as blocks of at most 8,192 (1 MiB).
    ///
    /// # Errors
    /// The split has no sketches ([`Corpus::has_sketches`]). A block is an error if its file cannot be read.
    ///
    /// ```
    /// use mixdown_shards::{Sketch, Split};
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let mut sketches = Vec::new();
    /// for block in corpus.sketches(Split::Train)? {
    ///     sketches.extend(block?);
    /// }
    /// assert_eq!(sketches, [Sketch::of_hash(1), Sketch::of_hash(2)]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn sketches(
        &self,
        split: Split,
    ) -> Result<impl Iterator<Item = Result<Vec<Sketch>, Error>>, Error> {
        Ok(self.sketch_blocks(split)?.into_iter().map(|block| block.read()))
    }

    /// Returns the blocks of a split's sketches, in order, unread.
    pub(crate) fn sketch_blocks(&self, split: Split) -> Result<Vec<SketchBlock<'_>>, Error> {
        let (mut blocks, mut shard_start) = (Vec::new(), 0);
        for shard in self.shards(split) {
            check_sketches(shard)?;
            let documents = shard.record().documents;
            for start in (0..documents).step_by(BLOCK_SKETCHES) {
                let end = documents.min(start + BLOCK_SKETCHES as u64);
                blocks.push(SketchBlock { shard, shard_start, documents: start..end });
            }
            shard_start += documents;
        }
        Ok(blocks)
    }
}

/// Checks that the shard has sketches that this version can compare.
fn check_sketches(shard: &Shard) -> Result<(), Error> {
    let got = match shard.record().sketches {
        Some(sketches) if sketches.version == Sketch::VERSION => return Ok(()),
        Some(sketches) => format!("version {}", sketches.version),
        None => "none".to_owned(),
    };
    let expected = format!("sketches of version {}", Sketch::VERSION);
    let hint = "prepare the corpus again";
    Err(Error::request(&shard.path("sketches"), expected, got, hint))
}
