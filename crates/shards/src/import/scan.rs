//! One pass over a token file: sums, ids, and the positions of end-of-text.

use super::{ImportOptions, format::Found};
use crate::Error;
use crate::files::parallel;
use crate::files::positioned_file::PositionedFile;
use crate::format::block_sums::{BLOCK_BYTES, NO_SUM, block_sum, sums_count};
use crate::verify::Meter;

/// Blocks per task.
const TASK_BLOCKS: u64 = 16;

/// The result of the pass.
pub(super) struct Scanned {
    /// The entries of `.sums`.
    pub sums: Vec<[u8; 32]>,
    /// The number of entries that are sums.
    pub summed_blocks: u64,
    /// The positions of the end-of-text id in tokens, if requested.
    pub marks: Vec<u64>,
}

/// Reads the file in parallel; if marks are not requested, only the blocks of the sample.
pub(super) fn scan(
    found: &Found,
    wants_marks: bool,
    options: &ImportOptions<'_>,
    meter: &Meter<'_>,
) -> Result<Scanned, Error> {
    let file = PositionedFile::open(&found.path)?;
    let blocks = sums_count(found.file_bytes);
    let pass = ScanPass { file, found, wants_marks, options, blocks, meter };
    let tasks = blocks.div_ceil(TASK_BLOCKS);
    let parts = parallel::map(tasks, parallel::available_threads(), |task| pass.run(task))?;
    let mut scanned = Scanned { sums: Vec::new(), summed_blocks: 0, marks: Vec::new() };
    for part in parts {
        scanned.sums.extend(part.sums);
        scanned.summed_blocks += part.summed_blocks;
        scanned.marks.extend(part.marks);
    }
    Ok(scanned)
}

struct ScanPass<'a> {
    file: PositionedFile,
    found: &'a Found,
    wants_marks: bool,
    options: &'a ImportOptions<'a>,
    blocks: u64,
    meter: &'a Meter<'a>,
}

impl ScanPass<'_> {
    fn run(&self, task: u64) -> Result<Scanned, Error> {
        let mut scanned = Scanned { sums: Vec::new(), summed_blocks: 0, marks: Vec::new() };
        let mut bytes = Vec::new();
        let first = task * TASK_BLOCKS;
        for block in first..self.blocks.min(first + TASK_BLOCKS) {
            let offset_bytes = block * BLOCK_BYTES;
            let file_bytes = self.found.file_bytes;
            let len_bytes = BLOCK_BYTES.min(file_bytes - offset_bytes);
            let is_summed =
                self.options.sample_sums.is_none_or(|share| share.takes(block, self.blocks));
            if is_summed || self.wants_marks {
                self.file.read_into(offset_bytes, len_bytes, &mut bytes)?;
                self.look(offset_bytes, &bytes, &mut scanned.marks)?;
            }
            let sum = if is_summed { block_sum(&bytes, offset_bytes, file_bytes) } else { NO_SUM };
            scanned.sums.push(sum);
            scanned.summed_blocks += u64::from(is_summed);
            self.meter.add(len_bytes)?;
        }
        Ok(scanned)
    }

    /// Checks the ids of a block and records the end-of-text ids.
    fn look(&self, offset_bytes: u64, bytes: &[u8], marks: &mut Vec<u64>) -> Result<(), Error> {
        let Found { dtype, header_bytes, .. } = *self.found;
        let skipped_bytes = header_bytes.saturating_sub(offset_bytes);
        let bytes =
            bytes.get(usize::try_from(skipped_bytes).unwrap_or(usize::MAX)..).unwrap_or_default();
        let ids_at = offset_bytes + skipped_bytes;
        if u64::from(dtype.largest(bytes)) >= self.options.vocab_size {
            return Err(self.bad_id(ids_at, bytes));
        }
        if self.wants_marks {
            let first = (ids_at - header_bytes) / dtype.bytes();
            dtype.each(bytes, |n, id| {
                if id == self.options.end_of_text {
                    marks.push(first + n);
                }
            });
        }
        Ok(())
    }

    fn bad_id(&self, offset_bytes: u64, bytes: &[u8]) -> Error {
        let (dtype, vocab_size) = (self.found.dtype, self.options.vocab_size);
        let mut bad = None;
        dtype.each(bytes, |n, id| {
            if u64::from(id) >= vocab_size && bad.is_none() {
                bad = Some((n, id));
            }
        });
        let (n, id) = bad.unwrap_or((0, u32::MAX));
        let expected = format!("ids of {dtype} below the tokenizer's vocabulary of {vocab_size}");
        let hint = "give the tokenizer that made the file, or the right --dtype or --format";
        let at = Some(offset_bytes + n * dtype.bytes());
        Error::import(&self.found.path, at, expected, id.to_string(), hint)
    }
}
