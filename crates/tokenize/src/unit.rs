//! How the inputs are cut into parts, from the list alone.

use mixdown_documents::{Compression, InputFile, InputFormat, InputList};

/// Decompressed bytes of input that a part starts records from.
pub(crate) const PART_BYTES: u64 = 64 << 20;

/// Inputs that are read in one go: a run of small files as one part, or one file cut into parts at
/// multiples of the part size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Ordinal of the first input.
    pub(crate) first: u32,
    /// Ordinal after the last input.
    pub(crate) end: u32,
    /// Whether it is cut; else it is a single part.
    pub(crate) cut: bool,
}

/// The units in the order of the list.
pub(crate) fn units(inputs: &InputList, part_bytes: u64) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut filled = 0_u64;
    for (ordinal, file) in (0_u32..).zip(inputs.files()) {
        let bytes = text_bytes(file);
        // A compressed file's real length is known once it is read, so it is always cut.
        let cut = file.format == InputFormat::JsonLines
            && (bytes > part_bytes || file.compression != Compression::None);
        match units.last_mut().filter(|unit| !unit.cut && !cut && filled + bytes <= part_bytes) {
            Some(unit) => {
                unit.end = ordinal + 1;
                filled += bytes;
            }
            None => {
                units.push(Unit { first: ordinal, end: ordinal + 1, cut });
                filled = bytes;
            }
        }
    }
    units
}

/// About how many bytes of text the inputs hold.
pub(crate) fn text_bytes_estimate(inputs: &InputList) -> u64 {
    inputs.files().iter().map(text_bytes).sum()
}

/// The length of a plain file; text compresses to about a quarter.
fn text_bytes(file: &InputFile) -> u64 {
    match file.compression {
        Compression::None => file.bytes,
        Compression::Zstd | Compression::Gzip => file.bytes.saturating_mul(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_go_together_and_large_ones_are_cut() {
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
        let found: Vec<(u32, u32, bool)> =
            units(&inputs, 103).into_iter().map(|unit| (unit.first, unit.end, unit.cut)).collect();
        let expected = [(0, 3, false), (3, 4, true), (4, 5, false), (5, 7, false)];
        assert_eq!(found, expected);
    }
}
