//! A bucket's documents packed into rows.

use std::collections::BTreeSet;

use mixdown_shards::{DocumentBytes, Dtype};

use crate::error::Error;

/// Rows of one size, filled with one padding id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowPacker {
    /// Ids per row.
    pub(crate) row_tokens: u64,
    /// The padding id.
    pub(crate) padding: u32,
    /// The integer type of ids.
    pub(crate) dtype: Dtype,
}

impl RowPacker {
    /// Passes the documents to `put` row by row, the last one of each row with its padding, which is not a target.
    ///
    /// # Errors
    /// Those of `put`.
    pub(crate) fn lay(
        self,
        documents: &[DocumentBytes<'_>],
        mut put: impl FnMut(&DocumentBytes<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let tokens = |document: &DocumentBytes<'_>| self.tokens_of(document);
        let lengths: Vec<u64> = documents.iter().map(tokens).collect();
        for row in best_fit(&lengths, self.row_tokens) {
            let mut left = self.row_tokens;
            let mut row = row.iter().filter_map(|&place| documents.get(place)).peekable();
            while let Some(document) = row.next() {
                left = left.saturating_sub(self.tokens_of(document));
                if row.peek().is_some() || left == 0 {
                    put(document)?;
                } else {
                    self.put_padded(document, left, &mut put)?;
                }
            }
        }
        Ok(())
    }

    fn tokens_of(self, document: &DocumentBytes<'_>) -> u64 {
        u64::try_from(document.ids.len()).unwrap_or(u64::MAX) / self.dtype.bytes()
    }

    fn put_padded(
        self,
        document: &DocumentBytes<'_>,
        padding: u64,
        put: &mut impl FnMut(&DocumentBytes<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let bytes = self.row_tokens.saturating_mul(self.dtype.bytes().saturating_add(1));
        let too_large = || Error::RowTooLarge { row_tokens: self.row_tokens, bytes };
        let (mut ids, mut padded) = (Vec::new(), Vec::new());
        let len = usize::try_from(self.row_tokens).map_err(|_| too_large())?;
        let ids_len = self.row_tokens.saturating_mul(self.dtype.bytes());
        let ids_len = usize::try_from(ids_len).map_err(|_| too_large())?;
        // A document longer than a row gets a row without other documents or padding.
        ids.try_reserve_exact(ids_len.max(document.ids.len())).map_err(|_| too_large())?;
        padded.try_reserve_exact(len).map_err(|_| too_large())?;
        ids.extend_from_slice(document.ids);
        (0..padding).for_each(|_| match self.dtype {
            Dtype::U16 => {
                ids.extend(u16::try_from(self.padding).unwrap_or(u16::MAX).to_le_bytes());
            }
            Dtype::I32 => ids.extend(self.padding.to_le_bytes()),
        });
        let mask = document.mask.map(|mask| {
            let len = mask.len().saturating_add(usize::try_from(padding).unwrap_or(0));
            padded.extend_from_slice(mask);
            padded.resize(len, 0);
            padded
        });
        put(&DocumentBytes { ids: &ids, mask: mask.as_deref(), ..*document })
    }
}

/// Packs documents of the given lengths into rows of at most `row_len`, the longest first, each into the fullest row
/// with enough space; of equally full rows the first.
///
/// Returns the documents' indices row by row. Rows are in the order of their first documents, not of lengths. A
/// document that is longer than a row gets a separate one. The result depends only on lengths and order; O(n log n).
pub(crate) fn best_fit(lengths: &[u64], row_len: u64) -> Vec<Vec<usize>> {
    let mut by_length: Vec<(u64, usize)> = lengths.iter().copied().zip(0..).collect();
    // The sort is stable: of equal lengths the first comes first.
    by_length.sort_by_key(|(len, _)| std::cmp::Reverse(*len));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut room: BTreeSet<(u64, usize)> = BTreeSet::new();
    for (len, document) in by_length {
        let fullest = room.range((len, 0)..).next().copied();
        let (left, row) = fullest.unwrap_or((row_len, rows.len()));
        if fullest.is_some() {
            room.remove(&(left, row));
        } else {
            rows.push(Vec::new());
        }
        if let Some(row) = rows.get_mut(row) {
            row.push(document);
        }
        room.insert((left.saturating_sub(len), row));
    }
    rows.iter_mut().for_each(|row| row.sort_unstable());
    rows.sort_unstable_by_key(|row| row.first().copied());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_filled_up_behind_their_last_document() {
        let bytes = [1_u8, 0, 2, 0, 3, 0, 4, 0];
        let mask = [0_u8, 1, 1, 1];
        let document = |len: usize, hash| DocumentBytes {
            ids: &bytes[..2 * len],
            text_bytes: 1,
            hash,
            mask: Some(&mask[..len]),
            own_id: None,
            sketch: None,
        };
        // Rows of 5: 3 + 2, then 4, then 3.
        let documents = [document(3, 0), document(4, 1), document(2, 2), document(3, 3)];
        let rows = RowPacker { row_tokens: 5, padding: 9, dtype: Dtype::U16 };
        let mut laid = Vec::new();
        let put = |document: &DocumentBytes<'_>| {
            laid.push((document.hash, document.ids.to_vec(), document.mask.unwrap().to_vec()));
            Ok(())
        };
        rows.lay(&documents, put).unwrap();
        let expected = [
            (0, vec![1, 0, 2, 0, 3, 0], vec![0, 1, 1]),
            (2, vec![1, 0, 2, 0], vec![0, 1]),
            (1, vec![1, 0, 2, 0, 3, 0, 4, 0, 9, 0], vec![0, 1, 1, 1, 0]),
            (3, vec![1, 0, 2, 0, 3, 0, 9, 0, 9, 0], vec![0, 1, 1, 0, 0]),
        ];
        assert_eq!(laid, expected);
    }

    /// The same result by trying every row.
    fn naive(lengths: &[u64], row_len: u64) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by(|&a, &b| lengths[b].cmp(&lengths[a]).then(a.cmp(&b)));
        let mut rows: Vec<(u64, Vec<usize>)> = Vec::new();
        for document in order {
            let len = lengths[document];
            let mut best: Option<usize> = None;
            for (n, (used, _)) in rows.iter().enumerate() {
                if used + len <= row_len && best.is_none_or(|best| rows[best].0 < *used) {
                    best = Some(n);
                }
            }
            match best {
                Some(n) => {
                    rows[n].0 += len;
                    rows[n].1.push(document);
                }
                None => rows.push((len, vec![document])),
            }
        }
        let mut rows: Vec<Vec<usize>> = rows.into_iter().map(|(_, row)| row).collect();
        rows.iter_mut().for_each(|row| row.sort());
        rows.sort();
        rows
    }

    fn lengths(seed: u64, count: usize, longest: u64) -> Vec<u64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            1 + (state >> 33) % longest
        };
        // The product makes many short lengths and few long ones, as in chats.
        (0..count).map(|_| (next() * next() / longest).max(1)).collect()
    }

    #[test]
    fn rows_are_those_of_the_naive_model() {
        for seed in 0..60 {
            let row_len = 1 + seed * 7;
            let lengths = lengths(seed, usize::try_from(seed * 5).unwrap(), row_len);
            let rows = best_fit(&lengths, row_len);
            assert_eq!(rows, naive(&lengths, row_len), "seed {seed}");
            let mut all: Vec<usize> = rows.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..lengths.len()));
            let len = |row: &Vec<usize>| row.iter().map(|&n| lengths[n]).sum::<u64>();
            assert!(rows.iter().all(|row| len(row) <= row_len));
        }
    }

    #[test]
    fn little_is_padding() {
        let lengths = lengths(7, 20_000, 1_024);
        let rows = best_fit(&lengths, 1_025).len() * 1_025;
        let tokens = usize::try_from(lengths.iter().sum::<u64>()).unwrap();
        let padding = (rows - tokens) * 10_000 / rows;
        // The measured value is 0.01 %.
        assert!(padding <= 20, "{padding} of 10,000 ids are padding");
    }

    #[test]
    fn borders() {
        assert!(best_fit(&[], 8).is_empty());
        assert_eq!(best_fit(&[8, 8, 1], 8), [vec![0], vec![1], vec![2]]);
        assert_eq!(best_fit(&[9, 1], 8), [vec![0], vec![1]]);
        assert_eq!(best_fit(&[3, 4, 4, 5], 8), [vec![0, 3], vec![1, 2]]);
    }
}
