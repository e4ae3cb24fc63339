//! Documents that repeat an earlier training document, in the order of the inputs.
//!
//! The training documents are listed on disk in that order. Equal texts are found by their hashes, similar ones among
//! the rest by clusters of their sketches.

use std::io::{BufWriter, Write};

use mixdown_base::files::NewFile;
use mixdown_documents::Place;
use mixdown_shards::{PositionedFile, Split as Side};
use mixdown_similarity::{Clusters, Shingles, Sketch, SketchStore};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::near_duplicates::{SketchedDocuments, TextPlace};
use crate::plan::placement::Placement;
use crate::prepare::options::Deduplication;
use crate::prepare::work_folder::WorkFolder;
use crate::spill::reader::IdsPlace;
use crate::spill::{PlacedSketch, SKETCH_BYTES, array, as_u64};

/// Bytes of a listed document: its sketch with its place, its key, the hash of its text, and where its ids are.
const LISTED_BYTES: u64 = SKETCH_BYTES + 16 + 8 + 8 + 4 + 4;

/// The memory for hashes of texts or bands.
const HASH_MEMORY: u64 = 128 << 20;

/// The number of largest clusters that are recorded.
const NAMED: usize = 10;

/// What deduplication found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Repeated {
    /// The keys of the documents that are left out, sorted.
    #[serde(skip)]
    pub(crate) keys: Vec<u128>,
    /// Clusters of two or more documents.
    pub(crate) clusters: u64,
    /// The largest clusters: the number of documents, and where the first one is.
    pub(crate) largest: Vec<(u64, Place)>,
}

/// A listed document.
struct Listed {
    placed: PlacedSketch,
    key: u128,
    hash: u64,
    text: TextPlace,
}

/// The list of the training documents on disk.
struct List<'w> {
    documents: SketchedDocuments<'w>,
    file: PositionedFile,
    len: u32,
    /// The numbers of the documents that are compared, in order; `None` for all.
    compared: Option<Vec<u32>>,
}

/// Finds the documents of training that repeat an earlier one.
pub(crate) fn repeated(
    documents: SketchedDocuments<'_>,
    folder: &WorkFolder,
    placement: &Placement,
    deduplication: Deduplication,
    threshold: f64,
) -> Result<Repeated, Error> {
    // The file has no name that another task could take, and is removed at the end.
    let mut written = NewFile::create(&folder.listed())?;
    let len = write_list(&documents, &mut written, placement)?;
    let file = PositionedFile::open(written.temporary_path())?;
    let mut list = List { documents, file, len, compared: None };
    let mut firsts = list.equal()?;
    if deduplication == Deduplication::Near {
        let compared: Vec<u32> = (0..len)
            .zip(&firsts)
            .filter(|&(number, &first)| number == first)
            .map(|(number, _)| number)
            .collect();
        list.compared = Some(compared);
        let clusters = Clusters::find(&list, threshold, documents.threads, HASH_MEMORY)?;
        let compared = list.compared.take().unwrap_or_default();
        let mut near: Vec<u32> = (0..len).collect();
        for (&number, at) in compared.iter().zip(0..) {
            let first = usize::try_from(clusters.first(at)).unwrap_or(usize::MAX);
            if let (Some(near), Some(&first)) = (near.get_mut(index(number)), compared.get(first)) {
                *near = first;
            }
        }
        for first in &mut firsts {
            *first = near.get(index(*first)).copied().unwrap_or(*first);
        }
    }
    list.found(&firsts)
}

/// Lists the training documents in the order of the inputs and returns their number.
fn write_list(
    documents: &SketchedDocuments<'_>,
    file: &mut NewFile,
    placement: &Placement,
) -> Result<u32, Error> {
    let path = file.path().to_owned();
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut len = 0_u64;
    for number in 0..documents.buckets.spills.len() {
        let mut listed = documents.visit_one(number, |row, probe| {
            (placement.side(row) == Some(Side::Train)).then_some(Listed {
                placed: PlacedSketch { place: probe.place, sketch: probe.sketch },
                key: row.key,
                hash: row.hash,
                text: probe.text,
            })
        })?;
        listed.sort_unstable_by_key(|one| one.placed.place);
        len += as_u64(listed.len());
        for one in &listed {
            out.write_all(&one.to_bytes()).map_err(Error::io("write", &path))?;
        }
    }
    out.flush().map_err(Error::io("write", &path))?;
    drop(out);
    u32::try_from(len).map_err(|_| Error::Option {
        option: "dedup",
        expected: "at most 4,294,967,295 training documents",
        got: len.to_string(),
    })
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Listed {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.placed.to_bytes().to_vec();
        bytes.extend(self.key.to_le_bytes());
        bytes.extend(self.hash.to_le_bytes());
        bytes.extend(self.text.ids.offset.to_le_bytes());
        bytes.extend(self.text.ids.len_tokens.to_le_bytes());
        bytes.extend(u32::try_from(self.text.spill).unwrap_or(u32::MAX).to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let mut next = |len: usize| rest.split_off(..len).unwrap_or_default();
        let placed = PlacedSketch::from_bytes(&array(next(140)));
        let key = u128::from_le_bytes(array(next(16)));
        let hash = u64::from_le_bytes(array(next(8)));
        let offset = u64::from_le_bytes(array(next(8)));
        let len_tokens = u32::from_le_bytes(array(next(4)));
        let spill = index(u32::from_le_bytes(array(next(4))));
        Self { placed, key, hash, text: TextPlace { spill, ids: IdsPlace { offset, len_tokens } } }
    }
}

impl List<'_> {
    /// Calls a function with every document and its number.
    fn each(&self, mut visit: impl FnMut(u32, Listed)) -> Result<(), Error> {
        const AT_ONCE: u32 = 4096;
        let mut first = 0;
        while first < self.len {
            let count = AT_ONCE.min(self.len - first);
            let bytes = self.bytes(first, count)?;
            let len = usize::try_from(LISTED_BYTES).unwrap_or(1);
            for (number, bytes) in (first..).zip(bytes.chunks_exact(len)) {
                visit(number, Listed::from_bytes(bytes));
            }
            first += count;
            if self.documents.observer.is_stopped() {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    fn bytes(&self, first: u32, count: u32) -> Result<Vec<u8>, Error> {
        let len = usize::try_from(u64::from(count) * LISTED_BYTES).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        self.file.read(u64::from(first) * LISTED_BYTES, &mut bytes)?;
        Ok(bytes)
    }

    fn get(&self, number: u32) -> Result<Listed, Error> {
        let bytes = self.bytes(number, 1)?;
        Ok(Listed::from_bytes(&bytes))
    }

    /// Returns, for each document, the first one of an equal text. Memory: 4 bytes per document, and hashes of as many
    /// as fit in the limit.
    fn equal(&self) -> Result<Vec<u32>, Error> {
        let mut firsts: Vec<u32> = (0..self.len).collect();
        let ranges = (u64::from(self.len) * 16).div_ceil(HASH_MEMORY).max(1);
        for range in 0..ranges {
            let mut hashes = Vec::new();
            self.each(|number, one| {
                if one.hash % ranges == range {
                    hashes.push((one.hash, number));
                }
            })?;
            hashes.sort_unstable();
            for equal in hashes.chunk_by(|one, other| one.0 == other.0) {
                let Some(&(_, first)) = equal.first() else { continue };
                for &(_, number) in equal {
                    if let Some(place) = firsts.get_mut(index(number)) {
                        *place = first;
                    }
                }
            }
        }
        Ok(firsts)
    }

    /// Returns the keys of the documents that are not the first of their cluster, and the largest clusters.
    fn found(&self, firsts: &[u32]) -> Result<Repeated, Error> {
        let mut sizes = vec![0_u32; firsts.len()];
        for &first in firsts {
            if let Some(size) = sizes.get_mut(index(first)) {
                *size += 1;
            }
        }
        let mut found = Repeated::default();
        let mut largest: Vec<(u32, u32)> = Vec::new();
        for (number, &size) in (0..).zip(&sizes).filter(|&(_, &size)| size > 1) {
            found.clusters += 1;
            let place = largest.partition_point(|&(other, _)| other >= size);
            if place < NAMED {
                largest.insert(place, (size, number));
                largest.truncate(NAMED);
            }
        }
        for (size, first) in largest {
            found.largest.push((u64::from(size), self.get(first)?.placed.place));
        }
        self.each(|number, one| {
            if firsts.get(index(number)).is_some_and(|&first| first != number) {
                found.keys.push(one.key);
            }
        })?;
        found.keys.sort_unstable();
        Ok(found)
    }

    fn number(&self, at: u32) -> u32 {
        match &self.compared {
            Some(compared) => compared.get(index(at)).copied().unwrap_or(u32::MAX),
            None => at,
        }
    }
}

impl SketchStore for List<'_> {
    type Error = Error;

    fn len(&self) -> u32 {
        self.compared
            .as_ref()
            .map_or(self.len, |compared| u32::try_from(compared.len()).unwrap_or(u32::MAX))
    }

    fn read(&self, first: u32, count: u32, sketches: &mut Vec<Sketch>) -> Result<(), Error> {
        sketches.clear();
        if self.documents.observer.is_stopped() {
            return Err(Error::Interrupted);
        }
        let count = count.min(self.len().saturating_sub(first));
        let Some(last) = count.checked_sub(1).map(|more| self.number(first + more)) else {
            return Ok(());
        };
        let from = self.number(first);
        // What is not compared is read over.
        let bytes = self.bytes(from, last - from + 1)?;
        let len = usize::try_from(LISTED_BYTES).unwrap_or(1);
        for at in first..first + count {
            let start = index(self.number(at) - from) * len;
            // The sketch comes after the place.
            let sketch = bytes.get(start + 12..start + 140).unwrap_or_default();
            sketches.push(Sketch::from_bytes(array(sketch)));
        }
        Ok(())
    }

    fn shingles(&self, number: u32) -> Result<Shingles, Error> {
        self.documents.shingles(self.get(self.number(number))?.text)
    }
}
