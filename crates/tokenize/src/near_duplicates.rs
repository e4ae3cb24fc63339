//! Near-duplicates: documents of the holdout that training documents repeat.

pub(crate) mod holdout_search;
