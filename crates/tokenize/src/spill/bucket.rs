//! Buckets: their segments from every part, gathered in memory and sorted.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use mixdown_shards::{DocumentBytes, Dtype};
use mixdown_similarity::Sketch;

use crate::error::Error;
use crate::parallel::fold;
use crate::plan::order::Order;
use crate::prepare::options::Shuffle;
use crate::spill::reader::{BucketSegment, LoadedBuckets, Spill, SpillRange};
use crate::spill::{DocumentRow, Payload, as_u64};

/// The parts on disk, as one ordered run of buckets.
pub(crate) struct Buckets {
    /// The spill files, in the order of the inputs.
    pub(crate) spills: Vec<Spill>,
    pub(crate) order: Order,
    pub(crate) payload: Payload,
}

/// A range of buckets with what is known of each before loading.
pub(crate) struct BucketRange<'s> {
    len: usize,
    payload: Payload,
    /// Stretches of parts, each with the bucket of this range at which it begins.
    stretches: Vec<(usize, SpillRange<'s>)>,
}

/// The documents of some buckets in their final order.
pub(crate) struct Bucket {
    /// Keys with the number of the entry.
    order: Vec<(u128, usize)>,
    entries: Vec<BucketDocument>,
    loads: Vec<LoadedBuckets>,
}

/// One document of a loaded bucket, and the position of its bytes in the loaded data.
struct BucketDocument {
    row: DocumentRow,
    load: usize,
    ids: Range<usize>,
    mask: Option<Range<usize>>,
    own_id: Option<Range<usize>>,
    sketch: Option<Sketch>,
}

impl Bucket {
    /// Returns the documents, each with its row.
    pub(crate) fn documents(
        &self,
    ) -> impl Iterator<Item = (&DocumentRow, DocumentBytes<'_>)> + Clone {
        self.order.iter().filter_map(|&(_, number)| {
            let BucketDocument { row, load, ids, mask, own_id, sketch } =
                self.entries.get(number)?;
            let payload = &self.loads.get(*load)?.payload;
            let bytes = |range: &Range<usize>| payload.get(range.clone()).unwrap_or_default();
            let document = DocumentBytes {
                ids: bytes(ids),
                text_bytes: row.text_bytes,
                hash: row.hash,
                mask: mask.as_ref().map(bytes),
                own_id: own_id.as_ref().map(bytes),
                sketch: *sketch,
            };
            Some((row, document))
        })
    }

    fn add(&mut self, loaded: LoadedBuckets, payload: Payload) {
        for BucketSegment { rows, sketches, payload: range } in &loaded.segments {
            let tokens = rows.iter().map(|row| usize::try_from(row.len_tokens).unwrap_or(0));
            let tokens: usize = tokens.sum();
            let width = usize::try_from(payload.id_bytes).unwrap_or(0);
            let mut ids = range.start;
            let mut mask = ids + tokens * width;
            let mut own_id = mask + if payload.masks { tokens } else { 0 };
            let mut sketches = sketches.iter();
            for &row in rows {
                let len = usize::try_from(row.len_tokens).unwrap_or(0);
                let mut entry = BucketDocument {
                    row,
                    load: self.loads.len(),
                    ids: next(&mut ids, len * width),
                    mask: payload.masks.then(|| next(&mut mask, len)),
                    own_id: None,
                    sketch: sketches.next().map(|placed| placed.sketch),
                };
                if payload.own_ids {
                    let rest = loaded.payload.get(own_id..range.end).unwrap_or_default();
                    let line = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                    entry.own_id = Some(next(&mut own_id, line));
                    own_id += 1;
                }
                self.order.push((row.key, self.entries.len()));
                self.entries.push(entry);
            }
        }
        self.loads.push(loaded);
    }
}

fn next(start: &mut usize, len: usize) -> Range<usize> {
    let range = *start..*start + len;
    *start = range.end;
    range
}

impl BucketRange<'_> {
    /// Splits the range into runs of buckets that each take at most `most_bytes` of memory, or are one bucket.
    pub(crate) fn groups(&self, most_bytes: u64) -> Vec<Range<usize>> {
        let mut costs = vec![0_u64; self.len];
        for (start, stretch) in &self.stretches {
            for (idx, cost) in
                costs.iter_mut().skip(*start).take(stretch.entries.len() - 1).enumerate()
            {
                *cost += stretch.cost_bytes(idx);
            }
        }
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut filled = 0;
        for (idx, cost) in costs.into_iter().enumerate() {
            match groups.last_mut() {
                Some(group) if filled + cost <= most_bytes => {
                    group.end = idx + 1;
                    filled += cost;
                }
                _ => {
                    groups.push(idx..idx + 1);
                    filled = cost;
                }
            }
        }
        groups
    }

    /// Reads and sorts a group of buckets.
    pub(crate) fn load(&self, group: &Range<usize>) -> Result<Bucket, Error> {
        let mut bucket = Bucket { order: Vec::new(), entries: Vec::new(), loads: Vec::new() };
        for (start, stretch) in &self.stretches {
            let end = start + stretch.entries.len() - 1;
            let (from, to) = (group.start.max(*start), group.end.min(end));
            if from < to {
                bucket.add(stretch.load(from - start, to - start)?, self.payload);
            }
        }
        // Sorting includes each number: if two keys were ever equal, the inputs' order decides.
        bucket.order.sort_unstable();
        Ok(bucket)
    }
}

impl Buckets {
    /// Returns the number of buckets. In the inputs' order every part is one bucket, because all its documents come
    /// before those of the next part.
    pub(crate) fn len(&self) -> u64 {
        match self.order.shuffle {
            Shuffle::Global => self.order.buckets(),
            Shuffle::Keep => as_u64(self.spills.len()),
        }
    }

    /// Returns the integer type of ids in the shards.
    pub(crate) fn dtype(&self) -> Dtype {
        if self.payload.id_bytes == Dtype::U16.bytes() { Dtype::U16 } else { Dtype::I32 }
    }

    /// Returns buckets `first` to before `end`.
    pub(crate) fn range(&self, first: u64, end: u64) -> Result<BucketRange<'_>, Error> {
        let len = usize::try_from(end - first).unwrap_or(usize::MAX);
        let mut stretches = Vec::new();
        match self.order.shuffle {
            Shuffle::Global => {
                for spill in &self.spills {
                    stretches.extend(spill.stretches(first, end)?.into_iter().map(|one| (0, one)));
                }
            }
            Shuffle::Keep => {
                let skip = usize::try_from(first).unwrap_or(usize::MAX);
                for (start, spill) in self.spills.iter().skip(skip).take(len).enumerate() {
                    stretches.extend(spill.stretches(0, 1)?.into_iter().map(|one| (start, one)));
                }
            }
        }
        Ok(BucketRange { len, payload: self.payload, stretches })
    }

    /// Adds every document's row, with its bucket, to the sums of several threads.
    pub(crate) fn fold_rows<S: Send>(
        &self,
        threads: usize,
        stop: &AtomicBool,
        sum: impl Fn() -> S + Sync,
        add: impl Fn(&mut S, usize, &DocumentRow) + Sync,
    ) -> Result<Vec<S>, Error> {
        fold(threads, &self.spills, stop, sum, |sum, part, spill| {
            spill.visit_rows(&mut |row| {
                let bucket = match self.order.shuffle {
                    Shuffle::Global => {
                        usize::try_from(self.order.bucket(row.key)).unwrap_or(usize::MAX)
                    }
                    Shuffle::Keep => part,
                };
                add(sum, bucket, row);
            })
        })
    }
}
