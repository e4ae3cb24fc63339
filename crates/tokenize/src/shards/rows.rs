//! A bucket's documents laid into rows.

use mixdown_shards::{DocumentBytes, Dtype};

use crate::error::Error;
use crate::shards::pack::best_fit;

/// Rows of one size, filled up with one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Ids of a row.
    pub(crate) row_tokens: u64,
    /// The id that fills it up.
    pub(crate) padding: u32,
    /// How ids are held.
    pub(crate) dtype: Dtype,
}

impl Rows {
    /// Hands out the documents row by row, the last of each with its padding, which is no target.
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
        // A document longer than a row has one alone, and no padding.
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
        };
        // Rows of 5: 3 + 2, then 4, then 3.
        let documents = [document(3, 0), document(4, 1), document(2, 2), document(3, 3)];
        let rows = Rows { row_tokens: 5, padding: 9, dtype: Dtype::U16 };
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
}
