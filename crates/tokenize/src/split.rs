//! Who is held out, decided over all parts before a shard is written.

use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::options::Holdout;
use crate::spill::Row;

/// Documents and tokens of both sides, and the hash that parts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Split {
    /// Documents whose hash is smaller are held out.
    pub(crate) limit: u64,
    pub(crate) train_documents: u64,
    pub(crate) train_tokens: u64,
    pub(crate) holdout_documents: u64,
    pub(crate) holdout_tokens: u64,
}

impl Split {
    /// Splits the documents behind `rows`, which is called for a fresh pass over all of them.
    pub(crate) fn decide(
        holdout: Holdout,
        rows: impl Fn(&mut dyn FnMut(&Row)) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let limit = match holdout {
            Holdout::None => 0,
            Holdout::Share(share) => share_limit(share),
            Holdout::Tokens(tokens) => {
                let mut smallest = SmallestHashes::within(tokens);
                rows(&mut |row| smallest.add(row))?;
                smallest.limit
            }
        };
        let mut split = Self { limit, ..Self::default() };
        rows(&mut |row| split.count(row))?;
        split.check(holdout)?;
        Ok(split)
    }

    /// Whether a document is held out.
    pub(crate) fn holds_out(&self, row: &Row) -> bool {
        row.hash < self.limit
    }

    fn count(&mut self, row: &Row) {
        let (documents, tokens) = if self.holds_out(row) {
            (&mut self.holdout_documents, &mut self.holdout_tokens)
        } else {
            (&mut self.train_documents, &mut self.train_tokens)
        };
        *documents += 1;
        *tokens += u64::from(row.len_tokens);
    }

    fn check(&self, holdout: Holdout) -> Result<(), Error> {
        if holdout == Holdout::None || (self.train_documents > 0 && self.holdout_documents > 0) {
            return Ok(());
        }
        Err(Error::HoldoutLeavesNothing {
            holdout: holdout.to_string(),
            train_documents: self.train_documents,
            train_tokens: self.train_tokens,
            holdout_documents: self.holdout_documents,
            holdout_tokens: self.holdout_tokens,
        })
    }
}

/// share · 2⁶⁴.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share within (0, 1) times 2^64 is within u64, and the cast saturates at its ends"
)]
fn share_limit(share: f64) -> u64 {
    (share * 18_446_744_073_709_551_616.0) as u64
}

/// The documents of the smallest hashes that stay within a number of tokens, found in one pass
/// with memory for those alone. Documents of one hash stay together.
struct SmallestHashes {
    budget: u64,
    held: BinaryHeap<(u64, u32)>,
    held_tokens: u64,
    /// Hashes from here on are out.
    limit: u64,
}

impl SmallestHashes {
    fn within(budget: u64) -> Self {
        Self { budget, held: BinaryHeap::new(), held_tokens: 0, limit: u64::MAX }
    }

    fn add(&mut self, row: &Row) {
        if row.hash >= self.limit {
            return;
        }
        self.held.push((row.hash, row.len_tokens));
        self.held_tokens += u64::from(row.len_tokens);
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
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    fn rows(count: u64, distinct: u64) -> Vec<Row> {
        (0..count)
            .map(|index| {
                let hash = xxh3_64(&(index % distinct).to_le_bytes());
                Row {
                    key: 0,
                    hash,
                    text_bytes: 1,
                    len_tokens: u32::try_from(hash % 50).unwrap() + 1,
                }
            })
            .collect()
    }

    fn decide(holdout: Holdout, rows: &[Row]) -> Result<Split, Error> {
        Split::decide(holdout, |visit| {
            rows.iter().for_each(visit);
            Ok(())
        })
    }

    /// Sort, and take whole hashes while they fit.
    fn naive_limit(rows: &[Row], budget: u64) -> u64 {
        let mut sorted: Vec<(u64, u64)> =
            rows.iter().map(|row| (row.hash, u64::from(row.len_tokens))).collect();
        sorted.sort_unstable();
        let mut tokens = 0;
        for group in sorted.chunk_by(|left, right| left.0 == right.0) {
            tokens += group.iter().map(|(_, tokens)| tokens).sum::<u64>();
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
            for budget in [1, 25, 26, 100, 777, 5000, 12_345, 24_000] {
                let limit = naive_limit(&rows, budget);
                match decide(Holdout::Tokens(budget), &rows) {
                    Ok(split) => {
                        assert_eq!(split.limit, limit, "{distinct} {budget}");
                        assert!(split.holdout_tokens <= budget);
                        assert_eq!(split.train_documents + split.holdout_documents, 1000);
                    }
                    Err(error) => {
                        assert!(rows.iter().all(|row| row.hash >= limit), "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_share_takes_about_that_many() {
        let rows = rows(20_000, 20_000);
        let split = decide(Holdout::Share(0.05), &rows).unwrap();
        assert!((900..1100).contains(&split.holdout_documents), "{split:?}");
        assert_eq!(share_limit(0.5), 1 << 63);
        assert_eq!(decide(Holdout::None, &rows).unwrap().holdout_documents, 0);
    }

    #[test]
    fn a_holdout_that_leaves_nothing_gives_the_numbers() {
        let rows = rows(3, 3);
        for holdout in [Holdout::Share(1e-9), Holdout::Tokens(1_000_000)] {
            let error = decide(holdout, &rows).unwrap_err();
            assert!(error.is_configuration());
            assert!(error.to_string().contains("0 documents (0 tokens)"), "{error}");
        }
    }
}
