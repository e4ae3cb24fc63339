//! Raw input to documents: JSON lines, JSON, CSV and text (plain, zstd or gzip), Parquet and Arrow IPC.
//!
//! [`InputList`] freezes the inputs in a deterministic order; [`DocumentReader`] reads them one
//! document after the other; [`ChunkReader`] hands out runs of whole records, so that a caller can
//! cut a large input into parts and decode the records on many threads.
//!
//! ```no_run
//! use mixdown_documents::{DocumentReader, InputList, ReadOptions};
//! # fn main() -> Result<(), mixdown_documents::Error> {
//! let text_field = Some("meta.text".to_owned());
//! let options = ReadOptions { text_field, ..ReadOptions::default() };
//! let inputs = InputList::discover_with(&["corpus.jsonl.zst".into(), "notes".into()], &options)?;
//! for document in DocumentReader::new(&inputs, &options) {
//!     let document = document?;
//!     let bytes = document.text.len();
//! #   let _ = bytes;
//! }
//! # Ok(())
//! # }
//! ```

#![deny(clippy::indexing_slicing)]

mod arrow_file;
mod binary;
mod byte_reader;
mod chat_message;
mod chat_template;
mod chunk;
mod chunk_reader;
mod columns;
mod content_marks;
mod cuts;
mod decompress;
mod detect;
mod discovery;
mod document;
mod error;
mod folder;
mod format;
mod generation_tag;
mod input_list;
mod json_line;
mod json_marks;
mod json_pieces;
mod json_scan;
mod labeller;
mod layout;
mod long_records;
mod page_guard;
mod parquet_file;
mod piece_reader;
mod pieces;
mod python_json;
mod raw;
mod read_ahead;
mod reader;
mod record;
mod row_reader;
mod selection;
mod standard_input;
mod table_pieces;
mod template_date;
mod text_pieces;
mod wanted;

pub use byte_reader::MAX_RECORD_BYTES;
pub use chat_template::ChatTemplateSource;
pub use chunk::{Chunk, Records};
pub use chunk_reader::ChunkReader;
pub use cuts::Cuts;
pub use decompress::Compression;
pub use document::{
    BadRecord, Document, Labels, Place, ReadOptions, RecordFault, RecordPlace, Unreadable,
};
pub use error::Error;
pub use format::InputFormat;
pub use input_list::{InputFile, InputList, Remark, summary};
pub use labeller::{LabelFields, Labeller, TrainOn};
pub use long_records::{LONG_RECORD_BYTES, LongRecords, Turn};
pub use reader::DocumentReader;
pub use selection::{IgnoreRules, Selection};
pub use template_date::TemplateDate;
