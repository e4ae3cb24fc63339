//! Near-duplicates among the documents of a corpus that is being prepared, found by their sketches.
//!
//! A sketch decides where its estimate is far from the threshold; where it is near, the texts of both documents do. A
//! document is compared by text with a few others at most, those with the highest estimates, so that boilerplate in all
//! documents does not take the square of their number.

pub(crate) mod holdout_search;
pub(crate) mod references;
pub(crate) mod repeated;

use std::sync::atomic::{AtomicU64, Ordering};

use mixdown_base::observer::Observer;
use mixdown_documents::Place;
use mixdown_similarity::{Shingles, Sketch};

use crate::error::Error;
use crate::parallel::fold;
use crate::prepare::progress::{PrepareProgress, PrepareStage};
use crate::spill::bucket::Buckets;
use crate::spill::reader::{IdsPlace, Spill};
use crate::spill::{DocumentRow, SKETCH_BYTES};
use crate::tokenizer::Tokenizer;

/// The number of sketches that are indexed at once: some 100 MB. More of them take more passes.
pub(crate) const INDEXED_AT_ONCE: usize = if cfg!(test) { 16 } else { 1 << 17 };

/// The number of doubtful pairs of a document whose texts are compared: those with the highest estimates.
pub(crate) const COMPARED_AT_MOST: usize = 8;

/// The ids around the text of a document, which are not of the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextEnds {
    pub(crate) beginning: Option<u32>,
    pub(crate) end: u32,
}

impl TextEnds {
    /// Returns the text of a document's ids, as its sketch was made from it.
    pub(crate) fn text(self, tokenizer: &Tokenizer, ids: &[u32]) -> Result<String, Error> {
        let beginning = self.beginning.and_then(|beginning| ids.strip_prefix(&[beginning]));
        let ids = beginning.unwrap_or(ids);
        tokenizer.decode(ids.strip_suffix(&[self.end]).unwrap_or(ids))
    }
}

/// The documents of all parts, with their sketches.
#[derive(Clone, Copy)]
pub(crate) struct SketchedDocuments<'w> {
    pub(crate) buckets: &'w Buckets,
    pub(crate) tokenizer: &'w Tokenizer,
    pub(crate) ends: TextEnds,
    pub(crate) threads: usize,
    pub(crate) observer: Observer<'w, PrepareProgress>,
}

/// The place where the ids of a document's text can be read again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextPlace {
    pub(crate) spill: usize,
    pub(crate) ids: IdsPlace,
}

/// A document that is looked up in an index of sketches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) key: u128,
    pub(crate) place: Place,
    pub(crate) sketch: Sketch,
    pub(crate) text: TextPlace,
}

impl SketchedDocuments<'_> {
    /// Adds every document to the sums of several threads.
    pub(crate) fn visit<S: Send>(
        &self,
        sum: impl Fn() -> S + Sync,
        add: impl Fn(&mut S, &DocumentRow, Probe) -> Result<(), Error> + Sync,
    ) -> Result<Vec<S>, Error> {
        let spills = &self.buckets.spills;
        let documents: u64 = spills.iter().map(|spill| spill.summary().documents).sum();
        let seen = AtomicU64::new(0);
        fold(self.threads, spills, self.observer.stop(), sum, |sum, spill, from| {
            self.visit_part(spill, from, &mut |row, probe| add(sum, row, probe))?;
            let own = from.summary().documents;
            self.observer.tell(PrepareProgress {
                stage: PrepareStage::Comparing,
                done: (seen.fetch_add(own, Ordering::Relaxed) + own) * SKETCH_BYTES,
                total: documents * SKETCH_BYTES,
            });
            Ok(())
        })
    }

    /// Returns what `pick` makes of the documents of one part.
    pub(crate) fn visit_one<T>(
        &self,
        spill: usize,
        pick: impl Fn(&DocumentRow, Probe) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut picked = Vec::new();
        if let Some(from) = self.buckets.spills.get(spill) {
            self.visit_part(spill, from, &mut |row, probe| {
                picked.extend(pick(row, probe));
                Ok(())
            })?;
        }
        Ok(picked)
    }

    fn visit_part(
        &self,
        spill: usize,
        from: &Spill,
        visit: &mut dyn FnMut(&DocumentRow, Probe) -> Result<(), Error>,
    ) -> Result<(), Error> {
        from.visit_sketches(self.buckets.order.buckets(), &mut |row, placed, ids| {
            if self.observer.is_stopped() {
                return Err(Error::Interrupted);
            }
            let (text, place) = (TextPlace { spill, ids }, placed.place);
            visit(row, Probe { key: row.key, place, sketch: placed.sketch, text })
        })
    }

    /// Reads a document's text and returns its shingles.
    pub(crate) fn shingles(&self, place: TextPlace) -> Result<Shingles, Error> {
        let ids = match self.buckets.spills.get(place.spill) {
            Some(spill) => spill.ids(place.ids)?,
            None => Vec::new(),
        };
        Ok(Shingles::of(&self.ends.text(self.tokenizer, &ids)?))
    }
}
