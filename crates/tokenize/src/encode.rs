//! The work of every thread: from a chunk of records to rows and ids.

pub(crate) mod fast;
pub(crate) mod label_stage;
pub(crate) mod labels;
#[cfg(test)]
pub(crate) mod labels_golden;
pub(crate) mod pieces;
pub(crate) mod text_hash;

use mixdown_documents::{BadRecord, Chunk, Document, InputList, ReadOptions, USUAL_RECORD_BYTES};
use mixdown_shards::Dtype;
use mixdown_similarity::{Sketch, Sketcher};
use tokenizers::pipeline::PipelineToken;

use crate::encode::fast::{FastEncoder, FastScratch, check_at_once};
use crate::encode::label_stage::LabelStage;
use crate::encode::pieces::{Judge, for_each_piece};
use crate::encode::text_hash::text_hash;
use crate::error::Error;
use crate::plan::holdout::{HELD_OUT, TRAINED_ON};
use crate::plan::order::Order;
use crate::prepare::options::PackOptions;
use crate::prepare::options::SpecialText;
use crate::spill::{DocumentRow, Payload, PlacedSketch, as_u64};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::agreement::Agreement;

/// The maximum number of tokens in a document: a Megatron index counts them in 32 signed bits.
const MAX_DOCUMENT_TOKENS: u64 = (1 << 31) - 1;

/// The settings that all documents share.
pub(crate) struct Encoder<'p> {
    pub(crate) inputs: &'p InputList,
    pub(crate) tokenizer: &'p Tokenizer,
    pub(crate) fast: Option<FastEncoder>,
    pub(crate) read: &'p ReadOptions,
    /// The minimum number of characters; shorter documents are left out.
    pub(crate) min_chars: u64,
    /// The first input whose documents are the holdout, if there are such inputs.
    pub(crate) holdout_from: Option<u32>,
    pub(crate) special_text: SpecialText,
    pub(crate) beginning_of_text: Option<u32>,
    pub(crate) end_of_text: u32,
    pub(crate) dtype: Dtype,
    pub(crate) payload: Payload,
    pub(crate) order: Order,
    /// Set for labeled documents.
    pub(crate) labels: Option<&'p LabelStage>,
    /// The rows that documents must fit, if any.
    pub(crate) pack: Option<PackOptions>,
}

/// The documents of a chunk.
#[derive(Default)]
pub(crate) struct EncodedChunk {
    pub(crate) input: u32,
    pub(crate) rows: Vec<DocumentRow>,
    /// The ids of all rows, in the corpus' width.
    pub(crate) ids: Vec<u8>,
    /// One byte per id, if there are labels.
    pub(crate) masks: Vec<u8>,
    /// One line of JSON per row, if documents keep their own ids.
    pub(crate) own_ids: Vec<u8>,
    /// One for each row, if near-duplicates are searched for.
    pub(crate) sketches: Vec<PlacedSketch>,
    pub(crate) bad_records: Vec<BadRecord>,
    pub(crate) empty_documents: u64,
    pub(crate) short_documents: u64,
    pub(crate) special_text_documents: u64,
    pub(crate) untargeted_documents: u64,
    pub(crate) too_long_documents: u64,
    pub(crate) consumed_bytes: u64,
}

/// Buffers that a thread reuses from chunk to chunk.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) ids: Vec<PipelineToken>,
    /// One byte per id, if there are masks.
    pub(crate) mask: Vec<u8>,
    text: Vec<u8>,
    sketcher: Sketcher,
    fast: Option<FastScratch>,
}

impl Scratch {
    /// Frees the memory that an unusually long document took.
    pub(crate) fn shrink(&mut self) {
        self.ids = Vec::new();
        self.mask = Vec::new();
    }
}

impl Encoder<'_> {
    /// Decodes and tokenizes a chunk's records in order.
    pub(crate) fn encode(
        &self,
        chunk: &Chunk,
        scratch: &mut Scratch,
    ) -> Result<EncodedChunk, Error> {
        let mut encoded = EncodedChunk {
            input: chunk.place.input,
            consumed_bytes: chunk.consumed_bytes,
            ids: Vec::with_capacity(self.likely_id_bytes(chunk)),
            ..EncodedChunk::default()
        };
        let labeler = self.labels.map(|labels| &labels.labeler);
        for record in chunk.labeled_records(self.read, labeler) {
            match record {
                Ok(document) if document.text.is_empty() => encoded.empty_documents += 1,
                Ok(document) if has_fewer_chars(&document.text, self.min_chars) => {
                    encoded.short_documents += 1;
                }
                Ok(document) => self.encode_document(&document, &mut encoded, scratch)?,
                Err(bad) => encoded.bad_records.push(bad),
            }
        }
        Ok(encoded)
    }

    /// Returns the bytes of ids that a chunk's text usually gives: growing to them would copy them and touch fresh
    /// memory several times.
    fn likely_id_bytes(&self, chunk: &Chunk) -> usize {
        const BYTES_OF_A_TOKEN: u64 = 3;
        const MOST: u64 = 1 << 20;
        let bytes = chunk.len_bytes().min(MOST) / BYTES_OF_A_TOKEN * self.dtype.bytes();
        usize::try_from(bytes).unwrap_or(0)
    }

    fn encode_document(
        &self,
        document: &Document,
        encoded: &mut EncodedChunk,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let text = document.text.as_str();
        let encodes = match (self.labels, &document.labels) {
            (Some(stage), Some(labels)) => {
                self.encode_labeled(stage, document, labels, encoded, scratch)?
            }
            _ => self.encode_plain(document, encoded, scratch)?,
        };
        if !encodes || !self.fits_row(document, encoded, scratch)? {
            return Ok(());
        }
        let hash = text_hash(text, &mut scratch.text);
        encoded.rows.push(DocumentRow {
            key: self.order.key(document.place),
            hash,
            side: self.side(document, hash, &mut scratch.text),
            text_bytes: as_u64(text.len()),
            len_tokens: self.checked_len(document, scratch.ids.len())?,
        });
        if self.payload.sketches {
            let sketch = scratch.sketcher.sketch(text).unwrap_or_else(|| Sketch::of_hash(hash));
            encoded.sketches.push(PlacedSketch { place: document.place, sketch });
        }
        let ids = PipelineToken::cast_slice(&scratch.ids);
        let largest = append(ids, self.dtype, &mut encoded.ids);
        self.check_largest(document, largest)?;
        encoded.masks.extend(&scratch.mask);
        if self.payload.own_ids {
            let line = serde_json::to_string(&document.id).map_err(|error| {
                Error::io("keep the id of a document of", &self.path_of(document))(error.into())
            })?;
            encoded.own_ids.extend(line.bytes().chain([b'\n']));
        }
        Ok(())
    }

    /// Replaces the ids by those of a text with its beginning and end; false if there are none.
    fn encode_plain(
        &self,
        document: &Document,
        encoded: &mut EncodedChunk,
        scratch: &mut Scratch,
    ) -> Result<bool, Error> {
        let text = document.text.as_str();
        let ids = &mut scratch.ids;
        ids.clear();
        ids.extend(self.beginning_of_text.map(PipelineToken::from));
        let prefix_len = ids.len();
        // Without a check so far, there may be one.
        let may_spell_special = self.fast.as_ref().is_none_or(|fast| fast.spells_added(text));
        self.encode_text(text, may_spell_special, ids, &mut scratch.fast)
            .map_err(|source| self.encode_error(document, source))?;
        if ids.len() == prefix_len {
            encoded.empty_documents += 1;
            return Ok(false);
        }
        ids.push(PipelineToken::from(self.end_of_text));
        encoded.special_text_documents +=
            u64::from(may_spell_special && self.tokenizer.spells_special(text));
        scratch.mask.clear();
        if self.payload.masks {
            scratch.mask.resize(ids.len(), 1);
        }
        Ok(true)
    }

    /// Appends a text's ids, word by word where possible.
    fn encode_text(
        &self,
        text: &str,
        may_spell_special: bool,
        ids: &mut Vec<PipelineToken>,
        scratch: &mut Option<FastScratch>,
    ) -> tokenizers::Result<()> {
        match &self.fast {
            Some(fast) if !may_spell_special => {
                let scratch = scratch.get_or_insert_with(|| fast.scratch(self.most_at_once()));
                encode_by_words(fast, self.tokenizer, text, self.special_text, ids, scratch)
            }
            _ => {
                check_at_once(text.len(), self.most_at_once())?;
                self.tokenizer.encode_onto(text, self.special_text, ids)
            }
        }
    }

    /// Returns the largest number of bytes that the library gets at once, which takes about fifty times as much memory:
    /// a record of separate words takes six times its length.
    pub(crate) fn most_at_once(&self) -> usize {
        let longest = self.read.max_record_bytes.unwrap_or(USUAL_RECORD_BYTES);
        usize::try_from(longest / 8).unwrap_or(usize::MAX)
    }

    /// Returns the hash that decides the document's side: of its text, its group, or its origin.
    fn side(&self, document: &Document, hash: u64, buffer: &mut Vec<u8>) -> u64 {
        match (self.holdout_from, &document.group) {
            (Some(from), _) if document.place.input >= from => HELD_OUT,
            (Some(_), _) => TRAINED_ON,
            (None, Some(group)) => text_hash(group, buffer),
            (None, None) => hash,
        }
    }

    fn checked_len(&self, document: &Document, len: usize) -> Result<u32, Error> {
        let got = as_u64(len);
        u32::try_from(got).ok().filter(|_| got <= MAX_DOCUMENT_TOKENS).ok_or_else(|| {
            Error::DocumentTooLong {
                path: self.path_of(document),
                offset_bytes: document.place.offset,
                expected: MAX_DOCUMENT_TOKENS,
                got,
            }
        })
    }

    /// Checks for ids outside the vocabulary: such an id may not fit the width either, and would be stored as another
    /// one.
    fn check_largest(&self, document: &Document, largest: u32) -> Result<(), Error> {
        let expected = self.tokenizer.vocab_size();
        if u64::from(largest) < expected {
            return Ok(());
        }
        Err(Error::IdBeyondVocabulary {
            path: self.path_of(document),
            offset_bytes: document.place.offset,
            expected,
            got: largest,
        })
    }

    pub(crate) fn encode_error(
        &self,
        document: &Document,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Error {
        let (path, offset_bytes) = (self.path_of(document), document.place.offset);
        Error::Encode { path, offset_bytes, source }
    }

    pub(crate) fn path_of(&self, document: &Document) -> std::path::PathBuf {
        self.inputs.file(document.place.input).map(|file| file.path.clone()).unwrap_or_default()
    }
}

/// Appends the ids of a text that spells no added token; the library encodes the text around disputed characters, and
/// text that is not in normal form. So 0.23, which takes about 40 bytes of memory per byte, gets single words instead
/// of documents.
pub(crate) fn encode_by_words(
    fast: &FastEncoder,
    tokenizer: &Tokenizer,
    text: &str,
    special_text: SpecialText,
    ids: &mut Vec<PipelineToken>,
    scratch: &mut FastScratch,
) -> tokenizers::Result<()> {
    let looks_for_disputed = fast.agreement() == Agreement::Undisputed;
    // Tokens usually have more than three bytes; growing by doubling would take twice the memory.
    ids.reserve(text.len() / 3);
    for_each_piece(text, looks_for_disputed, |piece, judge| {
        if judge == Judge::Either
            && let Some(found) = fast.encode(piece, scratch)?
        {
            ids.extend(found.iter().copied().map(PipelineToken::from));
            return Ok(());
        }
        if judge == Judge::Reference && fast.encode_as_reference(piece, scratch, ids)? {
            return Ok(());
        }
        check_at_once(piece.len(), scratch.most_at_once)?;
        // A normal form may spell an added token that the text does not.
        tokenizer.encode_onto(piece, special_text, ids)
    })
}

/// Appends ids, little endian, and returns the largest of them.
fn append(ids: &[u32], dtype: Dtype, out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    let width = usize::try_from(dtype.bytes()).unwrap_or(0);
    out.resize(start + ids.len() * width, 0);
    let out = out.get_mut(start..).unwrap_or_default();
    // This is one pass of vector code.
    let mut largest = 0;
    match dtype {
        Dtype::U16 => {
            for (out, &id) in out.as_chunks_mut().0.iter_mut().zip(ids) {
                let [first, second, ..] = id.to_le_bytes();
                *out = [first, second];
                largest = largest.max(id);
            }
        }
        Dtype::I32 => {
            for (out, &id) in out.as_chunks_mut().0.iter_mut().zip(ids) {
                *out = id.to_le_bytes();
                largest = largest.max(id);
            }
        }
    }
    largest
}

/// Returns whether a text has fewer characters than `least`; the number of bytes usually decides.
pub(crate) fn has_fewer_chars(text: &str, least: u64) -> bool {
    let bytes = as_u64(text.len());
    bytes < least || (bytes < least.saturating_mul(4) && as_u64(text.chars().count()) < least)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two bytes per id are enough for 263 ids, and 65,536 + 97 must not become one of them.
    #[test]
    fn ids_beyond_the_vocabulary_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"text\":\"\"}\n{\"text\":\"the\"}\n").unwrap();
        let inputs = InputList::discover(&[path]).unwrap();
        let tokenizer = crate::tokenizer::tests::tiny();
        for end_of_text in [263, 65_536 + 97] {
            let encoder = Encoder {
                inputs: &inputs,
                tokenizer: &tokenizer,
                fast: tokenizer.fast(),
                read: &ReadOptions::default(),
                min_chars: 0,
                holdout_from: None,
                special_text: SpecialText::Plain,
                beginning_of_text: None,
                end_of_text,
                dtype: Dtype::U16,
                payload: Payload { id_bytes: 2, ..Payload::default() },
                order: Order::new(crate::Shuffle::Keep, 0, &inputs, 1 << 20),
                labels: None,
                pack: None,
            };
            let chunk = mixdown_documents::ChunkReader::open(&inputs, 0, 0).unwrap();
            let chunk = { chunk }.next_before(u64::MAX).unwrap().unwrap();
            let error = encoder.encode(&chunk, &mut Scratch::default()).err().unwrap();
            let words =
                format!("byte 12: token id {end_of_text}, expected less than the tokenizer");
            assert!(error.to_string().contains(&words), "{error}");
        }
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        for (text, count) in [("", 0), ("abc", 3), ("漢字か", 3), ("😀é", 2)] {
            assert!(!has_fewer_chars(text, count), "{text}");
            assert!(has_fewer_chars(text, count + 1), "{text}");
        }
    }

    #[test]
    fn ids_stand_in_both_widths() {
        let ids = [0, 1, 255, 256, 65_535];
        for dtype in [Dtype::U16, Dtype::I32] {
            let mut bytes = Vec::new();
            assert_eq!(append(&ids, dtype, &mut bytes), 65_535);
            assert_eq!(as_u64(bytes.len()), 5 * dtype.bytes());
            let width = usize::try_from(dtype.bytes()).unwrap();
            for (id, bytes) in ids.iter().zip(bytes.chunks(width)) {
                assert_eq!(bytes, &id.to_le_bytes()[..width]);
            }
        }
    }
}
