//! Spill files open for reading. Their content is not trusted before its hash is checked.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::Error;
use crate::spill::{
    DocumentRow, EMPTY_HASH, ENTRY_BYTES, Footer, MAGIC, Payload, PlacedSketch, ROW_BYTES,
    SKETCH_BYTES, SpillRunPlace, Summary, TRAILER_BYTES, array, as_u64, take,
};

/// The size limit of a footer, which grows by about 20 bytes per input file of its part; a part has a limited number of
/// input bytes.
const MAX_FOOTER_BYTES: u64 = 1 << 30;

/// A complete spill file: its contents and their positions. No file is held open.
#[derive(Debug)]
pub(crate) struct Spill {
    path: PathBuf,
    footer: Footer,
}

/// The totals before a bucket in a run, and the hash of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketEntry {
    pub(crate) documents: u64,
    pub(crate) tokens: u64,
    pub(crate) own_id_bytes: u64,
    pub(crate) hash: u64,
}

/// The same bucket range of one run: `entries` has one more entry than there are buckets.
#[derive(Debug)]
pub(crate) struct SpillRange<'s> {
    pub(crate) spill: &'s Spill,
    pub(crate) run: SpillRunPlace,
    pub(crate) entries: Vec<BucketEntry>,
}

/// The place of a document's ids in its spill file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdsPlace {
    pub(crate) offset: u64,
    pub(crate) len_tokens: u32,
}

/// Some buckets of one run, read and checked.
#[derive(Default)]
pub(crate) struct LoadedBuckets {
    pub(crate) payload: Vec<u8>,
    pub(crate) segments: Vec<BucketSegment>,
}

/// One bucket of one run.
pub(crate) struct BucketSegment {
    pub(crate) rows: Vec<DocumentRow>,
    /// One for each row, if documents have sketches.
    pub(crate) sketches: Vec<PlacedSketch>,
    /// Its part of the payload: ids, masks, own ids.
    pub(crate) payload: Range<usize>,
}

impl Spill {
    /// Opens a complete spill file for this number of buckets and this payload.
    pub(crate) fn open(path: &Path, buckets: u64, payload: Payload) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("read", path))?.len();
        let short = || damaged(path, "a spill file's end", &format!("{len} bytes"));
        let trailer_offset = len.checked_sub(TRAILER_BYTES).ok_or_else(short)?;
        let trailer = read_at(&mut file, path, trailer_offset, TRAILER_BYTES)?;
        let number =
            |at: usize| trailer.get(at..).map_or(0, |bytes| u64::from_le_bytes(array(bytes)));
        let (offset, footer_len, hash) = (number(0), number(8), number(16));
        let is_ours = trailer.ends_with(MAGIC)
            && footer_len <= MAX_FOOTER_BYTES
            && offset.checked_add(footer_len) == Some(trailer_offset);
        if !is_ours {
            return Err(damaged(path, "a spill file's end", "something else"));
        }
        let json = read_at(&mut file, path, offset, footer_len)?;
        if xxh3_64(&json) != hash {
            return Err(damaged(path, "a footer with its hash", "another"));
        }
        let footer: Footer = serde_json::from_slice(&json)
            .map_err(|error| damaged(path, "a footer", &error.to_string()))?;
        let Summary { buckets: got_buckets, payload: got_payload, .. } = footer.summary;
        if (got_buckets, got_payload) != (buckets, payload) {
            let expected = format!("{buckets} buckets of {payload:?}");
            return Err(damaged(path, &expected, &format!("{got_buckets} of {got_payload:?}")));
        }
        Ok(Self { path: path.to_owned(), footer })
    }

    pub(crate) fn summary(&self) -> &Summary {
        &self.footer.summary
    }

    /// Calls a function with every row, run after run.
    pub(crate) fn visit_rows(&self, visit: &mut dyn FnMut(&DocumentRow)) -> Result<(), Error> {
        const AT_ONCE: u64 = 1 << 14;
        let mut file = self.file()?;
        for run in &self.footer.runs {
            let mut hash = Xxh3::new();
            for first in (0..run.documents).step_by(1 << 14) {
                let count = AT_ONCE.min(run.documents - first);
                let offset = run.rows_offset + first * ROW_BYTES;
                let bytes = read_at(&mut file, &self.path, offset, count * ROW_BYTES)?;
                hash.update(&bytes);
                bytes.as_chunks().0.iter().map(DocumentRow::from_bytes).for_each(|row| visit(&row));
            }
            if hash.digest() != run.rows_hash {
                return Err(damaged(&self.path, "rows with their hash", "others"));
            }
        }
        Ok(())
    }

    /// Calls a function with every document's row and sketch and the place of its ids, run after run. `buckets` is the
    /// number of buckets.
    pub(crate) fn visit_sketches(
        &self,
        buckets: u64,
        visit: &mut dyn FnMut(&DocumentRow, &PlacedSketch, IdsPlace) -> Result<(), Error>,
    ) -> Result<(), Error> {
        const AT_ONCE: u64 = 1 << 12;
        let payload = self.summary().payload;
        let mut file = self.file()?;
        for SpillRange { run, entries, .. } in self.stretches(0, buckets)? {
            let (mut rows_hash, mut sketches_hash) = (Xxh3::new(), Xxh3::new());
            let mut entries = entries.iter().peekable();
            let mut offset = run.payload_offset;
            let mut document = 0;
            for first in (0..run.documents).step_by(1 << 12) {
                let count = AT_ONCE.min(run.documents - first);
                let at = run.rows_offset + first * ROW_BYTES;
                let rows = read_at(&mut file, &self.path, at, count * ROW_BYTES)?;
                let at = run.sketches_offset + first * SKETCH_BYTES;
                let sketches = read_at(&mut file, &self.path, at, count * SKETCH_BYTES)?;
                rows_hash.update(&rows);
                sketches_hash.update(&sketches);
                for (row, placed) in rows.as_chunks().0.iter().zip(sketches.as_chunks().0) {
                    while let Some(entry) = entries.next_if(|entry| entry.documents <= document) {
                        offset = run.payload_offset
                            + entry.tokens * payload.token_bytes()
                            + entry.own_id_bytes;
                    }
                    let row = DocumentRow::from_bytes(row);
                    let ids = IdsPlace { offset, len_tokens: row.len_tokens };
                    visit(&row, &PlacedSketch::from_bytes(placed), ids)?;
                    offset += u64::from(row.len_tokens) * payload.id_bytes;
                    document += 1;
                }
            }
            if rows_hash.digest() != run.rows_hash || sketches_hash.digest() != run.sketches_hash {
                return Err(damaged(&self.path, "rows and sketches with their hashes", "others"));
            }
        }
        Ok(())
    }

    /// Reads the ids of a document.
    pub(crate) fn ids(&self, place: IdsPlace) -> Result<Vec<u32>, Error> {
        let id_bytes = self.summary().payload.id_bytes;
        let len = u64::from(place.len_tokens) * id_bytes;
        let bytes = read_at(&mut self.file()?, &self.path, place.offset, len)?;
        let width = usize::try_from(id_bytes).unwrap_or(1);
        Ok(bytes.chunks_exact(width).map(|id| u32::from_le_bytes(array(id))).collect())
    }

    /// Returns the index of buckets `first` to before `end` in each run.
    pub(crate) fn stretches(&self, first: u64, end: u64) -> Result<Vec<SpillRange<'_>>, Error> {
        let mut file = self.file()?;
        let stretch = |run: &SpillRunPlace| {
            let offset = run.index_offset + first * ENTRY_BYTES;
            let bytes = read_at(&mut file, &self.path, offset, (end - first + 1) * ENTRY_BYTES)?;
            let entry = |bytes: &[u8; 32]| BucketEntry {
                documents: u64::from_le_bytes(array(bytes)),
                tokens: u64::from_le_bytes(array(&bytes[8..])),
                own_id_bytes: u64::from_le_bytes(array(&bytes[16..])),
                hash: u64::from_le_bytes(array(&bytes[24..])),
            };
            let entries: Vec<BucketEntry> = bytes.as_chunks().0.iter().map(entry).collect();
            let ordered = |left: &BucketEntry, right: &BucketEntry| {
                left.documents <= right.documents
                    && left.tokens <= right.tokens
                    && left.own_id_bytes <= right.own_id_bytes
            };
            let within = entries.last().is_none_or(|last| {
                last.documents <= run.documents
                    && last.tokens <= run.tokens
                    && last.own_id_bytes <= run.own_id_bytes
            });
            if !within || !entries.is_sorted_by(ordered) {
                return Err(damaged(&self.path, "buckets in order, within their run", "others"));
            }
            Ok(SpillRange { spill: self, run: *run, entries })
        };
        self.footer.runs.iter().map(stretch).collect()
    }

    fn file(&self) -> Result<File, Error> {
        File::open(&self.path).map_err(Error::io("open", &self.path))
    }
}

impl SpillRange<'_> {
    /// Returns the memory of bucket `idx` of the stretch once it is loaded.
    pub(crate) fn cost_bytes(&self, idx: usize) -> u64 {
        const ENTRY_IN_MEMORY: u64 = 160;
        const SKETCH_IN_MEMORY: u64 = 296;
        let Some([now, next]) = self.entries.get(idx..).and_then(|rest| rest.first_chunk()) else {
            return 0;
        };
        let tokens = (next.tokens - now.tokens) * self.spill.summary().payload.token_bytes();
        let sketch = if self.spill.summary().payload.sketches { SKETCH_IN_MEMORY } else { 0 };
        tokens + next.own_id_bytes - now.own_id_bytes
            + (next.documents - now.documents) * (ENTRY_IN_MEMORY + sketch)
    }

    /// Reads buckets `from` to before `end` of the stretch.
    pub(crate) fn load(&self, from: usize, end: usize) -> Result<LoadedBuckets, Error> {
        let entries = self.entries.get(from..=end).unwrap_or_default();
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(LoadedBuckets::default());
        };
        if first.documents == last.documents {
            return Ok(LoadedBuckets::default());
        }
        let (path, token_bytes) = (&self.spill.path, self.spill.summary().payload.token_bytes());
        let payload_at = |entry: &BucketEntry| entry.tokens * token_bytes + entry.own_id_bytes;
        let mut file = self.spill.file()?;
        let documents = last.documents - first.documents;
        let offset = self.run.rows_offset + first.documents * ROW_BYTES;
        let rows = read_at(&mut file, path, offset, documents * ROW_BYTES)?;
        let sketch_bytes = if self.spill.summary().payload.sketches { SKETCH_BYTES } else { 0 };
        let offset = self.run.sketches_offset + first.documents * sketch_bytes;
        let sketches = read_at(&mut file, path, offset, documents * sketch_bytes)?;
        let offset = self.run.payload_offset + payload_at(first);
        let payload = read_at(&mut file, path, offset, payload_at(last) - payload_at(first))?;
        let (mut rows, mut sketches) = (rows.as_slice(), sketches.as_slice());
        let (mut segments, mut start) = (Vec::new(), 0_usize);
        for bucket in entries.windows(2) {
            let [now, next] = bucket else { continue };
            let rows = take(&mut rows, (next.documents - now.documents) * ROW_BYTES);
            let sketches = take(&mut sketches, (next.documents - now.documents) * sketch_bytes);
            let len = usize::try_from(payload_at(next) - payload_at(now)).unwrap_or(usize::MAX);
            let range = start..payload.len().min(start.saturating_add(len));
            start = range.end;
            if rows.is_empty() {
                continue;
            }
            let mut hash = Xxh3::new();
            hash.update(rows);
            hash.update(sketches);
            hash.update(payload.get(range.clone()).unwrap_or_default());
            if hash.digest() != now.hash || now.hash == EMPTY_HASH {
                return Err(damaged(path, "a bucket with its hash", "another"));
            }
            let rows = rows.as_chunks().0.iter().map(DocumentRow::from_bytes).collect();
            let sketches = sketches.as_chunks().0.iter().map(PlacedSketch::from_bytes).collect();
            segments.push(BucketSegment { rows, sketches, payload: range });
        }
        Ok(LoadedBuckets { payload, segments })
    }
}

pub(crate) fn damaged(path: &Path, expected: &str, got: &str) -> Error {
    let path = path.to_owned();
    Error::DamagedWork { path, expected: expected.to_owned(), got: got.to_owned() }
}

/// Reads `len` bytes from `offset`.
fn read_at(file: &mut File, path: &Path, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
    let have = file.metadata().map_err(Error::io("read", path))?.len();
    // The check precedes any allocation.
    if offset.checked_add(len).is_none_or(|end| end > have) {
        return Err(damaged(path, &format!("{len} bytes at {offset}"), &format!("{have} in all")));
    }
    file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(len).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if as_u64(bytes.len()) < len {
        return Err(damaged(path, &format!("{len} bytes at {offset}"), &bytes.len().to_string()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use mixdown_documents::Place;
    use mixdown_similarity::Sketch;

    use super::*;
    use crate::encode::EncodedChunk;
    use crate::plan::order::Order;
    use crate::prepare::options::Shuffle;
    use crate::spill::SpillWriter;

    const ORDER: Order = Order { shuffle: Shuffle::Global, seed: 0, bucket_bits: 2 };
    const PAYLOAD: Payload = Payload { id_bytes: 2, masks: true, own_ids: true, sketches: true };

    fn chunk(first: u32) -> EncodedChunk {
        let mut chunk = EncodedChunk::default();
        for index in (first..first + 7).rev() {
            // Buckets 0, 1 and 3.
            let key = u128::from([0_u32, 1, 3][usize::try_from(index % 3).unwrap()]) << 126;
            chunk.rows.push(DocumentRow {
                key: key + u128::from(index),
                hash: u64::from(index) * 11,
                side: 3,
                text_bytes: 5,
                len_tokens: index + 1,
            });
            chunk.sketches.push(PlacedSketch {
                place: Place { input: index, offset: u64::from(index) * 7 },
                sketch: Sketch::of_hash(u64::from(index)),
            });
            let tokens = usize::try_from(index + 1).unwrap();
            chunk
                .ids
                .extend(std::iter::repeat_n([u8::try_from(index).unwrap(), 0], tokens).flatten());
            chunk.masks.extend(std::iter::repeat_n(u8::try_from(index % 2).unwrap(), tokens));
            chunk.own_ids.extend(format!("\"{index}\"\n").bytes());
        }
        chunk
    }

    fn sample(path: &Path) -> Spill {
        let mut writer = SpillWriter::create(path, ORDER, PAYLOAD).unwrap();
        writer.write_run(&[chunk(0), chunk(7)]).unwrap();
        writer.write_run(&[chunk(14)]).unwrap();
        let summary = Summary { buckets: 4, payload: PAYLOAD, ..Summary::default() };
        writer.finish(&summary).unwrap();
        Spill::open(path, 4, PAYLOAD).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let spill = sample(&folder.path().join("part"));
        let mut hashes = Vec::new();
        spill.visit_rows(&mut |row| hashes.push(row.hash / 11)).unwrap();
        let first: Vec<u64> = [0, 3, 6, 9, 12, 1, 4, 7, 10, 13, 2, 5, 8, 11].to_vec();
        assert_eq!(hashes, [first, vec![15, 18, 16, 19, 14, 17, 20]].concat());
        let stretches = spill.stretches(1, 4).unwrap();
        assert_eq!(stretches.len(), 2);
        let starts: Vec<u64> = stretches[0].entries.iter().map(|entry| entry.documents).collect();
        assert_eq!(starts, [5, 10, 10, 14]);
        let tokens: Vec<u64> = stretches[0].entries.iter().map(|entry| entry.tokens).collect();
        assert_eq!(tokens[1] - tokens[0], 2 + 5 + 8 + 11 + 14);
        assert!(stretches[0].cost_bytes(0) > 120 && stretches[0].cost_bytes(1) == 0);
        let mut seen = Vec::new();
        spill
            .visit_sketches(4, &mut |row, placed, ids| {
                assert_eq!(placed.sketch, Sketch::of_hash(row.hash / 11));
                assert_eq!(u64::from(placed.place.input), row.hash / 11);
                seen.push((row.hash / 11, ids));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), hashes);
        for (number, place) in seen {
            let number = u32::try_from(number).unwrap();
            let tokens = usize::try_from(number).unwrap() + 1;
            assert_eq!(spill.ids(place).unwrap(), vec![number; tokens]);
        }
        let LoadedBuckets { payload, segments } = stretches[1].load(0, 3).unwrap();
        assert_eq!(segments.len(), 2);
        let numbers = |segment: &BucketSegment| -> Vec<u64> {
            segment.rows.iter().map(|row| row.hash / 11).collect()
        };
        assert_eq!(numbers(&segments[0]), [16, 19]);
        assert_eq!(numbers(&segments[1]), [14, 17, 20]);
        assert_eq!(segments[1].sketches[2].sketch, Sketch::of_hash(20));
        let expected = [
            [16_u8, 0].repeat(17),
            [19_u8, 0].repeat(20),
            [0].repeat(17),
            [1].repeat(20),
            b"\"16\"\n\"19\"\n".to_vec(),
        ];
        assert_eq!(payload[segments[0].payload.clone()], expected.concat());
        assert!(stretches[1].load(1, 2).unwrap().segments.is_empty());
    }

    /// Every lost or changed byte is detected before the documents reach a shard.
    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        sample(&path);
        let whole = std::fs::read(&path).unwrap();
        let read_all = || -> Result<(), Error> {
            let spill = Spill::open(&path, 4, PAYLOAD)?;
            for stretch in spill.stretches(0, 4)? {
                stretch.load(0, 4)?;
            }
            Ok(())
        };
        read_all().unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let error = read_all().err().unwrap();
            assert!(matches!(error, Error::DamagedWork { .. }), "{len} bytes: {error}");
        }
        let last_entries = whole.len() - usize::try_from(TRAILER_BYTES).unwrap();
        let mut unnoticed = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            match read_all() {
                Err(error) => assert!(matches!(error, Error::DamagedWork { .. }), "{at}: {error}"),
                // The hashes of empty buckets and of the index' last entry have no meaning.
                Ok(()) => unnoticed += 1,
            }
        }
        assert!(unnoticed <= 2 * 2 * 8 + 8, "{unnoticed} of {last_entries}");
        std::fs::write(&path, &whole).unwrap();
        assert!(Spill::open(&path, 8, PAYLOAD).is_err());
        assert!(Spill::open(&path, 4, Payload { id_bytes: 4, ..PAYLOAD }).is_err());
    }
}
