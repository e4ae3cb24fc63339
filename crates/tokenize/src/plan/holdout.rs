//! The decision which documents are held out, made over all parts before any shard is written.

use std::collections::BinaryHeap;

use mixdown_documents::Place;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::near_duplicates::SketchedDocuments;
use crate::near_duplicates::holdout_search::HoldoutSearch;
use crate::near_duplicates::references::{ExcludedDocument, References, like_held_out};
use crate::near_duplicates::repeated::{Repeated, repeated as find_repeated};
use crate::plan::placement::{Placement, Sides};
use crate::prepare::options::{
    Deduplication, Holdout, NearDuplicates, PrepareOptions, YieldingSide,
};
use crate::prepare::work_folder::WorkFolder;
use crate::spill::DocumentRow;

/// The sides of the documents, and the contents of each side in every bucket.
#[derive(Debug)]
pub(crate) struct HoldoutDecision {
    pub(crate) placement: Placement,
    /// The documents that are left out as near-duplicates of other texts.
    pub(crate) excluded: Vec<ExcludedDocument>,
    /// Where the documents that moved to training are in the inputs.
    pub(crate) moved_places: Vec<Place>,
    /// What deduplication found, without the keys.
    pub(crate) repeated: Repeated,
    pub(crate) buckets: Vec<Sides>,
    pub(crate) total: Sides,
}

/// The limit of the side hash: documents below it are held out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldoutLimit(u64);

impl HoldoutLimit {
    const INPUT: Self = Self(1);

    /// Returns the limit if it can be known before all documents exist.
    pub(crate) fn known(holdout: Holdout) -> Option<Self> {
        match holdout {
            Holdout::None => Some(Self(0)),
            Holdout::Input => Some(Self::INPUT),
            Holdout::Share(share) => Some(Self(share_limit(share))),
            Holdout::Tokens(_) => None,
        }
    }

    /// Returns the hash that a document shares with those that stay on its side: that of its group or of its text.
    pub(crate) fn unit(self, row: &DocumentRow) -> u64 {
        // The side of an input is no hash.
        if self == Self::INPUT { row.hash } else { row.side }
    }

    /// Returns whether a document is held out.
    pub(crate) fn holds_out(self, row: &DocumentRow) -> bool {
        row.side < self.0
    }
}

/// The side hash of every document in the inputs that are the holdout.
pub(crate) const HELD_OUT: u64 = 0;
/// The side hash of every other document, if there are such inputs.
pub(crate) const TRAINED_ON: u64 = u64::MAX;

/// What decides the sides.
pub(crate) struct HoldoutRules<'w> {
    pub(crate) options: &'w PrepareOptions,
    /// The texts that training must not repeat.
    pub(crate) references: &'w References,
    pub(crate) folder: &'w WorkFolder,
}

impl HoldoutDecision {
    /// Splits the documents of all buckets.
    pub(crate) fn decide(
        rules: &HoldoutRules<'_>,
        documents: SketchedDocuments<'_>,
    ) -> Result<Self, Error> {
        let PrepareOptions { holdout, near_duplicates, yields, deduplication, .. } = *rules.options;
        let limit = limit_of(holdout, &documents)?;
        let mut excluded = Vec::new();
        let mut placement = Placement { limit, ..Placement::default() };
        if let NearDuplicates::From(threshold) = near_duplicates {
            let read = &rules.options.read;
            if !rules.references.is_empty() {
                excluded = rules.references.excluded(&documents, read, limit, threshold)?;
            }
            if holdout != Holdout::None && yields == YieldingSide::Training {
                excluded.extend(like_held_out(&documents, limit, threshold)?);
                excluded.sort_by_key(|one| one.key);
                excluded.dedup_by_key(|one| one.key);
            }
            placement.excluded = excluded.iter().map(|one| one.key).collect();
        }
        let mut moved_places = Vec::new();
        let moves = holdout != Holdout::None && yields == YieldingSide::Holdout;
        let moved_from = |threshold, excluded: &[u128]| {
            HoldoutSearch { documents, limit, threshold, excluded }.moved()
        };
        if let NearDuplicates::From(threshold) = near_duplicates
            && moves
        {
            let moved = moved_from(threshold, &placement.excluded)?;
            (placement.moved, moved_places) = (moved.units, moved.places);
        }
        // What is held out stays there, whatever it repeats.
        let is_held_out = |unit: u64| placement.moved.binary_search(&unit).is_err();
        excluded.retain(|one| !one.unit.is_some_and(is_held_out));
        placement.excluded = excluded.iter().map(|one| one.key).collect();
        let mut repeated = Repeated::default();
        if let NearDuplicates::From(threshold) = near_duplicates
            && deduplication != Deduplication::None
        {
            repeated =
                find_repeated(documents, rules.folder, &placement, deduplication, threshold)?;
            placement.repeated = std::mem::take(&mut repeated.keys);
        }
        let counted = Self::count(placement, excluded, &documents)?;
        let decision = Self { repeated, moved_places, ..counted };
        if let NearDuplicates::From(threshold) = near_duplicates
            && decision.total.holdout_documents == 0
            && decision.total.moved_documents > 0
        {
            let mut left_at = Vec::new();
            for other in OTHER_THRESHOLDS.into_iter().filter(|&other| other > threshold) {
                let mut placement = decision.placement.clone();
                placement.moved = moved_from(other, &placement.excluded)?.units;
                let total = Self::count(placement, Vec::new(), &documents)?.total;
                left_at.push((other, total.holdout_documents));
            }
            let documents = decision.total.moved_documents;
            return Err(Error::HoldoutOfNearDuplicates { documents, threshold, left_at });
        }
        decision.total.check(holdout)?;
        Ok(decision)
    }

    fn count(
        placement: Placement,
        excluded: Vec<ExcludedDocument>,
        documents: &SketchedDocuments<'_>,
    ) -> Result<Self, Error> {
        let SketchedDocuments { buckets, threads, observer, .. } = *documents;
        let len = usize::try_from(buckets.len()).unwrap_or(usize::MAX);
        let none = || vec![Sides::default(); len];
        let counted = buckets.fold_rows(threads, observer.stop(), none, |sides, bucket, row| {
            if let Some(sides) = sides.get_mut(bucket) {
                sides.count(row, &placement);
            }
        })?;
        let mut sums = none();
        let mut total = Sides::default();
        for (bucket, sum) in sums.iter_mut().enumerate() {
            counted.iter().filter_map(|sides| sides.get(bucket)).for_each(|sides| sum.add(sides));
            total.add(sum);
        }
        let repeated = Repeated::default();
        let moved_places = Vec::new();
        Ok(Self { placement, excluded, moved_places, repeated, buckets: sums, total })
    }
}

fn limit_of(holdout: Holdout, documents: &SketchedDocuments<'_>) -> Result<HoldoutLimit, Error> {
    let SketchedDocuments { buckets, threads, observer, .. } = *documents;
    match (HoldoutLimit::known(holdout), holdout) {
        (None, Holdout::Tokens(tokens)) => {
            let within = || SmallestHashes::within(tokens);
            let found =
                buckets.fold_rows(threads, observer.stop(), within, |smallest, _, row| {
                    smallest.add(row.side, row.len_tokens);
                })?;
            Ok(HoldoutLimit(SmallestHashes::of_all(tokens, &found)))
        }
        (known, _) => Ok(known.unwrap_or_default()),
    }
}

/// The thresholds for which an empty holdout names what would be left.
const OTHER_THRESHOLDS: [f64; 4] = [0.5, 0.6, 0.75, 0.9];

/// Returns share · 2⁶⁴.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share within (0, 1) times 2^64 is within u64, and the cast saturates at its ends"
)]
fn share_limit(share: f64) -> u64 {
    (share * 18_446_744_073_709_551_616.0) as u64
}

/// The documents with the smallest hashes that fit in a number of tokens, found in one pass with memory only for those.
/// Documents with the same hash stay together.
struct SmallestHashes {
    budget: u64,
    held: BinaryHeap<(u64, u32)>,
    held_tokens: u64,
    /// The first hash that is out.
    limit: u64,
}

impl SmallestHashes {
    fn within(budget: u64) -> Self {
        Self { budget, held: BinaryHeap::new(), held_tokens: 0, limit: u64::MAX }
    }

    /// Returns the first hash that is out, over everything that several passes held.
    fn of_all(budget: u64, parts: &[Self]) -> u64 {
        let mut all = Self::within(budget);
        all.limit = parts.iter().map(|part| part.limit).min().unwrap_or(u64::MAX);
        for &(hash, tokens) in parts.iter().flat_map(|part| &part.held) {
            all.add(hash, tokens);
        }
        all.limit
    }

    fn add(&mut self, hash: u64, len_tokens: u32) {
        if hash >= self.limit {
            return;
        }
        self.held.push((hash, len_tokens));
        self.held_tokens += u64::from(len_tokens);
        while let Some(&(hash, tokens)) = self.held.peek() {
            if self.held_tokens > self.budget {
                self.limit = hash;
            }
            if hash < self.limit {
                break;
            }
            self.held.pop();
            self.held_tokens -= u64::from(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    fn rows(count: u64, distinct: u64) -> Vec<(u64, u32)> {
        (0..count)
            .map(|index| {
                let hash = xxh3_64(&(index % distinct).to_le_bytes());
                (hash, u32::try_from(hash % 50).unwrap() + 1)
            })
            .collect()
    }

    /// Sorts, and takes whole hashes while they fit.
    fn naive_limit(rows: &[(u64, u32)], budget: u64) -> u64 {
        let mut sorted = rows.to_vec();
        sorted.sort_unstable();
        let mut tokens = 0;
        for group in sorted.chunk_by(|left, right| left.0 == right.0) {
            tokens += group.iter().map(|&(_, tokens)| u64::from(tokens)).sum::<u64>();
            if tokens > budget {
                return group[0].0;
            }
        }
        u64::MAX
    }

    #[test]
    fn a_number_of_tokens_takes_the_smallest_hashes_that_fit() {
        for distinct in [1000, 60] {
            let rows = rows(1000, distinct);
            for budget in [1, 25, 26, 100, 777, 5000, 12_345, 24_000, 1 << 40] {
                for threads in [1, 2, 7] {
                    let pass = |rows: &[(u64, u32)]| {
                        let mut smallest = SmallestHashes::within(budget);
                        rows.iter().for_each(|&(hash, tokens)| smallest.add(hash, tokens));
                        smallest
                    };
                    let parts: Vec<SmallestHashes> =
                        rows.chunks(rows.len().div_ceil(threads)).map(pass).collect();
                    let limit = SmallestHashes::of_all(budget, &parts);
                    assert_eq!(limit, naive_limit(&rows, budget), "{distinct} {budget} {threads}");
                }
            }
        }
    }

    #[test]
    fn a_share_is_of_all_hashes() {
        assert_eq!(share_limit(0.5), 1 << 63);
        let limit = share_limit(0.05);
        let held = rows(20_000, 20_000).iter().filter(|(hash, _)| *hash < limit).count();
        assert!((900..1100).contains(&held), "{held}");
    }

    #[test]
    fn a_side_without_documents_gives_the_numbers() {
        let sides = Sides { train_documents: 3, train_tokens: 7, ..Sides::default() };
        sides.check(Holdout::None).unwrap();
        let error = sides.check(Holdout::Share(1e-9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("0 documents (0 tokens)"), "{error}");
    }
}
