//! What stands in a corpus' folder (docs/format.md): manifest, index, sums, masks.

pub(crate) mod adopted;
pub(crate) mod adopted_check;
pub(crate) mod block_sums;
pub(crate) mod dtype;
pub(crate) mod fingerprint;
pub(crate) mod index;
pub(crate) mod index_layout;
pub(crate) mod manifest;
pub(crate) mod manifest_rules;
pub(crate) mod mask_file;
pub(crate) mod records;
pub(crate) mod seal;
pub(crate) mod split;
pub(crate) mod token_int;
