//! The division of the inputs into parts, from the list alone.

use std::ops::Range;

use mixdown_documents::Document;
use mixdown_documents::DocumentReader;
use mixdown_documents::Labeler;
use mixdown_documents::{Cuts, InputFile, InputList, Place};

use crate::encode::has_fewer_chars;
use crate::error::Error;
use crate::prepare::options::PrepareOptions;

/// The maximum number of decompressed bytes in which a part's records start.
pub(crate) const PART_BYTES: u64 = 64 << 20;
/// The minimum number, unless the inputs are smaller.
const LEAST_PART_BYTES: u64 = 4 << 20;
/// The number of parts until the parts reach their maximum size: enough to keep all threads busy to the end, few enough
/// that a bucket is gathered from few places.
const PARTS: u64 = 64;

/// Returns the part size for these inputs.
pub(crate) fn part_bytes(inputs: &InputList, most: u64) -> u64 {
    (text_bytes_estimate(inputs) / PARTS).clamp(LEAST_PART_BYTES.min(most), most)
}

/// Inputs that are read together: a run of small files as one part, or one file in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputUnit {
    /// The index of the first input.
    pub(crate) first: u32,
    /// The index after the last input.
    pub(crate) end: u32,
    /// Its parts; `Whole` is a single one.
    pub(crate) cuts: Cuts,
}

impl InputUnit {
    /// Returns its number of parts, if that is known before reading.
    pub(crate) fn parts(&self) -> Option<u64> {
        match &self.cuts {
            Cuts::Whole => Some(1),
            Cuts::Ranges(ranges) => Some(u64::try_from(ranges.len()).unwrap_or(u64::MAX)),
            Cuts::Stream => None,
        }
    }
}

/// Returns the units in the order of the list, for the documents before `end`.
pub(crate) fn units(inputs: &InputList, part_bytes: u64, end: Option<Place>) -> Vec<InputUnit> {
    let mut units: Vec<InputUnit> = Vec::new();
    let mut filled = 0_u64;
    for (ordinal, file) in (0_u32..).zip(inputs.files()) {
        if end.is_some_and(|end| end <= Place { input: ordinal, offset: 0 }) {
            break;
        }
        let bytes = file.text_bytes_estimate();
        let last = end.filter(|end| end.input == ordinal).map_or(u64::MAX, |end| end.offset);
        let cuts = match file.cuts(part_bytes) {
            Cuts::Ranges(ranges) => within(ranges, last),
            cuts => cuts,
        };
        let alone = cuts != Cuts::Whole;
        let open = |unit: &&mut InputUnit| {
            unit.cuts == Cuts::Whole && !alone && filled.saturating_add(bytes) <= part_bytes
        };
        match units.last_mut().filter(open) {
            Some(unit) => {
                unit.end = ordinal + 1;
                filled += bytes;
            }
            None => {
                units.push(InputUnit { first: ordinal, end: ordinal + 1, cuts });
                filled = bytes;
            }
        }
    }
    units
}

/// Returns the ranges that begin before `end`; a file with a single range is grouped with its neighbors.
fn within(mut ranges: Vec<Range<u64>>, end: u64) -> Cuts {
    ranges.retain(|range| range.start < end);
    if ranges.len() > 1 { Cuts::Ranges(ranges) } else { Cuts::Whole }
}

/// Estimates the bytes of text in the inputs.
pub(crate) fn text_bytes_estimate(inputs: &InputList) -> u64 {
    inputs.files().iter().map(InputFile::text_bytes_estimate).fold(0, u64::saturating_add)
}

/// Returns the place before which the first `limit` documents begin; `None` if there are fewer.
///
/// It reads up to there before the work begins, on one thread, so that the parts, which are made on many threads, know
/// their end. Documents that are left out do not count.
pub(crate) fn end_of_documents(
    inputs: &InputList,
    options: &PrepareOptions,
    labeler: Option<&Labeler>,
    limit: u64,
) -> Result<Option<Place>, Error> {
    let mut left = limit;
    for document in DocumentReader::new(inputs, &options.read).with_labeler(labeler) {
        let document = document?;
        if document.text.is_empty()
            || has_fewer_chars(&document.text, options.min_chars)
            || has_no_target(&document)
        {
            continue;
        }
        left -= 1;
        if left == 0 {
            let Place { input, offset } = document.place;
            return Ok(Some(Place { input, offset: offset + 1 }));
        }
    }
    Ok(None)
}

fn has_no_target(document: &Document) -> bool {
    document.labels.as_ref().is_some_and(|labels| labels.targets.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, InputList) {
        let folder = tempfile::tempdir().unwrap();
        let line = |len: usize| format!("{{\"text\":\"{}\"}}\n", "x".repeat(len));
        let files = [
            ("a.txt", "x".repeat(40)),
            ("b.txt", "x".repeat(40)),
            ("c.jsonl", line(10)),
            ("d.jsonl", line(200)),
            ("e.txt", "x".repeat(500)),
            ("f.txt", "x".repeat(10)),
            ("g.txt", "x".repeat(90)),
        ];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let inputs = InputList::discover(&[folder.path().to_owned()]).unwrap();
        (folder, inputs)
    }

    #[test]
    fn small_files_go_together_and_large_ones_are_cut() {
        let (_folder, inputs) = files();
        let found: Vec<(u32, u32, Option<u64>)> = units(&inputs, 103, None)
            .into_iter()
            .map(|unit| (unit.first, unit.end, unit.parts()))
            .collect();
        let expected = [(0, 3, Some(1)), (3, 4, Some(3)), (4, 5, Some(1)), (5, 7, Some(1))];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_end_leaves_out_what_comes_after_it() {
        let (_folder, inputs) = files();
        let ends = |input, offset| {
            units(&inputs, 103, Some(Place { input, offset }))
                .last()
                .map(|unit| (unit.first, unit.end, unit.parts()))
        };
        assert_eq!(ends(0, 0), None);
        assert_eq!(ends(3, 0), Some((0, 3, Some(1))));
        assert_eq!(ends(3, 103), Some((3, 4, Some(1))));
        assert_eq!(ends(3, 104), Some((3, 4, Some(2))));
        assert_eq!(ends(4, 0), Some((3, 4, Some(3))));
    }

    #[test]
    fn parts_grow_with_the_inputs_up_to_a_limit() {
        let (_folder, inputs) = files();
        assert_eq!(part_bytes(&inputs, PART_BYTES), LEAST_PART_BYTES);
        assert_eq!(part_bytes(&inputs, 100), 100);
    }
}
