//! The search for held-out documents that have near-duplicates in the training part.
//!
//! The sketches of held-out documents are indexed, and those of all training documents are looked up, in one pass over
//! the parts. A held-out document that is found moves to training, with its group, and is looked up itself, until none
//! is found: the held-out part is closed under similarity. The result is one set whatever the order of the documents,
//! so it does not depend on threads, tasks or interruptions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use mixdown_documents::Place;
use mixdown_similarity::{Sketch, SketchIndex};

use crate::error::Error;
use crate::near_duplicates::{
    COMPARED_AT_MOST, INDEXED_AT_ONCE, Probe, SketchedDocuments, TextPlace,
};
use crate::parallel::fold;
use crate::plan::holdout::HoldoutLimit;
use crate::spill::as_u64;

/// The number of locks for doubtful pairs.
const LOCKS: u64 = 64;

/// What the search needs.
pub(crate) struct HoldoutSearch<'w> {
    pub(crate) documents: SketchedDocuments<'w>,
    pub(crate) limit: HoldoutLimit,
    pub(crate) threshold: f64,
    /// The keys of documents that training does not get, sorted.
    pub(crate) excluded: &'w [u128],
}

/// The held-out documents that belong to training.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Their units, sorted.
    pub(crate) units: Vec<u64>,
    /// Where they are in the inputs, in order, except for those that are left out.
    pub(crate) places: Vec<Place>,
}

/// A document of the holdout.
#[derive(Debug, Clone, Copy)]
struct HeldOut {
    /// What moves together: the hash of the document's group, or of its text.
    unit: u64,
    /// The hash of its text: of equal texts of a unit, one is enough.
    text: u64,
    probe: Probe,
}

/// Some held-out documents and what was found about them.
struct HeldOutIndex {
    held_out: Vec<HeldOut>,
    index: SketchIndex,
    /// Units with the numbers of their documents, sorted.
    by_unit: Vec<(u64, u32)>,
    threshold: f64,
    /// By the number of a held-out document: the pairs that only the texts can decide.
    doubtful: Vec<Mutex<BTreeMap<u32, DoubtfulPairs>>>,
}

/// The pairs of a document with the highest estimates, sorted: by estimate, then by key, so that the order of arrival
/// makes no difference.
#[derive(Default)]
struct DoubtfulPairs(Vec<(f64, u128, TextPlace)>);

impl DoubtfulPairs {
    fn add(&mut self, estimate: f64, probe: &Probe) {
        let before = |&(other, key, _): &(f64, u128, TextPlace)| {
            other > estimate || (other >= estimate && key < probe.key)
        };
        let place = self.0.partition_point(before);
        if place < COMPARED_AT_MOST {
            self.0.insert(place, (estimate, probe.key, probe.text));
            self.0.truncate(COMPARED_AT_MOST);
        }
    }
}

impl HoldoutSearch<'_> {
    /// Returns the held-out documents that belong to training.
    pub(crate) fn moved(&self) -> Result<Moved, Error> {
        let chunks = as_u64(self.count_held_out()?.div_ceil(INDEXED_AT_ONCE));
        let mut moved = BTreeSet::new();
        let mut probes: Vec<Probe> = Vec::new();
        // How many of the probes each chunk has been compared with.
        let mut compared = Vec::new();
        for chunk in 0..chunks {
            let index = self.index(chunk, chunks, &moved)?;
            self.look_up_training(&index)?;
            self.settle(&index)?;
            self.close(&index, &mut probes, 0, &mut moved)?;
            compared.push(probes.len());
        }
        // What moved in one chunk may be similar to what is held out in an earlier one.
        while compared.iter().any(|&compared| compared < probes.len()) {
            for (chunk, compared) in (0..).zip(&mut compared) {
                if *compared < probes.len() {
                    let index = self.index(chunk, chunks, &moved)?;
                    self.close(&index, &mut probes, *compared, &mut moved)?;
                    *compared = probes.len();
                }
            }
        }
        let places = if moved.is_empty() { Vec::new() } else { self.places(&moved)? };
        Ok(Moved { units: moved.into_iter().collect(), places })
    }

    /// Returns where the documents of these units are, without those that are left out.
    fn places(&self, units: &BTreeSet<u64>) -> Result<Vec<Place>, Error> {
        let found = self.documents.visit(Vec::new, |found, row, probe| {
            if self.limit.holds_out(row)
                && units.contains(&self.limit.unit(row))
                && !self.is_excluded(probe.key)
            {
                found.push(probe.place);
            }
            Ok(())
        })?;
        let mut places = found.concat();
        places.sort_unstable();
        Ok(places)
    }

    /// Looks up the probes from `first` on, and what moves because of them, until nothing moves.
    fn close(
        &self,
        index: &HeldOutIndex,
        probes: &mut Vec<Probe>,
        first: usize,
        moved: &mut BTreeSet<u64>,
    ) -> Result<(), Error> {
        let mut known = vec![false; index.held_out.len()];
        let mut first = first;
        loop {
            for ((known, number), held_out) in known.iter_mut().zip(0..).zip(&index.held_out) {
                if !*known && index.index.is_removed(number) {
                    *known = true;
                    moved.insert(held_out.unit);
                    if !self.is_excluded(held_out.probe.key) {
                        probes.push(held_out.probe);
                    }
                }
            }
            let fresh = probes.get(first..).unwrap_or_default();
            if fresh.is_empty() {
                return Ok(());
            }
            fold(
                self.documents.threads,
                fresh,
                self.documents.observer.stop(),
                Vec::new,
                |found, _, probe| {
                    index.look_up(probe, found);
                    Ok(())
                },
            )?;
            first = probes.len();
            self.settle(index)?;
        }
    }

    /// Decides the doubtful pairs by their texts.
    fn settle(&self, index: &HeldOutIndex) -> Result<(), Error> {
        let mut doubtful: Vec<(u32, DoubtfulPairs)> = Vec::new();
        for lock in &index.doubtful {
            let pairs = &mut *lock.lock().unwrap_or_else(PoisonError::into_inner);
            doubtful.extend(std::mem::take(pairs));
        }
        fold(
            self.documents.threads,
            &doubtful,
            self.documents.observer.stop(),
            || (),
            |(), _, (number, pairs)| {
                let held_out = usize::try_from(*number).ok().and_then(|at| index.held_out.get(at));
                let Some(held_out) = held_out.filter(|_| !index.index.is_removed(*number)) else {
                    return Ok(());
                };
                let shingles = self.documents.shingles(held_out.probe.text)?;
                for (_, _, text) in &pairs.0 {
                    if self.documents.shingles(*text)?.jaccard(&shingles) >= self.threshold {
                        index.take(*number);
                        break;
                    }
                }
                Ok(())
            },
        )?;
        Ok(())
    }

    fn is_excluded(&self, key: u128) -> bool {
        self.excluded.binary_search(&key).is_ok()
    }

    fn count_held_out(&self) -> Result<usize, Error> {
        let SketchedDocuments { buckets, threads, observer, .. } = self.documents;
        let counts = buckets.fold_rows(
            threads,
            observer.stop(),
            || 0_usize,
            |count, _, row| {
                *count += usize::from(self.limit.holds_out(row));
            },
        )?;
        Ok(counts.into_iter().sum())
    }

    /// Indexes the held-out documents of a chunk that have not moved. All documents of a unit are in one chunk.
    fn index(&self, chunk: u64, chunks: u64, moved: &BTreeSet<u64>) -> Result<HeldOutIndex, Error> {
        let found = self.documents.visit(Vec::new, |found, row, probe| {
            let unit = self.limit.unit(row);
            if self.limit.holds_out(row) && unit % chunks == chunk && !moved.contains(&unit) {
                found.push(HeldOut { unit, text: row.hash, probe });
            }
            Ok(())
        })?;
        let mut held_out = found.concat();
        held_out.sort_unstable_by_key(|one| (one.unit, one.text, one.probe.key));
        held_out.dedup_by_key(|one| (one.unit, one.text));
        Ok(HeldOutIndex::new(held_out, self.threshold))
    }

    fn look_up_training(&self, index: &HeldOutIndex) -> Result<(), Error> {
        if !index.held_out.is_empty() {
            self.documents.visit(Vec::new, |found, row, probe| {
                if !self.limit.holds_out(row) && !self.is_excluded(row.key) {
                    index.look_up(&probe, found);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl HeldOutIndex {
    fn new(held_out: Vec<HeldOut>, threshold: f64) -> Self {
        let sketches = held_out.iter().map(|one| one.probe.sketch).collect();
        let mut by_unit: Vec<(u64, u32)> = held_out.iter().map(|one| one.unit).zip(0..).collect();
        by_unit.sort_unstable();
        let doubtful = (0..LOCKS).map(|_| Mutex::default()).collect();
        let index = SketchIndex::new(sketches, threshold);
        Self { held_out, index, by_unit, threshold, doubtful }
    }

    /// Looks a document up: what is clearly similar to it moves, and what may be is noted.
    fn look_up(&self, probe: &Probe, found: &mut Vec<(u32, f64)>) {
        self.index.similar(&probe.sketch, self.threshold - Sketch::MARGIN, found);
        for &(number, estimate) in found.iter() {
            if self.index.is_removed(number) {
                // Everything of its unit has just moved.
            } else if estimate >= self.threshold + Sketch::MARGIN {
                self.take(number);
            } else if let Some(lock) = usize::try_from(u64::from(number) % LOCKS)
                .ok()
                .and_then(|lock| self.doubtful.get(lock))
            {
                let mut doubtful = lock.lock().unwrap_or_else(PoisonError::into_inner);
                doubtful.entry(number).or_default().add(estimate, probe);
            }
        }
    }

    /// Moves a document and everything of its unit.
    fn take(&self, number: u32) {
        let held_out = usize::try_from(number).ok().and_then(|at| self.held_out.get(at));
        let Some(unit) = held_out.map(|one| one.unit) else { return };
        let first = self.by_unit.partition_point(|&(other, _)| other < unit);
        let same = self.by_unit.iter().skip(first).take_while(|&&(other, _)| other == unit);
        same.for_each(|&(_, number)| self.index.remove(number));
    }
}
