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
