//! Passages of one corpus that occur in the training split of another one: shared n-grams.

mod grams;

use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_base::observer::Observer;
use serde::Serialize;

use crate::ByteProgress;
use crate::Corpus;
use crate::Error;
use crate::Split;
use crate::corpus::document_runs::{DocumentRun, runs, trimmed};
use crate::corpus::shard::Shard;
use crate::files::parallel;
use crate::verify::Meter;

use grams::GramTable;
pub use grams::{GRAM_UNITS, units_of_ids};

/// A function that converts a document's ids (without beginning and end) to the units of the comparison, 64-bit hashes
/// of tokens or of words, and appends them to the vector.
pub type UnitsOf<'a> = dyn Fn(&[u32], &mut Vec<u64>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    + Sync
    + 'a;

/// A corpus and the units in which its documents are compared.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The corpus.
    pub corpus: &'a Corpus,
    /// The split.
    pub split: Split,
    /// The function that makes its units; [`units_of_ids`] if both sides share a tokenizer.
    pub units_of: &'a UnitsOf<'a>,
}

/// The result of [`contamination`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContaminationReport {
    /// Documents that were examined.
    pub documents: u64,
    /// Documents with fewer units than a gram: they cannot share one.
    pub short_documents: u64,
    /// Documents that share at least one gram with the other side.
    pub shared_documents: u64,
    /// The first of these documents.
    pub examples: Vec<u64>,
}

/// Grams held at a time: 256 MiB; more documents require more passes over the other side.
const ROUND_GRAMS: u64 = 1 << 24;

/// The number of shared documents that are listed.
const NAMED: usize = 10;

/// Counts the documents of `here` that share a run of [`GRAM_UNITS`] units with a document of `there`.
/// Runs do not cross documents; equal 64-bit hashes count as equal runs.
///
/// Memory: at most about 500 MiB and 4 bytes per document of a shard, however large both sides are. Time: one pass over
/// `here`, and one over `there` for each 16 million grams of `here`, on all threads.
///
/// # Errors
/// Damage, a failure to make units, or a stop by the observer.
///
/// ```
/// use mixdown_base::observer::Observer;
/// use mixdown_shards::{Side, Split, contamination, units_of_ids};
///
/// # let (folder, corpus) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_corpus.in"));
/// let side = |split| Side { corpus: &corpus, split, units_of: &units_of_ids };
/// let report = contamination(side(Split::Holdout), side(Split::Train), Observer::silent())?;
/// // Its one document is shorter than a run.
/// assert_eq!((report.documents, report.shared_documents), (1, 0));
/// # Ok::<(), mixdown_shards::Error>(())
/// ```
pub fn contamination(
    here: Side<'_>,
    there: Side<'_>,
    observer: Observer<'_, ByteProgress>,
) -> Result<ContaminationReport, Error> {
    in_rounds(here, there, ROUND_GRAMS, observer)
}

fn in_rounds(
    here: Side<'_>,
    there: Side<'_>,
    round_grams: u64,
    observer: Observer<'_, ByteProgress>,
) -> Result<ContaminationReport, Error> {
    let tokens = |side: Side<'_>| side.corpus.tokens(side.split);
    // The estimate is never too low: a document has no more grams than tokens.
    let rounds = tokens(here).div_ceil(round_grams).max(1);
    let total = tokens(there).saturating_mul(rounds).saturating_add(tokens(here));
    let meter = Meter::new(total, observer);
    let mut report = ContaminationReport::default();
    let mut round = Round::default();
    for shard in here.corpus.shards(here.split) {
        for run in runs_of(shard)? {
            each_document(here, shard, &run, &meter, |units| round.push(units))?;
            if round.grams.len() as u64 >= round_grams {
                std::mem::take(&mut round).finish(there, &meter, &mut report)?;
            }
        }
    }
    round.finish(there, &meter, &mut report)?;
    Ok(report)
}

/// Some documents of `here` with their grams.
#[derive(Default)]
struct Round {
    grams: Vec<(u64, u32)>,
    documents: u32,
    short_documents: u64,
}

impl Round {
    fn push(&mut self, units: &[u64]) {
        let before = self.grams.len();
        grams::each_gram(units, |gram| self.grams.push((gram, self.documents)));
        self.short_documents += u64::from(self.grams.len() == before);
        self.documents += 1;
    }

    /// Compares these documents with all of `there`.
    fn finish(
        self,
        there: Side<'_>,
        meter: &Meter<'_>,
        report: &mut ContaminationReport,
    ) -> Result<(), Error> {
        let hits: Vec<AtomicBool> = (0..self.documents).map(|_| AtomicBool::new(false)).collect();
        let table = GramTable::new(self.grams);
        for shard in there.corpus.shards(there.split) {
            let runs = runs_of(shard)?;
            let work = |n: u64| match usize::try_from(n).ok().and_then(|n| runs.get(n)) {
                Some(run) => {
                    each_document(there, shard, run, meter, |units| mark(units, &table, &hits))
                }
                None => Ok(()),
            };
            parallel::map(runs.len() as u64, parallel::available_threads(), work)?;
        }
        for (document, hit) in (report.documents..).zip(&hits) {
            if hit.load(Ordering::Relaxed) {
                report.shared_documents += 1;
                if report.examples.len() < NAMED {
                    report.examples.push(document);
                }
            }
        }
        report.documents += u64::from(self.documents);
        report.short_documents += self.short_documents;
        Ok(())
    }
}

fn mark(units: &[u64], table: &GramTable, hits: &[AtomicBool]) {
    grams::each_gram(units, |gram| {
        for document in table.documents(gram) {
            if let Some(hit) = usize::try_from(document).ok().and_then(|n| hits.get(n)) {
                hit.store(true, Ordering::Relaxed);
            }
        }
    });
}

fn runs_of(shard: &Shard) -> Result<Vec<DocumentRun>, Error> {
    let mut lengths = Vec::new();
    shard.index()?.append_lengths(&mut lengths)?;
    Ok(runs(lengths.into_iter()))
}

/// Calls `look` with the units of each document of a run.
fn each_document(
    side: Side<'_>,
    shard: &Shard,
    run: &DocumentRun,
    meter: &Meter<'_>,
    mut look: impl FnMut(&[u64]),
) -> Result<(), Error> {
    let manifest = side.corpus.manifest();
    let (mut ids, mut units) = (Vec::new(), Vec::new());
    let mut start_token = run.start_token;
    let index = shard.index()?;
    for number in 0..run.documents as u64 {
        let document = run.first_document as u64 + number;
        let (_, length) = index.document(document)?;
        ids.resize(usize::try_from(length).unwrap_or(0), 0);
        shard.token_file()?.read(start_token, &mut ids)?;
        start_token += u64::from(length);
        units.clear();
        let text = trimmed(&ids, manifest.beginning_of_text, manifest.end_of_text);
        (side.units_of)(text, &mut units).map_err(|source| {
            let path = shard.path("bin");
            Error::Text { path, document, source }
        })?;
        look(&units);
        meter.add(u64::from(length))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, test_corpus};

    /// Documents that share a gram, found by comparing every window with every window.
    fn naive(here: &[Vec<u32>], there: &[Vec<u32>]) -> Vec<u64> {
        let len = GRAM_UNITS;
        let has =
            |window: &[u32]| there.iter().any(|ids| ids.windows(len).any(|other| other == window));
        let shared = |ids: &&Vec<u32>| ids.windows(len).any(has);
        (0..).zip(here).filter(|(_, ids)| shared(ids)).map(|(n, _)| n).collect()
    }

    /// Documents over a tiny alphabet, so that shared runs of every length occur.
    fn documents(seed: u64, count: u64) -> Vec<Vec<u32>> {
        let mut state = seed;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let document = |next: &mut dyn FnMut(u64) -> u64| {
            let len = 1 + next(60);
            (0..len).map(|_| 1 + u32::try_from(next(2)).unwrap()).collect()
        };
        (0..count).map(|_| document(&mut next)).collect()
    }

    #[test]
    fn agrees_with_comparing_every_window() {
        for seed in 0..20 {
            let here = documents(seed, 12);
            let there = documents(seed + 100, 3 + 2 * seed);
            let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            test_corpus::write(one.path(), &[], &here);
            test_corpus::write(other.path(), &there, &[]);
            let [one, other] =
                [&one, &other].map(|folder| Corpus::open(folder.path(), Access::Map).unwrap());
            let side = |corpus, split| Side { corpus, split, units_of: &units_of_ids };
            let (here_side, there_side) = (side(&one, Split::Holdout), side(&other, Split::Train));
            for round_grams in [1, 50, ROUND_GRAMS] {
                let report =
                    in_rounds(here_side, there_side, round_grams, Observer::silent()).unwrap();
                let expected = naive(&here, &there);
                assert_eq!(report.documents, 12);
                assert_eq!(report.shared_documents, expected.len() as u64, "seed {seed}");
                assert_eq!(report.examples, expected.into_iter().take(NAMED).collect::<Vec<_>>());
                let short = here.iter().filter(|ids| ids.len() < GRAM_UNITS).count();
                assert_eq!(report.short_documents, short as u64);
            }
        }
    }
}
