//! Tables of runs: one row a run.

pub(crate) mod comparable;
pub(crate) mod fields;
pub(crate) mod parquet;
pub(crate) mod row;
pub(crate) mod table;
