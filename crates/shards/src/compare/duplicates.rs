//! Documents of equal text within a corpus.

use serde::Serialize;

use crate::{Corpus, Error, Split};

/// Documents of one part of a corpus that have the same text, by their stored hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DuplicateReport {
    /// Texts that occur more than once.
    pub texts: u64,
    /// Documents beyond the first of each text: what a deduplication would remove.
    pub surplus_documents: u64,
    /// The most frequent of these texts: how often, and the number of its first document.
    pub most_frequent: Vec<(u64, u64)>,
}

/// How many of the most frequent texts are named.
const NAMED: usize = 5;

/// Counts equal texts. Near duplicates are not found. Memory: 16 bytes a document; time
/// O(documents · log documents).
///
/// # Errors
/// A `.hashes` file cannot be read.
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
        // The test's hash is the sum of the ids.
        let documents = [1, 2, 1, 3, 2, 1, 4].map(|id| vec![id]);
        test_corpus::write(folder.path(), &documents, &[vec![9]]);
        let corpus = Corpus::open(folder.path(), Access::Map).unwrap();
        let report = duplicates(&corpus, Split::Train).unwrap();
        assert_eq!((report.texts, report.surplus_documents), (2, 3));
        assert_eq!(report.most_frequent, [(3, 0), (2, 1)]);
        assert_eq!(duplicates(&corpus, Split::Holdout).unwrap().texts, 0);
    }
}
