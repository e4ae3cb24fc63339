//! Raw input to documents: JSON lines and text, plain, zstd or gzip.
//!
//! [`InputList`] freezes the inputs in a deterministic order; [`DocumentReader`] reads them one
//! document after the other; [`ChunkReader`] hands out runs of whole records, so that a caller can
//! cut a large input into parts and decode the records on many threads.
//!
//! ```no_run
//! use mixdown_documents::{DocumentReader, InputList, ReadOptions};
//! # fn main() -> Result<(), mixdown_documents::Error> {
//! let inputs = InputList::discover(&["corpus.jsonl.zst".into(), "notes".into()])?;
//! for document in DocumentReader::new(&inputs, &ReadOptions::default()) {
//!     let document = document?;
//!     let bytes = document.text.len();
//! #   let _ = bytes;
//! }
//! # Ok(())
//! # }
//! ```

#![deny(clippy::indexing_slicing)]

mod chunk;
mod cuts;
mod decompress;
mod document;
mod error;
mod folder;
mod format;
mod input_list;
mod json_line;
mod reader;

pub use chunk::{Chunk, ChunkReader, MAX_RECORD_BYTES, Records};
pub use cuts::Cuts;
pub use decompress::Compression;
pub use document::{BadRecord, Document, Labels, Place, ReadOptions, RecordFault};
pub use error::Error;
pub use format::InputFormat;
pub use input_list::{InputFile, InputList};
pub use reader::DocumentReader;
