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
    /// The documents' numbers in the shard.
    documents: Range<u64>,
}

impl SketchBlock<'_> {
    /// Reads the block into `sketches`, which keeps its memory between calls; `bytes` is room for the file's content.
    pub(crate) fn read_into(
        &self,
        bytes: &mut Vec<u8>,
        sketches: &mut Vec<Sketch>,
    ) -> Result<(), Error> {
        let file = PositionedFile::open(&self.shard.path("sketches"))?;
        let count = self.documents.end - self.documents.start;
        file.read_into(self.documents.start * SKETCH_BYTES, count * SKETCH_BYTES, bytes)?;
        sketches.clear();
        sketches.extend(bytes.as_chunks().0.iter().map(|bytes| Sketch::from_bytes(*bytes)));
        Ok(())
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
        let blocks = self.sketch_blocks(split)?;
        Ok(blocks.into_iter().map(|block| {
            let mut sketches = Vec::new();
            block.read_into(&mut Vec::new(), &mut sketches)?;
            Ok(sketches)
        }))
    }

    /// Returns the blocks of a split's sketches, in order, unread.
    pub(crate) fn sketch_blocks(&self, split: Split) -> Result<Vec<SketchBlock<'_>>, Error> {
        let mut blocks = Vec::new();
        for shard in self.shards(split) {
            check_sketches(shard)?;
            let documents = shard.record().documents;
            for start in (0..documents).step_by(BLOCK_SKETCHES) {
                let end = documents.min(start + BLOCK_SKETCHES as u64);
                blocks.push(SketchBlock { shard, documents: start..end });
            }
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
