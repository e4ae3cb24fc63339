//! Input bytes: decompressed, split into records, read ahead.

pub(crate) mod byte_reader;
pub(crate) mod chunk;
pub(crate) mod chunk_reader;
pub(crate) mod cuts;
pub(crate) mod decompress;
pub(crate) mod long_records;
pub(crate) mod piece_reader;
pub(crate) mod pieces;
pub(crate) mod text_pieces;
