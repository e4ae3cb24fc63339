//! One tokenized and sorted part, on its way to the shards.
//!
//! ```text
//! sorted runs, one after another; each is
//!   rows, by bucket and key                 documents × 44 bytes
//!   where near-duplicates are searched for, in the rows' order: place and sketch
//!                                           documents × 140 bytes
//!   payload, bucket after bucket: ids of its documents in the rows' order, then their mask bytes
//!   where there are labels, then their own ids (a line of JSON each) where they are kept
//!   index: for bucket b = 0..=S what is before it: documents, tokens, bytes of own ids, and
//!   XXH3 of its rows, sketches and payload (0 for b = S)    (S + 1) × 4 × u64
//! footer                                    JSON: what the part held, and where the runs are
//! offset, length and XXH3 of the footer, "MIXSPIL3"    4 × 8 bytes
//! ```
//! All numbers are little endian. Most parts are one run; a part whose ids exceed the memory limit has several. The
//! file gets its name when it is complete, but it is not flushed to disk: a hash covers every byte, and a part that a
//! power cut damaged is made again.

pub(crate) mod bucket;
pub(crate) mod part;
pub(crate) mod reader;
pub(crate) mod work_file;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use mixdown_base::files::NewFile;
use mixdown_documents::Place;
use mixdown_shards::DocumentBytes;
use mixdown_similarity::Sketch;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::encode::EncodedChunk;
use crate::error::Error;
use crate::plan::order::Order;

pub(crate) const MAGIC: &[u8; 8] = b"MIXSPIL3";
pub(crate) const ROW_BYTES: u64 = 44;
pub(crate) const SKETCH_BYTES: u64 = 140;
pub(crate) const ENTRY_BYTES: u64 = 32;
pub(crate) const TRAILER_BYTES: u64 = 32;

/// The row of a tokenized document, without its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DocumentRow {
    pub(crate) key: u128,
    /// The hash of the text.
    pub(crate) hash: u64,
    /// The hash that decides the document's side.
    pub(crate) side: u64,
    pub(crate) text_bytes: u64,
    /// The length in tokens, with prefix and end-of-text.
    pub(crate) len_tokens: u32,
}

impl DocumentRow {
    pub(crate) fn to_bytes(self) -> [u8; 44] {
        let mut bytes = [0; 44];
        let (key, rest) = bytes.split_at_mut(16);
        let (hash, rest) = rest.split_at_mut(8);
        let (side, rest) = rest.split_at_mut(8);
        let (text_bytes, len_tokens) = rest.split_at_mut(8);
        key.copy_from_slice(&self.key.to_le_bytes());
        hash.copy_from_slice(&self.hash.to_le_bytes());
        side.copy_from_slice(&self.side.to_le_bytes());
        text_bytes.copy_from_slice(&self.text_bytes.to_le_bytes());
        len_tokens.copy_from_slice(&self.len_tokens.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; 44]) -> Self {
        let (key, rest) = bytes.split_at(16);
        let (hash, rest) = rest.split_at(8);
        let (side, rest) = rest.split_at(8);
        let (text_bytes, len_tokens) = rest.split_at(8);
        Self {
            key: u128::from_le_bytes(array(key)),
            hash: u64::from_le_bytes(array(hash)),
            side: u64::from_le_bytes(array(side)),
            text_bytes: u64::from_le_bytes(array(text_bytes)),
            len_tokens: u32::from_le_bytes(array(len_tokens)),
        }
    }
}

/// The sketch of a document, and the place of the document in the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlacedSketch {
    pub(crate) place: Place,
    pub(crate) sketch: Sketch,
}

impl PlacedSketch {
    pub(crate) fn to_bytes(self) -> [u8; 140] {
        let mut bytes = [0; 140];
        let (input, rest) = bytes.split_at_mut(4);
        let (offset, sketch) = rest.split_at_mut(8);
        input.copy_from_slice(&self.place.input.to_le_bytes());
        offset.copy_from_slice(&self.place.offset.to_le_bytes());
        sketch.copy_from_slice(self.sketch.as_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; 140]) -> Self {
        let (input, rest) = bytes.split_at(4);
        let (offset, sketch) = rest.split_at(8);
        let input = u32::from_le_bytes(array(input));
        let offset = u64::from_le_bytes(array(offset));
        Self { place: Place { input, offset }, sketch: Sketch::from_bytes(array(sketch)) }
    }
}

/// Returns the first `N` bytes, filled with zeros if there are fewer.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

/// The data of a document in addition to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Payload {
    /// Bytes per id.
    pub(crate) id_bytes: u64,
    /// Whether there is a mask byte for each id.
    pub(crate) masks: bool,
    /// Whether documents keep their own ids.
    pub(crate) own_ids: bool,
    /// Whether documents have sketches.
    #[serde(default)]
    pub(crate) sketches: bool,
}

impl Payload {
    /// Returns the bytes of a token: its id, and its mask byte if there is one.
    pub(crate) fn token_bytes(self) -> u64 {
        self.id_bytes + u64::from(self.masks)
    }
}

/// The contents of a part other than its documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) buckets: u64,
    pub(crate) payload: Payload,
    pub(crate) documents: u64,
    pub(crate) tokens: u64,
    /// Bytes on disk that were read for it.
    pub(crate) consumed_bytes: u64,
    pub(crate) bad_records: u64,
    pub(crate) empty_documents: u64,
    pub(crate) short_documents: u64,
    pub(crate) special_text_documents: u64,
    pub(crate) untargeted_documents: u64,
    pub(crate) too_long_documents: u64,
    /// Input indices with the documents that came from each.
    pub(crate) documents_by_input: Vec<(u32, u64)>,
}

impl Summary {
    /// Adds the contents of another part.
    pub(crate) fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.tokens += other.tokens;
        self.consumed_bytes += other.consumed_bytes;
        self.bad_records += other.bad_records;
        self.empty_documents += other.empty_documents;
        self.short_documents += other.short_documents;
        self.special_text_documents += other.special_text_documents;
        self.untargeted_documents += other.untargeted_documents;
        self.too_long_documents += other.too_long_documents;
        for &(input, documents) in &other.documents_by_input {
            self.add_documents(input, documents);
        }
    }

    /// Adds to the count of an input's documents.
    pub(crate) fn add_documents(&mut self, input: u32, documents: u64) {
        match self.documents_by_input.binary_search_by_key(&input, |(input, _)| *input) {
            Ok(at) => self.documents_by_input[at].1 += documents,
            Err(at) => self.documents_by_input.insert(at, (input, documents)),
        }
    }
}

/// The position of a sorted run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpillRunPlace {
    pub(crate) documents: u64,
    pub(crate) tokens: u64,
    pub(crate) own_id_bytes: u64,
    pub(crate) rows_offset: u64,
    pub(crate) sketches_offset: u64,
    pub(crate) payload_offset: u64,
    pub(crate) index_offset: u64,
    /// The XXH3 hash of all rows.
    pub(crate) rows_hash: u64,
    /// The XXH3 hash of all sketches.
    pub(crate) sketches_hash: u64,
}

/// The footer of a spill file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footer {
    pub(crate) summary: Summary,
    pub(crate) runs: Vec<SpillRunPlace>,
}

/// A document of a chunk, with its data.
#[derive(Clone, Copy)]
pub(crate) struct Item<'c> {
    pub(crate) row: &'c DocumentRow,
    ids: &'c [u8],
    mask: &'c [u8],
    /// Includes its newline.
    own_id: &'c [u8],
    sketch: Option<&'c PlacedSketch>,
}

impl<'c> Item<'c> {
    /// Returns the document in the form that a shard takes.
    pub(crate) fn document(&self, payload: Payload) -> DocumentBytes<'c> {
        let own_id = self.own_id.strip_suffix(b"\n").unwrap_or(self.own_id);
        DocumentBytes {
            ids: self.ids,
            text_bytes: self.row.text_bytes,
            hash: self.row.hash,
            mask: payload.masks.then_some(self.mask),
            own_id: payload.own_ids.then_some(own_id),
            sketch: self.sketch.map(|placed| placed.sketch),
        }
    }
}

/// Returns the documents of these chunks sorted by their keys.
pub(crate) fn sorted_items(chunks: &[EncodedChunk], payload: Payload) -> Vec<Item<'_>> {
    let items: Vec<Item<'_>> = chunks.iter().flat_map(|chunk| items(chunk, payload)).collect();
    // Sorting includes each number: if two keys were ever equal, the order of arrival decides.
    let mut order: Vec<(u128, usize)> =
        items.iter().enumerate().map(|(number, item)| (item.row.key, number)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, number)| items[number]).collect()
}

fn items(chunk: &EncodedChunk, payload: Payload) -> impl Iterator<Item = Item<'_>> {
    let Payload { id_bytes, masks, .. } = payload;
    let (mut ids, mut mask) = (chunk.ids.as_slice(), chunk.masks.as_slice());
    let mut own_ids = chunk.own_ids.split_inclusive(|&byte| byte == b'\n');
    let mut sketches = chunk.sketches.iter();
    chunk.rows.iter().map(move |row| {
        let tokens = u64::from(row.len_tokens);
        let own_mask = if masks { tokens } else { 0 };
        Item {
            row,
            ids: take(&mut ids, tokens * id_bytes),
            mask: take(&mut mask, own_mask),
            own_id: own_ids.next().unwrap_or_default(),
            sketch: sketches.next(),
        }
    })
}

/// A spill file that is being written, under a unique name; dropping it removes the file.
pub(crate) struct SpillWriter {
    path: PathBuf,
    out: BufWriter<NewFile>,
    offset: u64,
    order: Order,
    payload: Payload,
    runs: Vec<SpillRunPlace>,
}

impl SpillWriter {
    pub(crate) fn create(path: &Path, order: Order, payload: Payload) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::with_capacity(1 << 18, NewFile::create(path)?),
            offset: 0,
            order,
            payload,
            runs: Vec::new(),
        })
    }

    /// Sorts the documents of these chunks and appends them as a run.
    pub(crate) fn write_run(&mut self, chunks: &[EncodedChunk]) -> Result<(), Error> {
        let written = self.write_sorted(&sorted_items(chunks, self.payload));
        written.map_err(Error::io("write", &self.path))
    }

    fn write_sorted(&mut self, items: &[Item<'_>]) -> io::Result<()> {
        let rows_offset = self.offset;
        let mut rows_hash = Xxh3::new();
        for item in items {
            let row = item.row.to_bytes();
            rows_hash.update(&row);
            self.put(&row)?;
        }
        let sketches_offset = self.offset;
        let mut sketches_hash = Xxh3::new();
        for placed in items.iter().filter_map(|item| item.sketch) {
            let placed = placed.to_bytes();
            sketches_hash.update(&placed);
            self.put(&placed)?;
        }
        let payload_offset = self.offset;
        let mut index = Vec::new();
        let mut before = [0_u64; 3];
        let mut rest = items;
        for bucket in 0..self.order.buckets() {
            let of_bucket = |item: &Item<'_>| self.order.bucket(item.row.key) <= bucket;
            let (now, later) =
                rest.split_at(rest.iter().take_while(|item| of_bucket(item)).count());
            rest = later;
            let hash = self.put_payload(now)?;
            index.extend(before.into_iter().chain([hash]).flat_map(u64::to_le_bytes));
            before[0] += as_u64(now.len());
            for item in now {
                before[1] += u64::from(item.row.len_tokens);
                before[2] += as_u64(item.own_id.len());
            }
        }
        let index_offset = self.offset;
        index.extend(before.into_iter().chain([0]).flat_map(u64::to_le_bytes));
        self.put(&index)?;
        let [documents, tokens, own_id_bytes] = before;
        let (rows_hash, sketches_hash) = (rows_hash.digest(), sketches_hash.digest());
        self.runs.push(SpillRunPlace {
            documents,
            tokens,
            own_id_bytes,
            rows_offset,
            sketches_offset,
            payload_offset,
            index_offset,
            rows_hash,
            sketches_hash,
        });
        Ok(())
    }

    /// Writes the payload of one bucket and returns the hash of its rows, sketches and payload.
    fn put_payload(&mut self, items: &[Item<'_>]) -> io::Result<u64> {
        if items.is_empty() {
            return Ok(EMPTY_HASH);
        }
        let mut hash = Xxh3::new();
        for item in items {
            hash.update(&item.row.to_bytes());
        }
        for placed in items.iter().filter_map(|item| item.sketch) {
            hash.update(&placed.to_bytes());
        }
        let parts: [for<'c> fn(&Item<'c>) -> &'c [u8]; 3] = [ids_of, mask_of, own_id_of];
        for part in parts {
            for item in items {
                let bytes = part(item);
                hash.update(bytes);
                self.put(bytes)?;
            }
        }
        Ok(hash.digest())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offset += as_u64(bytes.len());
        self.out.write_all(bytes)
    }

    /// Completes the file and gives it its name.
    pub(crate) fn finish(mut self, summary: &Summary) -> Result<(), Error> {
        let footer = Footer { summary: summary.clone(), runs: std::mem::take(&mut self.runs) };
        let json = serde_json::to_vec(&footer).map_err(io::Error::from);
        let ended = json.and_then(|json| {
            let numbers = [self.offset, as_u64(json.len()), xxh3_64(&json)];
            self.put(&json)?;
            numbers.into_iter().try_for_each(|number| self.put(&number.to_le_bytes()))?;
            self.put(MAGIC)?;
            self.out.flush()
        });
        ended.map_err(Error::io("write", &self.path))?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error);
        Ok(file.map_err(Error::io("write", &self.path))?.rename()?)
    }
}

/// The hash of a bucket without documents.
pub(crate) const EMPTY_HASH: u64 = 0;

fn ids_of<'c>(item: &Item<'c>) -> &'c [u8] {
    item.ids
}

fn mask_of<'c>(item: &Item<'c>) -> &'c [u8] {
    item.mask
}

fn own_id_of<'c>(item: &Item<'c>) -> &'c [u8] {
    item.own_id
}

/// Removes bytes from the front and returns them.
pub(crate) fn take<'b>(bytes: &mut &'b [u8], len: u64) -> &'b [u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
    let (now, later) = bytes.split_at(len);
    *bytes = later;
    now
}

pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
