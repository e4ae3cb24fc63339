//! Where a file can be cut into parts that are read apart from each other.

use std::ops::Range;

use crate::decompress::Compression;
use crate::format::InputFormat;
use crate::input_list::InputFile;

/// The parts of one file, in the offsets of [`Place`](crate::Place).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cuts {
    /// One part: the whole file.
    Whole,
    /// Known beforehand: a part holds the records that start in its range.
    Ranges(Vec<Range<u64>>),
    /// Cut at multiples of the part size of decompressed bytes; only reading tells how many.
    Stream,
}

impl InputFile {
    /// How the file is cut into parts of about `part_bytes`; decided by the file and that number
    /// alone.
    #[must_use]
    pub fn cuts(&self, part_bytes: u64) -> Cuts {
        match (self.format, self.compression) {
            (InputFormat::Text, _) => Cuts::Whole,
            (InputFormat::JsonLines, Compression::None) => {
                let starts =
                    (0..self.bytes).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX));
                let range = |start: u64| start..start.saturating_add(part_bytes).min(self.bytes);
                Cuts::Ranges(starts.map(range).collect())
            }
            (InputFormat::JsonLines, _) => Cuts::Stream,
        }
    }
}
