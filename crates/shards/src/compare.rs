//! Comparisons of two corpora, or of two documents.

pub(crate) mod contamination;
pub(crate) mod near_overlap;
pub(crate) mod overlap;
