//! The places at which a file can be cut into parts that are read independently.

use std::ops::Range;

use crate::bytes::decompress::Compression;
use crate::inputs::format::InputFormat;
use crate::inputs::input_list::InputFile;
use crate::inputs::layout::{Block, Layout};

/// The parts of one file, in the offsets of [`Place`](crate::Place).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cuts {
    /// One part: the whole file.
    Whole,
    /// Ranges that are known beforehand: a part holds the records that start in its range.
    Ranges(Vec<Range<u64>>),
    /// Cuts at multiples of the part size in decompressed bytes; their number is known only after reading.
    Stream,
}

impl InputFile {
    /// Returns how the file is cut into parts of about `part_bytes`. The cuts depend only on the file and that number.
    ///
    /// ```
    /// use mixdown_documents::{Cuts, InputList};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("a.jsonl");
    /// std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    /// let inputs = InputList::discover(&[path])?;
    /// assert_eq!(inputs.files()[0].cuts(16), Cuts::Ranges(vec![0..16, 16..32]));
    /// # Ok::<(), mixdown_documents::Error>(())
    /// ```
    #[must_use]
    pub fn cuts(&self, part_bytes: u64) -> Cuts {
        let is_plain = self.compression == Compression::None && !self.is_standard_input();
        match &self.layout {
            Layout::Stream if self.format == InputFormat::Text => Cuts::Whole,
            Layout::Stream if is_plain => {
                let starts =
                    (0..self.bytes).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX));
                let range = |start: u64| start..start.saturating_add(part_bytes).min(self.bytes);
                Cuts::Ranges(starts.map(range).collect())
            }
            // Small files stay whole.
            Layout::Pieces(_) if is_plain && self.bytes <= part_bytes => Cuts::Whole,
            Layout::Stream | Layout::Pieces(_) => Cuts::Stream,
            Layout::Parquet(_) | Layout::Arrow(_) => {
                Cuts::Ranges(row_ranges(&self.layout.blocks(), part_bytes))
            }
        }
    }
}

/// Returns runs of blocks of about `part_bytes` each; a larger block is cut into equal runs of rows.
fn row_ranges(blocks: &[Block], part_bytes: u64) -> Vec<Range<u64>> {
    let (mut ranges, mut start, mut end, mut filled) = (Vec::new(), 0, 0_u64, 0_u64);
    let mut cut = |start: &mut u64, end: u64| {
        if end > *start {
            ranges.push(std::mem::replace(start, end)..end);
        }
    };
    for block in blocks {
        if filled.saturating_add(block.text_bytes) > part_bytes {
            cut(&mut start, end);
            filled = 0;
        }
        let pieces = block.text_bytes.div_ceil(part_bytes.max(1)).clamp(1, block.rows.max(1));
        for piece in 1..pieces {
            let rows = u128::from(block.rows) * u128::from(piece) / u128::from(pieces);
            cut(&mut start, end.saturating_add(u64::try_from(rows).unwrap_or(block.rows)));
        }
        end = end.saturating_add(block.rows);
        filled += block.text_bytes / pieces;
    }
    cut(&mut start, end);
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_together_and_large_blocks_are_cut() {
        let block = |rows, text_bytes| Block { rows, text_bytes };
        let blocks = [
            block(10, 40),
            block(5, 50),
            block(3, 20),
            block(100, 350),
            block(0, 0),
            block(1, 900),
        ];
        assert_eq!(
            row_ranges(&blocks, 100),
            [0..15, 15..18, 18..43, 43..68, 68..93, 93..118, 118..119]
        );
        assert_eq!(row_ranges(&blocks, 10_000).len(), 1);
        assert_eq!(row_ranges(&blocks, 1).len(), 119);
        assert_eq!(row_ranges(&[], 1), []);
        for part_bytes in [1, 2, 3, 33, 90, 1000, u64::MAX] {
            let ranges = row_ranges(&blocks, part_bytes);
            assert_eq!(ranges.first().map(|range| range.start), Some(0));
            assert_eq!(ranges.last().map(|range| range.end), Some(119));
            assert!(
                ranges
                    .is_sorted_by(|left, right| left.end == right.start && right.start < right.end)
            );
        }
    }
}
