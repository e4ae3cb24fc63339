//! From parts to shards, a run of buckets at a time.

pub(crate) mod follower;
#[cfg(test)]
pub(crate) mod follower_tests;
pub(crate) mod pack;
pub(crate) mod rows;
pub(crate) mod shard_run;
pub(crate) mod write_stage;
