//! A reader from raw input to documents: JSON lines, JSON, CSV and text (plain, zstd or gzip), Parquet and Arrow IPC.
//!
//! [`InputList`] fixes the inputs in a deterministic order; [`DocumentReader`] reads them one document after another;
//! [`ChunkReader`] returns runs of whole records, so that a caller can split a large input into parts and decode the
//! records on many threads.
//!
//! ```
//! use mixdown_documents::{DocumentReader, InputList, ReadOptions};
//! # fn main() -> Result<(), mixdown_documents::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("corpus.jsonl");
//! std::fs::write(&path, r#"{"meta": {"text": "A document."}}"#).unwrap();
//! let text_field = Some("meta.text".to_owned());
//! let options = ReadOptions { text_field, ..ReadOptions::default() };
//! let inputs = InputList::discover_with(&[path], &options)?;
//! for document in DocumentReader::new(&inputs, &options) {
//!     assert_eq!(document?.text, "A document.");
//! }
//! # Ok(())
//! # }
//! ```

#![deny(clippy::indexing_slicing)]

mod bytes;
mod chat;
mod error;
mod inputs;
mod json;
mod reading;
mod tables;

pub use bytes::byte_reader::USUAL_RECORD_BYTES;
pub use bytes::chunk::{Chunk, Records};
pub use bytes::chunk_reader::ChunkReader;
pub use bytes::cuts::Cuts;
pub use bytes::decompress::Compression;
pub use bytes::long_records::{LONG_RECORD_BYTES, LongRecords, Turn};
pub use chat::date::TemplateDate;
pub use chat::labeler::{ChatTurn, LabelFields, Labeler, TrainOn};
pub use chat::template::{ChatTemplateSource, ToolTemplate};
pub use error::Error;
pub use inputs::format::InputFormat;
pub use inputs::input_list::{InputFile, InputList, Remark, summary};
pub use inputs::selection::{IgnoreRules, Selection};
pub use reading::document::{
    BadRecord, Document, Labels, Place, ReadOptions, RecordFault, RecordPlace, Unreadable,
};
pub use reading::reader::DocumentReader;
