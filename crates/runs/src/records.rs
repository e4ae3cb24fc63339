//! What a run writes while it trains and at its end.

pub(crate) mod eval_record;
pub(crate) mod json_lines;
pub(crate) mod losses;
pub(crate) mod metrics;
pub(crate) mod metrics_tail;
pub(crate) mod sample;
pub(crate) mod summary;
pub(crate) mod tensorboard;
