//! Near-duplicates: texts of one corpus that are similar to training texts of another one, by their sketches.

use mixdown_similarity::{Sketch, SketchIndex};
use serde::Serialize;

use crate::corpus::sketches::SketchBlock;
use crate::files::parallel;
use crate::{Corpus, Error, Split};

/// The estimated similarity from which two texts of different corpora are near-duplicates.
///
/// Their texts are not at hand, so the estimate alone decides: such pairs almost surely share half of their runs of
/// five words.
pub const NEAR_DUPLICATE: f64 = 0.5 + Sketch::MARGIN;

/// Sketches that are indexed at a time: some 140 MB. More of them take more passes over the training sketches.
const ROUND_SKETCHES: usize = 200_000;

/// The number of pairs that are listed.
const NAMED: usize = 5;

/// A table of the holdout documents of several corpora, to be searched for near-duplicates in many training splits.
#[derive(Debug)]
pub struct NearHoldoutTable<'c> {
    blocks: Vec<WantedBlock<'c>>,
    /// Whether each corpus has sketches.
    has_sketches: Vec<bool>,
    least: f64,
}

/// Sketches that are searched for, and the number of their corpus.
#[derive(Clone, Debug)]
struct WantedBlock<'c> {
    corpus: usize,
    block: SketchBlock<'c>,
}

impl<'c> NearHoldoutTable<'c> {
    /// Makes the table of some corpora, for estimated similarities of at least `least` (see [`NEAR_DUPLICATE`]).
    ///
    /// No sketch is read yet.
    ///
    /// ```
    /// use mixdown_shards::{NEAR_DUPLICATE, NearHoldoutTable};
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert!(!NearHoldoutTable::new([&corpus], NEAR_DUPLICATE).is_empty());
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn new(corpora: impl IntoIterator<Item = &'c Corpus>, least: f64) -> Self {
        let mut table = Self { blocks: Vec::new(), has_sketches: Vec::new(), least };
        for (number, corpus) in corpora.into_iter().enumerate() {
            let blocks = corpus.sketch_blocks(Split::Holdout);
            table.has_sketches.push(blocks.is_ok());
            let blocks = blocks.into_iter().flatten();
            table.blocks.extend(blocks.map(|block| WantedBlock { corpus: number, block }));
        }
        table
    }

    /// Returns whether the table has no documents.
    ///
    /// ```
    /// use mixdown_shards::{NEAR_DUPLICATE, NearHoldoutTable};
    ///
    /// assert!(NearHoldoutTable::new([], NEAR_DUPLICATE).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Returns, for each of `trains` and each corpus of the table, the number of the corpus' holdout documents that
    /// have a near-duplicate among the training documents; `None` where it is unknown, because one of the two has no
    /// sketches.
    ///
    /// Runs on all cores. Reads each holdout sketch once. Memory: some 700 bytes for each of at most 200,000 holdout
    /// documents at a time; with more of them, the training sketches are read several times.
    ///
    /// # Errors
    /// A `.sketches` file cannot be read; the corpus is named beside the error.
    ///
    /// ```
    /// use mixdown_shards::{NEAR_DUPLICATE, NearHoldoutTable};
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let table = NearHoldoutTable::new([&corpus], NEAR_DUPLICATE);
    /// assert_eq!(table.found_in(&[&corpus]).map_err(|(_, error)| error)?, [[Some(1)]]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn found_in(&self, trains: &[&Corpus]) -> Result<Vec<Vec<Option<u64>>>, (Unread, Error)> {
        let blocks: Vec<_> = trains.iter().map(|train| train.sketch_blocks(Split::Train)).collect();
        let unknown = || vec![None; self.has_sketches.len()];
        let zero = || self.has_sketches.iter().map(|has| has.then_some(0)).collect();
        let mut counts: Vec<Vec<Option<u64>>> =
            blocks.iter().map(|blocks| if blocks.is_ok() { zero() } else { unknown() }).collect();
        let blocks: Vec<_> = blocks.into_iter().map(Result::unwrap_or_default).collect();
        each_found(&self.blocks, &blocks, self.least, ROUND_SKETCHES, |train, corpus, _| {
            let count = counts.get_mut(train).and_then(|counts| counts.get_mut(corpus));
            if let Some(Some(count)) = count {
                *count += 1;
            }
        })?;
        Ok(counts)
    }
}

/// The corpus whose sketches could not be read, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// A corpus of the table of holdouts.
    Holdout(usize),
    /// A corpus whose training documents were searched.
    Train(usize),
}

/// Documents of one corpus that have near-duplicates among the training documents of another one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NearOverlap {
    /// The number of these documents.
    pub documents: u64,
    /// The first of them, each with the training document that is most similar to it.
    pub examples: Vec<NearPair>,
}

/// Two similar documents of different corpora.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NearPair {
    /// The document's number in its split.
    pub document: u64,
    /// The training document's number.
    pub train_document: u64,
    /// The estimated similarity, from 0 to 1.
    pub estimate: f64,
}

/// Finds the documents of a split that have a near-duplicate among the training documents of `train`: an estimated
/// similarity of at least `least` (see [`NEAR_DUPLICATE`]). Returns `None` if one of the two has no sketches.
///
/// Cost: that of [`NearHoldoutTable::found_in`], and one more pass over the training sketches if something is found.
///
/// # Errors
/// A `.sketches` file cannot be read.
///
/// ```
/// use mixdown_shards::{NEAR_DUPLICATE, Split, near_overlap_of};
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// let near = near_overlap_of(&corpus, Split::Holdout, &corpus, NEAR_DUPLICATE)?.unwrap();
/// assert_eq!(near.documents, 1);
/// let pair = near.examples[0];
/// assert_eq!((pair.document, pair.train_document, pair.estimate), (0, 0, 1.0));
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn near_overlap_of(
    corpus: &Corpus,
    split: Split,
    train: &Corpus,
    least: f64,
) -> Result<Option<NearOverlap>, Error> {
    let (Ok(blocks), Ok(train)) = (corpus.sketch_blocks(split), train.sketch_blocks(Split::Train))
    else {
        return Ok(None);
    };
    let wanted: Vec<WantedBlock<'_>> =
        blocks.into_iter().map(|block| WantedBlock { corpus: 0, block }).collect();
    let mut near = NearOverlap::default();
    let mut first = Vec::new();
    let trains = [train];
    each_found(&wanted, &trains, least, ROUND_SKETCHES, |_, _, document| {
        near.documents += 1;
        if first.len() < NAMED {
            first.push(document);
        }
    })
    .map_err(|(_, error)| error)?;
    let [train] = trains;
    if !first.is_empty() {
        near.examples = most_similar(&wanted, &first, &train, least)?;
    }
    Ok(Some(near))
}

/// Calls `found` with each wanted document that has a near-duplicate in one of `trains`: the number of the latter, the
/// number of the document's corpus and its own. `round_sketches` are indexed at a time, or a block more; each round
/// searches all of `trains`.
fn each_found(
    wanted: &[WantedBlock<'_>],
    trains: &[Vec<SketchBlock<'_>>],
    least: f64,
    round_sketches: usize,
    mut found: impl FnMut(usize, usize, u64),
) -> Result<(), (Unread, Error)> {
    let mut rest = wanted;
    while !rest.is_empty() {
        let (mut sketches, mut origins) = (Vec::new(), Vec::new());
        while let (Some((first, later)), true) =
            (rest.split_first(), sketches.len() < round_sketches)
        {
            let block = first.block.read();
            let block = block.map_err(|error| (Unread::Holdout(first.corpus), error))?;
            origins.extend(
                (first.block.first_document()..).take(block.len()).map(|n| (first.corpus, n)),
            );
            sketches.extend(block);
            rest = later;
        }
        let index = SketchIndex::new(sketches, least);
        for (place, train) in trains.iter().enumerate() {
            each_train_block(train, |_, sketches| {
                let mut similar = Vec::new();
                for sketch in sketches {
                    index.similar(sketch, least, &mut similar);
                    similar.iter().for_each(|&(number, _)| index.remove(number));
                }
            })
            .map_err(|error| (Unread::Train(place), error))?;
            for (number, &(corpus, document)) in (0..).zip(&origins) {
                if index.is_removed(number) {
                    found(place, corpus, document);
                    index.restore(number);
                }
            }
        }
    }
    Ok(())
}

/// Returns the most similar training document, the first one of equals, for each of these documents.
fn most_similar(
    wanted: &[WantedBlock<'_>],
    documents: &[u64],
    train: &[SketchBlock<'_>],
    least: f64,
) -> Result<Vec<NearPair>, Error> {
    let mut sketches = Vec::new();
    for WantedBlock { block, .. } in wanted {
        let first = block.first_document();
        let inside = |document: &&u64| (first..first + block.len()).contains(document);
        if documents.iter().any(|document| inside(&document)) {
            let read = block.read()?;
            let places = documents.iter().filter(inside).map(|document| document - first);
            sketches.extend(places.filter_map(|place| read.get(usize::try_from(place).ok()?)));
        }
    }
    let index = SketchIndex::new(sketches, least);
    let pairs = each_train_block(train, |first_document, sketches| {
        let (mut similar, mut best) = (Vec::new(), vec![None; documents.len()]);
        for (train_document, sketch) in (first_document..).zip(sketches) {
            index.similar(sketch, least, &mut similar);
            for &(number, estimate) in &similar {
                let place = usize::try_from(number).unwrap_or(usize::MAX);
                let (Some(&document), Some(best)) = (documents.get(place), best.get_mut(place))
                else {
                    continue;
                };
                keep_better(best, NearPair { document, train_document, estimate });
            }
        }
        best
    })?;
    let mut best = vec![None; documents.len()];
    for pairs in pairs {
        for (best, pair) in best.iter_mut().zip(pairs) {
            pair.into_iter().for_each(|pair| keep_better(best, pair));
        }
    }
    Ok(best.into_iter().flatten().collect())
}

/// Replaces `best` by a pair with a higher estimate.
fn keep_better(best: &mut Option<NearPair>, pair: NearPair) {
    if best.is_none_or(|best| pair.estimate > best.estimate) {
        *best = Some(pair);
    }
}

/// Reads the training sketches once, on all cores, and returns the results of the blocks in order; `work` gets the
/// first document's number and the sketches of a block.
fn each_train_block<T: Send>(
    train: &[SketchBlock<'_>],
    work: impl Fn(u64, &[Sketch]) -> T + Sync,
) -> Result<Vec<T>, Error> {
    let run = |number: u64| {
        let block = usize::try_from(number).ok().and_then(|number| train.get(number));
        let first_document = block.map_or(0, SketchBlock::first_document);
        let sketches = block.map_or(Ok(Vec::new()), SketchBlock::read)?;
        Ok(work(first_document, &sketches))
    };
    parallel::map(train.len() as u64, parallel::available_threads(), run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, test_corpus};

    /// A sketch of which the first `changed` bytes differ from those of `Sketch::of_hash(hash)`.
    fn changed(hash: u64, changed: usize) -> Sketch {
        let mut bytes = *Sketch::of_hash(hash).as_bytes();
        bytes[..changed].iter_mut().for_each(|byte| *byte ^= 0x55);
        Sketch::from_bytes(bytes)
    }

    fn corpus(train: &[Vec<Sketch>], holdout: &[Vec<Sketch>]) -> (tempfile::TempDir, Corpus) {
        let folder = tempfile::tempdir().unwrap();
        test_corpus::write_sketched(folder.path(), train, holdout);
        let corpus = Corpus::open(folder.path(), Access::Read).unwrap();
        (folder, corpus)
    }

    #[test]
    fn near_duplicates_are_found_across_shards_and_rounds() {
        // Of 128 bytes, 50 may differ at an estimate of 0.61.
        let far = |count: u64| (0..count).map(|number| Sketch::of_hash(1_000_000 + number));
        let holdout: Vec<Sketch> = (0..9000).map(Sketch::of_hash).collect();
        let mut train: Vec<Sketch> = far(9000).collect();
        train[8500] = changed(8300, 40);
        train[20] = changed(7, 49);
        train[21] = changed(7, 30);
        train[22] = changed(8, 52);
        let (_train_folder, train) = corpus(&[train, vec![changed(7, 30), changed(50, 0)]], &[]);
        let (_folder, one) =
            corpus(&[far(1).collect()], &[holdout[..40].to_vec(), holdout[40..].to_vec()]);
        let (_other_folder, other) = corpus(&[far(1).collect()], &[vec![Sketch::of_hash(7)]]);
        let (_empty_folder, empty) = corpus(&[far(1).collect()], &[]);

        let table = NearHoldoutTable::new([&one, &other, &empty], NEAR_DUPLICATE);
        // A corpus that was searched leaves nothing behind for the next ones.
        let rows = table.found_in(&[&train, &empty, &train]).unwrap();
        let row = [Some(3), Some(1), Some(0)];
        assert_eq!(rows, [row, [Some(0); 3], row]);
        let wanted = |round_sketches| {
            let mut found = Vec::new();
            let blocks = [train.sketch_blocks(Split::Train).unwrap()];
            let all = |_, corpus, document| found.push((corpus, document));
            each_found(&table.blocks, &blocks, NEAR_DUPLICATE, round_sketches, all).unwrap();
            found
        };
        let found = [(0, 7), (0, 50), (0, 8300), (1, 0)];
        assert_eq!([1, 8200, ROUND_SKETCHES].map(wanted), [found; 3]);

        let near = near_overlap_of(&one, Split::Holdout, &train, NEAR_DUPLICATE).unwrap().unwrap();
        let pairs: Vec<_> =
            near.examples.iter().map(|pair| (pair.document, pair.train_document)).collect();
        assert_eq!((near.documents, pairs), (3, vec![(7, 21), (50, 9001), (8300, 8500)]));
        let estimates = [0, 1].map(|number| near.examples[number].estimate.to_bits());
        let expected = [Sketch::of_hash(7).jaccard(&changed(7, 30)), 1.0];
        assert_eq!(estimates, expected.map(f64::to_bits));
    }

    #[test]
    fn without_sketches_the_overlap_is_unknown() {
        let (_folder, sketched) = corpus(&[vec![changed(1, 0)]], &[vec![changed(1, 0)]]);
        let folder = tempfile::tempdir().unwrap();
        test_corpus::write(folder.path(), &[vec![1]], &[vec![2]]);
        let plain = Corpus::open(folder.path(), Access::Map).unwrap();
        let table = NearHoldoutTable::new([&plain, &sketched], NEAR_DUPLICATE);
        let rows = table.found_in(&[&sketched, &plain]).unwrap();
        assert_eq!(rows, [[None, Some(1)], [None, None]]);
        let near = |one, two| near_overlap_of(one, Split::Holdout, two, NEAR_DUPLICATE).unwrap();
        assert_eq!((near(&plain, &sketched), near(&sketched, &plain)), (None, None));
    }
}
