//! The side of every document, as decided before any shard is written.

use std::fs;
use std::io;
use std::path::Path;

use mixdown_base::files;
use mixdown_shards::{Fingerprint, Split as Side};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::plan::holdout::HoldoutLimit;
use crate::prepare::options::Holdout;
use crate::spill::reader::damaged;
use crate::spill::{DocumentRow, as_u64};

/// The side of every document: that of its hash, with exceptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) limit: HoldoutLimit,
    /// The units of held-out documents that belong to training because of near-duplicates there, sorted.
    pub(crate) moved: Vec<u64>,
    /// The keys of documents that are left out of training because they are near-duplicates of other texts, sorted.
    pub(crate) excluded: Vec<u128>,
    /// The keys of training documents that repeat an earlier one, sorted.
    pub(crate) repeated: Vec<u128>,
}

impl Placement {
    /// Returns the side of a document; `None` if it is left out.
    pub(crate) fn side(&self, row: &DocumentRow) -> Option<Side> {
        if self.limit.holds_out(row) && !self.has_moved(row) {
            Some(Side::Holdout)
        } else if self.is_excluded(row) || self.repeats(row) {
            None
        } else {
            Some(Side::Train)
        }
    }

    fn has_moved(&self, row: &DocumentRow) -> bool {
        !self.moved.is_empty() && self.moved.binary_search(&self.limit.unit(row)).is_ok()
    }

    fn is_excluded(&self, row: &DocumentRow) -> bool {
        self.excluded.binary_search(&row.key).is_ok()
    }

    fn repeats(&self, row: &DocumentRow) -> bool {
        self.repeated.binary_search(&row.key).is_ok()
    }

    /// Writes the exceptions, completely or not at all, and returns the hash of the file.
    pub(crate) fn write(&self, path: &Path) -> Result<Fingerprint, Error> {
        let mut bytes = Vec::new();
        for len in [self.moved.len(), self.excluded.len(), self.repeated.len()] {
            bytes.extend(as_u64(len).to_le_bytes());
        }
        bytes.extend(self.moved.iter().flat_map(|unit| unit.to_le_bytes()));
        let keys = self.excluded.iter().chain(&self.repeated);
        bytes.extend(keys.flat_map(|key| key.to_le_bytes()));
        files::write(path, &bytes)?;
        Ok(Fingerprint::of(&bytes))
    }

    /// Reads the exceptions from a file with this hash; another or a missing file is damaged work.
    pub(crate) fn read(
        path: &Path,
        limit: HoldoutLimit,
        expected: Fingerprint,
    ) -> Result<Self, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::io("read", path)(source)),
        };
        if Fingerprint::of(&bytes) != expected {
            return Err(damaged(path, "a file with its hash", "another"));
        }
        let mut rest = bytes.as_slice();
        let mut lens = [0; 3];
        for len in &mut lens {
            *len = number(&mut rest);
        }
        let [moved, excluded, repeated] = lens;
        Ok(Self {
            limit,
            moved: (0..moved).map(|_| number(&mut rest)).collect(),
            excluded: (0..excluded).map(|_| key(&mut rest)).collect(),
            repeated: (0..repeated).map(|_| key(&mut rest)).collect(),
        })
    }
}

fn number(rest: &mut &[u8]) -> u64 {
    rest.split_off(..8).map_or(0, |bytes| u64::from_le_bytes(crate::spill::array(bytes)))
}

fn key(rest: &mut &[u8]) -> u128 {
    rest.split_off(..16).map_or(0, |bytes| u128::from_le_bytes(crate::spill::array(bytes)))
}

/// The documents and tokens of both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sides {
    pub(crate) train_documents: u64,
    pub(crate) train_tokens: u64,
    pub(crate) holdout_documents: u64,
    pub(crate) holdout_tokens: u64,
    /// Held-out documents that moved to training, which counts them too unless they are left out.
    pub(crate) moved_documents: u64,
    pub(crate) moved_tokens: u64,
    /// Documents that are left out as near-duplicates of other texts.
    pub(crate) excluded_documents: u64,
    pub(crate) excluded_tokens: u64,
    /// Documents that are left out because they repeat an earlier one.
    pub(crate) repeated_documents: u64,
    pub(crate) repeated_tokens: u64,
}

impl Sides {
    /// Adds a document.
    pub(crate) fn count(&mut self, row: &DocumentRow, placement: &Placement) {
        let len_tokens = u64::from(row.len_tokens);
        let (documents, tokens) = match placement.side(row) {
            Some(Side::Holdout) => (&mut self.holdout_documents, &mut self.holdout_tokens),
            Some(Side::Train) => (&mut self.train_documents, &mut self.train_tokens),
            None if placement.is_excluded(row) => {
                (&mut self.excluded_documents, &mut self.excluded_tokens)
            }
            None => (&mut self.repeated_documents, &mut self.repeated_tokens),
        };
        *documents += 1;
        *tokens += len_tokens;
        if placement.limit.holds_out(row) && placement.has_moved(row) {
            self.moved_documents += 1;
            self.moved_tokens += len_tokens;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.train_documents += other.train_documents;
        self.train_tokens += other.train_tokens;
        self.holdout_documents += other.holdout_documents;
        self.holdout_tokens += other.holdout_tokens;
        self.moved_documents += other.moved_documents;
        self.moved_tokens += other.moved_tokens;
        self.excluded_documents += other.excluded_documents;
        self.excluded_tokens += other.excluded_tokens;
        self.repeated_documents += other.repeated_documents;
        self.repeated_tokens += other.repeated_tokens;
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.train_tokens + self.holdout_tokens
    }

    /// Refuses a holdout that leaves nothing on a side.
    pub(crate) fn check(&self, holdout: Holdout) -> Result<(), Error> {
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
