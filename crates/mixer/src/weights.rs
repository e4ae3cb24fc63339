//! Shares as exact fractions, and as integer parts of a period.

pub(crate) mod parts;
pub(crate) mod weight;
