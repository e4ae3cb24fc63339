//! Equal texts: in the holdout split of one corpus and the training split of another one, and within one corpus.

use serde::Serialize;

use crate::{Corpus, Error, Split};

/// Counts the holdout documents of one corpus whose text also occurs as a training document of another (or the same)
/// corpus, by their stored hashes.
///
/// Shards without hashes (see [`Corpus::has_document_hashes`]) are skipped. Near-duplicates are found by
/// [`near_overlap_of`](crate::near_overlap_of). Memory: 9 bytes per holdout document and 8 bytes
/// per document of the largest training shard; time O(train · log holdout).
///
/// # Errors
/// A `.hashes` file cannot be read.
///
/// ```
/// use mixdown_shards::overlap;
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// assert_eq!(overlap(&corpus, &corpus)?, 1);
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn overlap(holdout: &Corpus, train: &Corpus) -> Result<u64, Error> {
    overlap_of(holdout, Split::Holdout, train)
}

/// A table of the holdout documents of several corpora, to be searched for in many training splits: each corpus is read
/// once, whatever the number of pairs.
#[derive(Debug)]
pub struct HoldoutTable {
    /// Sorted hashes, each with its corpus.
    wanted: Vec<(u64, usize)>,
    corpora: usize,
}

impl HoldoutTable {
    /// Makes the table of some corpora. Memory: 16 bytes per holdout document.
    ///
    /// # Errors
    /// The index in the list of the corpus whose `.hashes` file cannot be read, with the reason.
    ///
    /// ```
    /// use mixdown_shards::HoldoutTable;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let table = HoldoutTable::new([&corpus]).map_err(|(_, error)| error)?;
    /// assert!(!table.is_empty());
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn new<'a>(corpora: impl IntoIterator<Item = &'a Corpus>) -> Result<Self, (usize, Error)> {
        let mut table = Self { wanted: Vec::new(), corpora: 0 };
        for (place, corpus) in corpora.into_iter().enumerate() {
            let hashes = corpus.document_hashes(Split::Holdout).map_err(|error| (place, error))?;
            table.wanted.extend(hashes.into_iter().map(|hash| (hash, place)));
            table.corpora = place + 1;
        }
        table.wanted.sort_unstable();
        Ok(table)
    }

    /// Returns whether the table has no documents.
    ///
    /// ```
    /// use mixdown_shards::HoldoutTable;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// assert!(HoldoutTable::new([]).map_err(|(_, error)| error)?.is_empty());
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Returns, for each corpus of the table, the number of its holdout documents whose text also occurs as a training
    /// document of `train`, by their stored hashes. Memory: 8 bytes per document of the largest training shard; time
    /// O(train · log table).
    ///
    /// # Errors
    /// A `.hashes` file cannot be read.
    ///
    /// ```
    /// use mixdown_shards::HoldoutTable;
    ///
    /// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
    /// let table = HoldoutTable::new([&corpus]).map_err(|(_, error)| error)?;
    /// assert_eq!(table.found_in(&corpus)?, [1]);
    /// # Ok::<(), mixdown_shards::Error>(())
    /// ```
    pub fn found_in(&self, train: &Corpus) -> Result<Vec<u64>, Error> {
        let mut found = Vec::new();
        let mut hashes = Vec::new();
        for shard in train.shards(Split::Train) {
            hashes.clear();
            shard.append_hashes(&mut hashes)?;
            for hash in &hashes {
                let first = self.wanted.partition_point(|(other, _)| other < hash);
                let same = self.wanted.iter().enumerate().skip(first);
                let same = same.take_while(|(_, (other, _))| other == hash);
                found.extend(same.map(|(place, _)| place));
            }
        }
        // A document counts once, however often the training split contains it.
        found.sort_unstable();
        found.dedup();
        let mut counts = vec![0; self.corpora];
        for (_, corpus) in found.into_iter().filter_map(|place| self.wanted.get(place)) {
            if let Some(count) = counts.get_mut(*corpus) {
                *count += 1;
            }
        }
        Ok(counts)
    }
}

/// Like [`overlap`], for the documents of any split of the first corpus.
///
/// # Errors
/// A `.hashes` file cannot be read.
///
/// ```
/// use mixdown_shards::{Split, overlap_of};
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// assert_eq!(overlap_of(&corpus, Split::Train, &corpus)?, 2);
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn overlap_of(corpus: &Corpus, split: Split, train: &Corpus) -> Result<u64, Error> {
    let mut wanted = corpus.document_hashes(split)?;
    wanted.sort_unstable();
    let mut seen = vec![false; wanted.len()];
    let mut hashes = Vec::new();
    for shard in train.shards(Split::Train) {
        hashes.clear();
        shard.append_hashes(&mut hashes)?;
        for hash in &hashes {
            let first = wanted.partition_point(|other| other < hash);
            mark(&wanted, &mut seen, first, *hash);
        }
    }
    Ok(seen.iter().filter(|seen| **seen).count() as u64)
}

/// Marks the run of equal hashes from `first` on, once.
fn mark(wanted: &[u64], seen: &mut [bool], first: usize, hash: u64) {
    let run = wanted.iter().zip(seen).skip(first);
    for (_, seen) in run.take_while(|(other, seen)| **other == hash && !**seen) {
        *seen = true;
    }
}

/// Documents of one split of a corpus that have the same text, by their stored hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DuplicateReport {
    /// Texts that occur more than once.
    pub texts: u64,
    /// Documents beyond the first of each text: what a deduplication would remove.
    pub surplus_documents: u64,
    /// The most frequent of these texts: the number of occurrences, and the number of the first document.
    pub most_frequent: Vec<(u64, u64)>,
}

/// The number of most frequent texts that are listed.
const NAMED: usize = 5;

/// Counts equal texts; near-duplicates are not found. Memory: 16 bytes per document; time O(documents · log documents).
///
/// # Errors
/// A `.hashes` file cannot be read.
///
/// ```
/// use mixdown_shards::{Split, duplicates};
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// assert_eq!(duplicates(&corpus, Split::Train)?.surplus_documents, 0);
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn duplicates(corpus: &Corpus, split: Split) -> Result<DuplicateReport, Error> {
    let mut hashes: Vec<(u64, u64)> = corpus.document_hashes(split)?.into_iter().zip(0..).collect();
    hashes.sort_unstable();
    let mut report = DuplicateReport { texts: 0, surplus_documents: 0, most_frequent: Vec::new() };
    for equal in hashes.chunk_by(|a, b| a.0 == b.0).filter(|equal| equal.len() > 1) {
        let count = equal.len() as u64;
        report.texts += 1;
        report.surplus_documents += count - 1;
        let first = equal.first().map_or(0, |(_, document)| *document);
        report.most_frequent.push((count, first));
        if report.most_frequent.len() > 64 * NAMED {
            keep_largest(&mut report.most_frequent);
        }
    }
    keep_largest(&mut report.most_frequent);
    Ok(report)
}

fn keep_largest(texts: &mut Vec<(u64, u64)>) {
    texts.sort_unstable_by_key(|(count, document)| (u64::MAX - count, *document));
    texts.truncate(NAMED);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, test_corpus};

    #[test]
    fn equal_texts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        // In this test, the hash is the sum of the ids.
        let documents = [1, 2, 1, 3, 2, 1, 4].map(|id| vec![id]);
        test_corpus::write(folder.path(), &documents, &[vec![9]]);
        let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
        let report = duplicates(&corpus, Split::Train).unwrap();
        assert_eq!((report.texts, report.surplus_documents), (2, 3));
        assert_eq!(report.most_frequent, [(3, 0), (2, 1)]);
        assert_eq!(duplicates(&corpus, Split::Holdout).unwrap().texts, 0);
    }
}
