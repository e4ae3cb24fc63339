//! The order within a source: windows, and a keyed permutation of them in each epoch.

pub(crate) mod blocks;
pub(crate) mod permutation;
pub(crate) mod source_order;
pub(crate) mod window;
