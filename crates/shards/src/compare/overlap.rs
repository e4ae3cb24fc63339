//! Equal texts in the held-out part of one corpus and the training part of another.

use crate::{Corpus, Error, Split};

/// How many holdout documents of one corpus have the same text as a training document of another
/// (or the same) corpus, by their stored hashes.
///
/// Shards without hashes (see [`Corpus::has_document_hashes`]) are passed over. Near
/// duplicates are not found. Memory: 9 bytes a holdout document and 8 bytes a document of the
/// largest training shard; time O(train · log holdout).
///
/// # Errors
/// A `.hashes` file cannot be read.
pub fn overlap(holdout: &Corpus, train: &Corpus) -> Result<u64, Error> {
    overlap_of(holdout, Split::Holdout, train)
}

/// The held-out documents of several corpora in one table, to be looked for in many training parts: each corpus
/// is read once, whatever the number of pairs.
#[derive(Debug)]
pub struct HoldoutTable {
    /// Sorted, each with its corpus.
    wanted: Vec<(u64, usize)>,
    corpora: usize,
}

impl HoldoutTable {
    /// The table of some corpora. Memory: 16 bytes a held-out document.
    ///
    /// # Errors
    /// The corpus, by its place in the list, of which a `.hashes` file cannot be read.
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

    /// Whether it has no document.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Per corpus of the table, how many of its held-out documents have the same text as a training document of
    /// `train`, by their stored hashes. Memory: 8 bytes a document of the largest training shard; time
    /// O(train · log table).
    ///
    /// # Errors
    /// A `.hashes` file cannot be read.
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
        // A document counts once, however often the training part has it.
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

/// As [`overlap`], for the documents of any part of the first corpus.
///
/// # Errors
/// A `.hashes` file cannot be read.
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
