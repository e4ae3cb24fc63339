//! What two corpora, or two documents, have in common.

pub(crate) mod contamination;
pub(crate) mod overlap;
