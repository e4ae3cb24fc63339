//! The stage from parts to shards, one run of buckets at a time.

pub(crate) mod in_order_writer;
#[cfg(test)]
pub(crate) mod in_order_writer_tests;
pub(crate) mod rows;
pub(crate) mod shard_run;
pub(crate) mod write_stage;
