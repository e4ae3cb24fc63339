//! A reader of Arrow IPC: the positions of the record batches in a file or stream, and the batches in order.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, Message, MessageHeader, MetadataVersion, root_as_footer, root_as_message};
use arrow_schema::{FieldRef, Schema, SchemaRef};

use crate::bytes::chunk::as_u64;
use crate::error::{Damage, Error};
use crate::inputs::format::InputFormat;
use crate::inputs::layout::{Block as RowBlock, Where, guarded};
use crate::reading::wanted::{Wanted, find_columns, with_bytes};

/// The maximum size of a record batch in bytes, on disk and decompressed. A batch is read as a whole.
const MAX_BATCH_BYTES: u64 = 2 << 30;

/// The maximum number of bytes that one compressed byte can become: zstd's blocks of one repeated byte.
const MAX_RATIO: u64 = 40_000;

/// `ARROW1` and two bytes of padding at the beginning; the footer's length and `ARROW1` at the end.
const END_BYTES: u64 = 10;

/// The positions of all messages in an Arrow file or stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArrowIndex {
    format: InputFormat,
    bytes: u64,
    schema: SchemaRef,
    version: MetadataVersion,
    dictionaries: Vec<MessageExtent>,
    batches: Vec<MessageExtent>,
}

/// A message and its body. In a stream, a dictionary applies to the batches after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MessageExtent {
    start: u64,
    metadata_bytes: u64,
    body_bytes: u64,
    rows: u64,
}

impl ArrowIndex {
    /// Reads the footer, or walks a stream's messages, and the header of every batch.
    pub(crate) fn read(
        path: &Path,
        format: InputFormat,
        bytes: u64,
        wanted: &[Wanted],
    ) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(|source| Error::io(path, source))?;
        let index = guarded(path, format, Where::Index, || {
            let mut reader = Reader { file: &mut file, bytes };
            match format {
                InputFormat::ArrowStream => of_stream(&mut reader, format),
                _ => of_file(&mut reader, format),
            }
        })?;
        find_columns(path, index.schema.fields(), wanted)?;
        let got = index.batches.iter().map(|batch| batch.body_bytes).max().unwrap_or(0);
        if got > MAX_BATCH_BYTES {
            let (path, expected) = (path.to_owned(), MAX_BATCH_BYTES);
            return Err(Error::BatchTooLarge { path, expected, got });
        }
        Ok(index)
    }

    /// Returns the rows and bytes of every batch.
    pub(crate) fn blocks(&self) -> Vec<RowBlock> {
        let block =
            |batch: &MessageExtent| RowBlock { rows: batch.rows, text_bytes: batch.body_bytes };
        self.batches.iter().map(block).collect()
    }
}

/// An open file that is never read beyond its length, so no length stored in it is trusted.
struct Reader<'f> {
    file: &'f mut File,
    bytes: u64,
}

impl Reader<'_> {
    fn at(&mut self, start: u64, len: u64) -> Result<Vec<u8>, Damage> {
        let end = start.checked_add(len).filter(|&end| end <= self.bytes);
        if end.is_none() {
            let bytes = self.bytes;
            let words = format!("{len} bytes are meant to stand at byte {start} of {bytes}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, words).into());
        }
        self.file.seek(SeekFrom::Start(start))?;
        let mut buffer = Vec::with_capacity(usize::try_from(len)?);
        let got = self.file.take(len).read_to_end(&mut buffer)?;
        if as_u64(got) < len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(buffer)
    }

    /// Returns a block of the footer's list.
    fn extent(&mut self, block: &Block) -> Result<MessageExtent, Damage> {
        let start = u64::try_from(block.offset())?;
        let metadata_bytes = u64::try_from(block.metaDataLength())?;
        let head = self.at(start, metadata_bytes)?;
        let message = message_of(flatbuffer(&head))?;
        let extent = self.extent_of(start, metadata_bytes, &message)?;
        if block.bodyLength() != message.bodyLength() {
            return Err("the footer and a batch disagree on its length".into());
        }
        Ok(extent)
    }

    fn extent_of(
        &self,
        start: u64,
        metadata_bytes: u64,
        message: &Message<'_>,
    ) -> Result<MessageExtent, Damage> {
        let body_bytes = u64::try_from(message.bodyLength())?;
        let end = start.saturating_add(metadata_bytes).saturating_add(body_bytes);
        if end > self.bytes {
            let bytes = self.bytes;
            let words = format!("a batch is meant to end at byte {end} of {bytes}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, words).into());
        }
        let rows = message.header_as_record_batch().map_or(0, |batch| batch.length());
        Ok(MessageExtent { start, metadata_bytes, body_bytes, rows: u64::try_from(rows)? })
    }
}

fn of_file(reader: &mut Reader<'_>, format: InputFormat) -> Result<ArrowIndex, Damage> {
    let end = reader.bytes.saturating_sub(END_BYTES);
    let tail: [u8; 10] = reader.at(end, END_BYTES)?.try_into().map_err(|_| "no footer")?;
    if !tail.ends_with(b"ARROW1") {
        return Err("it does not end with ARROW1, so it is not complete".into());
    }
    let len = as_u64(read_footer_length(tail)?);
    let start = end
        .checked_sub(len)
        .ok_or_else(|| format!("the footer is meant to hold {len} bytes of {}", reader.bytes))?;
    let footer = reader.at(start, len)?;
    let footer = root_as_footer(&footer).map_err(|error| error.to_string())?;
    let schema = footer.schema().ok_or("the footer has no schema")?;
    if !schema.endianness().equals_to_target_endianness() {
        return Err("its numbers are of the other byte order".into());
    }
    let (mut dictionaries, mut batches) = (Vec::new(), Vec::new());
    for block in footer.dictionaries().into_iter().flatten() {
        dictionaries.push(reader.extent(block)?);
    }
    for block in footer.recordBatches().into_iter().flatten() {
        batches.push(reader.extent(block)?);
    }
    Ok(ArrowIndex {
        format,
        bytes: reader.bytes,
        schema: Arc::new(try_fb_to_schema(schema)?),
        version: footer.version(),
        dictionaries,
        batches,
    })
}

fn of_stream(reader: &mut Reader<'_>, format: InputFormat) -> Result<ArrowIndex, Damage> {
    let (mut at, mut head) = (0, None);
    let (mut dictionaries, mut batches) = (Vec::new(), Vec::new());
    // A stream may end without its end marker, but not within a message.
    while at < reader.bytes {
        let prefix = reader.at(at, 8)?;
        let len = match prefix.as_slice() {
            [0xff, 0xff, 0xff, 0xff, len @ ..] => u64::from(u32::from_le_bytes(len.try_into()?)),
            _ => return Err(format!("no message begins at byte {at}").into()),
        };
        if len == 0 {
            break;
        }
        let metadata = reader.at(at + 8, len)?;
        let message = message_of(&metadata)?;
        let extent = reader.extent_of(at, len + 8, &message)?;
        match message.header_type() {
            MessageHeader::Schema if head.is_none() => {
                let schema = message.header_as_schema().ok_or("its schema cannot be read")?;
                if !schema.endianness().equals_to_target_endianness() {
                    return Err("its numbers are of the other byte order".into());
                }
                head = Some((Arc::new(try_fb_to_schema(schema)?), message.version()));
            }
            MessageHeader::DictionaryBatch => dictionaries.push(extent),
            MessageHeader::RecordBatch => batches.push(extent),
            other => return Err(format!("a message of type {other:?} at byte {at}").into()),
        }
        at = at.saturating_add(extent.metadata_bytes).saturating_add(extent.body_bytes);
    }
    let (schema, version) = head.ok_or("it has no schema")?;
    Ok(ArrowIndex { format, bytes: reader.bytes, schema, version, dictionaries, batches })
}

fn message_of(bytes: &[u8]) -> Result<Message<'_>, Damage> {
    root_as_message(bytes).map_err(|error| error.to_string().into())
}

/// Returns a message without the markers before it.
fn flatbuffer(message: &[u8]) -> &[u8] {
    match message {
        [0xff, 0xff, 0xff, 0xff, _, _, _, _, rest @ ..] | [_, _, _, _, rest @ ..] => rest,
        _ => message,
    }
}

/// An iterator over the batches, from that of a row on.
pub(crate) struct ArrowBatches {
    index: Arc<ArrowIndex>,
    file: File,
    decoder: FileDecoder,
    next_batch: usize,
    next_dictionary: usize,
}

impl ArrowBatches {
    /// Starts at the batch that holds row `start`; also returns the batch's first row.
    pub(crate) fn open(
        index: &Arc<ArrowIndex>,
        file: File,
        wanted: &[Wanted],
        start: u64,
    ) -> (Self, u64) {
        let (mut next_batch, mut row) = (0, 0_u64);
        for batch in &index.batches {
            if row.saturating_add(batch.rows) > start {
                break;
            }
            row = row.saturating_add(batch.rows);
            next_batch += 1;
        }
        let fields = index.schema.fields().iter().enumerate();
        let roots: Vec<usize> = fields
            .filter(|(_, field)| wanted.iter().any(|wanted| is_root(field.name(), &wanted.field)))
            .map(|(place, _)| place)
            .collect();
        let bytes = |field: &FieldRef| {
            let data_type = with_bytes(field.data_type());
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        };
        let fields: Vec<FieldRef> = index.schema.fields().iter().map(bytes).collect();
        let decoder = FileDecoder::new(Arc::new(Schema::new(fields)), index.version);
        let decoder = if wanted.is_empty() { decoder } else { decoder.with_projection(roots) };
        let index = Arc::clone(index);
        (Self { index, file, decoder, next_batch, next_dictionary: 0 }, row)
    }

    /// Returns the next batch.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>, Damage> {
        let Some(&batch) = self.index.batches.get(self.next_batch) else { return Ok(None) };
        self.next_batch += 1;
        while let Some(&dictionary) = self.index.dictionaries.get(self.next_dictionary)
            && (self.index.format == InputFormat::ArrowFile || dictionary.start < batch.start)
        {
            self.next_dictionary += 1;
            let (block, buffer) = self.read(dictionary)?;
            self.decoder.read_dictionary(&block, &buffer)?;
        }
        let (block, buffer) = self.read(batch)?;
        let decoded = self.decoder.read_record_batch(&block, &buffer)?;
        Ok(Some(decoded.ok_or("a batch without a header")?))
    }

    fn read(&mut self, extent: MessageExtent) -> Result<(Block, Buffer), Damage> {
        let MessageExtent { start, metadata_bytes, body_bytes, .. } = extent;
        let mut reader = Reader { file: &mut self.file, bytes: self.index.bytes };
        let bytes = reader.at(start, metadata_bytes.saturating_add(body_bytes))?;
        let (head, body) = bytes
            .split_at_checked(usize::try_from(metadata_bytes)?)
            .ok_or("a batch shorter than its head")?;
        let message = message_of(flatbuffer(head))?;
        check_body(&message, body)?;
        let block = Block::new(
            i64::try_from(start)?,
            i32::try_from(metadata_bytes)?,
            i64::try_from(body_bytes)?,
        );
        Ok((block, Buffer::from_vec(bytes)))
    }
}

/// Returns whether a column is the outermost one of a field.
fn is_root(column: &str, field: &str) -> bool {
    field.strip_prefix(column).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Refuses impossible bodies: the library assumes that buffers lie within the body, and allocates the size that a
/// compressed one claims before it decompresses.
fn check_body(message: &Message<'_>, body: &[u8]) -> Result<(), Damage> {
    let batch = message
        .header_as_record_batch()
        .or_else(|| message.header_as_dictionary_batch().and_then(|batch| batch.data()))
        .ok_or("a message that is no batch")?;
    let compressed = batch.compression().is_some();
    let mut total = if compressed { 0 } else { as_u64(body.len()) };
    for buffer in batch.buffers().iter().flatten() {
        let (start, len) = (usize::try_from(buffer.offset())?, usize::try_from(buffer.length())?);
        let end = start.checked_add(len).ok_or("a buffer without an end")?;
        let bytes = body.get(start..end).ok_or("a buffer beyond its batch")?;
        let Some(prefix) = bytes.first_chunk::<8>().filter(|_| compressed) else { continue };
        // -1 means that the buffer is stored uncompressed.
        let got = u64::try_from(i64::from_le_bytes(*prefix)).unwrap_or(as_u64(len));
        if got > as_u64(len).saturating_mul(MAX_RATIO) {
            return Err(format!("a buffer of {len} bytes that is meant to become {got}").into());
        }
        total = total.saturating_add(got);
    }
    if total > MAX_BATCH_BYTES {
        return Err(format!("a batch of {total} bytes, at most {MAX_BATCH_BYTES} are read").into());
    }
    Ok(())
}
