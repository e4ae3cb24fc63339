//! The files of a corpus folder (docs/format.md): manifest, index, sums, masks.

pub(crate) mod adopted;
pub(crate) mod block_sums;
pub(crate) mod dtype;
pub(crate) mod fingerprint;
pub(crate) mod index;
pub(crate) mod manifest;
pub(crate) mod manifest_rules;
pub(crate) mod records;
pub(crate) mod seal;
