//! Tabular records: Parquet, Arrow, CSV, TSV.

pub(crate) mod arrow_file;
pub(crate) mod columns;
pub(crate) mod page_guard;
pub(crate) mod parquet_file;
pub(crate) mod pieces;
pub(crate) mod row_reader;
